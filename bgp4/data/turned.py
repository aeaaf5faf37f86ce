"""Start positions that no simulation has seen: a molecule's minimum with all torsions turned."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from bgp4.coordinates import internal_coordinates
from bgp4.data.from_energies import BARRIER_KT, minimised, turning
from bgp4.energies.reference import ReferenceEnergy
from bgp4.molecule.molecule import Molecule
from bgp4.units import kt_in_kjmol

__all__ = ["turned_positions"]

TRIES = 16
"""Conformations of which the one of lowest energy is taken, because most of them clash."""

EASY_K = 1000.0
"""A torsion turns if its terms alone do not keep it from turning at this temperature."""


def turned_positions(
    molecule: Molecule, n: int, seed: int
) -> NDArray[np.float64]:  # (n, atoms, 3), nm
    """Conformations whose rotatable torsions are uniform on the circle, but for clashes.

    Chirality, peptide bonds and rings are those of the minimum next to the molecule's positions.

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
    flat, _ = coordinates.inverse(torch.where(circles, angles, centre))
    positions: NDArray[np.float64] = flat.unflatten(1, (-1, 3)).numpy()
    energies = np.nan_to_num(energy.evaluate(positions).energy_kjmol, nan=np.inf)
    lowest = energies.reshape(n, TRIES).argmin(axis=1)
    return positions.reshape(n, TRIES, *positions.shape[1:])[np.arange(n), lowest]
