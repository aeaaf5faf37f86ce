"""Monotonic rational-quadratic splines (Durkan et al., Neural Spline Flows, arXiv 1906.04032).

On an interval with linear tails that continue the slope at its ends, or on the circle (Rezende
et al., Normalizing Flows on Tori and Spheres, arXiv 2002.02428). On a CPU ``spline.cpp`` does what
stands here, gradients included, without writing down what is between.
"""

from __future__ import annotations

import math
from functools import cache
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd import Function
from torch.nn import functional as F

from bgp4.kernels import spline as spline_kernel
from bgp4.kernels.p4 import eager

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
    """Splines, one for each value or one for each column of values.

    Attributes:
        x, y: Knot positions, ascending, (..., bins + 1).
        slopes: At the knots, (..., bins + 1), or (..., bins) on the circle, whose last knot is
            its first.
    """

    x: Tensor
    y: Tensor
    slopes: Tensor


def _on_the_circle(knots: Knots) -> bool:
    """A function, because torch 2.9 compiles no property of a NamedTuple."""
    return knots.slopes.shape[-1] < knots.x.shape[-1]


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
    """Knots lie first in memory, so that each step over them is one over all splines at once."""
    sizes = [2 * bins, parameters.shape[-1] - 2 * bins]
    shares, slopes = parameters.movedim(-1, 0).contiguous().split(sizes)
    shares = shares.reshape(2, bins, -1).softmax(1)
    summation = _kept_summation if eager() else _summation
    knots = summation(bins, bound, shares.dtype, shares.device) @ shares - bound
    x, y = knots.view(2, bins + 1, *slopes.shape[1:])
    slopes = MIN_SLOPE + F.softplus(slopes + _UNIT_SLOPE)
    return Knots(*(part.movedim(0, -1) for part in (x, y, slopes)))


def _summation(bins: int, bound: float, dtype: torch.dtype, device: torch.device) -> Tensor:
    """(bins + 1, bins): takes shares to the sums of those before each knot, times 2 bound."""
    before = torch.ones(bins + 1, bins, dtype=dtype, device=device).tril(-1)
    least = MIN_BIN * torch.arange(bins + 1, dtype=dtype, device=device)
    return 2 * bound * ((1 - MIN_BIN * bins) * before + least[:, None])


@cache
def _kept_summation(bins: int, bound: float, dtype: torch.dtype, device: torch.device) -> Tensor:
    """The same, made once, and not as a tensor that autograd may not see."""
    with torch.inference_mode(False):
        return _summation(bins, bound, dtype, device)


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
    index = _index(edges, values)
    if edges.dim() == values.dim():
        return _shared_bin(knots, index)
    pair = torch.stack([index, index + 1])
    x0, x1 = knots.x.movedim(-1, 0).gather(0, pair)
    y0, y1 = knots.y.movedim(-1, 0).gather(0, pair)
    knot = pair % knots.slopes.shape[-1] if _on_the_circle(knots) else pair
    left, right = knots.slopes.movedim(-1, 0).gather(0, knot)
    return _Bin(x0, x1 - x0, y0, y1 - y0, left, right)


def _shared_bin(
    knots: Knots,  # of (features, bins + 1)
    index: Tensor,  # (batch, features)
) -> _Bin:
    x, y, slopes = knots
    if _on_the_circle(knots):
        slopes = torch.cat([slopes, slopes[:, :1]], dim=1)
    bins = torch.stack(
        [x[:, :-1], x.diff(), y[:, :-1], y.diff(), slopes[:, :-1], slopes[:, 1:]]
    ).flatten(1)
    first = torch.arange(0, bins.shape[1], x.shape[1] - 1, device=index.device)
    where = (index + first).flatten().expand(len(bins), -1)
    return _Bin(*bins.gather(1, where).unflatten(1, index.shape))


def _index(edges: Tensor, values: Tensor) -> Tensor:
    """The bin of each value: how many inner edges are not above it."""
    inner = edges.detach()[..., 1:-1].movedim(-1, 0)
    if edges.dim() == values.dim():
        inner = inner[:, None]
    passed = torch.empty((len(inner), *values.shape), dtype=values.dtype, device=values.device)
    torch.ge(values.detach(), inner, out=passed)  # on a CPU far faster than to booleans
    return passed.sum(0).long()


def spline_forward(
    x: Tensor,  # (...,)
    knots: Knots,
) -> tuple[Tensor, Tensor]:
    """y and log dy/dx, each (...,) (Durkan et al., eq. 4 and 5)."""
    return _Spline.of(x, knots, False) if spline_kernel.serves(x, knots.x) else _forward(x, knots)


def spline_inverse(
    y: Tensor,  # (...,)
    knots: Knots,
) -> tuple[Tensor, Tensor]:
    """x and log dx/dy, each (...,) (Durkan et al., eq. 6-8).

    The root of the quadratic is taken in the form that does not cancel, and its discriminant,
    positive in exact arithmetic, is kept so.
    """
    return _Spline.of(y, knots, True) if spline_kernel.serves(y, knots.x) else _inverse(y, knots)


class _Spline(Function):
    """Both directions by the kernel; second derivatives by torch."""

    @classmethod
    def of(cls, values: Tensor, knots: Knots, inverse: bool) -> tuple[Tensor, Tensor]:
        planes = [part.movedim(-1, 0).contiguous() for part in knots]
        out, log_slope = cls.apply(values.contiguous(), *planes, inverse)
        return out, log_slope

    @staticmethod
    def forward(
        ctx: Any,
        values: Tensor,  # (...,)
        x: Tensor,  # (bins + 1, ...), as the others without dimensions that its splines share
        y: Tensor,
        slopes: Tensor,
        inverse: bool,
    ) -> tuple[Tensor, Tensor]:
        ctx.save_for_backward(values, x, y, slopes)
        ctx.inverse = inverse
        out, slope = spline_kernel.evaluate(values, (x, y, slopes), inverse)
        log_slope = slope.log_()
        return out, log_slope.neg_() if inverse else log_slope

    @staticmethod
    def backward(ctx: Any, g_out: Tensor, g_log: Tensor) -> tuple[Tensor | None, ...]:
        values, *planes = ctx.saved_tensors
        if torch.is_grad_enabled():
            function = _inverse if ctx.inverse else _forward
            made = function(values, Knots(*(plane.movedim(0, -1) for plane in planes)))
            inputs = [t for t in (values, *planes) if t.requires_grad]
            found = iter(torch.autograd.grad(made, inputs, (g_out, g_log), create_graph=True))
            return *(next(found) if t.requires_grad else None for t in (values, *planes)), None
        gradients = g_out.contiguous(), g_log.contiguous()
        return *spline_kernel.differentiate(values, tuple(planes), ctx.inverse, *gradients), None


def _forward(x: Tensor, knots: Knots) -> tuple[Tensor, Tensor]:
    b = _bin(knots, knots.x, x)
    t = (x - b.x) / b.width
    inner = t.clamp(0, 1)
    y, slope = _inside(b, inner)
    if not _on_the_circle(knots):
        y = y + (t - inner) * b.width * slope
    return y, slope.log()


def _inverse(y: Tensor, knots: Knots) -> tuple[Tensor, Tensor]:
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
    t = torch.maximum(t, (rise >= b.height).to(t))
    _, slope = _inside(b, t)
    x = b.x + b.width * t
    if not _on_the_circle(knots):
        x = x + (rise - inner) / slope
    return x, -slope.log()


def _inside(b: _Bin, t: Tensor) -> tuple[Tensor, Tensor]:
    """y and dy/dx at the relative position t of the bin, which is in [0, 1]."""
    mean = b.height / b.width
    s = 1 - t
    ts = t * s
    denominator = mean + (b.left + b.right - 2 * mean) * ts
    y = b.y + b.height * (mean * t * t + b.left * ts) / denominator
    slope = b.right * t * t + 2 * mean * ts + b.left * s * s
    return y, slope * (mean / denominator).square()
