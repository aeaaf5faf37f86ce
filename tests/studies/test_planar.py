"""Densities in the plane, their flows, and figures 6 and 8."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Generator, Tensor

from bgp4.studies.paper import fig8
from bgp4.studies.paper.densities import DENSITIES, EXTENT
from bgp4.studies.paper.fig6 import FULL
from bgp4.studies.paper.figure import reproduce
from bgp4.studies.paper.planar import (
    FLOWS,
    QUICK_PLANE,
    Planar,
    fit_planar,
    log_prob,
    n_parameters,
    sample,
)

SMALL = Planar(p4_layers=6, couplings=2, hidden=2, steps=60, held_out=2_000)

kinds = pytest.mark.parametrize("kind", FLOWS)


def points(name: str, n: int = 20_000) -> Tensor:
    return DENSITIES[name](n, Generator().manual_seed(0))


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


def test_eight_gaussians_have_their_moments() -> None:
    x = points("8 Gaussians")
    expected = (4**2 / 2 + 0.5**2) / 2  # half of radius^2, and the noise's variance
    torch.testing.assert_close(x.T.cov(), expected * torch.eye(2), rtol=0.03, atol=0.1)


@pytest.mark.parametrize("name", ["moons", "spirals"])
def test_halves_mirror_each_other_in_the_origin(name: str) -> None:
    x = points(name)
    torch.testing.assert_close(x.T.cov(), (-x).T.cov())
    assert (x[:, 0] > 0).double().mean() == pytest.approx(0.5, abs=0.02)


def test_the_pinwheel_has_five_arms() -> None:
    """A fifth of a turn leaves it as it is: no moment of low order but that of order five."""
    x = points("pinwheel")
    z = torch.complex(*x.unbind(1))
    low = torch.stack([(z**k).mean().abs() / z.abs().pow(k).mean() for k in range(1, 6)])
    assert low[:4].max() < 0.05 < low[4]


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
    assert list(counts.values()) == pytest.approx([counts["P4Inv"]] * 4, rel=0.05)


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
