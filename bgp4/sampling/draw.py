"""Sampling a run into a file: the work behind `bgp4 sample`."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

import numpy as np

from bgp4.distributed import Ranks, joined
from bgp4.energies.openmm import OpenMMEnergy, available_cores
from bgp4.errors import UserInputError
from bgp4.progress import progress
from bgp4.run import RunFolder
from bgp4.sampling.files import check_format, write_samples
from bgp4.sampling.generate import Samples, TrainedRun, generate, load_trained
from bgp4.sampling.reweight import effective_sample_size

__all__ = ["Drawn", "draw_samples"]

MIN_EFFECTIVE_SAMPLES = 20
"""Weights at another temperature with fewer effective samples than this are refused."""


class Drawn(NamedTuple):
    """What a sampling left: its files, and its effective sample size (NaN without weights)."""

    files: list[Path]
    ess: float
    n_rejected: int


def draw_samples(
    run: RunFolder,
    n: int,
    output: Path,
    weights: bool = True,
    seed: int = 0,
    temperature_k: float | None = None,
    device: str = "auto",
) -> Drawn:
    """Sample a run's best model into a file, with weights at a temperature (the run's if None).

    Of several ranks all sample and one writes; the others leave no files.

    Raises:
        UserInputError: If the output's format or folder won't do, or if the weights at another
            temperature leave next to no effective samples.
    """
    check_format(output)
    started = time.perf_counter()
    log_weights: list[np.ndarray] = []

    def kept(chunks: Iterator[Samples]) -> Iterator[Samples]:
        for chunk in chunks:
            log_weights.append(chunk.log_weight)
            report(sum(map(len, log_weights)), "")
            yield chunk
        if weights and kelvin != trained.config.temperature_k:
            _refuse_without_overlap(np.concatenate(log_weights), kelvin)

    with ExitStack() as stack:
        ranks = stack.enter_context(joined(device))
        trained = load_trained(run, ranks.device)
        kelvin = trained.config.temperature_k if temperature_k is None else temperature_k
        energy = stack.enter_context(_energy(trained, kelvin, ranks)) if weights else None
        report = stack.enter_context(progress("sampling", n, ranks.is_writer))
        chunks = generate(trained.model, n, seed, energy, ranks)
        attributes = {"temperature_k": kelvin, "seed": seed, "run": run.path.name}
        if ranks.is_writer:
            files = write_samples(output, kept(chunks), trained.molecule.topology, attributes)
        else:
            files = []
            deque(chunks, maxlen=0)  # which the writer receives
        (n_rejected,) = ranks.total(energy.n_rejected if energy else 0)
    if files and output == run.samples_path:
        run.update_info(wall_time_s={"sample": round(time.perf_counter() - started, 1)})
    weighted = weights and ranks.is_writer
    ess = effective_sample_size(np.concatenate(log_weights)) if weighted else float("nan")
    return Drawn(files, ess, int(n_rejected))


def _energy(trained: TrainedRun, temperature_k: float, ranks: Ranks) -> OpenMMEnergy:
    settings = trained.config.energies
    workers = ranks.of_machine(settings.workers or available_cores())
    return OpenMMEnergy(trained.molecule, temperature_k, settings.platform, workers)


def _refuse_without_overlap(log_weight: np.ndarray, temperature_k: float) -> None:
    ess = effective_sample_size(log_weight)
    if ess * len(log_weight) < MIN_EFFECTIVE_SAMPLES:
        raise UserInputError(
            f"--temperature {temperature_k:g}: the model does not overlap with this temperature: "
            f"ESS {ess:.3%}, {ess * len(log_weight):.1f} of {len(log_weight)} samples; draw more "
            "or choose one nearer to the run's"
        )
