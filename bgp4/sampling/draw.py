"""Sampling a run into a file: the work behind `bgp4 sample`."""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from scipy.special import logsumexp

from bgp4.energies.base import Energy
from bgp4.energies.select import CheckedEnergy, weighing_energy
from bgp4.errors import UserInputError
from bgp4.parallel.progress import Report, progress
from bgp4.parallel.ranks import ALONE, Ranks, joined
from bgp4.sampling.files import check_format, write_samples
from bgp4.sampling.generate import TrainedRun, generate, load_trained
from bgp4.sampling.refined import RefinedChains, RefinedStatistics
from bgp4.sampling.request import SampleRequest
from bgp4.sampling.unbiased import START, ChainStatistics, MetropolisChain
from bgp4.statistics.samples import Samples
from bgp4.statistics.weights import effective_sample_size
from bgp4.training.run import RunFolder

__all__ = ["Drawn", "draw_samples", "energy_of_weights", "refuse_without_overlap"]

MIN_EFFECTIVE_SAMPLES = 20
"""Weights of another density with fewer effective samples than this are refused."""


class Drawn(NamedTuple):
    """What a sampling left.

    Attributes:
        files: What it wrote.
        n: Conformations in them.
        ess: Effective sample size, a fraction of 1, NaN without weights.
        n_rejected: Conformations that could not be evaluated.
        energy_difference_kt: Largest between OpenMM's and the batched energies, NaN unchecked.
        chain: Of an unbiased or refined ensemble; `ess` is then that of its proposals, or NaN.
    """

    files: list[Path]
    n: int
    ess: float
    n_rejected: int
    energy_difference_kt: float
    chain: ChainStatistics | RefinedStatistics | None = None


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
    with ExitStack() as stack:
        ranks = stack.enter_context(joined(request.device))
        _refuse_several(ranks, request)
        trained = load_trained(run, ranks.device)
        kelvin = (
            trained.config.temperature_k if request.temperature_k is None else request.temperature_k
        )
        energy = (
            stack.enter_context(energy_of_weights(trained, kelvin, request.check_energies, ranks))
            if request.weights
            else None
        )
        total = request.effective or request.n + (START if request.unbiased else 0)
        report = stack.enter_context(progress("sampling", total, ranks.is_writer))
        source = _Source(request, trained, energy, ranks, report)
        energies = type(energy).__name__ if energy else "none"
        if ranks.is_writer:
            attributes = {"run": run.path.name, "temperature_k": kelvin, "energies": energies}
            attributes |= {"seed": request.seed, "unbiased": source.chain is not None}
            topology = trained.molecule.topology
            files = write_samples(output, source.samples(), topology, attributes, request.colvar)
        else:
            files = []
            deque(source.flow_samples(), maxlen=0)  # which the writer receives
        (n_rejected,) = ranks.total(energy.n_rejected if energy else 0)
        if files and output == run.samples_path:
            run.update_info(
                sample_energy=energies,
                wall_time_s={"sample": round(time.perf_counter() - started, 1)},
            )
    difference = energy.largest_difference_kt if isinstance(energy, CheckedEnergy) else math.nan
    statistics = source.chain.statistics if source.chain and files else None
    return Drawn(files, source.n, source.ess, int(n_rejected), difference, statistics)


@dataclass
class _Source:
    """The samples of a request as they are made, and what their weights come to.

    Attributes:
        chain: What gives them equal weights, or None.
        n: How many have been made.
    """

    request: SampleRequest
    trained: TrainedRun
    energy: Energy | None
    ranks: Ranks
    report: Report
    n: int = 0
    _log_weights: list[np.ndarray] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.chain: MetropolisChain | RefinedChains | None = None
        if self.request.unbiased:
            self.chain = MetropolisChain(np.random.default_rng(self.request.seed))
        elif self.request.refine and self.energy is not None:
            self.chain = RefinedChains(self.trained, self.energy, self.request.seed)

    @property
    def ess(self) -> float:
        """Of the flow's samples, a fraction of 1; NaN without weights."""
        weighted = self.request.weights and self._log_weights
        return effective_sample_size(np.concatenate(self._log_weights)) if weighted else math.nan

    def samples(self) -> Iterator[Samples]:
        """All of them."""
        if isinstance(self.chain, RefinedChains):
            made = self.chain.states(self.request.n, self.report)
        elif self.chain is not None:
            made = self.chain.states(self._weighed())
        else:
            made = self._weighed()
        for chunk in made:
            self.n += len(chunk.energy_kt)
            yield chunk

    def flow_samples(self) -> Iterator[Samples]:
        """Of the flow, as many as are asked for, and those that a chain starts with."""
        n = self.request.n + (START if self.request.unbiased else 0)
        return generate(self.trained.model, n, self.request.seed, self.energy, self.ranks)

    def _weighed(self) -> Iterator[Samples]:
        wanted, kelvin = self.request.effective, self.request.temperature_k
        total = squares = -np.inf
        for chunk in self.flow_samples():
            self._log_weights.append(chunk.safe_log_weight)
            total = np.logaddexp(total, logsumexp(self._log_weights[-1]))
            squares = np.logaddexp(squares, logsumexp(2 * self._log_weights[-1]))
            effective = np.exp(2 * total - squares) if np.isfinite(total) else 0.0
            drawn = sum(map(len, self._log_weights))
            self.report(int(effective) if wanted else drawn, "")
            yield chunk
            if wanted and effective >= wanted:
                break
        if self.request.weights and kelvin not in (None, self.trained.config.temperature_k):
            asked = f"--temperature {kelvin:g}"
            refuse_without_overlap(np.concatenate(self._log_weights), asked)


def _refuse_several(ranks: Ranks, request: SampleRequest) -> None:
    asked = {"--refine": request.refine, "--effective": request.effective is not None}
    for option in (option for option, is_asked in asked.items() if is_asked and ranks.size > 1):
        raise UserInputError(f"{option}: expected one process, found {ranks.size} of torchrun")


def energy_of_weights(
    trained: TrainedRun, temperature_k: float, check: bool = False, ranks: Ranks = ALONE
) -> Energy:
    """What weighs a run's samples (see `weighing_energy`), checked on some of these."""
    settings = trained.config.energies
    of_run = (settings, trained.molecule, temperature_k, _likely(trained))
    return weighing_energy(*of_run, check, ranks, trained.model.device)


@torch.no_grad()
def _likely(trained: TrainedRun) -> np.ndarray:
    """A few conformations of high density, which do not clash, (frames, atoms, 3)."""
    made = trained.model.generate(64, torch.Generator().manual_seed(0))
    order = made.log_prob_xyz.argsort(descending=True)
    likely = made.positions_nm[order[made.valid[order]]][:16].cpu().numpy()
    return likely if len(likely) else trained.molecule.positions_nm[None]


def refuse_without_overlap(
    log_weight: np.ndarray,  # (n,)
    asked: str,
    target: str = "this temperature",
    otherwise: str = "choose one nearer to the run's",
) -> None:
    """Raise UserInputError if weights of another density leave next to nothing.

    Args:
        asked: The option or method that asked for it.
        target: What it is, for the message.
        otherwise: What to do where more samples do not help, for the message.
    """
    ess = effective_sample_size(log_weight)
    if ess * len(log_weight) < MIN_EFFECTIVE_SAMPLES:
        raise UserInputError(
            f"{asked}: the model does not overlap with {target}: ESS {ess:.3%}, "
            f"{ess * len(log_weight):.1f} of {len(log_weight)} samples; draw more or {otherwise}"
        )
