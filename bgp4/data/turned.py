"""Start positions that no simulation has seen: a molecule's minimum with all torsions turned."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from bgp4.coordinates import internal_coordinates
from bgp4.data.from_energies import BARRIER_KT, minimised, torsion_barriers
from bgp4.energies.reference import ReferenceEnergy
from bgp4.molecule.molecule import Molecule
from bgp4.molecule.topology import peptide_torsions
from bgp4.units import kt_in_kjmol

__all__ = ["turned_positions"]

TRIES = 16
"""Conformations, alike on which side slow torsions are, of which the one of lowest energy is taken,
because most of them clash.
"""

EASY_K = 1000.0
"""A torsion turns if its terms alone do not keep it from turning at this temperature."""

HIGHEST_KJMOL = 125.0
"""Behind a barrier that is not higher there may be another state of the same molecule, as of an
ester, an amide or guanidinium; behind a higher one (C=C: 220) there is another molecule."""


def turned_positions(
    molecule: Molecule, n: int, seed: int, peptide_bonds: str = "trans"
) -> NDArray[np.float64]:  # (n, atoms, 3), nm
    """Conformations whose rotatable torsions are uniform on the circle, but for clashes.

    Those that turn with difficulty are as in the minimum next to the molecule's positions, or the
    other way round. Chirality, double bonds and rings are those of the minimum.

    Args:
        n: How many.
        seed: Of the torsions.
        peptide_bonds: As `data.peptide_bonds` of a config: if `trans`, they stay as they are.

    Raises:
        UserInputError: If there is no minimum near these.
    """
    energy = ReferenceEnergy(molecule.system_xml, molecule.n_atoms, EASY_K)
    coordinates = internal_coordinates(molecule.zmatrix, molecule.constraints)
    _, minimum = minimised(energy, molecule)
    centre, _ = coordinates(torch.as_tensor(minimum).reshape(1, -1))
    barriers, _ = torsion_barriers(molecule, coordinates, centre[0])
    circles = barriers < BARRIER_KT * kt_in_kjmol(EASY_K)
    slow = (barriers < HIGHEST_KJMOL) & ~circles
    if peptide_bonds == "trans":
        slow &= ~_of_peptide_bonds(molecule, len(slow))
    rng = np.random.default_rng(seed)
    angles = torch.as_tensor(rng.uniform(-np.pi, np.pi, (n, TRIES, len(circles))))
    half_turns = torch.as_tensor(rng.integers(2, size=(n, 1, len(circles))) * np.pi)
    turned = torch.where(circles, angles, centre + slow * half_turns).flatten(0, 1)
    flat, _ = coordinates.inverse(turned)
    positions: NDArray[np.float64] = flat.unflatten(1, (-1, 3)).numpy()
    energies = np.nan_to_num(energy.evaluate(positions).energy_kjmol, nan=np.inf)
    lowest = energies.reshape(n, TRIES).argmin(axis=1)
    return positions.reshape(n, TRIES, *positions.shape[1:])[np.arange(n), lowest]


def _of_peptide_bonds(molecule: Molecule, features: int) -> torch.Tensor:  # (features,), bool
    """Columns of torsions about them."""
    bonds = {frozenset(four[1:3]) for four in peptide_torsions(molecule.topology)}
    of_rows = [frozenset((row.bond, row.angle)) in bonds for row in molecule.zmatrix.rows]
    return torch.tensor([False] * (features - len(of_rows)) + of_rows)
