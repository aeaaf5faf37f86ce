"""Two-dimensional densities to learn, as in FFJORD (Grathwohl et al., arXiv 1810.01367), each with
its exact log-density: what no flow's log-likelihood can exceed on average.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Generator, Tensor

__all__ = ["DENSITIES", "EXTENT", "Density"]


@dataclass(frozen=True)
class Density:
    """A density in the plane.

    Attributes:
        draw: A number of points and where to draw them from, to points (n, 2).
        log_prob: Points (n, 2) to their log-densities (n,), float64.
    """

    draw: Callable[[int, Generator], Tensor]
    log_prob: Callable[[Tensor], Tensor]


EXTENT = 4.5
"""Half the side of a square around the origin that holds nearly all points of each density."""


def draw_checkerboard(n: int, generator: Generator) -> Tensor:
    """Uniform on the dark squares, of side 2, of [-4, 4]^2."""
    x = _uniform(n, generator, -2, 2)
    row = 2 * torch.randint(-1, 1, (n,), generator=generator) + x.floor() % 2
    return 2 * torch.stack([x, row + torch.rand(n, generator=generator)], dim=1)


def log_checkerboard(points: Tensor) -> Tensor:
    """-log 32, the area of the dark squares, on these."""
    x = points.double()
    column, row = (x / 2).floor().unbind(1)
    dark = ((column + row) % 2 == 0) & (x.abs() <= 4).all(1)
    return torch.where(dark, -math.log(32), -math.inf)


MOON_CENTRE = torch.tensor([-0.5, -0.25])
MOON_NOISE = 0.1
"""Both in units of the half circles' radius, 2."""


def draw_moons(n: int, generator: Generator) -> Tensor:
    """Two half circles of radius 2 that grip each other, with noise of 0.2."""
    t = _uniform(n, generator, 0, math.pi)
    upper = torch.stack([t.cos(), t.sin()], dim=1) + MOON_CENTRE
    return 2 * (upper * _sign(n, generator) + MOON_NOISE * _normal(n, generator))


def log_moons(points: Tensor) -> Tensor:
    """The mean of normal densities along both half circles, by Gauss-Legendre quadrature."""
    node, weight = (torch.from_numpy(a) for a in np.polynomial.legendre.leggauss(128))
    t = math.pi / 2 * (node + 1)
    upper = torch.stack([t.cos(), t.sin()], dim=1) + MOON_CENTRE.double()
    centres, log_weight = torch.cat([upper, -upper]), (weight / 4).log().repeat(2)
    squares = torch.cdist(points.double() / 2, centres).square()
    of_each = log_weight - squares / (2 * MOON_NOISE**2)
    return of_each.logsumexp(1) - math.log(2 * math.pi * MOON_NOISE**2) - 2 * math.log(2)


PINWHEEL_ARMS = 5
BLOB_CENTRE, BLOB_WIDTH = torch.tensor([1.0, 0.0]), torch.tensor([0.3, 0.1])
BLOB_REACH = 6.0
"""Half the length of a blob's short side, in standard deviations; nothing of it is beyond."""

BEND = 0.25


def draw_pinwheel(n: int, generator: Generator) -> Tensor:
    """Five long blobs that a rotation growing with exp(x) of the blob bends."""
    blob = _normal(n, generator) * BLOB_WIDTH + BLOB_CENTRE
    arm = torch.randint(PINWHEEL_ARMS, (n,), generator=generator)
    angle = 2 * math.pi / PINWHEEL_ARMS * arm + BEND * blob[:, 0].exp()
    return 2 * _rotated(blob, angle)


def log_pinwheel(points: Tensor) -> Tensor:
    """The sum over the arms of the blob's density where the point came from.

    That has the point's radius r, and an angle α for which bent(α) = α + BEND exp(r cos α) is the
    point's angle less the arm's. It grows with α as far as the blob reaches, so bisection finds it.
    """
    x = points.double() / 2
    radius = x.norm(dim=1, keepdim=True)
    reach = BLOB_REACH * BLOB_WIDTH[1].double()
    high = torch.where(radius < reach, math.pi, (reach / radius).clamp(max=1).asin())

    def bent(alpha: Tensor) -> Tensor:
        return alpha + BEND * (radius * alpha.cos()).exp()

    arms = 2 * math.pi / PINWHEEL_ARMS * torch.arange(PINWHEEL_ARMS, dtype=torch.float64)
    turned = torch.atan2(x[:, 1], x[:, 0])[:, None] - arms
    first, last = bent(-high), bent(high)
    wanted = first + (turned - first) % (2 * math.pi)
    low, high = -high.expand_as(wanted), high.expand_as(wanted)
    for _ in range(52):  # bits of a float64
        middle = (low + high) / 2
        below = bent(middle) < wanted
        low, high = torch.where(below, middle, low), torch.where(below, high, middle)
    blob = torch.stack([radius * low.cos(), radius * low.sin()], dim=-1)
    normal = torch.distributions.Normal(BLOB_CENTRE.double(), BLOB_WIDTH.double())
    slope = 1 - BEND * blob[..., 0].exp() * blob[..., 1]
    of_each = normal.log_prob(blob).sum(-1) - slope.abs().log()
    reached = of_each.where(wanted <= last, -math.inf)
    return reached.logsumexp(1) - math.log(PINWHEEL_ARMS) - 2 * math.log(2)


RADII = 0.75 * torch.arange(1, 5)
RING_NOISE = 0.08


def draw_rings(n: int, generator: Generator) -> Tensor:
    """Four circles of radii 0.75, 1.5, 2.25, 3, with noise of 0.08."""
    radius = RADII[torch.randint(len(RADII), (n,), generator=generator)]
    points = torch.stack([radius, torch.zeros(n)], dim=1)
    angle = _uniform(n, generator, 0, 2 * math.pi)
    return _rotated(points, angle) + RING_NOISE * _normal(n, generator)


def log_rings(points: Tensor) -> Tensor:
    """Each circle's mean of normal densities along it, a Bessel function of the radius."""
    radius, variance = points.double().norm(dim=1, keepdim=True), RING_NOISE**2
    of_each = torch.special.i0e(radius * RADII.double() / variance).log() - (
        radius - RADII
    ).square() / (2 * variance)
    return of_each.logsumexp(1) - math.log(len(RADII) * 2 * math.pi * variance)


DENSITIES: dict[str, Density] = {
    "checkerboard": Density(draw_checkerboard, log_checkerboard),
    "moons": Density(draw_moons, log_moons),
    "pinwheel": Density(draw_pinwheel, log_pinwheel),
    "rings": Density(draw_rings, log_rings),
}


def _uniform(n: int, generator: Generator, low: float, high: float) -> Tensor:
    return low + (high - low) * torch.rand(n, generator=generator)


def _normal(n: int, generator: Generator) -> Tensor:
    return torch.randn(n, 2, generator=generator)


def _sign(n: int, generator: Generator) -> Tensor:
    """-1 or 1, (n, 1)."""
    return 2.0 * torch.randint(2, (n, 1), generator=generator) - 1


def _rotated(points: Tensor, angle: Tensor) -> Tensor:
    x, y = points.unbind(1)
    c, s = angle.cos(), angle.sin()
    return torch.stack([c * x - s * y, s * x + c * y], dim=1)
