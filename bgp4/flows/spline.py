"""Monotonic rational-quadratic splines (Durkan et al., Neural Spline Flows, arXiv 1906.04032).

On an interval with linear tails that go on with the slope at its ends, or on the circle (Rezende
et al., Normalizing Flows on Tori and Spheres, arXiv 2002.02428).
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

__all__ = [
    "Knots",
    "circular_knots",
    "linear_tail_knots",
    "n_parameters",
    "spline_forward",
    "spline_inverse",
]

MIN_BIN = 1e-3
"""Least share of the interval that a bin has."""

MIN_SLOPE = 1e-3
_UNIT_SLOPE = math.log(math.expm1(1 - MIN_SLOPE))
"""The slope parameter at which a knot's slope is one."""


class Knots(NamedTuple):
    """A batch of splines.

    Attributes:
        x, y: Knot positions, ascending, (..., bins + 1).
        slopes: Slope parameters, (..., bins + 1), or (..., bins) on the circle, whose last knot
            is its first; a knot's slope is one at zero.
    """

    x: Tensor
    y: Tensor
    slopes: Tensor

    @property
    def circular(self) -> bool:
        return self.slopes.shape[-1] < self.x.shape[-1]


def n_parameters(bins: int, circular: bool) -> int:
    """Parameters of a spline."""
    return 3 * bins if circular else 3 * bins + 1


def linear_tail_knots(
    parameters: Tensor,  # (..., 3 bins + 1)
    bound: float,
) -> Knots:
    """Knots on [-bound, bound]; zero parameters give the identity."""
    return _knots(parameters, (parameters.shape[-1] - 1) // 3, bound)


def circular_knots(
    parameters: Tensor,  # (..., 3 bins)
) -> Knots:
    """Knots on [-π, π] with the same slope at both ends; zero parameters give the identity."""
    return _knots(parameters, parameters.shape[-1] // 3, math.pi)


def _knots(parameters: Tensor, bins: int, bound: float) -> Knots:
    shares = parameters[..., : 2 * bins].unflatten(-1, (2, bins)).softmax(-1)
    x, y = (shares @ _summation(bins, bound, shares) - bound).unbind(-2)
    return Knots(x, y, parameters[..., 2 * bins :])


def _summation(bins: int, bound: float, like: Tensor) -> Tensor:
    """(bins, bins + 1): takes shares to the sums of those before each knot, times 2 bound."""
    before = torch.ones(bins, bins + 1, dtype=like.dtype, device=like.device).triu(1)
    least = MIN_BIN * torch.arange(bins + 1, dtype=like.dtype, device=like.device)
    return 2 * bound * ((1 - MIN_BIN * bins) * before + least)


class _Bin(NamedTuple):
    """The bin of each value: its lower corner, its size, its slopes; each (...,)."""

    x: Tensor
    width: Tensor
    y: Tensor
    height: Tensor
    left: Tensor
    right: Tensor


def _bin(knots: Knots, edges: Tensor, values: Tensor) -> _Bin:
    """Look up by edges, the x or the y of the knots."""
    index = (values[..., None] >= edges[..., 1:-1]).sum(-1, keepdim=True)
    pair = torch.cat([index, index + 1], dim=-1)
    x0, x1 = knots.x.gather(-1, pair).unbind(-1)
    y0, y1 = knots.y.gather(-1, pair).unbind(-1)
    knot = pair % knots.slopes.shape[-1] if knots.circular else pair
    slopes = MIN_SLOPE + F.softplus(knots.slopes.gather(-1, knot) + _UNIT_SLOPE)
    left, right = slopes.unbind(-1)
    return _Bin(x0, x1 - x0, y0, y1 - y0, left, right)


def spline_forward(
    x: Tensor,  # (...,)
    knots: Knots,
) -> tuple[Tensor, Tensor]:
    """y and log dy/dx, each (...,) (Durkan et al., eq. 4 and 5)."""
    b = _bin(knots, knots.x, x)
    t = (x - b.x) / b.width
    inner = t.clamp(0, 1)
    y, logabsdet = _inside(b, inner)
    if knots.circular:
        return y, logabsdet
    slope = torch.where(t > 0, b.right, b.left)
    return y + (t - inner) * b.width * slope, torch.where(t == inner, logabsdet, slope.log())


def spline_inverse(
    y: Tensor,  # (...,)
    knots: Knots,
) -> tuple[Tensor, Tensor]:
    """x and log dx/dy, each (...,) (Durkan et al., eq. 6-8).

    The root of the quadratic is taken in the form that does not cancel, and its discriminant,
    positive in exact arithmetic, is kept so.
    """
    b = _bin(knots, knots.y, y)
    rise = y - b.y
    inner = torch.minimum(rise.clamp_min(0), b.height)
    mean = b.height / b.width
    curvature = b.left + b.right - 2 * mean
    q2 = b.height * (mean - b.left) + inner * curvature
    q1 = b.height * b.left - inner * curvature
    q0 = -mean * inner
    discriminant = (q1 * q1 - 4 * q2 * q0).clamp_min(1e-30)
    t = (2 * q0 / (-q1 - discriminant.sqrt())).clamp(0, 1)
    _, logabsdet = _inside(b, t)
    x = b.x + b.width * t
    if knots.circular:
        return x, -logabsdet
    slope = torch.where(rise > 0, b.right, b.left)
    return x + (rise - inner) / slope, -torch.where(rise == inner, logabsdet, slope.log())


def _inside(b: _Bin, t: Tensor) -> tuple[Tensor, Tensor]:
    """y and log dy/dx at the relative position t of the bin."""
    mean = b.height / b.width
    s = 1 - t
    ts = t * s
    denominator = mean + (b.left + b.right - 2 * mean) * ts
    y = b.y + b.height * (mean * t * t + b.left * ts) / denominator
    slope = b.right * t * t + 2 * mean * ts + b.left * s * s
    return y, 2 * (mean / denominator).log() + slope.log()
