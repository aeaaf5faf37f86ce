"""A force field's terms as the tables of numbers that its C++ kernel reads."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from bgp4.energies.forcefield import COULOMB, OFFSET_NM, PROBE_NM, ForceField
from bgp4.kernels.energies import Tables

__all__ = ["kernel_tables"]

Array = NDArray[np.float64]


def kernel_tables(terms: ForceField) -> Tables:
    """The tables of a force field, in kJ/mol and nm."""
    return {
        "bonds": (terms.bonds, terms.bond_parameters),
        "angles": (terms.angles, terms.angle_parameters),
        "torsions": _fourier_series(terms),
        "pairs": _pairs(terms),
        "born": (np.arange(terms.n_atoms), _born_atoms(terms)),
    }


def _fourier_series(terms: ForceField) -> tuple[NDArray[np.int64], Array]:
    """Each four atoms once: the sum of their k (1 + cos(n φ - φ0)) as a_n cos n φ + b_n sin n φ."""
    atoms, slot = np.unique(terms.torsions, axis=0, return_inverse=True)
    periodicity, phase, barrier = terms.torsion_parameters.T
    order = periodicity.astype(np.int64)
    series = np.zeros((len(atoms), max(order, default=0) + 1, 2))
    for t, n, phi, k in zip(slot.ravel(), order, phase, barrier, strict=True):
        series[t, 0, 0] += k
        series[t, n] += k * np.cos(phi), k * np.sin(phi)
    return atoms, series.reshape(len(atoms), series.shape[1] * 2)


def _pairs(terms: ForceField) -> tuple[NDArray[np.int64], Array]:
    """Coefficients of 1/r, -1/r⁶, 1/r¹² and 1/f for each pair."""
    pairs = terms.pairs
    charge, sigma, epsilon = terms.pair_parameters.T
    if terms.born is not None and not len(pairs):
        pairs = np.stack(np.triu_indices(terms.n_atoms, k=1), 1)
        charge, sigma, epsilon = np.zeros((3, len(pairs)))
    sigma6, solvation = sigma**6, np.zeros(len(pairs))
    if terms.born is not None:
        solvation = terms.born.prefactor * terms.charges[pairs].prod(axis=1)
    columns = [COULOMB * charge, 4 * epsilon * sigma6, 4 * epsilon * sigma6**2, solvation]
    return pairs, np.column_stack(columns)


def _born_atoms(terms: ForceField) -> Array:
    """Offset, scaled and intrinsic radius, solvation and surface energy, α, β, γ of each atom."""
    born = terms.born
    if born is None:
        return np.zeros((0, 8))
    radius = born.offset_radius_nm + OFFSET_NM
    columns = np.column_stack(
        [
            born.offset_radius_nm,
            born.scaled_radius_nm,
            radius,
            0.5 * born.prefactor * terms.charges**2,
            born.surface * (radius + PROBE_NM) ** 2,
        ]
    )
    return np.hstack([columns, np.tile(born.tanh, (terms.n_atoms, 1))])
