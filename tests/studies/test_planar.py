"""Densities in the plane, their flows, and figures 6 and 8."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.spatial import cKDTree
from scipy.special import digamma
from torch import Generator, Tensor

from bgp4.studies.paper import fig8
from bgp4.studies.paper.densities import DENSITIES, EXTENT
from bgp4.studies.paper.fig6 import FULL
from bgp4.studies.paper.figure import reproduce
from bgp4.studies.paper.planar import (
    FLOWS,
    QUICK_PLANE,
    Planar,
    entropy,
    fit_planar,
    log_prob,
    n_parameters,
    sample,
)

SMALL = Planar(p4_layers=6, couplings=2, hidden=2, steps=60, held_out=2_000)

kinds = pytest.mark.parametrize("kind", FLOWS)


def points(name: str, n: int = 20_000) -> Tensor:
    return DENSITIES[name].draw(n, Generator().manual_seed(0))


@pytest.mark.parametrize("name", DENSITIES)
def test_a_density_is_centred_and_drawn_from_its_generator_alone(name: str) -> None:
    x = points(name)
    assert x.shape == (20_000, 2)
    assert torch.equal(x, points(name))
    assert x.mean(0).abs().max() < 0.15
    assert (x.abs() < EXTENT).all(1).double().mean() > 0.99


def test_the_checkerboard_fills_its_dark_squares_evenly() -> None:
    x = points("checkerboard")
    column, row = (x / 2).floor().long().unbind(1)
    assert ((column + row) % 2 == 0).all()
    counts = torch.bincount(4 * (column + 2) + row + 2)
    assert (counts[counts > 0] - 20_000 / 8).abs().max() < 5 * math.sqrt(20_000 / 8)


def test_rings_have_four_radii() -> None:
    radius = points("rings").norm(dim=1)
    nearest = (radius / 0.75).round()
    assert (radius - 0.75 * nearest).std() == pytest.approx(0.08, rel=0.05)
    assert torch.bincount(nearest.long())[1:].tolist() == pytest.approx([5_000] * 4, rel=0.06)


def test_moons_mirror_each_other_in_the_origin() -> None:
    x = points("moons")
    torch.testing.assert_close(x.T.cov(), (-x).T.cov())
    assert (x[:, 0] > 0).double().mean() == pytest.approx(0.5, abs=0.02)


def test_the_pinwheel_has_five_arms() -> None:
    """A fifth of a turn leaves it as it is: no moment of low order but that of order five."""
    x = points("pinwheel")
    z = torch.complex(*x.unbind(1))
    low = torch.stack([(z**k).mean().abs() / z.abs().pow(k).mean() for k in range(1, 6)])
    assert low[:4].max() < 0.05 < low[4]


GRID_STEP = 0.025


@cache
def on_grid(name: str) -> Tensor:
    """Log-density at the middles of squares that tile [-6, 6]^2, (n,)."""
    side = torch.arange(-6 + GRID_STEP / 2, 6, GRID_STEP, dtype=torch.float64)
    parts = torch.cartesian_prod(side, side).split(100_000)
    return torch.cat([DENSITIES[name].log_prob(part) for part in parts])


@pytest.mark.parametrize("name", DENSITIES)
def test_a_density_is_normalised_and_its_entropy_that_of_its_points(name: str) -> None:
    log_p = on_grid(name)
    p = log_p.exp() * GRID_STEP**2
    assert float(p.sum()) == pytest.approx(1, abs=2e-6)
    by_grid = -float((p * log_p.clamp(min=-1e3)).sum())
    assert entropy(name, FULL.planar) == pytest.approx(by_grid, abs=0.03)
    assert nearest_neighbour_entropy(points(name)) == pytest.approx(by_grid, abs=0.06)


def nearest_neighbour_entropy(x: Tensor, k: int = 4) -> float:
    """Kozachenko and Leonenko's estimate in the plane, which knows points alone."""
    distance = cKDTree(x.double().numpy()).query(x.double().numpy(), k=k + 1)[0][:, k]
    area = math.log(math.pi) + 2 * np.log(distance).mean()
    return float(digamma(len(x)) - digamma(k) + area)


@pytest.mark.parametrize("name", DENSITIES)
def test_a_density_has_as_many_points_where_it_says(name: str) -> None:
    n, squares = 200_000, 24
    x = points(name, n)
    found = torch.histogramdd(x, squares, range=[-6, 6, -6, 6]).hist
    each = round(12 / GRID_STEP) // squares
    p = on_grid(name).exp().view(squares, each, squares, each).sum((1, 3)) * GRID_STEP**2
    error = (p * n).sqrt().clamp(min=1)
    assert ((found - p * n).abs() / error).max() < 6


def test_the_checkerboards_entropy_is_that_of_its_area() -> None:
    assert entropy("checkerboard", FULL.planar) == pytest.approx(math.log(32))


def test_the_divergence_is_what_the_likelihood_lacks_of_the_entropy() -> None:
    fit = fit_planar("RNVP", "moons", SMALL, 0)
    assert fit.divergence == pytest.approx(-entropy("moons", SMALL) - fit.log_likelihood, abs=1e-4)
    assert 0 < fit.divergence < 1


@kinds
def test_the_likelihood_is_normalised(kind: str) -> None:
    transform = fit_planar(kind, "moons", SMALL, 0).transform
    side = torch.linspace(-40, 40, 1601)
    grid = torch.cartesian_prod(side, side)
    with torch.no_grad():
        mass = sum(log_prob(transform, part).exp().sum() for part in grid.split(200_000))
    assert float(mass) * (80 / 1600) ** 2 == pytest.approx(1, abs=2e-3)


@kinds
def test_samples_have_the_likelihood_that_the_flow_states(kind: str) -> None:
    transform = fit_planar(kind, "moons", SMALL, 0).transform
    generator = Generator().manual_seed(1)
    z = torch.randn(500, 2, generator=generator)
    x = sample(transform, 500, Generator().manual_seed(1))
    with torch.no_grad():
        back, _ = transform(x)
    torch.testing.assert_close(back, z, rtol=1e-3, atol=1e-3)


@kinds
def test_training_repeats_and_improves(kind: str) -> None:
    fit = fit_planar(kind, "moons", SMALL, 0)
    assert fit_planar.__wrapped__(kind, "moons", SMALL, 0).log_likelihood == fit.log_likelihood
    untrained = FLOWS[kind](SMALL, Generator().manual_seed(0))
    with torch.no_grad():
        before = log_prob(untrained, points("moons")).mean()
    assert fit.log_likelihood > before + 0.5


def test_the_figure_compares_flows_of_the_same_size() -> None:
    counts = {kind: n_parameters(kind, FULL.planar) for kind in FLOWS}
    assert counts["P4Inv"] == counts["inverse P4Inv"] == 6 * FULL.planar.p4_layers
    assert counts["RNVP"] == pytest.approx(counts["P4Inv"], rel=0.05)


PLANE = replace(QUICK_PLANE, planar=SMALL)
SHORTER = {
    "fig6": PLANE,
    "fig8": replace(fig8.QUICK, plane=PLANE, fit=replace(fig8.QUICK.fit, iterations=200)),
}
"""Settings that make a figure as well; what it then says is of no interest here."""


@pytest.mark.parametrize("name", SHORTER)
def test_a_figure_is_made(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(f"bgp4.studies.paper.{name}.QUICK", SHORTER[name])
    assert_made(name, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("name", SHORTER)
def test_a_quick_figure_is_made(name: str, tmp_path: Path) -> None:
    assert_made(name, tmp_path)


def assert_made(name: str, tmp_path: Path) -> None:
    (line,) = reproduce([name], tmp_path, quick=True)
    result = json.loads((tmp_path / name / "result.json").read_text())
    assert line.startswith(f"{name}: {result['verdict']}")
    assert (tmp_path / name / f"{name}.png").stat().st_size > 10_000
    assert result["numbers"]
    assert result["checks"]
