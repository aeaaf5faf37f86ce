"""Samples of one energy, weighted for another: the work behind `bgp4 reweigh`.

A sample's log-density is the flow's, whatever it is weighted by. So exp(-u_new) / q are weights of
another force field, solvent model or temperature, with no training and no new samples, as long as
the flow covers what that has.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

import mdtraj
import numpy as np
import torch

from bgp4.config import Config, as_config, load_config
from bgp4.energies.base import Energy
from bgp4.energies.external import FunctionEnergy, ase_function, named_object
from bgp4.energies.select import weighing_energy
from bgp4.errors import UserInputError
from bgp4.molecule.comparison import refuse_other_atoms, refuse_other_constraints
from bgp4.molecule.constraints import Constraints
from bgp4.molecule.molecule import Molecule, load_molecule
from bgp4.parallel.progress import Report, progress, silent
from bgp4.parallel.ranks import CPU, joined
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

__all__ = [
    "Overlap",
    "Reweighed",
    "energy_on",
    "resampled",
    "reweigh",
    "reweighted",
    "reweighted_by",
    "same_molecule",
]

DEFAULT_N = 10_000

CHECKED_ON = 16
"""Samples that batched energies are compared with OpenMM's on."""


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
        raise UserInputError(f"-o {output}: the run's own samples lie there; name another file")
    with ExitStack() as stack:
        ranks = stack.enter_context(joined(request.device))
        if ranks.size > 1:
            raise UserInputError(f"bgp4 reweigh: expected one process, found {ranks.size}")
        trained = load_trained(run, ranks.device)
        make_energy = _energy_maker(trained, run, request)
        before, origin = _samples(trained, run, request)
        energy = stack.enter_context(make_energy(before))
        report = stack.enter_context(progress("reweighing", len(before.energy_kt)))
        after = reweighted(before, energy, report)
    refuse_without_overlap(
        *(after.safe_log_weight, request.asked, "this energy", _otherwise(run, request))
    )
    rng, kept = np.random.default_rng(request.seed), after
    if request.resample is not None:
        kept = resampled(after, request.resample, rng)
    attributes = {
        **origin,
        "temperature_k": energy.temperature_k,
        "energies": type(energy).__name__,
        "reweighed": request.asked,
        "unbiased": request.resample is not None,
    }
    files = write_samples(output, [kept], trained.molecule.topology, attributes, request.colvar)
    n, n_accepted = len(kept.energy_kt), int(after.accepted.sum())
    return Reweighed(files, n, len(after.energy_kt) - n_accepted, Overlap.of(before, after))


def _otherwise(run: RunFolder, request: ReweighRequest) -> str:
    if request.system is None:
        return "train a run for it"
    return f"train a run for it: `bgp4 train --config {request.system} --from {run.path}`"


def _samples(
    trained: TrainedRun, run: RunFolder, request: ReweighRequest
) -> tuple[Samples, dict[str, Any]]:
    """The run's samples with its own energy, from a file or new, and where they came from."""
    origin: dict[str, Any] = {"run": run.path.name}
    if request.samples is None:
        n = request.n or DEFAULT_N
        kelvin = trained.config.temperature_k
        with energy_of_weights(trained, kelvin) as energy, progress("sampling", n) as report:
            parts: list[Samples] = []
            for chunk in generate(trained.model, n, request.seed, energy):
                parts.append(chunk)
                report(sum(len(part.energy_kt) for part in parts), "")
        return concatenated(parts), origin | {"seed": request.seed}
    samples = read_samples(request.samples)
    whose = f"{run.path}"
    found = read_topology(request.samples)
    refuse_other_atoms(trained.molecule.topology, found, f"--samples {request.samples}", whose)
    if np.isnan(samples.energy_kt).all():
        raise UserInputError(
            f"--samples {request.samples}: expected weights, found samples without; draw them with "
            "`bgp4 sample`, without --no-weights"
        )
    kept = read_attributes(request.samples)
    return samples, origin | ({"seed": kept["seed"]} if "seed" in kept else {})


def _energy_maker(
    trained: TrainedRun, run: RunFolder, request: ReweighRequest
) -> Callable[[Samples], Energy]:
    """What makes the other energy, once there are samples to check it on; it is checked now
    whether it can be theirs.
    """
    config, molecule, kelvin = trained.config, trained.molecule, request.temperature_k
    for spec, option in ((request.energy, "--energy"), (request.ase, "--ase")):
        if spec is not None:
            named = named_object(spec, option)
            function = ase_function(named, request.asked) if option == "--ase" else named
            elements = [atom.element.symbol for atom in molecule.topology.atoms]
            own_k = kelvin or config.temperature_k
            return lambda _: FunctionEnergy(function, elements, own_k, request.asked)
    if request.system is not None:
        config = load_config(request.system, option="--system")
        whose = (molecule.topology, molecule.constraints, str(run.path))
        molecule = same_molecule(config, *whose, request.asked)
    final_k = kelvin or config.temperature_k
    device = trained.model.device
    return lambda samples: energy_on(samples, config, molecule, final_k, device)


def same_molecule(
    config: Config,
    topology: mdtraj.Topology,
    constraints: Constraints | None,
    whose: str,
    asked: str,
) -> Molecule:
    """The molecule of another config.

    Args:
        topology: Atoms that it must have.
        constraints: Constrained bonds that it must have; None if they are not known.
        whose: These are, for the message.
        asked: What named the config, for the message.

    Raises:
        UserInputError: If it has others.
    """
    molecule = load_molecule(config.system)
    refuse_other_atoms(topology, molecule.topology, asked, whose)
    if constraints is not None:
        refuse_other_constraints(constraints, molecule.constraints, topology, asked, whose)
    return molecule


def energy_on(
    samples: Samples,
    config: Config,
    molecule: Molecule,
    temperature_k: float,
    device: torch.device = CPU,
) -> Energy:
    """What weighs by a config's System (see `weighing_energy`), checked on the calmest samples."""
    calm = samples.positions_nm[np.argsort(samples.energy_kt)[:CHECKED_ON]]
    return weighing_energy(config.energies, molecule, temperature_k, calm, device=device)


def reweighted_by(
    target: Any,
    samples: Samples,
    topology: mdtraj.Topology,
    constraints: Constraints | None,
    own_k: float,
    temperature_k: float | None,
) -> tuple[Samples, float, str]:
    """Samples weighted by what Python code calls an energy (see `Ensemble.reweighted`).

    Args:
        own_k: Temperature of the samples' weights, K.
        temperature_k: Of the new ones, if not the target's.

    Returns:
        The samples, the temperature of their weights, and the kind of the energy.

    Raises:
        UserInputError: As `reweigh`.
    """
    asked = "reweighted"
    with ExitStack() as stack:
        if isinstance(target, Energy):
            if temperature_k not in (None, target.temperature_k):
                raise UserInputError(
                    f"{asked}: the energy is at {target.temperature_k:g} K, found temperature_k "
                    f"{temperature_k:g}; leave it out"
                )
            energy = target
        elif isinstance(target, str | Path | Mapping | Config):
            config = as_config(target)
            molecule = same_molecule(config, topology, constraints, "the ensemble", asked)
            made = energy_on(samples, config, molecule, temperature_k or config.temperature_k)
            energy = stack.enter_context(made)
        else:
            elements = [atom.element.symbol for atom in topology.atoms]
            energy = FunctionEnergy(target, elements, temperature_k or own_k, asked)
        after = reweighted(samples, energy)
    refuse_without_overlap(after.safe_log_weight, asked, "this energy", "train a model for it")
    return after, energy.temperature_k, type(energy).__name__


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
    """n conformations of equal weight: each appears n times its weight, rounded up or down.

    Rounding is random, so that plain averages are right (systematic resampling). They come from
    exp(-u): their `log_prob` is -u, up to a constant, and their log-weight zero.
    """
    weights = normalised_weights(samples.safe_log_weight)
    positive = np.flatnonzero(weights)
    steps = np.cumsum(weights[positive])
    points = (np.arange(n) + rng.uniform()) / n * steps[-1]
    index = np.searchsorted(steps[:-1], points, side="right")
    drawn = samples.rows(positive[index])
    return drawn._replace(log_prob=-drawn.energy_kt)
