"""A flow as a checkpoint has it: to sample, to resume, or to begin another run with."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from bgp4.config import Config
from bgp4.coordinates import Standardise, internal_coordinates
from bgp4.errors import UserInputError
from bgp4.flows.build import build_generator
from bgp4.flows.generator import BoltzmannGenerator
from bgp4.molecule.comparison import refuse_other_atoms, refuse_other_constraints
from bgp4.molecule.molecule import Molecule
from bgp4.storage.files import sha256
from bgp4.training.checkpoint import load_state, read_best
from bgp4.training.run import RunFolder
from bgp4.training.schedule import OldFlow

__all__ = ["Begun", "begin_with", "stored_generator"]


def stored_generator(config: Config, molecule: Molecule, checkpoint: Path) -> BoltzmannGenerator:
    """A checkpoint's best model, in the precision of the training.

    Raises:
        UserInputError: If the checkpoint is damaged or of another model.
    """
    state = read_best(checkpoint)
    coordinates = internal_coordinates(molecule.zmatrix, molecule.constraints)
    standardise = Standardise(
        state["standardise.centre"],
        state["standardise.scale"],
        state["standardise.circular"],
        molecule.n_atoms - 3,
        coordinates.fixed,
    )
    model = build_generator(config, coordinates, standardise)
    load_state(checkpoint, model, state)
    return model


class Begun(NamedTuple):
    """What a new run takes from an old one.

    Attributes:
        model: The old flow, with its own standardisation.
        molecule: The new one, with the old Z-matrix.
        old: Where the flow is from.
    """

    model: BoltzmannGenerator
    molecule: Molecule
    old: OldFlow


def begin_with(run: RunFolder, config: Config, molecule: Molecule) -> Begun:
    """Begin a new run with an old one's flow; whether the two flows are alike was checked.

    Raises:
        UserInputError: If the molecule has other atoms, constraints, or a Z-matrix of its own.
    """
    theirs, what, whose = run.molecule(), f"--from {run.path}", "that run"
    refuse_other_atoms(theirs.topology, molecule.topology, what, whose)
    refuse_other_constraints(
        *(theirs.constraints, molecule.constraints, molecule.topology, what, whose)
    )
    if config.system.zmatrix is not None and molecule.zmatrix != theirs.zmatrix:
        raise UserInputError(
            f"{what}: config key system.zmatrix is not that run's, whose coordinates its flow has; "
            "leave it out"
        )
    same = replace(molecule, zmatrix=theirs.zmatrix)
    model = stored_generator(config, same, run.checkpoint_path)
    kelvin = run.config().temperature_k
    base_k = kelvin / float(model.base_std) ** 2
    name = run.path.name if run.is_bundled else str(run.path)
    old = OldFlow(name, sha256(run.checkpoint_path), kelvin, base_k)
    return Begun(model, same, old)
