"""Splines on a GPU by Triton, one kernel each way: the formulas of `spline.cpp`, value by value.

Imported where there are a GPU and Triton alone, which torch's CUDA wheels bring along. With
TRITON_INTERPRET=1 it runs on a CPU, for tests.
"""

from __future__ import annotations

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

__all__ = ["differentiate", "evaluate"]

BLOCK = 128
"""Values of a program."""

Planes = tuple[Tensor, Tensor, Tensor]


def evaluate(values: Tensor, knots: Planes, inverse: bool) -> tuple[Tensor, Tensor]:
    """As `bgp4.kernels.spline.evaluate`."""
    out, slope = torch.empty_like(values), torch.empty_like(values)
    _run(_evaluate, values, knots, inverse, out, slope)
    return out, slope


def differentiate(
    values: Tensor, knots: Planes, inverse: bool, g_out: Tensor, g_log: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """As `bgp4.kernels.spline.differentiate`.

    Each value has gradients of its own, which are summed where values share a spline: nothing is
    added up by atomics, so that the sums are the same each time.
    """
    g_values = torch.empty_like(values)
    of_each = [values.new_empty(len(plane), *values.shape) for plane in knots]
    _run(_differentiate, values, knots, inverse, g_out, g_log, g_values, *of_each)
    shared = tuple(range(1, 1 + values.dim() - (knots[0].dim() - 1)))
    g_x, g_y, g_slopes = (part.sum(shared) if shared else part for part in of_each)
    return g_values, g_x, g_y, g_slopes


def _run(kernel: Any, values: Tensor, knots: Planes, inverse: bool, *others: Tensor) -> None:
    n, columns = values.numel(), knots[0][0].numel()
    if not n:
        return
    sizes = {"KNOTS": len(knots[0]), "SLOPES": len(knots[2]), "INVERSE": inverse, "BLOCK": BLOCK}
    kernel[(triton.cdiv(n, BLOCK),)](*knots, values, *others, n, columns, **sizes)


@triton.jit
def _evaluate(
    x, y, slopes, values, out, slope, n, columns,
    KNOTS: tl.constexpr, SLOPES: tl.constexpr, INVERSE: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    i = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    there = i < n
    value = tl.load(values + i, mask=there, other=0.0)
    _number, x0, width, y0, height, left, right = _bin(
        x, y, slopes, value, i % columns, columns, there, KNOTS, SLOPES, INVERSE
    )
    t, beyond = _place(value, x0, width, y0, height, left, right, INVERSE)
    _mean, numerator, denominator, _steepness, dydx = _inside(t, width, height, left, right)
    if INVERSE:
        made = x0 + width * t
        if SLOPES == KNOTS:
            made += beyond / dydx
    else:
        made = y0 + height * numerator / denominator
        if SLOPES == KNOTS:
            made += beyond * dydx
    tl.store(out + i, made, mask=there)
    tl.store(slope + i, dydx, mask=there)


@triton.jit
def _differentiate(
    x, y, slopes, values, g_out, g_log, g_values, g_x, g_y, g_slopes, n, columns,
    KNOTS: tl.constexpr, SLOPES: tl.constexpr, INVERSE: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    i = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    there = i < n
    value = tl.load(values + i, mask=there, other=0.0)
    number, x0, width, y0, height, left, right = _bin(
        x, y, slopes, value, i % columns, columns, there, KNOTS, SLOPES, INVERSE
    )
    g_value, of_width, of_height, of_left, of_right, of_x0, of_y0 = _gradients(
        value, x0, width, y0, height, left, right,
        tl.load(g_out + i, mask=there, other=0.0), tl.load(g_log + i, mask=there, other=0.0),
        INVERSE, SLOPES == KNOTS,
    )  # fmt: skip
    tl.store(g_values + i, g_value, mask=there)
    for k in tl.static_range(KNOTS):
        first, last = number == k, number == k - 1  # the knot is its bin's first, or its last
        at_x = tl.where(first, of_x0 - of_width, 0.0) + tl.where(last, of_width, 0.0)
        at_y = tl.where(first, of_y0 - of_height, 0.0) + tl.where(last, of_height, 0.0)
        tl.store(g_x + k * n + i, at_x, mask=there)
        tl.store(g_y + k * n + i, at_y, mask=there)
        if k < SLOPES:
            if SLOPES < KNOTS and k == 0:  # on the circle the last knot is the first
                last = number == KNOTS - 2
            at_slope = tl.where(first, of_left, 0.0) + tl.where(last, of_right, 0.0)
            tl.store(g_slopes + k * n + i, at_slope, mask=there)


@triton.jit
def _bin(
    x, y, slopes, value, column, columns, there,
    KNOTS: tl.constexpr, SLOPES: tl.constexpr, INVERSE: tl.constexpr,
):  # fmt: skip
    """Of each value: number, x, width, y, height, left and right slope."""
    number = tl.zeros_like(column)
    next_x = tl.load(x + column, mask=there, other=0.0)
    next_y = tl.load(y + column, mask=there, other=0.0)
    next_slope = tl.load(slopes + column, mask=there, other=1.0)
    x0, y0, left = next_x, next_y, next_slope
    width, height, right = x0 * 0.0 + 1.0, x0 * 0.0 + 1.0, next_slope
    for k in tl.static_range(KNOTS - 1):
        this_x, this_y, this_slope = next_x, next_y, next_slope
        at = (k + 1) * columns + column
        at_slope = ((k + 1) % SLOPES) * columns + column
        next_x = tl.load(x + at, mask=there, other=1.0)
        next_y = tl.load(y + at, mask=there, other=1.0)
        next_slope = tl.load(slopes + at_slope, mask=there, other=1.0)
        edge = this_y if INVERSE else this_x
        passed = (value >= edge) | (k == 0)
        number = tl.where(passed, k, number)
        x0, width = tl.where(passed, this_x, x0), tl.where(passed, next_x - this_x, width)
        y0, height = tl.where(passed, this_y, y0), tl.where(passed, next_y - this_y, height)
        left, right = tl.where(passed, this_slope, left), tl.where(passed, next_slope, right)
    return number, x0, width, y0, height, left, right


@triton.jit
def _within(value, low, high):  # NaN stays
    return tl.where(value < low, low, tl.where(value > high, high, value))


@triton.jit
def _place(value, x0, width, y0, height, left, right, INVERSE: tl.constexpr):
    """t in the bin, in [0, 1], and how far the value is beyond its end."""
    if INVERSE:
        rise = value - y0
        inner = _within(rise, height * 0.0, height)
        mean = height / width
        curvature = left + right - 2 * mean
        q2 = height * (mean - left) + inner * curvature
        q1 = height * left - inner * curvature
        q0 = -mean * inner
        square = q1 * q1 - 4 * q2 * q0
        discriminant = tl.where(square < 1e-30, 1e-30, square)
        t = _within(2 * q0 / (-q1 - tl.sqrt(discriminant)), height * 0.0, height * 0.0 + 1.0)
        t = tl.where(rise >= height, 1.0, t)
        beyond = rise - inner
    else:
        whole = (value - x0) / width
        t = _within(whole, width * 0.0, width * 0.0 + 1.0)
        beyond = (whole - t) * width
    return t, beyond


@triton.jit
def _inside(t, width, height, left, right):
    """mean, numerator, denominator, steepness and dy/dx at t."""
    mean = height / width
    s = 1 - t
    ts = t * s
    denominator = mean + (left + right - 2 * mean) * ts
    numerator = mean * t * t + left * ts
    steepness = right * t * t + 2 * mean * ts + left * s * s
    ratio = mean / denominator
    return mean, numerator, denominator, steepness, steepness * ratio * ratio


@triton.jit
def _gradients(
    value, x0, width, y0, height, left, right, g_out, g_log,
    INVERSE: tl.constexpr, TAIL: tl.constexpr,
):  # fmt: skip
    """Of the value, of its bin's sizes and slopes, and of its corner; `spline.cpp` explains them.

    A first knot has what is the corner's less what is the size's.
    """
    t, beyond = _place(value, x0, width, y0, height, left, right, INVERSE)
    mean, numerator, denominator, steepness, slope = _inside(t, width, height, left, right)
    s, bend = 1 - t, 1 - 2 * t
    ts = t * s
    is_inside = beyond == 0
    D_t = (left + right - 2 * mean) * bend
    S_t = 2 * (right * t + mean * bend - left * s)
    log_x = tl.where(is_inside, (S_t / steepness - 2 * D_t / denominator) / width, 0.0)
    g_y, g_L, g_in = g_out, g_log, g_out
    if INVERSE:
        g_L = -g_log
        g_in = (g_out + g_L * log_x) / slope
        g_y = -g_in
        beyond = beyond / slope
    if TAIL:
        g_L += g_y * beyond * slope
    ratio = numerator / denominator
    g_N = g_y * height / denominator
    g_D = -g_N * ratio - 2 * g_L / denominator
    g_S = g_L / steepness
    g_t = g_N * (2 * mean * t + left * bend) + g_D * D_t + g_S * S_t
    g_mean = g_N * t * t + g_D * (1 - 2 * ts) + g_S * 2 * ts + 2 * g_L / mean
    outside = g_y * slope if TAIL else g_y * 0.0
    g_x = tl.where(is_inside, g_t / width, outside)
    g_width = -g_x * t - g_mean * mean / width
    g_height = g_y * ratio + g_mean / width
    g_left = (g_N + g_D) * ts + g_S * s * s
    g_right = g_D * ts + g_S * t * t
    g_value = g_in if INVERSE else g_x
    return g_value, g_width, g_height, g_left, g_right, -g_x, g_y
