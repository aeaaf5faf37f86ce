"""Splines by kernels, a pass for each direction: `spline.cpp` on a CPU, compiled once for this
machine, and `spline_triton.py` on a GPU.
"""

from __future__ import annotations

import ctypes
import importlib
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from bgp4.kernels import p4
from bgp4.kernels.compiled import load_compiled
from bgp4.kernels.gpu import has_triton, on_gpu

__all__ = ["differentiate", "evaluate", "serves"]

SOURCE = Path(__file__).with_name("spline.cpp")

Planes = tuple[Tensor, Tensor, Tensor]
"""x, y and slopes of the knots, a plane for each knot, (knots, ...)."""

_NAMES = {torch.float32: "float32", torch.float64: "float64"}


def serves(values: Tensor, knots: Tensor) -> bool:
    """Whether these functions can take the place of torch."""
    if on_gpu(values):
        return on_gpu(knots) and p4.eager() and values.dtype in _NAMES and has_triton()
    return p4.serves(values, knots) and load_kernel() is not None


@cache
def load_kernel() -> ctypes.CDLL | None:
    """The compiled library, or None without a C++ compiler."""
    return load_compiled(SOURCE, ctypes.CDLL, "splines run in torch, slower")


def evaluate(
    values: Tensor,  # (...,)
    knots: Planes,
    inverse: bool,
) -> tuple[Tensor, Tensor]:
    """y and dy/dx of x, or x and dy/dx of y, each (...,). All tensors are contiguous.

    Raises:
        ValueError: The knots are those of other values, or of another dtype or device.
    """
    x, _, slopes = knots
    splines = values.shape[values.dim() - x.dim() + 1 :]
    shapes = (len(x), *splines), (len(x), *splines), (len(slopes), *splines)
    like = all((k.dtype, k.device) == (values.dtype, values.device) for k in knots)
    if tuple(k.shape for k in knots) != shapes or not like:
        raise ValueError(
            f"spline: expected knots for values of shape {tuple(values.shape)} in {values.dtype}, "
            f"got {tuple(x.shape[1:])} in {slopes.dtype} on {slopes.device}"
        )
    if on_gpu(values):
        return _by_triton().evaluate(values, knots, inverse)  # type: ignore[no-any-return]
    out, slope = torch.empty_like(values), torch.empty_like(values)
    _call("evaluate", values, knots, inverse, out, slope)
    return out, slope


def differentiate(
    values: Tensor,  # (...,)
    knots: Planes,
    inverse: bool,
    g_out: Tensor,  # (...,)
    g_log: Tensor,  # (...,), of the logarithm of the direction's slope
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Gradients of values, x, y and slopes, all of them as in `evaluate`."""
    if on_gpu(values):
        return _by_triton().differentiate(  # type: ignore[no-any-return]
            values, knots, inverse, g_out, g_log
        )
    g_values = torch.empty_like(values)
    g_x, g_y, g_slopes = (torch.zeros_like(plane) for plane in knots)
    _call("differentiate", values, knots, inverse, g_out, g_log, g_values, g_x, g_y, g_slopes)
    return g_values, g_x, g_y, g_slopes


def _by_triton() -> Any:
    """Imported where it is used: Triton is not everywhere."""
    return importlib.import_module("bgp4.kernels.spline_triton")


def _call(
    name: str,
    values: Tensor,
    knots: Planes,
    inverse: bool,
    *others: Tensor,
) -> None:
    x, _, slopes = knots
    columns = x[0].numel()
    rows = values.numel() // max(columns, 1)
    function = getattr(load_kernel(), f"{name}_{_NAMES[values.dtype]}")
    sizes = [ctypes.c_int64(size) for size in (rows, columns, len(x), len(slopes))]
    pointers = [ctypes.c_void_p(t.data_ptr()) for t in (*knots, values, *others)]
    function(*sizes, ctypes.c_int32(inverse), *pointers)
