"""Matrices trained towards a target, against what gradient descent must do."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.integrate import solve_ivp

from bgp4.studies.paper.linear_maps import (
    METHODS,
    LinearFit,
    ScaledLayer,
    Trace,
    fit_all,
    fit_linear,
    median_iterations,
    positive_definite,
    rivals,
    rotation,
)

N = 6
FIT = LinearFit(
    iterations=4_000,
    learning_rate=1e-2,
    batch=32,
    tolerance=1e-6,
    records=20,
    precision="float64",
)


def test_targets() -> None:
    T = rotation(N, 0)
    torch.testing.assert_close(T @ T.T, torch.eye(N).double())
    assert torch.linalg.det(T).item() == pytest.approx(1)
    P = positive_definite(N, 9.0, 0)
    torch.testing.assert_close(P, P.T)
    values = torch.linalg.eigvalsh(P)
    assert values.min() >= 1 / 3
    assert values.max() <= 3


def test_the_matrix_itself_decays_as_gradient_descent_does() -> None:
    """d|A - T| / dt = -|A - T| on average over x ~ N(0, I)."""
    fit = replace(FIT, method="direct", iterations=200, batch=2048, tolerance=0.0)
    trace = fit_linear(rotation(N, 0), fit, seed=0)
    expected = trace.loss[0] * (1 - fit.learning_rate) ** (2 * trace.iteration)
    np.testing.assert_allclose(trace.loss, expected, rtol=0.02)


@pytest.mark.parametrize("rate", [1e2, 1e30])
def test_a_fit_that_diverges_ends(rate: float) -> None:
    for method in ("direct", "p4inv_inverse"):
        fit = replace(FIT, method=method, learning_rate=rate, precision="float32")
        trace = fit_linear(rotation(N, 0), fit, seed=0)
        assert not trace.converged
        assert trace.eigenvalues.shape == (len(trace.iteration), N)


@pytest.mark.parametrize("method", METHODS)
def test_every_method_reaches_a_positive_definite_target(method: str) -> None:
    T = positive_definite(N, 2.0, 0)
    trace = fit_linear(T, replace(FIT, method=method), seed=0)
    assert trace.converged
    assert trace.finished == trace.iteration[-1]
    goal = np.sort(torch.linalg.eigvalsh(T).numpy())
    np.testing.assert_allclose(np.sort(trace.eigenvalues[-1].real), goal, atol=5e-3)
    np.testing.assert_allclose(trace.logabsdet, trace.true_logabsdet, atol=1e-9)
    np.testing.assert_array_equal(trace.sign, trace.true_sign)


def test_in_units_of_A_the_inverse_changes_by_a_gradient_step(generator: torch.Generator) -> None:
    """By -lr G c c^T, G the gradient of the loss by the inverse, v = A^T c."""
    layer = ScaledLayer(N, generator, torch.double)
    layer.u.data = torch.randn(N, generator=generator, dtype=torch.double)
    layer.merge(generator)
    W, c = layer.A_inv.clone(), torch.linalg.solve(layer.A.T, layer.v.detach())
    x = torch.randn(7, N, generator=generator, dtype=torch.double)
    layer.inverse(x)[0].square().sum().backward()
    G = 2 * W @ x.T @ x
    rate = 1e-8
    torch.optim.SGD(layer.parameters(), rate).step()
    change = (layer.weight_inverse() - W) / rate
    torch.testing.assert_close(change, -G @ torch.outer(c, c), rtol=1e-4, atol=1e-4)


def test_through_the_inverse_a_rotation_takes_far_longer() -> None:
    """Unless perturbations are in units of A; the target turns two planes by 30 and 150 degrees."""
    angles = torch.tensor([30.0, 150.0]).deg2rad()
    T = torch.block_diag(
        *torch.stack([angles.cos(), -angles.sin(), angles.sin(), angles.cos()], 1).view(2, 2, 2)
    )
    fit = replace(FIT, learning_rate=2e-3, iterations=2_500, tolerance=1e-2)
    iterations = {
        method: fit_linear(T, replace(fit, method=method), seed=0).finished
        for method in ("p4inv", "p4inv_inverse", "p4inv_inverse_scaled")
    }
    assert iterations["p4inv_inverse"] == fit.iterations
    assert iterations["p4inv_inverse_scaled"] < 1.2 * iterations["p4inv"] < fit.iterations


def test_only_the_exponential_and_the_penalty_can_not_reach_a_negative_determinant() -> None:
    T = -torch.eye(3).double()
    fit = replace(FIT, method="p4inv", iterations=2_000, tolerance=1e-4)
    through = fit_linear(T, fit, seed=0)
    assert through.converged
    assert through.sign[-1] == through.true_sign[-1] == -1
    for blocked in (replace(fit, method="expm"), replace(fit, penalty=0.1)):
        trace = fit_linear(T, blocked, seed=0)
        assert not trace.converged
        assert trace.true_sign[-1] == 1


def test_both_rivals_take_the_same_path_and_stop_short_of_a_negative_determinant() -> None:
    """Towards -I both go from 1 by da / dt = -(a + 1) a^2, t steps times learning rate."""
    fit = replace(FIT, iterations=2_000, learning_rate=2e-3, batch=512, tolerance=0.0)
    for name, rival in rivals(fit).items():
        trace = fit_linear(-torch.eye(3).double(), rival, seed=0)
        assert len(trace.loss) > 10, name
        t = trace.iteration * fit.learning_rate
        path = solve_ivp(lambda t, a: -(a + 1) * a**2, (0, t[-1]), [1.0], t_eval=t, rtol=1e-8)
        np.testing.assert_allclose(trace.loss, (path.y[0] + 1) ** 2, rtol=0.01)
        assert trace.true_sign[-1] == 1


def test_fit_all_repeats_itself() -> None:
    fits = {"P4Inv": replace(FIT, iterations=200)}
    targets = {seed: rotation(N, seed) for seed in (0, 1)}
    one, two = (fit_all(targets, fits, lambda done, note: None)["P4Inv"] for _ in range(2))
    for a, b in zip(one, two, strict=True):
        np.testing.assert_array_equal(a.loss, b.loss)
    assert not np.array_equal(one[0].loss, one[1].loss)


def test_median_iterations_counts_what_did_not_converge_as_infinite() -> None:
    def trace(finished: int, converged: bool) -> Trace:
        empty = np.empty(0)
        return Trace(*[empty] * 8, finished, converged, 0, 0)

    assert median_iterations([trace(10, True), trace(30, True), trace(99, False)]) == 30
    assert median_iterations([trace(10, True), trace(99, False), trace(99, False)]) == np.inf
