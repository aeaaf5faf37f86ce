"""OpenMM System, topology and start positions, from what the config calls `system`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from bgp4.errors import UserInputError

if TYPE_CHECKING:
    import mdtraj

    from bgp4.config import SystemConfig

__all__ = ["Molecule", "load_molecule"]


@dataclass(frozen=True)
class Molecule:
    """A molecule as bgp4 uses it: who its atoms are and what their energy is.

    Attributes:
        name: What the config calls it.
        system_xml: The serialised OpenMM System; it travels to worker processes.
        topology: mdtraj topology, in the System's atom order.
        positions_nm: Start positions, shape (atoms, 3), nm.
    """

    name: str
    system_xml: str
    topology: mdtraj.Topology
    positions_nm: NDArray[np.float64]

    @property
    def n_atoms(self) -> int:
        return self.positions_nm.shape[0]


def load_molecule(config: SystemConfig) -> Molecule:
    """Build the molecule that a config's `system` describes.

    Raises:
        UserInputError: If a file is missing, a name is unknown, or the System has constraints,
            particles without mass or a periodic box: none of these has a density in all 3N
            coordinates.
    """
    system, topology, positions = _READERS[config.kind](config)
    _check_system(system, config)
    import mdtraj
    import openmm

    return Molecule(
        name=config.label,
        system_xml=openmm.XmlSerializer.serialize(system),
        topology=mdtraj.Topology.from_openmm(topology),
        positions_nm=np.asarray(positions.value_in_unit(openmm.unit.nanometer), dtype=np.float64),
    )


def _read_testsystem(config: SystemConfig) -> tuple[Any, Any, Any]:
    from openmm import app
    from openmmtools import testsystems

    name = config.testsystem
    constructor = getattr(testsystems, str(name), None)
    if not (isinstance(constructor, type) and issubclass(constructor, testsystems.TestSystem)):
        raise UserInputError(
            f"config key system: expected the name of an openmmtools test system, found {name!r}"
        )
    constraints = None if config.constraints is None else getattr(app, config.constraints)
    made = constructor(constraints=constraints)
    if config.implicit_solvent is None:
        return made.system, made.topology, made.positions
    raise UserInputError(
        "config key system.implicit_solvent: a test system brings its own solvent model; "
        "use system.prmtop to choose another"
    )


def _read_prmtop(config: SystemConfig) -> tuple[Any, Any, Any]:
    from openmm import app

    prmtop = _parsed(app.AmberPrmtopFile, _existing_path(config.prmtop, "system.prmtop"))
    inpcrd = _parsed(app.AmberInpcrdFile, _existing_path(config.inpcrd, "system.inpcrd"))
    system = prmtop.createSystem(
        implicitSolvent=_app_constant(config.implicit_solvent),
        constraints=_app_constant(config.constraints),
        nonbondedMethod=app.NoCutoff,
    )
    return system, prmtop.topology, inpcrd.getPositions(asNumpy=True)


def _read_pdb(config: SystemConfig) -> tuple[Any, Any, Any]:
    from openmm import app

    if config.implicit_solvent is not None:
        raise UserInputError(
            "config key system.implicit_solvent: with system.pdb the solvent model is one of "
            "system.forcefield, implicit/obc2.xml for example"
        )
    pdb = _parsed(app.PDBFile, _existing_path(config.pdb, "system.pdb"))
    try:
        system = app.ForceField(*config.forcefield).createSystem(
            pdb.topology,
            nonbondedMethod=app.NoCutoff,
            constraints=_app_constant(config.constraints),
            rigidWater=False,
        )
    except ValueError as error:
        raise UserInputError(f"{config.pdb}: {' '.join(str(error).split())}") from error
    return system, pdb.topology, pdb.getPositions(asNumpy=True)


_READERS = {"testsystem": _read_testsystem, "prmtop": _read_prmtop, "pdb": _read_pdb}


def _app_constant(name: str | None) -> Any:
    from openmm import app

    return None if name is None else getattr(app, name)


def _existing_path(path: Path | None, key: str) -> str:
    """The file's path; `package:FILE` names one inside an installed package's folder."""
    text = str(path)
    if text.startswith("openmmtools:"):
        from openmmtools.testsystems import get_data_filename

        return str(get_data_filename(text.removeprefix("openmmtools:")))
    if not Path(text).is_file():
        raise UserInputError(f"config key {key}: no such file: {text}")
    return text


def _parsed(parser: Callable[[str], Any], path: str) -> Any:
    """What OpenMM's parser makes of the file; parsers raise whatever goes wrong in them."""
    try:
        return parser(path)
    except Exception as error:
        reason = " ".join(str(error).split())[:200]
        raise UserInputError(
            f"{path}: cannot be read ({type(error).__name__}: {reason})"
        ) from error


def _check_system(system: Any, config: SystemConfig) -> None:
    if system.getNumConstraints():
        raise UserInputError(
            f"config key system: {config.label} has {system.getNumConstraints()} constrained "
            "bonds, and a constrained system has no density in all coordinates; "
            "set system.constraints to null"
        )
    if system.usesPeriodicBoundaryConditions():
        raise UserInputError(
            f"config key system: {config.label} is periodic; bgp4 needs one molecule in vacuum or "
            "implicit solvent"
        )
    massless = [i for i in range(system.getNumParticles()) if system.getParticleMass(i)._value == 0]
    if massless:
        raise UserInputError(
            f"config key system: {config.label} has particles without mass (first: {massless[0]}); "
            "virtual sites and frozen atoms are not supported"
        )
