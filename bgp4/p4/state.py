"""The state of a P4Inv layer: a matrix, its inverse and its determinant, kept together.

States change by explicit transitions only: ``state = merge(state, u, v)``,
``state = refine(state)``, ``state = recompute(state)``. Determinants are kept as a sign and a
logarithm, which neither over- nor underflows however large the matrix is.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from bgp4.kernels.p4 import kernel_for
from bgp4.p4.rank_one import (
    Perturbation,
    inverse_residual,
    merged_inverse,
    merged_matrix,
    newton_schulz,
    perturbation,
    probe_residual,
    soleymani,
)

__all__ = [
    "P4State",
    "SingularMatrixError",
    "identity_state",
    "matrix_state",
    "merge",
    "merge_in_place",
    "permutation_state",
    "recompute",
    "refine",
]


class SingularMatrixError(ValueError):
    """A matrix has no useful inverse."""


class P4State(NamedTuple):
    """An invertible matrix and what is known about it.

    Attributes:
        A: the matrix, (n, n).
        A_inv: its inverse, (n, n).
        sign: the sign of det A, -1 or 1, shape ().
        logabsdet: log|det A|, shape (), float64 whatever the dtype of A, because it is a sum
            over thousands of merges.
    """

    A: Tensor
    A_inv: Tensor
    sign: Tensor
    logabsdet: Tensor

    @property
    def features(self) -> int:
        return self.A.shape[0]


def merge(
    state: P4State,
    u: Tensor,  # (n,)
    v: Tensor,  # (n,)
) -> P4State:
    """The state of A + u v^T.

    Raises:
        ValueError: A + u v^T is singular, or not finite.

    >>> state = merge(identity_state(3), torch.tensor([1.0, 0, 0]), torch.tensor([-2.0, 0, 0]))
    >>> state.sign, state.logabsdet
    (tensor(-1.), tensor(0., dtype=torch.float64))
    """
    merged = P4State(*(t.clone(memory_format=torch.contiguous_format) for t in state))
    merge_in_place(merged, u, v, z=v)
    return merged


def merge_in_place(
    state: P4State,
    u: Tensor,  # (n,)
    v: Tensor,  # (n,)
    z: Tensor,  # (n,)
    known: Perturbation | None = None,
) -> float:
    """:func:`merge`, written into the tensors of `state`, all of them contiguous.

    Args:
        z: Where the new inverse is probed; may be v.
        known: ``perturbation(state.A_inv, u, v)`` where it is known already.

    Returns:
        ``probe_residual(state.A, state.A_inv, z)`` after the merge.

    Raises:
        ValueError: A + u v^T is singular, or not finite; nothing has changed then.
    """
    known = perturbation(state.A_inv, u, v) if known is None else known
    if known.f == 0 or not math.isfinite(known.f):
        raise ValueError(f"merge: A + u v^T must be invertible, but its factor is {known.f:g}")
    if kernel := kernel_for(state.A):
        return float(kernel.merge(*state, u, v, z, *known))
    merged_inverse(state.A_inv, *known, out=state.A_inv)
    merged_matrix(state.A, u, v, out=state.A)
    state.sign.mul_(math.copysign(1, known.f))
    state.logabsdet.add_(known.logabs)
    return probe_residual(state.A, state.A_inv, z)


def refine(
    state: P4State,
    order: int = 7,
) -> P4State:
    """Repairs A_inv by one iteration of order 2 (Newton-Schulz) or 7 (Soleymani)."""
    if order not in _REFINEMENTS:
        raise ValueError(f"refine: order must be one of {sorted(_REFINEMENTS)}, got {order}")
    return state._replace(A_inv=_REFINEMENTS[order](state.A, state.A_inv))


def recompute(state: P4State) -> P4State:
    """Inverse and determinant from scratch, in float64, O(n^3)."""
    return matrix_state(state.A)


def identity_state(
    features: int,
    dtype: torch.dtype | None = None,
    device: torch.device | None = None,
) -> P4State:
    """A = I."""
    return permutation_state(range(features), dtype, device)


def permutation_state(
    permutation: Sequence[int] | Tensor,
    dtype: torch.dtype | None = None,
    device: torch.device | None = None,
) -> P4State:
    """A permutation matrix, (A x)_i = x_permutation[i]; its inverse is its transpose.

    >>> permutation_state([2, 1, 0]).A @ torch.tensor([10.0, 20.0, 30.0])
    tensor([30., 20., 10.])

    The reversal is ``range(n)[::-1]``, the half-swap ``torch.arange(n).roll(n // 2)``, and a
    random one ``torch.randperm(n, generator=generator)``.
    """
    order = [int(i) for i in permutation]
    if sorted(order) != list(range(len(order))):
        raise ValueError(f"permutation: expected each of 0..{len(order) - 1} once, got {order}")
    A = torch.eye(len(order), dtype=dtype, device=device)[order]
    zero = torch.zeros((), dtype=torch.float64, device=device)
    return P4State(A, A.T.contiguous(), A.new_tensor(_parity(order)), zero)


def matrix_state(matrix: Tensor) -> P4State:
    """Any invertible matrix, (n, n); inverse and determinant are computed in float64.

    Raises:
        SingularMatrixError: `matrix` is not finite, or singular.
        ValueError: It is not square.
    """
    if matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1]:
        raise ValueError(f"matrix: expected a square matrix, got shape {tuple(matrix.shape)}")
    A = matrix.detach().double()
    sign, logabsdet = torch.linalg.slogdet(A)
    A_inv = torch.linalg.inv_ex(A).inverse
    if not inverse_residual(A, A_inv) < _SINGULAR:
        raise SingularMatrixError(
            "matrix: expected an invertible matrix, but it is singular or not finite"
        )
    return P4State(matrix.detach().clone(), A_inv.to(matrix), sign.to(matrix), logabsdet)


def _parity(order: list[int]) -> float:
    """+1 for an even permutation, -1 for an odd one, from the number of its cycles."""
    seen = [False] * len(order)
    cycles = 0
    for start in range(len(order)):
        cycles += not seen[start]
        while not seen[start]:
            seen[start] = True
            start = order[start]
    return 1.0 if (len(order) - cycles) % 2 == 0 else -1.0


_SINGULAR = 1e-3  # ||A A^-1 - I||_F in float64 beyond which A has no useful inverse
_REFINEMENTS = {2: newton_schulz, 7: soleymani}
