"""Weights, effective sample sizes and free energies against Gaussians with known answers."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.stats import norm

from bgp4.statistics.weights import (
    bootstrap,
    bootstrap_error,
    clip_log_weights,
    effective_sample_size,
    effective_sample_size_clipped,
    effective_sample_size_growth,
    free_energy_difference,
    normalised_weights,
    resampling_counts,
    weighted_mean,
)

N = 200_000
LOG_WEIGHTS = arrays(np.float64, st.integers(2, 50), elements=st.floats(-50, 50))


def gaussian_samples(scale: float, shift: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
    """Samples x of N(0, scale^2) and log-weights to N(shift, 1)."""
    x = np.random.default_rng(0).normal(0.0, scale, N)
    return x, norm.logpdf(x, shift, 1.0) - norm.logpdf(x, 0.0, scale)


@pytest.mark.parametrize("scale", [0.9, 1.0, 1.5, 3.0])
def test_ess_of_gaussians(scale: float) -> None:
    """1 / E_q[w^2] = sqrt(2 s^2 - 1) / s^2 for p = N(0, 1), q = N(0, s^2)."""
    _, log_weight = gaussian_samples(scale)
    exact = np.sqrt(2 * scale**2 - 1) / scale**2
    assert effective_sample_size(log_weight) == pytest.approx(exact, rel=0.02)
    assert effective_sample_size_clipped(log_weight) == pytest.approx(exact, rel=0.02)


def test_weighted_mean_of_gaussians() -> None:
    x, log_weight = gaussian_samples(1.5, shift=0.4)
    assert weighted_mean(x, log_weight) == pytest.approx(0.4, abs=0.01)
    assert weighted_mean(np.stack([x, x**2], axis=1), log_weight) == pytest.approx(
        [0.4, 1.16], abs=0.02
    )


def test_free_energy_of_a_gaussian_and_its_error() -> None:
    """-ln(P(x > 0) / P(x < 0)) of N(0.5, 1), and the delta-method error of direct counting."""
    exact = -norm.logsf(-0.5) + norm.logcdf(-0.5)
    x, log_weight = gaussian_samples(1.5, shift=0.5)
    rng = np.random.default_rng(1)
    weighted = free_energy_difference(x > 0, x < 0, log_weight, 200, rng)
    assert weighted.value_kt == pytest.approx(exact, abs=4 * weighted.error_kt)

    direct = np.random.default_rng(2).normal(0.5, 1.0, 20_000)
    counted = free_energy_difference(direct > 0, direct < 0, np.zeros(20_000), 400, rng)
    p = norm.sf(-0.5)
    assert counted.error_kt == pytest.approx(1 / np.sqrt(20_000 * p * (1 - p)), rel=0.15)
    assert counted.value_kt == pytest.approx(exact, abs=4 * counted.error_kt)
    assert counted.missing is None


def test_block_bootstrap_sees_correlation() -> None:
    """Every value repeated 100 times: the error is that of the values, ten times the naive one."""
    values = np.repeat(np.random.default_rng(3).normal(size=400), 100)
    rng = np.random.default_rng(4)

    def error(blocks: int | None) -> float:
        mean = bootstrap(
            lambda w: w @ values / w.sum(), np.ones(len(values)), 300, rng, blocks=blocks
        )
        return float(bootstrap_error(mean))

    assert error(blocks=40) == pytest.approx(1 / np.sqrt(400), rel=0.3)
    assert error(blocks=None) == pytest.approx(0.1 / np.sqrt(400), rel=0.3)


def test_bootstrap_is_seeded_and_blocks_stay_whole() -> None:
    counts = [resampling_counts(103, np.random.default_rng(5), blocks=10) for _ in range(2)]
    assert np.array_equal(*counts)
    assert np.count_nonzero(np.diff(counts[0])) <= 9
    assert resampling_counts(50, np.random.default_rng(6)).sum() == 50


@given(LOG_WEIGHTS, st.floats(-1e5, 1e5))
def test_constant_shift_changes_nothing(log_weight: np.ndarray, shift: float) -> None:
    np.testing.assert_allclose(
        normalised_weights(log_weight + shift), normalised_weights(log_weight), rtol=1e-8
    )
    assert effective_sample_size(log_weight + shift) == pytest.approx(
        effective_sample_size(log_weight)
    )


@given(LOG_WEIGHTS)
def test_bounds(log_weight: np.ndarray) -> None:
    raw, clipped = effective_sample_size(log_weight), effective_sample_size_clipped(log_weight)
    assert 1 / len(log_weight) - 1e-12 <= raw <= 1 + 1e-12
    assert raw <= clipped + 1e-9
    assert normalised_weights(log_weight).sum() == pytest.approx(1.0)


def test_clipping_lowers_the_largest_to_the_smallest_of_the_top() -> None:
    log_weight = np.arange(50_000.0)
    clipped = clip_log_weights(log_weight, fraction=1e-4)
    assert clipped.max() == 49_995
    assert np.count_nonzero(clipped == 49_995) == 5
    assert np.array_equal(clipped[:49_995], log_weight[:49_995])
    assert clip_log_weights([0.0, 7.0], fraction=1e-4).tolist() == [0.0, 0.0]


def test_weight_zero_and_enormous_weights() -> None:
    weight = normalised_weights([1e300, -np.inf, 1e300, -1e300])
    assert weight.tolist() == [0.5, 0.0, 0.5, 0.0]
    assert effective_sample_size([-1e6, -np.inf]) == 0.5
    assert weighted_mean([np.nan, 3.0], [-np.inf, -1e6]) == 3.0
    assert effective_sample_size_clipped([0.0, -np.inf]) == 0.5


@pytest.mark.parametrize(
    ("log_weight", "message"),
    [
        ([-np.inf, -np.inf], "all 2 samples have weight zero"),
        ([0.0, np.nan], "nan at sample 1"),
        ([np.inf, 0.0], "inf at sample 0"),
        ([], "n > 0"),
        ([[0.0]], r"\(1, 1\)"),
    ],
)
def test_refusals(log_weight: list, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        normalised_weights(log_weight)


def test_absent_state_is_infinite_and_named() -> None:
    rng = np.random.default_rng(7)
    x = np.array([-1.0, -2.0, 1.0])
    for weights, value, missing in [
        ([0.0, 0.0, -np.inf], np.inf, "first"),
        ([-np.inf, -np.inf, 0.0], -np.inf, "second"),
    ]:
        result = free_energy_difference(x > 0, x < 0, weights, 10, rng)
        assert (result.value_kt, result.error_kt, result.missing) == (value, np.inf, missing)
    with pytest.raises(ValueError, match="neither state"):
        free_energy_difference(x > 5, x < -5, np.zeros(3), 10, rng)


def test_rare_state_does_not_underflow() -> None:
    log_weight = np.array([0.0] * 50 + [-2000.0] * 50)
    first = np.arange(100) >= 50
    result = free_energy_difference(first, ~first, log_weight, 100, np.random.default_rng(8))
    assert result.value_kt == pytest.approx(2000.0)
    assert result.error_kt == pytest.approx(0.2, rel=0.3)


def test_state_seen_once_has_an_infinite_error() -> None:
    first = np.arange(1000) == 0
    result = free_energy_difference(first, ~first, np.zeros(1000), 500, np.random.default_rng(9))
    assert result.value_kt == pytest.approx(np.log(999))
    assert result.error_kt == np.inf


def test_ess_growth() -> None:
    growth = effective_sample_size_growth([-np.inf, 0.0, 0.0, 0.0], [1, 2, 4])
    assert growth.tolist() == [0.0, 0.5, 0.75]
