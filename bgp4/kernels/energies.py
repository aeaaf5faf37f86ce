"""`energies.cpp`, compiled once for this machine and called without leaving numpy."""

from __future__ import annotations

import ctypes
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from bgp4.kernels.compiled import load_compiled

__all__ = ["TABLES", "Kernel", "Tables", "load_kernel"]

Array = NDArray[np.float64]

TABLES = ("bonds", "angles", "torsions", "impropers", "maps", "patches", "pairs", "born")

Tables = Mapping[str, tuple[NDArray[np.int64], Array]]
"""For each of `TABLES`, indices of atoms, (terms, atoms of each), and numbers, (terms, columns)."""

SOURCE = Path(__file__).with_name("energies.cpp")
HEADER = Path(__file__).with_name("simd.h")


class Kernel:
    """Energies in kJ/mol and forces in kJ/mol/nm of a batch, on as many threads as torch has.

    Args:
        library: What `load_kernel` gave.
        tables: Atoms and parameters of each of `TABLES`.
        n_atoms: Of the molecule.
        dtype: Of the arithmetic; positions, energies and forces are float64.
    """

    def __init__(
        self, library: ctypes.CDLL, tables: Tables, n_atoms: int, dtype: torch.dtype
    ) -> None:
        single = dtype == torch.float32
        self._function = library.evaluate_float32 if single else library.evaluate_float64
        self._terms = _Terms.of(tables, n_atoms, np.float32 if single else np.float64)

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
    """`Table` of `energies.cpp`."""

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
    """`Terms` of `energies.cpp`."""

    _fields_ = [
        *((name, _Table) for name in TABLES),
        ("n_atoms", ctypes.c_int32),
    ]

    @classmethod
    def of(cls, tables: Tables, n_atoms: int, dtype: Any) -> _Terms:
        made = [_Table.of(*tables[name], dtype) for name in TABLES]
        terms = cls(*made, n_atoms)
        terms.kept = made
        return terms
