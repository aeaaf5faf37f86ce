"""`constraints.cpp`, compiled once for this machine and called without leaving numpy."""

from __future__ import annotations

import ctypes
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bgp4.kernels.compiled import load_compiled

__all__ = ["ConstraintKernel", "load_kernel"]

Array = NDArray[np.float64]

SOURCE = Path(__file__).with_name("constraints.cpp")
HEADER = Path(__file__).with_name("simd.h")


class ConstraintKernel:
    """Shifts of positions and velocities of many replicas, in place, on one thread.

    Args:
        library: What `load_kernel` gave.
        pairs: (bonds, 2), atoms of each constrained bond.
        lengths_nm: (bonds,), nm.
        masses: (atoms,), Da.
    """

    def __init__(
        self, library: ctypes.CDLL, pairs: NDArray[np.int64], lengths_nm: Array, masses: Array
    ) -> None:
        self._library = library
        self._atoms = np.ascontiguousarray(pairs, np.int32)
        inverse = 1 / masses[pairs]
        self._values = np.ascontiguousarray(np.column_stack([lengths_nm**2, inverse]))
        pointers = (self._atoms.ctypes.data, self._values.ctypes.data)
        self._bonds = _Bonds(len(pairs), len(masses), *pointers)

    def shift_positions(
        self,
        at_nm: Array,  # (batch, atoms, 3), contiguous
        positions_nm: Array,  # (batch, atoms, 3), contiguous, changed
        tolerance: float,
        most: int,
    ) -> int:
        """Until each length² is right up to a relative tolerance.

        Returns:
            How many replicas are not there after so many sweeps.
        """
        return self._call("shift_positions", at_nm, positions_nm, tolerance, most)

    def shift_velocities(
        self,
        at_nm: Array,  # (batch, atoms, 3), contiguous
        velocities: Array,  # (batch, atoms, 3), contiguous, changed
        tolerance: float,
        most: int,
    ) -> int:
        """Until no length's logarithm changes faster than the tolerance; returns as above."""
        return self._call("shift_velocities", at_nm, velocities, tolerance, most)

    def _call(self, name: str, at: Array, values: Array, tolerance: float, most: int) -> int:
        function = getattr(self._library, name)
        function.restype = ctypes.c_int64
        late = function(
            ctypes.byref(self._bonds),
            ctypes.c_int64(len(values)),
            ctypes.c_void_p(at.ctypes.data),
            ctypes.c_void_p(values.ctypes.data),
            ctypes.c_double(tolerance),
            ctypes.c_int32(most),
        )
        return int(late)


@cache
def load_kernel() -> ctypes.CDLL | None:
    """The compiled library, or None without a C++ compiler."""
    otherwise = "constraints of batched MD run in torch, slower"
    return load_compiled(SOURCE, ctypes.CDLL, otherwise, depends=[HEADER])


class _Bonds(ctypes.Structure):
    """`Bonds` of `constraints.cpp`."""

    _fields_ = [
        ("rows", ctypes.c_int32),
        ("n_atoms", ctypes.c_int32),
        ("atoms", ctypes.c_void_p),
        ("values", ctypes.c_void_p),
    ]
