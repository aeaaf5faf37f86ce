"""Bonds, angles, torsions, impropers and torsion maps of a System."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.polynomial import chebyshev
from scipy.interpolate import CubicSpline

from bgp4.energies.expressions import UnknownExpression, harmonic, powers
from bgp4.energies.parameters import custom, rows, unitless, unknown_energy
from bgp4.energies.terms import Array, ForceField, Indices

__all__ = [
    "angles",
    "bonds",
    "custom_angles",
    "custom_bonds",
    "custom_torsions",
    "rb_torsions",
    "torsion_maps",
    "torsions",
]


def bonds(force: Any, terms: ForceField) -> None:
    """HarmonicBondForce: bonds, and Urey-Bradley terms in a second one."""
    terms.add("bond", *rows(force, "Bond", 2, 2))


def angles(force: Any, terms: ForceField) -> None:
    """HarmonicAngleForce."""
    terms.add("angle", *rows(force, "Angle", 3, 2))


def torsions(force: Any, terms: ForceField) -> None:
    """PeriodicTorsionForce."""
    atoms, parameters = rows(force, "Torsion", 4, 3)
    kept = parameters[:, 2] != 0
    terms.add("torsion", atoms[kept], parameters[kept])


def rb_torsions(force: Any, terms: ForceField) -> None:
    """RBTorsionForce: Σ cₙ cosⁿ(φ - π) = Σ aₙ cos nφ, as Σ aₙ (1 + cos nφ) and a constant."""
    atoms, coefficients = rows(force, "Torsion", 4, 6)
    cosines = np.zeros((6, 6))
    for n, power in enumerate(np.eye(6)):
        cosines[n, : n + 1] = (-1) ** n * chebyshev.poly2cheb(power)[: n + 1]
    series = coefficients @ cosines
    series[:, 0] = (series[:, 0] - series[:, 1:].sum(1)) / 2  # 1 + cos 0φ = 2
    term, order = np.nonzero(series)
    parameters = np.stack([order, np.zeros(len(order)), series[term, order]], 1)
    terms.add("torsion", atoms[term], parameters)


def torsion_maps(force: Any, terms: ForceField) -> None:
    """CMAPTorsionForce: maps of φ and ψ, interpolated by periodic cubic splines in both."""
    first: dict[int, tuple[int, int]] = {}
    for i in range(force.getNumTorsions()):
        used, *atoms = force.getTorsionParameters(i)
        if used not in first:
            size, energies = force.getMapParameters(used)
            grid = np.array(unitless(energies)).reshape(size, size).T
            first[used] = len(terms.patches), size
            terms.patches = np.concatenate([terms.patches, _patches(grid)])
        terms.add("map", np.array([atoms]), np.array([first[used]], dtype=np.float64))


def _patches(
    grid: Array,  # (size, size), energies at φ and ψ = 0, 2 π / size, ...
) -> Array:  # (size * size, 16)
    """Coefficients of uᵃ vᵇ in each patch of the bicubic spline."""
    size = len(grid)

    def spline(values: Array, axis: int) -> Array:
        """Coefficients of the powers 0 to 3, (4, size, ...), along an axis of `size` values."""
        around = np.concatenate([values, values.take([0], axis)], axis)
        return CubicSpline(np.arange(size + 1.0), around, axis, bc_type="periodic").c[::-1]

    in_both = spline(spline(grid, 0), 2)  # powers of v, patches along ψ, powers of u, ...
    return np.einsum("bjai->ijab", in_both).reshape(size * size, 16)


def custom_bonds(force: Any, terms: ForceField) -> None:
    """CustomBondForce: harmonic, or Coulomb and Lennard-Jones terms (1-4 pairs)."""
    atoms, known = custom(force, "Bond", 2)
    try:
        terms.add("bond", atoms, _harmonic(force, "r", atoms, known)[:, :2])
    except UnknownExpression:
        try:
            terms.add_pairs(atoms, powers(force.getEnergyFunction(), "r", known))
        except UnknownExpression as error:
            raise unknown_energy(force) from error


def custom_angles(force: Any, terms: ForceField) -> None:
    """CustomAngleForce, if it is harmonic."""
    atoms, known = custom(force, "Angle", 3)
    try:
        terms.add("angle", atoms, _harmonic(force, "theta", atoms, known)[:, :2])
    except UnknownExpression as error:
        raise unknown_energy(force) from error


def custom_torsions(force: Any, terms: ForceField) -> None:
    """CustomTorsionForce, if it is harmonic: impropers of CHARMM, chamber and GROMACS."""
    atoms, known = custom(force, "Torsion", 4)
    try:
        terms.add("improper", atoms, _harmonic(force, "theta", atoms, known))
    except UnknownExpression as error:
        raise unknown_energy(force) from error


def _harmonic(force: Any, x: str, atoms: Indices, known: Mapping[str, Any]) -> Array:
    """Centre, stiffness k of k/2 d², and period of each term, (terms, 3)."""
    form = harmonic(force.getEnergyFunction(), x)
    centre, stiffness = (_number(value, known) for value in (form.centre, form.stiffness))
    columns = (centre, 2 * form.factor * stiffness, form.period)
    return np.stack([np.broadcast_to(column, len(atoms)) for column in columns], 1)


def _number(value: str, known: Mapping[str, Any]) -> Any:
    """What a parameter's name or a literal stands for."""
    if value in known:
        return known[value]
    try:
        return float(value)
    except ValueError as error:
        raise UnknownExpression(value) from error
