"""Distances between distributions against scipy, and profiles of a known density."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.spatial.distance import jensenshannon
from scipy.stats import entropy, vonmises

from bgp4.statistics.distributions import (
    bin_centres,
    free_energy_profile,
    free_energy_profile_error,
    histogram,
    js_divergence,
    kl_divergence,
    ramachandran_histogram,
    sampling_total_variation,
    total_variation,
)

COUNTS = arrays(np.float64, (4, 4), elements=st.integers(0, 50)).filter(np.any)


@given(COUNTS, COUNTS)
def test_distances_agree_with_scipy(one: np.ndarray, other: np.ndarray) -> None:
    p, q = one / one.sum(), other / other.sum()
    assert js_divergence(p, q) == pytest.approx(jensenshannon(p.ravel(), q.ravel()) ** 2, abs=1e-9)
    padded = entropy((p + 1e-6).ravel(), (q + 1e-6).ravel())
    assert kl_divergence(p, q) == pytest.approx(padded, abs=1e-9)
    assert 0 <= total_variation(p, q) <= 1 + 1e-12
    assert total_variation(p, q) == pytest.approx(np.maximum(p - q, 0).sum(), abs=1e-12)


def test_distances_at_the_ends() -> None:
    p, q = np.array([1.0, 0.0]), np.array([0.0, 1.0])
    assert total_variation(p, q) == 1.0
    assert js_divergence(p, q) == pytest.approx(np.log(2))
    assert kl_divergence(p, p) == total_variation(p, p) == js_divergence(p, p) == 0.0
    assert np.isfinite(kl_divergence(p, q))


def test_histogram_agrees_with_numpy() -> None:
    rng = np.random.default_rng(0)
    phi, psi = rng.uniform(-np.pi, np.pi, (2, 5000))
    weights = rng.random(5000)
    box = [(-np.pi, np.pi)] * 2
    expected = np.histogram2d(phi, psi, bins=32, range=box, weights=weights)[0] / weights.sum()
    np.testing.assert_allclose(ramachandran_histogram(phi, psi, 32, weights), expected, atol=1e-15)
    assert histogram(np.array([-np.pi, np.pi, 0.0]), 4).tolist() == pytest.approx(
        [2 / 3, 0, 1 / 3, 0]
    )


def test_histogram_without_weight_is_zero() -> None:
    assert not histogram(np.zeros(3), 4, np.zeros(3)).any()


def test_sampling_floor_of_a_uniform_distribution() -> None:
    """Half the expected |deviation| of each bin's count, sqrt(2 p (1 - p) / (pi n)), summed."""
    bins, n = 100, 100_000
    expected = 0.5 * bins * np.sqrt(2 / bins * (1 - 1 / bins) / (np.pi * n))
    found = sampling_total_variation(np.full(bins, 1 / bins), n, np.random.default_rng(0))
    assert found == pytest.approx(expected, rel=0.1)


def test_profile_of_a_von_mises_density() -> None:
    """-ln p = -kappa cos(phi - mu) up to a constant, and counting errors 1/sqrt(count)."""
    rng = np.random.default_rng(1)
    angles = vonmises.rvs(1.5, loc=0.5, size=100_000, random_state=rng)
    centres = bin_centres(32)
    profile = free_energy_profile(angles, 32)
    exact = -1.5 * np.cos(centres - 0.5)
    density = np.exp(-exact)
    np.testing.assert_allclose(profile, -np.log(density / density.sum()), atol=0.12)
    error = free_energy_profile_error(angles, 32, np.ones(len(angles)), 100, rng)
    counts = len(angles) * histogram(angles, 32)
    np.testing.assert_allclose(error, 1 / np.sqrt(counts), rtol=0.4)


def test_profile_of_empty_bins_is_infinite() -> None:
    profile = free_energy_profile(np.array([0.1, 0.1]), 4)
    assert profile.tolist() == [np.inf, np.inf, 0.0, np.inf]
