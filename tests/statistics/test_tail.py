"""The shape of weights' tails, against Pareto distributions of known shape."""

from __future__ import annotations

import math

import numpy as np
import pytest

from bgp4.statistics.tail import tail_shape


@pytest.mark.parametrize("k", [0.1, 0.4, 0.7, 1.2])
def test_a_pareto_distribution_has_its_shape(k: float) -> None:
    """Weights U^-k exceed t with probability t^(-1/k)."""
    shapes = [
        tail_shape(-k * np.log(np.random.default_rng(seed).random(50_000))) for seed in range(10)
    ]
    assert np.mean(shapes) == pytest.approx(k, abs=0.06)


def test_a_scale_changes_nothing() -> None:
    log_weight = 0.5 * np.random.default_rng(0).exponential(size=5000)
    assert tail_shape(log_weight + 700) == pytest.approx(tail_shape(log_weight), abs=1e-6)


def test_no_tail() -> None:
    assert math.isnan(tail_shape(np.zeros(1000)))
    assert math.isnan(tail_shape(np.random.default_rng(0).normal(size=50)))
    assert math.isnan(tail_shape(np.full(1000, -np.inf)))


def test_rejected_samples_do_not_count() -> None:
    log_weight = np.random.default_rng(0).exponential(size=5000)
    more = np.concatenate([log_weight, np.full(3000, -np.inf)])
    assert tail_shape(more) == tail_shape(log_weight)
