"""States and their transitions."""

import pytest
import torch

from bgp4.p4 import (
    P4InvLinear,
    P4State,
    identity_state,
    matrix_state,
    merge,
    permutation_state,
    recompute,
    refine,
)
from bgp4.p4.rank_one import inverse_residual
from bgp4.p4.state import merge_in_place

I3 = torch.eye(3, dtype=torch.float64)


def assert_consistent(state: P4State, tol: float = 1e-9) -> None:
    sign, logabsdet = torch.linalg.slogdet(state.A)
    torch.testing.assert_close(state.sign, sign)
    torch.testing.assert_close(state.logabsdet, logabsdet.double(), rtol=tol, atol=tol)
    assert inverse_residual(state.A, state.A_inv) < tol


@pytest.mark.parametrize("n", [1, 2, 5, 6, 7, 8])
def test_permutations(n: int, generator: torch.Generator) -> None:
    for order in (
        range(n)[::-1],
        torch.arange(n).roll(n // 2),
        torch.randperm(n, generator=generator),
    ):
        assert_consistent(permutation_state(order, torch.float64))


def test_identity_and_matrix() -> None:
    assert_consistent(identity_state(4, torch.float64))
    assert_consistent(matrix_state(-2 * I3))
    assert matrix_state(I3.float()).logabsdet.dtype == torch.float64
    assert matrix_state(I3.float()).A.dtype == torch.float32


@pytest.mark.parametrize(
    "matrix",
    [
        torch.zeros(2, 2),
        torch.tensor([[1.0, 2.0], [2.0, 4.0]]),
        torch.full((2, 2), torch.nan),
        torch.arange(9.0).reshape(3, 3).double() + 0.1,
        torch.ones(2, 3),
    ],
)
def test_matrices_without_inverse_are_refused(matrix: torch.Tensor) -> None:
    with pytest.raises(ValueError, match="matrix: expected"):
        matrix_state(matrix)


def test_a_list_that_is_no_permutation_is_refused() -> None:
    with pytest.raises(ValueError, match="permutation"):
        permutation_state([0, 0, 2])


@pytest.mark.parametrize("with_kernel", [True, False])
@pytest.mark.parametrize("n", [1, 4, 7])
def test_merge(
    n: int, with_kernel: bool, generator: torch.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not with_kernel:
        monkeypatch.setattr("bgp4.kernels.p4.load_kernel", lambda: None)
    state = permutation_state(torch.randperm(n, generator=generator), torch.float64)
    A = state.A.clone()
    for _ in range(20):
        u, v = torch.randn(2, n, generator=generator, dtype=torch.float64)
        before, state = state, merge(state, u, v)
        torch.testing.assert_close(before.A, A)
        A += torch.outer(u, v)
        torch.testing.assert_close(state.A, A)
    assert_consistent(refine(state))


@pytest.mark.parametrize("with_kernel", [True, False])
def test_vectors_may_lie_apart_and_must_fit(
    with_kernel: bool, generator: torch.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not with_kernel:
        monkeypatch.setattr("bgp4.kernels.p4.load_kernel", lambda: None)
    u, v = torch.randn(3, 2, generator=generator, dtype=torch.float64).T
    merged = merge(matrix_state(I3), u, v)
    torch.testing.assert_close(merged.A, I3 + torch.outer(u, v))
    assert_consistent(merged)
    for wrong in ((u[:2], v[:2]), (u, v[:2]), (u[None], v)):
        with pytest.raises(RuntimeError):
            merge(matrix_state(I3), *wrong)


def test_a_graph_from_before_a_merge_is_refused_as_stale(generator: torch.Generator) -> None:
    layer = P4InvLinear(3, generator=generator)
    with torch.no_grad():
        layer.u.fill_(0.1)
    y, _ = layer(torch.ones(2, 3, requires_grad=True))
    layer.merge(generator)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        y.sum().backward()


def test_the_sign_follows_a_walk_to_minus_identity() -> None:
    state = matrix_state(I3)
    for i in range(3):
        state = merge(state, I3[i], -2 * I3[i])
        assert state.sign == (-1) ** (i + 1)
        assert_consistent(state)
    torch.testing.assert_close(state.A, -I3)


@pytest.mark.parametrize("v", [-I3[0], torch.nan * I3[0], torch.inf * I3[0]])
def test_singular_merges_are_refused(v: torch.Tensor) -> None:
    state = matrix_state(I3)
    with pytest.raises(ValueError, match="must be invertible"):
        merge_in_place(state, I3[0], v, z=v)
    torch.testing.assert_close(state.A, I3)


@pytest.mark.parametrize("order", [2, 7])
def test_refine_and_recompute(order: int) -> None:
    state = matrix_state(2 * I3 + 0.1)
    worn = state._replace(A_inv=state.A_inv + 1e-3)
    assert inverse_residual(worn.A, refine(worn, order).A_inv) < 1e-4
    lost = worn._replace(logabsdet=worn.logabsdet + 1)
    assert_consistent(recompute(lost))


def test_unknown_order_is_refused() -> None:
    with pytest.raises(ValueError, match="order"):
        refine(identity_state(2), order=3)


def test_logabsdet_of_a_large_matrix_does_not_overflow() -> None:
    n = 2000
    state = permutation_state(range(n))
    state = P4State(10 * state.A, state.A_inv / 10, state.sign, state.logabsdet + n * 2.302585093)
    assert torch.isfinite(state.logabsdet)
    assert torch.linalg.det(state.A[:400, :400]) == torch.inf
    torch.testing.assert_close(state.logabsdet, torch.linalg.slogdet(state.A.double())[1])
    u = torch.full((n,), 0.01)
    merged = merge(state, u, u)
    expected = torch.linalg.slogdet(merged.A.double())[1]
    torch.testing.assert_close(merged.logabsdet, expected, rtol=1e-6, atol=0)
