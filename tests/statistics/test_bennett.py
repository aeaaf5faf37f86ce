"""Bennett's acceptance ratio against pymbar's, and free energies of wells with known answers."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pytest
from pymbar.other_estimators import bar
from scipy.special import logsumexp
from scipy.stats import norm

from bgp4.statistics.bennett import End, bennett, two_ended_difference
from bgp4.statistics.weights import free_energy_difference


class Wells(NamedTuple):
    """Two Gaussians, one on each side of zero; the share is of the right one."""

    share: float
    centres: tuple[float, float] = (-2.0, 1.5)
    scales: tuple[float, float] = (0.4, 0.3)

    def draw(self, n: int, rng: np.random.Generator) -> np.ndarray:
        side = (rng.random(n) < self.share).astype(int)
        return rng.normal(np.take(self.centres, side), np.take(self.scales, side))

    def log_density(self, x: np.ndarray) -> np.ndarray:
        sides = norm.logpdf(x[:, None], self.centres, self.scales)
        return logsumexp(sides, b=[1 - self.share, self.share], axis=1)

    def free_energy(self) -> float:
        """-ln(P(x > 0) / P(x < 0)) by the cumulative distributions."""
        p = norm.sf(0, self.centres, self.scales) @ [1 - self.share, self.share]
        return float(-np.log(p / (1 - p)))


TARGET = Wells(0.02)
FLOW = Wells(0.03, centres=(-1.8, 1.3), scales=(0.5, 0.35))
LOG_Z = 7.3


def end(x: np.ndarray, flow: Wells = FLOW) -> End:
    """u = -log p - log Z, so that exp(-u) has the partition function Z."""
    return End(-TARGET.log_density(x) - LOG_Z + flow.log_density(x), x > 0)


@pytest.mark.parametrize(("n", "m"), [(2000, 2000), (3000, 300), (40, 5000)])
def test_it_is_pymbars(n: int, m: int) -> None:
    rng = np.random.default_rng(0)
    forward, reverse = end(FLOW.draw(n, rng)).work_kt, end(TARGET.draw(m, rng)).work_kt
    expected = bar(forward, -reverse, compute_uncertainty=False)["Delta_f"]
    assert bennett(forward, reverse) == pytest.approx(expected, abs=1e-8)
    assert expected == pytest.approx(-LOG_Z, abs=0.3)


def test_counts_are_repeats() -> None:
    rng = np.random.default_rng(1)
    forward, reverse = end(FLOW.draw(300, rng)).work_kt, end(TARGET.draw(200, rng)).work_kt
    n, m = rng.integers(0, 4, 300), rng.integers(0, 4, 200)
    expected = bar(np.repeat(forward, n), -np.repeat(reverse, m), compute_uncertainty=False)
    counted = bennett(forward, reverse, n.astype(float), m.astype(float))
    assert counted == pytest.approx(expected["Delta_f"], abs=1e-8)


def test_gaussian_work() -> None:
    """Forward N(D + s²/2, s²) and reverse N(D - s²/2, s²) obey Crooks' relation for D."""
    rng = np.random.default_rng(2)
    forward, reverse = rng.normal(3 + 2, 2, 50_000), rng.normal(3 - 2, 2, 20_000)
    assert bennett(forward, reverse) == pytest.approx(3, abs=0.05)


def test_it_holds_where_the_work_is_wild() -> None:
    """Clashes of 1e6 kT, and works that do not overlap: an answer between them, and no error."""
    assert bennett(np.array([1e6, 2.0, 2.0]), np.array([2.0])) == pytest.approx(
        bar(np.array([1e6, 2.0, 2.0]), -np.array([2.0]), compute_uncertainty=False)["Delta_f"]
    )
    assert 5 < bennett(np.full(10, 90.0), np.full(10, 5.0)) < 90
    with pytest.raises(ValueError, match="both ends"):
        bennett(np.ones(3), np.ones(0))


def test_wells_of_known_depth() -> None:
    """MD that never crosses, half of its frames in each well, gives the same answer."""
    rng = np.random.default_rng(3)
    samples = end(FLOW.draw(20_000, rng))
    for md in (TARGET, TARGET._replace(share=0.5)):
        frames = end(md.draw(4000, rng))
        result = two_ended_difference(samples, frames, 100, rng, blocks=4000)
        assert result.missing is None
        assert 0 < result.error_kt < 0.1
        assert result.value_kt == pytest.approx(TARGET.free_energy(), abs=4 * result.error_kt)


def test_the_error_is_that_of_the_scatter() -> None:
    errors, values = [], []
    for seed in range(60):
        rng = np.random.default_rng(seed)
        samples, frames = end(FLOW.draw(3000, rng)), end(TARGET.draw(3000, rng))
        result = two_ended_difference(samples, frames, 30, rng, blocks=3000)
        errors.append(result.error_kt)
        values.append(result.value_kt)
    assert np.mean(values) == pytest.approx(TARGET.free_energy(), abs=4 * np.std(values) / 7.7)
    assert np.std(values) == pytest.approx(np.mean(errors), rel=0.3)


def test_both_ends_know_more_than_one() -> None:
    """A flow whose wells are far too narrow, which reweighting cannot see the edges of."""
    narrow = Wells(0.3, scales=(0.16, 0.12))
    both, one = [], []
    for seed in range(20):
        rng = np.random.default_rng(seed)
        samples = end(narrow.draw(3000, rng), narrow)
        frames = end(TARGET._replace(share=0.5).draw(1000, rng), narrow)
        both.append(two_ended_difference(samples, frames, 2, rng, blocks=1000).value_kt)
        log_weight, first = -samples.work_kt, samples.first
        one.append(free_energy_difference(first, ~first, log_weight, 2, rng).value_kt)
    error = [np.sqrt(np.mean((np.array(v) - TARGET.free_energy()) ** 2)) for v in (both, one)]
    assert error[0] < 0.15
    assert error[1] > 2 * error[0]


def test_repeated_frames_count_by_blocks() -> None:
    """Each frame a hundred times: blocks see an error that single frames do not."""
    rng = np.random.default_rng(5)
    samples = end(Wells(0.5).draw(200_000, rng), Wells(0.5))
    frames = end(np.repeat(TARGET._replace(share=0.5).draw(40, rng), 100), Wells(0.5))
    errors = [
        two_ended_difference(samples, frames, 40, rng, blocks).error_kt for blocks in (40, 4000)
    ]
    assert errors[0] > errors[1]


@pytest.mark.parametrize(
    ("samples", "frames", "missing"),
    [
        ([-1, -2], [-1, 1], "first"),
        ([-1, 1], [-1, -1], "first"),
        ([1, 1], [-1, 1], "second"),
        ([-1, 1], [1, 1], "second"),
        ([-1, 1], [], "first"),
    ],
)
def test_a_state_that_one_end_lacks(samples: list, frames: list, missing: str) -> None:
    ends = [end(np.array(x, dtype=float)) for x in (samples, frames)]
    result = two_ended_difference(*ends, 10, np.random.default_rng(6), blocks=20)
    assert np.isnan(result.value_kt)
    assert (result.error_kt, result.missing) == (np.inf, missing)


def test_a_state_seen_once_has_an_infinite_error() -> None:
    rng = np.random.default_rng(7)
    samples = end(FLOW.draw(2000, rng))
    frames = end(np.concatenate([Wells(0).draw(500, rng), [1.4]]))
    result = two_ended_difference(samples, frames, 100, rng, blocks=20)
    assert np.isfinite(result.value_kt)
    assert result.error_kt == np.inf
