"""`kernel.cpp`, compiled once for this machine and called without leaving numpy."""

from __future__ import annotations

import ctypes
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from bgp4.compiled import load_compiled
from bgp4.energies.forcefield import COULOMB, OFFSET_NM, PROBE_NM, ForceField

__all__ = ["Kernel", "load_kernel"]

Array = NDArray[np.float64]

SOURCE = Path(__file__).with_name("kernel.cpp")
HEADER = Path(__file__).with_name("simd.h")


class Kernel:
    """Energies in kJ/mol and forces in kJ/mol/nm of a batch, on as many threads as torch has.

    Args:
        library: What `load_kernel` gave.
        terms: What to evaluate.
        dtype: Of the arithmetic; positions, energies and forces are float64.
    """

    def __init__(self, library: ctypes.CDLL, terms: ForceField, dtype: torch.dtype) -> None:
        single = dtype == torch.float32
        self._function = library.evaluate_float32 if single else library.evaluate_float64
        self._terms = _Terms.of(terms, np.float32 if single else np.float64)

    def __call__(
        self,
        positions_nm: Array,  # (batch, atoms, 3), contiguous
    ) -> tuple[Array, Array]:  # (batch,), (batch, atoms, 3)
        energy, forces = np.empty(len(positions_nm)), np.empty_like(positions_nm)
        arrays = [ctypes.c_void_p(a.ctypes.data) for a in (positions_nm, energy, forces)]
        self._function(
            ctypes.byref(self._terms),
            ctypes.c_int32(torch.get_num_threads()),
            ctypes.c_int64(len(positions_nm)),
            *arrays,
        )
        return energy, forces


@cache
def load_kernel() -> ctypes.CDLL | None:
    """The compiled library, or None without a C++ compiler."""
    otherwise = "batched energies run in torch, far slower"
    return load_compiled(SOURCE, ctypes.CDLL, otherwise, depends=[HEADER])


class _Table(ctypes.Structure):
    """`Table` of `kernel.cpp`."""

    _fields_ = [
        ("rows", ctypes.c_int32),
        ("columns", ctypes.c_int32),
        ("indices", ctypes.c_void_p),
        ("values", ctypes.c_void_p),
    ]

    @classmethod
    def of(cls, atoms: NDArray[np.int64], values: Array, dtype: Any) -> _Table:
        indices = np.ascontiguousarray(atoms, np.int32)
        numbers = np.ascontiguousarray(values, dtype)
        table = cls(*numbers.shape, indices.ctypes.data, numbers.ctypes.data)
        table.kept = (indices, numbers)
        return table


class _Terms(ctypes.Structure):
    """`Terms` of `kernel.cpp`."""

    _fields_ = [
        *((name, _Table) for name in ("bonds", "angles", "torsions", "pairs", "born")),
        ("n_atoms", ctypes.c_int32),
    ]

    @classmethod
    def of(cls, terms: ForceField, dtype: Any) -> _Terms:
        tables = [
            _Table.of(atoms, values, dtype)
            for atoms, values in (
                (terms.bonds, terms.bond_parameters),
                (terms.angles, terms.angle_parameters),
                _fourier_series(terms),
                _pairs(terms),
                (np.arange(terms.n_atoms), _born_atoms(terms)),
            )
        ]
        made = cls(*tables, terms.n_atoms)
        made.kept = tables
        return made


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
