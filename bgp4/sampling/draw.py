"""Sampling a run into a file: the work behind `bgp4 sample`."""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from bgp4.energies.base import Energy
from bgp4.energies.select import CheckedEnergy, weighing_energy
from bgp4.errors import UserInputError
from bgp4.parallel.progress import progress
from bgp4.parallel.ranks import ALONE, Ranks, joined
from bgp4.sampling.files import check_format, write_samples
from bgp4.sampling.generate import TrainedRun, generate, load_trained
from bgp4.sampling.request import SampleRequest
from bgp4.sampling.unbiased import START, ChainStatistics, MetropolisChain
from bgp4.statistics.samples import Samples
from bgp4.statistics.weights import effective_sample_size
from bgp4.training.run import RunFolder

__all__ = ["Drawn", "draw_samples", "energy_of_weights", "refuse_without_overlap"]

MIN_EFFECTIVE_SAMPLES = 20
"""Weights at another temperature with fewer effective samples than this are refused."""


class Drawn(NamedTuple):
    """What a sampling left.

    Attributes:
        files: What it wrote.
        ess: Effective sample size, a fraction of 1, NaN without weights.
        n_rejected: Conformations that could not be evaluated.
        energy_difference_kt: Largest between OpenMM's and the batched energies, NaN unchecked.
        chain: Of an unbiased ensemble; `ess` and `n_rejected` are then its proposals'.
    """

    files: list[Path]
    ess: float
    n_rejected: int
    energy_difference_kt: float
    chain: ChainStatistics | None = None


def draw_samples(run: RunFolder, output: Path, request: SampleRequest) -> Drawn:
    """Sample a run's best model into a file.

    Weights are of batched float64 energies where these serve, else of OpenMM's; where they are to
    be checked, of OpenMM's, and the two are compared. Of several ranks all sample and one writes;
    the others leave no files.

    Raises:
        UserInputError: If the output's format or folder won't do, if the weights at another
            temperature leave next to no effective samples, or if no chain can begin.
    """
    check_format(output)
    started = time.perf_counter()
    log_weights: list[np.ndarray] = []

    def kept(chunks: Iterator[Samples]) -> Iterator[Samples]:
        for chunk in chunks:
            log_weights.append(chunk.safe_log_weight)
            report(sum(map(len, log_weights)), "")
            yield chunk
        if request.weights and kelvin != trained.config.temperature_k:
            refuse_without_overlap(np.concatenate(log_weights), kelvin)

    with ExitStack() as stack:
        ranks = stack.enter_context(joined(request.device))
        trained = load_trained(run, ranks.device)
        kelvin = (
            trained.config.temperature_k if request.temperature_k is None else request.temperature_k
        )
        energy = (
            stack.enter_context(energy_of_weights(trained, kelvin, request.check_energies, ranks))
            if request.weights
            else None
        )
        chain = MetropolisChain(np.random.default_rng(request.seed)) if request.unbiased else None
        n_proposals = request.n + START if chain else request.n
        report = stack.enter_context(progress("sampling", n_proposals, ranks.is_writer))
        chunks = generate(trained.model, n_proposals, request.seed, energy, ranks)
        energies = type(energy).__name__ if energy else "none"
        if ranks.is_writer:
            drawn = chain.states(kept(chunks)) if chain else kept(chunks)
            attributes = {"run": run.path.name, "temperature_k": kelvin, "energies": energies}
            attributes |= {"seed": request.seed, "unbiased": request.unbiased}
            files = write_samples(output, drawn, trained.molecule.topology, attributes)
        else:
            files = []
            deque(chunks, maxlen=0)  # which the writer receives
        (n_rejected,) = ranks.total(energy.n_rejected if energy else 0)
        if files and output == run.samples_path:
            run.update_info(
                sample_energy=energies,
                wall_time_s={"sample": round(time.perf_counter() - started, 1)},
            )
    weighted = request.weights and ranks.is_writer
    ess = effective_sample_size(np.concatenate(log_weights)) if weighted else float("nan")
    difference = energy.largest_difference_kt if isinstance(energy, CheckedEnergy) else math.nan
    statistics = chain.statistics if chain and files else None
    return Drawn(files, ess, int(n_rejected), difference, statistics)


def energy_of_weights(
    trained: TrainedRun, temperature_k: float, check: bool = False, ranks: Ranks = ALONE
) -> Energy:
    """What weighs a run's samples (see `weighing_energy`), checked on some of these."""
    settings = trained.config.energies
    return weighing_energy(
        settings, trained.molecule, temperature_k, _likely(trained), check, ranks
    )


@torch.no_grad()
def _likely(trained: TrainedRun) -> np.ndarray:
    """A few conformations of high density, which do not clash, (frames, atoms, 3)."""
    made = trained.model.generate(64, torch.Generator().manual_seed(0))
    order = made.log_prob_xyz.argsort(descending=True)
    likely = made.positions_nm[order[made.valid[order]]][:16].cpu().numpy()
    return likely if len(likely) else trained.molecule.positions_nm[None]


def refuse_without_overlap(
    log_weight: np.ndarray,  # (n,)
    temperature_k: float,
    asked_by: str = "--temperature",
) -> None:
    """Raise UserInputError if weights at another temperature leave next to nothing."""
    ess = effective_sample_size(log_weight)
    if ess * len(log_weight) < MIN_EFFECTIVE_SAMPLES:
        raise UserInputError(
            f"{asked_by} {temperature_k:g}: the model does not overlap with this temperature: "
            f"ESS {ess:.3%}, {ess * len(log_weight):.1f} of {len(log_weight)} samples; draw more "
            "or choose one nearer to the run's"
        )
