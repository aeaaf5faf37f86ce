"""A force field's terms as the tables of numbers that its C++ kernel reads."""

from __future__ import annotations

import numpy as np

from bgp4.energies.terms import Array, ForceField, Indices
from bgp4.kernels.energies import Tables

__all__ = ["kernel_tables"]


def kernel_tables(terms: ForceField) -> Tables:
    """The tables of a force field, in kJ/mol and nm."""
    return {
        "bonds": (terms.bonds, terms.bond_parameters),
        "angles": (terms.angles, terms.angle_parameters),
        "torsions": _fourier_series(terms),
        "impropers": (terms.impropers, terms.improper_parameters),
        "maps": (terms.maps, terms.map_parameters),
        "patches": (np.zeros((0, 0), np.int64), terms.patches),
        "pairs": _pairs(terms),
        "born": (np.arange(terms.n_atoms), _born_atoms(terms)),
    }


def _fourier_series(terms: ForceField) -> tuple[Indices, Array]:
    """Each four atoms once: the sum of their k (1 + cos(n φ - φ0)) as a_n cos n φ + b_n sin n φ."""
    atoms, slot = np.unique(terms.torsions, axis=0, return_inverse=True)
    periodicity, phase, barrier = terms.torsion_parameters.T
    order = periodicity.astype(np.int64)
    series = np.zeros((len(atoms), max(order, default=0) + 1, 2))
    for t, n, phi, k in zip(slot.ravel(), order, phase, barrier, strict=True):
        series[t, 0, 0] += k
        series[t, n] += k * np.cos(phi), k * np.sin(phi)
    return atoms, series.reshape(len(atoms), series.shape[1] * 2)


def _pairs(terms: ForceField) -> tuple[Indices, Array]:
    """Coefficients of 1/r, -1/r⁶, 1/r¹² and 1/f for each pair, and the five numbers of its neck."""
    pairs, coefficients = terms.interacting_pairs()
    born = terms.born
    if born is None:
        return pairs, np.column_stack([coefficients, np.zeros(len(pairs))])
    columns = [coefficients, born.prefactor * born.charges[pairs].prod(axis=1)]
    if born.neck is not None:
        columns.append(born.neck.of_pairs(pairs))
    return pairs, np.column_stack(columns)


def _born_atoms(terms: ForceField) -> Array:
    """Offset, scaled and intrinsic radius, solvation and surface energy, α, β, γ of each atom.

    HCT, whose radii are not rescaled, has no α, β, γ.
    """
    born = terms.born
    if born is None:
        return np.zeros((0, 8))
    columns = [
        *(born.offset_radius_nm, born.scaled_radius_nm, born.radius_nm),
        *(0.5 * born.prefactor * born.charges**2, born.surface_energy),
    ]
    return np.column_stack([*columns, *(() if born.tanh is None else (born.tanh,))])
