"""What the guard takes for divergence, and what not."""

from __future__ import annotations

import math

import numpy as np
import pytest

from bgp4.training.guard import EMPTY_STEPS, UNSETTLED_STEPS, Guard


def after(norms) -> Guard:
    guard = Guard()
    for norm in norms:
        guard.add(float(norm))
    return guard


def test_gradients_that_shrink_or_scatter_are_well() -> None:
    scatter = np.exp(np.random.default_rng(0).normal(0, 1, 1000))
    for norms in (np.geomspace(1e3, 1e-1, 1000), 20 * scatter, np.full(5, 1e9)):
        guard = after(norms)
        assert guard.healthy
        assert not guard.diverged


@pytest.mark.parametrize(("times", "healthy", "diverged"), [(3, 1, 0), (10, 0, 0), (50, 0, 1)])
def test_gradients_that_grow_and_stay_so(times: float, healthy: bool, diverged: bool) -> None:
    guard = after([20.0] * 100 + [20.0 * times] * 100)
    assert guard.growth == pytest.approx(math.log(times), rel=0.01)
    assert (guard.healthy, guard.diverged) == (healthy, diverged)


def test_one_large_gradient_is_no_divergence() -> None:
    assert not after([20.0] * 100 + [1e9]).diverged


@pytest.mark.parametrize("norm", [math.nan, math.inf, 0.0])
def test_steps_without_a_gradient(norm: float) -> None:
    assert not after([1.0, norm]).healthy
    assert after([1.0] + [norm] * (EMPTY_STEPS - 1) + [1.0]).healthy
    assert after([1.0] + [norm] * EMPTY_STEPS).diverged


def test_an_earlier_model_is_judged_by_what_gradients_can_be() -> None:
    """Though soon after, it need not be well."""
    guard = after([20.0] * 100 + [2000.0] * 100)
    guard.go_back()
    guard.add(2000.0)
    assert not guard.healthy
    assert not guard.diverged, "too early to tell"
    for _ in range(UNSETTLED_STEPS):
        guard.add(2000.0)
    assert guard.diverged
    guard.go_back()
    guard.add(20.0)
    assert guard.healthy


def test_what_it_says() -> None:
    assert str(after([20.0] * 100 + [2000.0] * 400)) == "its gradient is 100 times what it was"
    assert str(after([math.nan] * 10)) == "no gradient in 10 steps"


def test_steps_are_as_long_as_what_there_is_to_go_by() -> None:
    """By the root of the mean ESS of the last batches, within bounds."""
    guard = Guard()
    assert guard.step_length(0.1) == 1
    guard.add(1.0)
    assert guard.step_length(0.1) == 1, "likelihood has no weights"
    for ess, expected in ((0.5, 1.0), (0.1, 1.0), (0.025, 0.5), (1e-6, 0.1)):
        guard = Guard()
        for _ in range(50):
            guard.add(1.0, ess)
        assert guard.step_length(0.1) == pytest.approx(expected)
    for _ in range(200):
        guard.add(1.0, 0.025)
    assert guard.step_length(0.1) == pytest.approx(0.5, rel=0.01), "it forgets"
    guard.go_back()
    guard.add(1.0, 0.05)
    assert guard.step_length(0.1) == pytest.approx(0.5**0.5)
    assert guard.step_length(0.0) == 1
