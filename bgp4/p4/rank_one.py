r"""Rank-one algebra: determinants, inverses and their repair, as pure functions.

Everything here follows from the matrix determinant lemma and the Sherman-Morrison formula,

.. math::
    \det(A + u v^T) = f \det A, \quad
    (A + u v^T)^{-1} = A^{-1} - A^{-1} u\, v^T A^{-1} / f, \quad
    f = 1 + v^T A^{-1} u,

the two identities that P4Inv is built on (Krämer, Köhler, Noé, arXiv 2010.07033). All products
are matrix-vector products, O(n^2); only :func:`merged_matrix` and :func:`merged_inverse` write
an n x n result. Batches are rows: ``x`` is ``(batch, n)`` and ``A x`` means ``x @ A.T``.
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor

from bgp4.p4.kernel import kernel_for

__all__ = [
    "Factor",
    "inverse_product",
    "inverse_residual",
    "log_abs",
    "merged_inverse",
    "merged_matrix",
    "newton_schulz",
    "probe_residual",
    "product",
    "rank_one_factor",
    "soleymani",
]


class Factor(NamedTuple):
    """The factor f = 1 + v^T A^-1 u by which the determinant changes.

    Attributes:
        w: A^-1 u, (n,), which every use of the perturbed inverse needs again.
        value: f itself, shape ().
    """

    w: Tensor
    value: Tensor

    @property
    def sign(self) -> Tensor:
        """-1, 0 or 1, shape ()."""
        return self.value.sign()

    @property
    def logabs(self) -> Tensor:
        """log|f|, shape (); -inf where the perturbed matrix is singular."""
        return self.value.abs().log()


def rank_one_factor(
    A_inv: Tensor,  # (n, n)
    u: Tensor,  # (n,)
    v: Tensor,  # (n,)
) -> Factor:
    """f = 1 + v^T A^-1 u = det(A + u v^T) / det A.

    >>> u, v = torch.tensor([1.0, 0.0]), torch.tensor([-3.0, 5.0])
    >>> rank_one_factor(torch.eye(2), u, v).value
    tensor(-2.)
    """
    w = torch.mv(A_inv, u)
    return Factor(w, torch.dot(v, w) + 1)


def log_abs(value: float) -> float:
    """log|value|, and -inf for zero, which ``math.log`` refuses."""
    return math.log(abs(value)) if value else -math.inf


def product(
    A: Tensor,  # (n, m)
    u: Tensor,  # (n,)
    v: Tensor,  # (m,)
    x: Tensor,  # (..., m)
) -> Tensor:
    """(A + u v^T) x = A x + u (v^T x), shape (..., n)."""
    return x @ A.T + (x @ v).unsqueeze(-1) * u


def inverse_product(
    A_inv: Tensor,  # (n, n)
    u: Tensor,  # (n,)
    v: Tensor,  # (n,)
    y: Tensor,  # (..., n)
) -> Tensor:
    """(A + u v^T)^-1 y = t - w (v^T t) / f with t = A^-1 y and w = A^-1 u, shape (..., n)."""
    t, f = y @ A_inv.T, rank_one_factor(A_inv, u, v)
    return t - (t @ v).unsqueeze(-1) * (f.w / f.value)


def merged_matrix(
    A: Tensor,  # (n, m)
    u: Tensor,  # (n,)
    v: Tensor,  # (m,)
    out: Tensor | None = None,  # (n, m), may be A
) -> Tensor:
    """A + u v^T."""
    return torch.addr(A, u, v) if out is None else torch.addr(A, u, v, out=out)


def merged_inverse(
    A_inv: Tensor,  # (n, n)
    factor: Factor,  # of u and v
    v: Tensor,  # (n,)
    out: Tensor | None = None,  # (n, n), may be A_inv
) -> Tensor:
    """(A + u v^T)^-1 = A^-1 - (A^-1 u / f) (A^-T v)^T, with A^-1 u and f from `factor`."""
    return merged_matrix(A_inv, factor.w / -factor.value, torch.mv(A_inv.T, v), out)


def inverse_residual(
    A: Tensor,  # (n, n)
    A_inv: Tensor,  # (n, n)
) -> Tensor:
    """The Frobenius norm ||A A_inv - I||_F, shape (), in O(n^3)."""
    return _defect(A, A_inv).norm()


def probe_residual(
    A: Tensor,  # (n, n)
    A_inv: Tensor,  # (n, n)
    z: Tensor,  # (n,), drawn from N(0, I)
) -> float:
    """||A (A_inv z) - z||, in O(n^2).

    Its square is an unbiased estimate of :func:`inverse_residual` squared.
    """
    if kernel := kernel_for(A):
        return float(kernel.probe(A.contiguous(), A_inv.contiguous(), z))
    return torch.linalg.vector_norm(torch.mv(A, torch.mv(A_inv, z)) - z).item()


def newton_schulz(
    A: Tensor,  # (n, n)
    X: Tensor,  # (n, n), nearly A^-1
) -> Tensor:
    """One Newton-Schulz step, X (2 I - A X) = X (I + R) with R = I - A X.

    The new residual is R^2; it converges where the spectral radius of R is below 1.
    """
    return torch.addmm(X, X, _defect(A, X), alpha=-1)


def soleymani(
    A: Tensor,  # (n, n)
    X: Tensor,  # (n, n), nearly A^-1
) -> Tensor:
    r"""One step of Soleymani's seventh-order iteration.

    The published form (F. Soleymani, Int. J. Math. Math. Sci. 2012, 134653) is, with S = A X,

    .. math:: \tfrac{1}{16} X (120 - 393 S + 735 S^2 - 861 S^3 + 651 S^4 - 315 S^5 + 93 S^6
              - 15 S^7 + S^8).

    Its coefficients cancel to 1 near S = I, which loses three digits. Written in R = I - S it is

    .. math:: X (I + R + R^2 + R^3 + R^4 + R^5 + R^6 + R^7 (7 + R) / 16),

    the same polynomial without cancellation; the new residual is R^7 (3 + R)^2 / 16.
    Six matrix products, by powers up to R^4.
    """
    R = -_defect(A, X)
    R2 = R @ R
    R3, R4 = R2 @ R, R2 @ R2
    head = R + R2 + R3
    tail = R + R2 + R3 * (7 / 16) + R4 / 16
    tail.diagonal().add_(1)
    return torch.addmm(X, X, torch.addmm(head, R4, tail))


def _defect(A: Tensor, X: Tensor) -> Tensor:
    S = A @ X
    S.diagonal().sub_(1)
    return S
