"""Monotonic rational-quadratic splines (Durkan et al., Neural Spline Flows, arXiv 1906.04032).

On an interval with unit slope at its ends and beyond, or on the circle (Rezende et al.,
Normalizing Flows on Tori and Spheres, arXiv 2002.02428).
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

__all__ = ["Knots", "linear_tail_knots", "circular_knots", "spline_forward", "spline_inverse"]

MIN_BIN = 1e-3
MIN_SLOPE = 1e-3
_UNIT_SLOPE = math.log(math.expm1(1 - MIN_SLOPE))
"""The slope parameter at which a knot's slope is one."""


class Knots(NamedTuple):
    """A batch of splines.

    Attributes:
        x, y: Knot positions, ascending, (..., bins + 1).
        slope_parameters: (..., bins + 1); a knot's slope is softplus of it.
    """

    x: Tensor
    y: Tensor
    slope_parameters: Tensor


def linear_tail_knots(
    parameters: Tensor,  # (..., 3 bins - 1)
    bound: float,
) -> Knots:
    """Knots on [-bound, bound] with unit slope at both ends; zero parameters give the identity."""
    bins = (parameters.shape[-1] + 1) // 3
    widths, heights, slopes = parameters.split([bins, bins, bins - 1], dim=-1)
    slopes = F.pad(slopes + _UNIT_SLOPE, (1, 1), value=_UNIT_SLOPE)
    return Knots(_positions(widths, bound), _positions(heights, bound), slopes)


def circular_knots(
    parameters: Tensor,  # (..., 3 bins)
) -> Knots:
    """Knots on [-π, π] with the same slope at both ends; zero parameters give the identity."""
    widths, heights, slopes = parameters.chunk(3, dim=-1)
    slopes = slopes + _UNIT_SLOPE
    slopes = torch.cat([slopes, slopes[..., :1]], dim=-1)
    return Knots(_positions(widths, math.pi), _positions(heights, math.pi), slopes)


def _positions(parameters: Tensor, bound: float) -> Tensor:
    bins = parameters.shape[-1]
    shares = MIN_BIN + (1 - MIN_BIN * bins) * parameters.softmax(-1)
    inner = (2 * bound) * shares[..., :-1].cumsum(-1) - bound
    inner = F.pad(inner, (1, 0), value=-bound)
    return F.pad(inner, (0, 1), value=bound)


class _Bin(NamedTuple):
    x: Tensor
    width: Tensor
    y: Tensor
    height: Tensor
    left: Tensor
    right: Tensor


def _bin(knots: Knots, edges: Tensor, values: Tensor) -> _Bin:
    """The bin of each value, by its edges (the x or the y of the knots)."""
    index = (values[..., None] >= edges[..., 1:-1]).sum(-1, keepdim=True)
    pair = torch.cat([index, index + 1], dim=-1)
    x0, x1 = knots.x.gather(-1, pair).unbind(-1)
    y0, y1 = knots.y.gather(-1, pair).unbind(-1)
    slopes = MIN_SLOPE + F.softplus(knots.slope_parameters.gather(-1, pair))
    left, right = slopes.unbind(-1)
    return _Bin(x0, x1 - x0, y0, y1 - y0, left, right)


def _logabsdet(b: _Bin, mean_slope: Tensor, t: Tensor, denominator: Tensor) -> Tensor:
    """log dy/dx at the relative position t in the bin (Durkan et al., eq. 5)."""
    s = 1 - t
    numerator = b.right * t * t + 2 * mean_slope * t * s + b.left * s * s
    return 2 * (mean_slope / denominator).log() + numerator.log()


def spline_forward(
    x: Tensor,  # (...,)
    knots: Knots,
) -> tuple[Tensor, Tensor]:
    """y and log dy/dx, each (...,); the identity outside the knots (Durkan et al., eq. 4)."""
    inside = (x >= knots.x[..., 0]) & (x <= knots.x[..., -1])
    b = _bin(knots, knots.x, x)
    mean_slope = b.height / b.width
    t = torch.where(inside, (x - b.x) / b.width, 0.5)
    denominator = mean_slope + (b.left + b.right - 2 * mean_slope) * t * (1 - t)
    y = b.y + b.height * t * (mean_slope * t + b.left * (1 - t)) / denominator
    logabsdet = _logabsdet(b, mean_slope, t, denominator)
    return torch.where(inside, y, x), torch.where(inside, logabsdet, 0.0)


def spline_inverse(
    y: Tensor,  # (...,)
    knots: Knots,
) -> tuple[Tensor, Tensor]:
    """x and log dx/dy, each (...,); the identity outside the knots.

    The root of the quadratic is taken in the form that does not cancel, and its discriminant,
    positive in exact arithmetic, is kept so (Durkan et al., eq. 6-8).
    """
    inside = (y >= knots.y[..., 0]) & (y <= knots.y[..., -1])
    b = _bin(knots, knots.y, y)
    mean_slope = b.height / b.width
    rise = torch.where(inside, y - b.y, b.height / 2)
    curvature = b.left + b.right - 2 * mean_slope
    q2 = b.height * (mean_slope - b.left) + rise * curvature
    q1 = b.height * b.left - rise * curvature
    q0 = -mean_slope * rise
    discriminant = (q1 * q1 - 4 * q2 * q0).clamp_min(1e-30)
    t = (2 * q0 / (-q1 - discriminant.sqrt())).clamp(0, 1)
    denominator = mean_slope + curvature * t * (1 - t)
    logabsdet = -_logabsdet(b, mean_slope, t, denominator)
    return torch.where(inside, b.x + b.width * t, y), torch.where(inside, logabsdet, 0.0)
