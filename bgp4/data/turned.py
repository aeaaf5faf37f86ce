"""Start positions that no simulation has seen: a molecule's minimum with all torsions turned."""

from __future__ import annotations

import numpy as np
import torch
from networkx import bridges
from numpy.typing import NDArray

from bgp4.coordinates import internal_coordinates
from bgp4.data.from_energies import BARRIER_KT, minimised, turning
from bgp4.energies.reference import ReferenceEnergy
from bgp4.molecule.molecule import Molecule
from bgp4.molecule.topology import bond_graph, peptide_torsions
from bgp4.units import kt_in_kjmol

__all__ = ["turned_positions"]

TRIES = 16
"""Conformations of which the one of lowest energy is taken, because most of them clash."""

EASY_K = 1000.0
"""A torsion turns if its terms alone do not keep it from turning at this temperature."""


def turned_positions(
    molecule: Molecule, n: int, seed: int, peptide_bonds: str = "trans"
) -> NDArray[np.float64]:  # (n, atoms, 3), nm
    """Conformations whose rotatable torsions are uniform on the circle, but for clashes.

    Chirality and rings are those of the minimum next to the molecule's positions.

    Args:
        n: How many.
        seed: Of the torsions.
        peptide_bonds: As `data.peptide_bonds` of a config: if `any`, each is as in the minimum or
            the other way round.

    Raises:
        UserInputError: If there is no minimum near these.
    """
    energy = ReferenceEnergy(molecule.system_xml, molecule.n_atoms, EASY_K)
    coordinates = internal_coordinates(molecule.zmatrix, molecule.constraints)
    _, minimum = minimised(energy, molecule)
    centre, _ = coordinates(torch.as_tensor(minimum).reshape(1, -1))
    circles, _ = turning(molecule, coordinates, centre[0], BARRIER_KT * kt_in_kjmol(EASY_K))
    rng = np.random.default_rng(seed)
    angles = torch.as_tensor(rng.uniform(-np.pi, np.pi, (n * TRIES, len(circles))))
    turned = torch.where(circles, angles, centre)
    if peptide_bonds == "any":
        columns = _peptide_bonds(molecule, len(circles))
        half_turns = torch.as_tensor(rng.integers(2, size=(len(turned), len(columns))) * np.pi)
        turned[:, columns] += half_turns
    flat, _ = coordinates.inverse(turned)
    positions: NDArray[np.float64] = flat.unflatten(1, (-1, 3)).numpy()
    energies = np.nan_to_num(energy.evaluate(positions).energy_kjmol, nan=np.inf)
    lowest = energies.reshape(n, TRIES).argmin(axis=1)
    return positions.reshape(n, TRIES, *positions.shape[1:])[np.arange(n), lowest]


def _peptide_bonds(molecule: Molecule, features: int) -> list[int]:
    """Columns of their torsions, each of which turns all behind the bond."""
    graph, rows = bond_graph(molecule.topology), molecule.zmatrix.rows
    bonds = {frozenset(four[1:3]) for four in peptide_torsions(molecule.topology)}
    bridging = {frozenset(bond) for bond in bridges(graph)}
    return [
        column
        for column, row in enumerate(rows, features - len(rows))
        if frozenset((row.bond, row.angle)) in bonds & bridging
        and graph.has_edge(row.angle, row.torsion)
        and not (row.ear or row.bends)
    ]
