"""Backbone torsions, by mdtraj, and the chirality of tetrahedral carbons.

Angles are in rad, [-pi, pi), float64.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import mdtraj
import numpy as np
from mdtraj.geometry import dihedral
from numpy.typing import NDArray

from bgp4.molecule.topology import bond_graph, distinct

__all__ = [
    "BackboneTorsions",
    "backbone_atoms",
    "backbone_torsions",
    "chirality_signs",
    "stereocentres",
    "wrapped",
    "wrong_chirality",
]

Array = NDArray[np.float64]


class BackboneTorsions(NamedTuple):
    """Backbone torsions of one residue.

    Attributes:
        residue: Its label, such as ALA2.
        phi: (n,), rad.
        psi: (n,), rad.
    """

    residue: str
    phi: Array
    psi: Array


def backbone_torsions(
    positions_nm: NDArray[np.floating],  # (n, atoms, 3)
    topology: mdtraj.Topology,
) -> list[BackboneTorsions]:
    """phi and psi of every residue that has both, in the order of the chain.

    The list is empty for a molecule without such residues.
    """
    frames = mdtraj.Trajectory(np.asarray(positions_nm, dtype=np.float32), topology)
    phi = _by_residue(topology, mdtraj.compute_phi(frames, periodic=False), alpha_carbon=2)
    psi = _by_residue(topology, mdtraj.compute_psi(frames, periodic=False), alpha_carbon=1)
    residues = sorted(phi.keys() & psi.keys())
    labels = distinct(str(topology.residue(index)) for index in residues)
    return [
        BackboneTorsions(label, phi[index], psi[index])
        for label, index in zip(labels, residues, strict=True)
    ]


def backbone_atoms(topology: mdtraj.Topology) -> list[tuple[int, int, int]]:
    """N, CA and C of the residues of `backbone_torsions`, in its order."""
    phi, psi = (
        {topology.atom(int(four[alpha_carbon])).residue.index: four for four in quadruples}
        for quadruples, alpha_carbon in (
            (dihedral.indices_phi(topology), 2),
            (dihedral.indices_psi(topology), 1),
        )
    )
    threes = [psi[index][:3] for index in sorted(phi.keys() & psi.keys())]
    return [(int(n), int(ca), int(c)) for n, ca, c in threes]


def _by_residue(
    topology: mdtraj.Topology,
    torsions: tuple[NDArray[np.integer], NDArray[np.floating]],  # (torsions, 4), (n, torsions)
    alpha_carbon: int,
) -> dict[int, Array]:
    """Angles by the index of the residue that the torsion's alpha carbon belongs to."""
    atoms, angles = torsions
    return {
        topology.atom(int(four[alpha_carbon])).residue.index: wrapped(angles[:, i])
        for i, four in enumerate(atoms)
    }


def wrapped(angles: NDArray[np.floating]) -> Array:
    """To [-pi, pi); mdtraj's float32 angles reach a rounding error beyond pi."""
    within = np.mod(angles.astype(np.float64) + np.pi, 2 * np.pi) - np.pi
    return np.where(within >= np.pi, -np.pi, within)


def stereocentres(topology: mdtraj.Topology) -> NDArray[np.int64]:
    """Carbons with four neighbours that differ, and those neighbours, shape (centres, 5).

    Two neighbours differ where their atoms' elements and bonds do, seen from any distance: atoms
    are classed by element, then again and again by their own class and their neighbours' classes.
    The order of the four neighbours is that of the topology, so a sign of theirs compares
    conformations, and says nothing of R and S.
    """
    graph = bond_graph(topology)
    neighbours = [list(graph[atom]) for atom in range(topology.n_atoms)]
    classes = _atom_classes([atom.element.symbol for atom in topology.atoms], neighbours)
    found = [
        [atom.index, *sorted(near)]
        for atom, near in zip(topology.atoms, neighbours, strict=True)
        if atom.element.symbol == "C" and len(near) == len({classes[i] for i in near}) == 4
    ]
    return np.array(found, dtype=np.int64).reshape(-1, 5)


def _atom_classes(symbols: list[str], neighbours: list[list[int]]) -> list[int]:
    """Classes of atoms that no look at the bond graph from their own place tells apart."""
    classes = _ranked(symbols)
    while True:
        seen = [tuple(sorted(classes[i] for i in near)) for near in neighbours]
        finer = _ranked(list(zip(classes, seen, strict=True)))
        if len(set(finer)) == len(set(classes)):
            return classes
        classes = finer


def _ranked(keys: Sequence[Any]) -> list[int]:
    ranks = {key: rank for rank, key in enumerate(sorted(set(keys)))}
    return [ranks[key] for key in keys]


def chirality_signs(
    positions_nm: NDArray[np.floating],  # (n, atoms, 3)
    centres: NDArray[np.int64],  # (centres, 5)
) -> NDArray[np.int64]:  # (n, centres)
    """Sign of the signed volume of the tetrahedron of each centre's four neighbours.

    For neighbours a, b, c, d it is the sign of (a - d) . ((b - d) x (c - d)).
    """
    a, b, c, d = (positions_nm[:, centres[:, i]].astype(np.float64) for i in range(1, 5))
    volume = np.einsum("nci,nci->nc", a - d, np.cross(b - d, c - d))
    return np.sign(volume).astype(np.int64)


def wrong_chirality(
    positions_nm: NDArray[np.floating],  # (n, atoms, 3)
    data_positions_nm: NDArray[np.floating],  # (frames, atoms, 3)
    reference_positions_nm: NDArray[np.floating],  # (atoms, 3)
    centres: NDArray[np.int64],  # (centres, 5)
) -> NDArray[np.bool_]:  # (n, centres)
    """Which stereocentres of which samples have not the sign of most MD frames.

    Where the frames are evenly split, or there are none, the reference positions decide.
    """
    majority = np.sign(chirality_signs(data_positions_nm, centres).sum(axis=0))
    reference = chirality_signs(reference_positions_nm[None], centres)[0]
    expected = np.where(majority == 0, reference, majority)
    return chirality_signs(positions_nm, centres) != expected
