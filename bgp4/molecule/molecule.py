"""The molecule of a run: from what the config calls `system`, and kept in the run folder."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, ValidationError

from bgp4.errors import UserInputError

if TYPE_CHECKING:
    import mdtraj

    from bgp4.config import SystemConfig
    from bgp4.molecule.constraints import Constraints
    from bgp4.molecule.zmatrix import ZMatrix

__all__ = ["Molecule", "load_molecule", "read_molecule"]


@dataclass(frozen=True)
class Molecule:
    """A molecule as bgp4 uses it: who its atoms are and what their energy is.

    Attributes:
        name: What the config calls it.
        system_xml: The serialised OpenMM System; it travels to worker processes.
        topology: mdtraj topology, in the System's atom order.
        positions_nm: Start positions, shape (atoms, 3), nm.
        zmatrix: Which internal coordinates it has.
    """

    name: str
    system_xml: str
    topology: mdtraj.Topology
    positions_nm: NDArray[np.float64]
    zmatrix: ZMatrix

    @property
    def n_atoms(self) -> int:
        return self.positions_nm.shape[0]

    @cached_property
    def constraints(self) -> Constraints:
        """The System's constrained bonds; there may be none."""
        import openmm

        from bgp4.molecule.constraints import constraints_of

        return constraints_of(openmm.XmlSerializer.deserialize(self.system_xml))

    def to_json(self) -> str:
        """All of it as JSON, for `read_molecule`."""
        atoms = [
            (a.name, a.element.symbol, r.name, r.resSeq, r.index, r.chain.index)
            for r in self.topology.residues
            for a in r.atoms
        ]
        stored = _Stored(
            name=self.name,
            atoms=atoms,
            bonds=[(a.index, b.index) for a, b in self.topology.bonds],
            positions_nm=self.positions_nm.tolist(),
            zmatrix=list(self.zmatrix.table()),
            system_xml=self.system_xml,
        )
        if bends := [atom for atom, _, _ in self.zmatrix.straight]:
            stored = stored.model_copy(update={"bends": bends})
        if ears := [row.atom for row in self.zmatrix.rows if row.ear]:
            stored = stored.model_copy(update={"ears": ears})
        whole = stored.model_copy(update={"sha256": stored.digest()})
        return whole.model_dump_json(indent=1, exclude_unset=True) + "\n"


class _Stored(BaseModel):
    """A molecule's file, with a checksum of all else in it.

    An atom is its name, element, residue's name, number and index, and chain. Only molecules with
    atoms in a line have `bends`, the atoms that two bends place, and only those with rings that
    turn `ears`, the atoms that two distances place.
    """

    model_config = ConfigDict(extra="forbid")

    name: str
    atoms: list[tuple[str, str, str, int, int, int]]
    bonds: list[tuple[int, int]]
    positions_nm: list[tuple[float, float, float]]
    zmatrix: list[tuple[int, ...]]
    system_xml: str
    bends: list[int] = []
    ears: list[int] = []
    sha256: str = ""

    def digest(self) -> str:
        text = self.model_dump_json(exclude={"sha256"}, exclude_unset=True)
        return hashlib.sha256(text.encode()).hexdigest()


def load_molecule(config: SystemConfig) -> Molecule:
    """Build the molecule that a config's `system` describes.

    Raises:
        UserInputError: If a file is missing, a name is unknown, the force field lacks parameters,
            or it is not one molecule with a density in its coordinates.
    """
    import mdtraj
    import openmm

    from bgp4.molecule.checks import (
        check_bond_lengths,
        check_geometry,
        check_solvent,
        check_system,
        check_topology,
    )
    from bgp4.molecule.constraints import check_constraints
    from bgp4.molecule.forces import check_bond_terms, check_charges, check_forces
    from bgp4.molecule.lines import off_the_line
    from bgp4.molecule.sources import parametrise

    made = parametrise(config)
    topology = mdtraj.Topology.from_openmm(made.topology)
    check_solvent(topology, config.label, config.kind)
    check_system(made.system, config.label, config.kind)
    check_topology(topology, made.system, config.label)
    check_bond_terms(topology, made.system, config.label)
    check_charges(topology, made.system, config.label, made_here=bool(config.forcefield))
    positions_nm = np.asarray(made.positions.value_in_unit(openmm.unit.nanometer), np.float64)
    check_bond_lengths(topology, positions_nm, config.label, _box(made.topology))
    zmatrix = _zmatrix(topology, positions_nm, config)
    check_constraints(topology, made.system, zmatrix, config.label, config.kind)
    positions_nm = off_the_line(positions_nm, zmatrix.straight)
    check_geometry(topology, positions_nm, zmatrix, config.label)
    check_forces(topology, made.system, positions_nm, config.label)
    system_xml = openmm.XmlSerializer.serialize(made.system)
    return Molecule(config.label, system_xml, topology, positions_nm, zmatrix)


def _box(topology: Any) -> NDArray[np.float64] | None:
    """Box vectors of openmm.app's topology, (3, 3), nm."""
    vectors = topology.getPeriodicBoxVectors()
    if vectors is None:
        return None
    box = np.array([[x._value for x in vector] for vector in vectors], dtype=np.float64)
    return box if abs(np.linalg.det(box)) > 1e-6 else None


def _zmatrix(
    topology: mdtraj.Topology, positions_nm: NDArray[np.float64], config: SystemConfig
) -> ZMatrix:
    """The config's, or that of the bonds; either way the atoms are one molecule."""
    from bgp4.molecule.placing import lines_of, with_bends, zmatrix_from_topology
    from bgp4.molecule.topology import atom_label
    from bgp4.molecule.zmatrix import EAR, zmatrix_from_rows

    lines = lines_of(topology, positions_nm)
    zmatrix = zmatrix_from_topology(topology, lines)
    if config.zmatrix is not None:
        index = {atom_label(topology, i): i for i in range(topology.n_atoms)}
        rows = [[_atom(atom, index) for atom in row if atom != EAR] for row in config.zmatrix]
        ears = [atoms[0] for atoms, row in zip(rows, config.zmatrix, strict=True) if EAR in row[4:]]
        try:
            zmatrix = zmatrix_from_rows(rows, topology.n_atoms, ears=ears)
        except ValueError as error:
            raise UserInputError(f"config key system.zmatrix: {error}") from error
    return with_bends(zmatrix, lines, lambda atom: atom_label(topology, atom))


def _atom(named: str | int, index: dict[str, int]) -> int:
    """An atom's index, given itself or as a label."""
    found = index.get(named) if isinstance(named, str) else named
    if found is None or not 0 <= found < len(index):
        raise UserInputError(
            f"config key system.zmatrix: expected atoms such as {next(iter(index))}, or their "
            f"indices below {len(index)}, found {named!r}"
        )
    return found


def read_molecule(path: Path) -> Molecule:
    """What `Molecule.to_json` made, from a file.

    Raises:
        UserInputError: If it is something else.
    """
    from bgp4.molecule.zmatrix import zmatrix_from_rows

    try:
        stored = _Stored.model_validate_json(path.read_bytes())
        if stored.sha256 != stored.digest():
            raise ValueError("its checksum is another; it is damaged or was edited")
        topology = _topology(stored)
        zmatrix = zmatrix_from_rows(stored.zmatrix, len(stored.atoms), stored.bends, stored.ears)
        positions_nm = np.array(stored.positions_nm).reshape(len(stored.atoms), 3)
    except (ValidationError, ValueError, KeyError, IndexError) as error:
        reason = " ".join(str(error).split())[:200]
        raise UserInputError(f"{path}: expected a molecule that bgp4 wrote: {reason}") from error
    return Molecule(stored.name, stored.system_xml, topology, positions_nm, zmatrix)


def _topology(stored: _Stored) -> mdtraj.Topology:
    import mdtraj

    topology = mdtraj.Topology()
    for name, element, residue_name, number, residue_index, chain_index in stored.atoms:
        if chain_index == topology.n_chains:
            chain = topology.add_chain()
        if residue_index == topology.n_residues:
            residue = topology.add_residue(residue_name, chain, number)
        topology.add_atom(name, mdtraj.element.Element.getBySymbol(element), residue)
    for i, j in stored.bonds:
        topology.add_bond(topology.atom(i), topology.atom(j))
    return topology
