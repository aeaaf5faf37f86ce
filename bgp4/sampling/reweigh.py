"""Samples of one energy, weighted for another: the work behind `bgp4 reweigh`.

A sample's log-density is the flow's, whatever it is weighted by. So exp(-u_new) / q are weights of
another force field, solvent model or temperature, with no training and no new samples, as long as
the flow covers what that has.
"""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

import numpy as np

from bgp4.config import load_config
from bgp4.energies.base import Energy
from bgp4.energies.external import FunctionEnergy, ase_function, named_object
from bgp4.errors import UserInputError
from bgp4.molecule.comparison import refuse_other_atoms, refuse_other_constraints
from bgp4.molecule.molecule import Molecule, load_molecule
from bgp4.parallel.progress import Report, progress, silent
from bgp4.parallel.ranks import joined
from bgp4.sampling.draw import energy_of_weights, refuse_without_overlap
from bgp4.sampling.files import (
    check_format,
    read_attributes,
    read_samples,
    read_topology,
    write_samples,
)
from bgp4.sampling.generate import CHUNK, TrainedRun, generate, load_trained
from bgp4.sampling.request import ReweighRequest
from bgp4.statistics.samples import REJECTED_ENERGY_KT, Samples, concatenated
from bgp4.statistics.weights import (
    effective_sample_size_clipped,
    effective_sample_size_relative,
    normalised_weights,
)
from bgp4.training.run import RunFolder
from bgp4.units import kjmol_to_kt

__all__ = ["Overlap", "Reweighed", "resampled", "reweigh", "reweighted"]

DEFAULT_N = 10_000


class Overlap(NamedTuple):
    """Effective sample sizes, each a fraction of 1.

    Attributes:
        ess: Under the new weights.
        ess_clipped: The same, with the largest weights clipped.
        ess_before: Under the old weights.
        relative: What perfect samples of the old energy would have under the new one.
    """

    ess: float
    ess_clipped: float
    ess_before: float
    relative: float

    @classmethod
    def of(cls, before: Samples, after: Samples) -> Overlap:
        """That of the same conformations with other weights."""
        old, new = before.safe_log_weight, after.safe_log_weight
        relative = effective_sample_size_relative(new, old)
        return cls(after.ess, effective_sample_size_clipped(new), before.ess, relative)


class Reweighed(NamedTuple):
    """What a reweighting left.

    Attributes:
        files: What it wrote.
        n: Conformations that were weighted.
        n_rejected: How many of these have no weight.
        overlap: Of the old and the new energy.
    """

    files: list[Path]
    n: int
    n_rejected: int
    overlap: Overlap


def reweigh(run: RunFolder, output: Path, request: ReweighRequest) -> Reweighed:
    """Weigh a run's samples by another energy, and write them.

    Raises:
        UserInputError: If the other energy is of other atoms or constraints, if next to no
            effective samples are left, or if a file won't do.
    """
    check_format(output)
    if output.resolve() == run.samples_path.resolve():
        raise UserInputError(f"-o {output}: these are the run's own samples; name another file")
    with ExitStack() as stack:
        ranks = stack.enter_context(joined(request.device))
        if ranks.size > 1:
            raise UserInputError(f"bgp4 reweigh: expected one process, found {ranks.size}")
        trained = load_trained(run, ranks.device)
        target = _target(trained, run, request)
        report = stack.enter_context(progress("reweighing", _number(request)))
        before, source = _samples(trained, run, request, report)
        energy = stack.enter_context(_energy(target, request))
        after = reweighted(before, energy)
    otherwise = "train a run of its own"
    if request.system is not None:
        otherwise += f": `bgp4 train --config {request.system} --from {run.path}`"
    refuse_without_overlap(after.safe_log_weight, request.asked, "this energy", otherwise)
    overlap = Overlap.of(before, after)
    kelvin = energy.temperature_k
    attributes = {**source, "run": run.path.name, "temperature_k": kelvin, "reweighed": request.asked}
    attributes |= {"energies": type(energy).__name__, "unbiased": request.resample is not None}
    kept = after
    if request.resample is not None:
        kept = resampled(after, request.resample, np.random.default_rng(request.seed))
    topology = trained.molecule.topology
    files = write_samples(output, [kept], topology, attributes, request.colvar)
    n = len(after.energy_kt)
    return Reweighed(files, n, int(n - after.accepted.sum()), overlap)


def reweighted(samples: Samples, energy: Energy, report: Report = silent) -> Samples:
    """The same conformations with another energy; those that had no weight have none."""
    energy_kt = np.full(len(samples.energy_kt), REJECTED_ENERGY_KT)
    accepted = np.flatnonzero(samples.accepted)
    for start in range(0, len(accepted), CHUNK):
        index = accepted[start : start + CHUNK]
        kjmol = energy.evaluate(samples.positions_nm[index]).energy_kjmol
        kt = kjmol_to_kt(kjmol, energy.temperature_k)
        energy_kt[index] = np.where(np.isfinite(kt), kt, REJECTED_ENERGY_KT)
        report(start + len(index), "")
    return samples._replace(energy_kt=energy_kt)


def resampled(samples: Samples, n: int, rng: np.random.Generator) -> Samples:
    """n conformations of equal weight: each appears about n times its weight, at random below one.

    They come from exp(-u), so their `log_prob` is -u up to a constant, and their log-weight zero.
    """
    steps = np.cumsum(normalised_weights(samples.safe_log_weight))
    points = (np.arange(n) + rng.uniform()) / n  # systematic, of the least variance
    index = np.minimum(np.searchsorted(steps, points * steps[-1], side="right"), len(steps) - 1)
    drawn = samples.rows(index)
    return drawn._replace(log_prob=-drawn.energy_kt)


def other_molecule(config_name: str, option: str, molecule: Molecule, whose: str) -> TrainedRun: ...
