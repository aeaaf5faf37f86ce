"""The algebra against dense linear algebra."""

import statistics

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from bgp4.p4 import rank_one


def problem(n: int, seed: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    draw = torch.randn(n + 2, n, generator=generator, dtype=torch.float64)
    A = draw[:n] + 3 * n**0.5 * torch.eye(n, dtype=torch.float64)
    return A, A.inverse(), draw[n], draw[n + 1]


@settings(max_examples=50)
@given(n=st.integers(1, 12), seed=st.integers(0, 10**6), batch=st.integers(0, 4))
def test_products_and_determinant(n: int, seed: int, batch: int) -> None:
    A, A_inv, u, v = problem(n, seed)
    B = A + torch.outer(u, v)
    x = torch.randn(batch, n, dtype=torch.float64)
    factor = rank_one.rank_one_factor(A_inv, u, v)
    torch.testing.assert_close(factor.value, B.det() / A.det(), rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(rank_one.product(A, u, v, x), x @ B.T)
    torch.testing.assert_close(rank_one.merged_matrix(A, u, v), B)
    if factor.value.abs() > 1e-3:
        inverse = B.inverse()
        torch.testing.assert_close(rank_one.inverse_product(A_inv, u, v, x), x @ inverse.T)
        known = rank_one.perturbation(A_inv, u, v)
        torch.testing.assert_close(rank_one.merged_inverse(A_inv, *known), inverse)


def test_factor_of_a_singular_update() -> None:
    u = torch.tensor([1.0, 0.0, 0.0])
    factor = rank_one.rank_one_factor(torch.eye(3), u, -u)
    assert factor.sign == 0
    assert factor.logabs == -torch.inf


def test_soleymani_is_the_published_polynomial() -> None:
    A, A_inv, _, _ = problem(6, 1)
    X = A_inv + 0.02 * torch.randn(6, 6, dtype=torch.float64)
    S, power = A @ X, torch.eye(6, dtype=torch.float64)
    published = torch.zeros_like(S)
    for coefficient in (120, -393, 735, -861, 651, -315, 93, -15, 1):
        published, power = published + coefficient / 16 * power, power @ S
    torch.testing.assert_close(rank_one.soleymani(A, X), X @ published, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize(
    ("refine", "order"), [(rank_one.newton_schulz, 2), (rank_one.soleymani, 7)]
)
@pytest.mark.parametrize("error", [0.3, 0.05])
def test_order_of_convergence(refine, order: int, error: float) -> None:
    """A scalar error e becomes e^2, or e^7 (3 + e)^2 / 16."""
    A = torch.tensor([[2.0]], dtype=torch.float64)
    X = torch.tensor([[(1 - error) / 2]], dtype=torch.float64)
    expected = error**2 if order == 2 else error**7 * (3 + error) ** 2 / 16
    assert rank_one.inverse_residual(A, refine(A, X)).item() == pytest.approx(expected, abs=1e-15)


def test_probe_estimates_the_frobenius_norm() -> None:
    A, A_inv, _, _ = problem(8, 3)
    X = A_inv + 1e-3 * torch.randn(8, 8, dtype=torch.float64)
    z = torch.randn(4000, 8, dtype=torch.float64)
    squares = [rank_one.probe_residual(A, X, row) ** 2 for row in z]
    expected = rank_one.inverse_residual(A, X).item()
    assert statistics.fmean(squares) ** 0.5 == pytest.approx(expected, rel=0.1)
