"""Alanine peptides of any length, to see how cost grows with the number of atoms."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from bgp4.coordinates import zmatrix_from_topology
from bgp4.molecule.molecule import Molecule

__all__ = ["FF96", "alanine_peptide"]

Array = NDArray[np.float64]


FF96 = ("amber96.xml", "amber96_obc.xml")


def alanine_peptide(residues: int, forcefield: tuple[str, ...] = FF96) -> Molecule:
    """Ace-(Ala)n-NMe, 12 + 10 n atoms.

    A helix of one shape: each residue lies to the next as alanine dipeptide's own alanine lies to
    its N-methyl cap.

    Args:
        residues: n.
        forcefield: OpenMM's XML names; Amber ff96 with OBC2 if not given. CHARMM's caps belong to
            the residues beside them.
    """
    import mdtraj
    import openmm
    from openmm import app

    topology, positions = _helix(residues)
    if forcefield[0].startswith("charmm"):
        topology = _caps_within(topology)
    system = app.ForceField(*forcefield).createSystem(topology)
    return Molecule(
        f"Ace-(Ala){residues}-NMe",
        openmm.XmlSerializer.serialize(system),
        mdtraj.Topology.from_openmm(topology),
        positions,
        zmatrix_from_topology(mdtraj.Topology.from_openmm(topology)),
    )


def _helix(residues: int) -> tuple[Any, Array]:
    """OpenMM topology and positions in nm."""
    from openmm import app, unit
    from openmmtools import testsystems

    dipeptide = testsystems.AlanineDipeptideVacuum(constraints=None)
    first, alanine, last = dipeptide.topology.residues()
    start = dipeptide.positions.value_in_unit(unit.nanometer)
    rotation, shift = _next_residue(np.asarray(start), first, alanine, last)

    topology, positions = app.Topology(), []
    chain = topology.addChain()
    for residue, moves in (
        (first, 0),
        *((alanine, k) for k in range(residues)),
        (last, residues - 1),
    ):
        copy = topology.addResidue(residue.name, chain)
        for atom in residue.atoms():
            topology.addAtom(atom.name, atom.element, copy)
            position = np.asarray(start[atom.index])
            for _ in range(moves):
                position = rotation @ position + shift
            positions.append(position)
    topology.createStandardBonds()
    return topology, np.array(positions)


def _caps_within(topology: Any) -> Any:
    """The same atoms in the same order, each cap's in the residue beside it."""
    from openmm import app

    merged, atoms = app.Topology(), {}
    chain = merged.addChain()
    caps = {"ACE": "Y", "NME": "T"}
    for residue in topology.residues():
        if residue.index != 1 and residue.name != "NME":
            copy = merged.addResidue("ALA", chain)
        for atom in residue.atoms():
            cap = caps.get(residue.name)
            name = atom.name.replace("HH3", "H") + cap if cap else atom.name
            atoms[atom] = merged.addAtom(name, atom.element, copy)
    for first, second in topology.bonds():
        merged.addBond(atoms[first], atoms[second])
    return merged


def _next_residue(positions: Array, first: Any, alanine: Any, last: Any) -> tuple[Array, Array]:
    """The rigid motion that takes a residue to the next: C-N-Cα to C-N-CH3 (Kabsch's rotation)."""

    def points(*atoms: tuple[Any, str]) -> Array:
        index = {(a.residue, a.name): a.index for r, _ in atoms for a in r.atoms()}
        return positions[[index[atom] for atom in atoms]]

    carbon = "CH3" if "CH3" in {a.name for a in last.atoms()} else "C"
    here = points((first, "C"), (alanine, "N"), (alanine, "CA"))
    there = points((alanine, "C"), (last, "N"), (last, carbon))
    u, _, v = np.linalg.svd((there - there.mean(0)).T @ (here - here.mean(0)))
    rotation = u @ np.diag([1, 1, np.linalg.det(u @ v)]) @ v
    return rotation, there.mean(0) - rotation @ here.mean(0)
