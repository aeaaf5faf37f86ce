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

from bgp4.kernels.p4 import kernel_for

__all__ = [
    "Factor",
    "Perturbation",
    "inverse_product",
    "inverse_residual",
    "matmul",
    "merged_inverse",
    "merged_matrix",
    "newton_schulz",
    "perturbation",
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


class Perturbation(NamedTuple):
    """What a merge of u v^T needs to know of it.

    Attributes:
        w: A^-1 u, (n,).
        q: A^-T v, (n,).
        f: 1 + v^T A^-1 u.
    """

    w: Tensor
    q: Tensor
    f: float

    @property
    def logabs(self) -> float:
        """log|f|, -inf for f = 0, which ``math.log`` refuses."""
        return math.log(abs(self.f)) if self.f else -math.inf


@torch.no_grad()
def perturbation(
    A_inv: Tensor,  # (n, n)
    u: Tensor,  # (n,)
    v: Tensor,  # (n,)
) -> Perturbation:
    """w, q and f of u v^T, in one pass over A_inv on a CPU."""
    if kernel := kernel_for(A_inv, u):
        return Perturbation(*kernel.perturbation(A_inv.contiguous(), u, v))
    w, q = torch.mv(A_inv, u), torch.mv(A_inv.T, v)
    return Perturbation(w, q, 1 + torch.dot(v, w).item())


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
    w: Tensor,  # (n,), A_inv u
    q: Tensor,  # (n,), A_inv^T v
    f: Tensor | float,  # 1 + v^T w
    out: Tensor | None = None,  # (n, n), may be A_inv
) -> Tensor:
    """(A + u v^T)^-1 = A^-1 - (w / f) q^T."""
    return merged_matrix(A_inv, w / -f, q, out)


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
    return torch.linalg.vector_norm(torch.mv(A, torch.mv(A_inv, z)) - z).item()


def matmul(a: Tensor, b: Tensor) -> Tensor:
    """A B, on a CPU by the faster of torch's libraries; without gradients."""
    kernel = kernel_for(a, b)
    return kernel.matmul(a, b) if kernel else a @ b


def newton_schulz(
    A: Tensor,  # (n, n)
    X: Tensor,  # (n, n), nearly A^-1
) -> Tensor:
    """One Newton-Schulz step, X (2 I - A X) = X (I + R) with R = I - A X.

    The new residual is R^2; it converges where the spectral radius of R is below 1.
    """
    return X - matmul(X, _defect(A, X))


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
    R2 = matmul(R, R)
    R3, R4 = matmul(R2, R), matmul(R2, R2)
    head = R + R2 + R3
    tail = R + R2 + R3 * (7 / 16) + R4 / 16
    tail.diagonal().add_(1)
    return X + matmul(X, head + matmul(R4, tail))


def _defect(A: Tensor, X: Tensor) -> Tensor:
    S = matmul(A, X)
    S.diagonal().sub_(1)
    return S
