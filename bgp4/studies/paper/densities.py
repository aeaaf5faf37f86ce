"""Two-dimensional densities to learn, as in FFJORD (Grathwohl et al., arXiv 1810.01367)."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Generator, Tensor

__all__ = ["DENSITIES", "EXTENT", "Sampler"]

Sampler = Callable[[int, Generator], Tensor]
"""A number of points and where to draw them from, to points (n, 2)."""

EXTENT = 4.5
"""Half the side of a square around the origin that holds nearly all points of each density."""


def checkerboard(n: int, generator: Generator) -> Tensor:
    """Uniform on the dark squares, of side 2, of [-4, 4]^2."""
    x = _uniform(n, generator, -2, 2)
    row = 2 * torch.randint(-1, 1, (n,), generator=generator) + x.floor() % 2
    return 2 * torch.stack([x, row + torch.rand(n, generator=generator)], dim=1)


def moons(n: int, generator: Generator) -> Tensor:
    """Two half circles of radius 2 that grip each other, with noise of 0.2."""
    t = _uniform(n, generator, 0, math.pi)
    upper = torch.stack([t.cos() - 0.5, t.sin() - 0.25], dim=1)
    return 2 * (upper * _sign(n, generator) + 0.1 * _normal(n, generator))


def pinwheel(n: int, generator: Generator) -> Tensor:
    """Five long blobs that a rotation growing with exp(radius) bends."""
    blob = _normal(n, generator) * torch.tensor([0.3, 0.1]) + torch.tensor([1.0, 0.0])
    arm = torch.randint(5, (n,), generator=generator)
    angle = 2 * math.pi / 5 * arm + 0.25 * blob[:, 0].exp()
    return 2 * _rotated(blob, angle)


def rings(n: int, generator: Generator) -> Tensor:
    """Four circles of radii 0.75, 1.5, 2.25, 3, with noise of 0.08."""
    radius = 0.75 * torch.randint(1, 5, (n,), generator=generator)
    points = torch.stack([radius, torch.zeros(n)], dim=1)
    return _rotated(points, _uniform(n, generator, 0, 2 * math.pi)) + 0.08 * _normal(n, generator)


def spirals(n: int, generator: Generator) -> Tensor:
    """Two arms of one and a half turns each, with noise of 0.1."""
    t = 3 * math.pi * torch.rand(n, generator=generator).sqrt()
    wide = torch.rand(n, 2, generator=generator) / 2
    arm = torch.stack([-t.cos() * t, t.sin() * t], dim=1) + wide
    return arm * _sign(n, generator) / 3 + 0.1 * _normal(n, generator)


def eight_gaussians(n: int, generator: Generator) -> Tensor:
    """Eight Gaussians of standard deviation 0.5 / √2 on a circle of radius 4 / √2."""
    radius = torch.tensor([4.0, 0.0]).expand(n, 2)
    angle = math.pi / 4 * torch.randint(8, (n,), generator=generator)
    return (_rotated(radius, angle) + 0.5 * _normal(n, generator)) / math.sqrt(2)


DENSITIES: dict[str, Sampler] = {
    "checkerboard": checkerboard,
    "moons": moons,
    "pinwheel": pinwheel,
    "rings": rings,
    "spirals": spirals,
    "8 Gaussians": eight_gaussians,
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
