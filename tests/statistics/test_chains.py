"""Worth of correlated states, against AR(1) processes whose autocorrelation is known."""

import numpy as np
import pytest

from bgp4.statistics.chains import effective_draws, split_r_hat


def autoregressive(chains: int, n: int, rho: float) -> np.ndarray:
    """x of N(0, 1) with correlation rho^t after t states."""
    rng = np.random.default_rng(0)
    x = np.empty((chains, n))
    x[:, 0] = rng.normal(size=chains)
    for t in range(1, n):
        x[:, t] = rho * x[:, t - 1] + np.sqrt(1 - rho**2) * rng.normal(size=chains)
    return x


@pytest.mark.parametrize("rho", [0.0, 0.5, 0.8])
def test_effective_draws_of_an_autoregressive_process(rho: float) -> None:
    x = autoregressive(64, 500, rho)
    assert effective_draws(x) == pytest.approx(x.size * (1 - rho) / (1 + rho), rel=0.35)
    assert split_r_hat(x) == pytest.approx(1, abs=0.02)


def test_chains_that_never_meet() -> None:
    apart = autoregressive(10, 200, 0.0) + 10 * np.arange(10)[:, None]
    assert split_r_hat(apart) > 10
    assert effective_draws(apart) < 12, "one for each chain"
    stuck = np.repeat([[0.0], [1.0]], 50, axis=1)
    assert split_r_hat(stuck) == np.inf


def test_a_drift_shows() -> None:
    assert split_r_hat(autoregressive(4, 400, 0.0) + np.linspace(0, 5, 400)) > 1.3


def test_what_never_changes() -> None:
    constant = np.ones((4, 100))
    assert split_r_hat(constant) == 1
    assert effective_draws(constant) == 1
