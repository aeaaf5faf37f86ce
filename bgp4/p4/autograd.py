r"""The two directions of P4Inv as autograd functions, with hand-written gradients.

Autograd alone would get the cost right; these get the constant right: per direction one n^2
product with the batch and one with a vector, forward and backward alike, and no n x n
intermediate. With M = A + u v^T, f = 1 + v^T w, w = A^-1 u and q = A^-T v,

.. math::
    \partial \log|f| / \partial u = q / f, \qquad \partial \log|f| / \partial v = w / f,

and for the values, with bars for gradients and sums over the batch understood,

.. math::
    y = M x + b:      \quad & \bar x = M^T \bar y, & \bar u = \bar y\,(v^T x),
                            & \bar v = x\,(u^T \bar y), \\
    x = M^{-1}(y - b):\quad & \bar y = M^{-T} \bar x, & \bar u = -\bar y\,(v^T x),
                            & \bar v = -x\,(u^T \bar y).

By Sherman-Morrison the inverse direction has both scalars from vectors that it needs anyway:
v^T x = v^T A^-1 (y - b) / f and u^T \bar y = w^T \bar x / f.

Small layers spend their time in calling kernels rather than in them. So scalars are Python's
(on a GPU that is a transfer for each), and a rank-one term is the start value or the
accumulation of a product that is computed anyway.
"""

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function

from bgp4.p4.rank_one import inverse_product, log_abs, product, rank_one_factor

__all__ = ["P4Forward", "P4Inverse"]

Gradients = tuple[Tensor | None, ...]


class P4Forward(Function):
    """y = (A + u v^T) x + b and log|det A| + log|f|."""

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,  # (batch, n)
        u: Tensor,  # (n,)
        v: Tensor,  # (n,)
        b: Tensor,  # (n,)
        A: Tensor,  # (n, n)
        A_inv: Tensor,  # (n, n)
        logabsdet: Tensor,  # (), of A
    ) -> tuple[Tensor, Tensor]:
        w, s = torch.mv(A_inv, u), torch.mv(x, v)
        f = 1 + torch.dot(v, w).item()
        y = torch.addr(b, s, u).addmm_(x, A.T)
        ctx.save_for_backward(x, u, v, b, A, A_inv)
        ctx.set_materialize_grads(False)
        ctx.kept = w, s, _reciprocal(f)
        return y, x.new_full((x.shape[0],), logabsdet.item() + log_abs(f))

    @staticmethod
    def backward(ctx: Any, gy: Tensor | None, gl: Tensor | None) -> Gradients:
        x, u, v, b, A, A_inv = ctx.saved_tensors
        if torch.is_grad_enabled():
            return _by_autograd(_plain_forward, (x, u, v, b), (A, A_inv), (gy, gl))
        w, s, per_f = ctx.kept
        gy = torch.zeros_like(x) if gy is None else gy
        weight = 0.0 if gl is None else gl.sum().item() * per_f
        # The n^2 product comes last: it drives the rest out of the cache.
        q, r = torch.mv(A_inv.T, v), torch.mv(gy, u)
        gu = torch.addmv(q, gy.T, s, beta=weight)
        gb = gy.sum(0)
        gv = torch.addmv(w, x.T, r, beta=weight)
        gx = torch.outer(r, v).addmm_(gy, A) if ctx.needs_input_grad[0] else None
        return gx, gu, gv, gb, None, None, None


class P4Inverse(Function):
    """x = (A + u v^T)^-1 (y - b) and -log|det A| - log|f|."""

    @staticmethod
    def forward(
        ctx: Any,
        y: Tensor,  # (batch, n)
        u: Tensor,  # (n,)
        v: Tensor,  # (n,)
        b: Tensor,  # (n,)
        A: Tensor,  # (n, n), not needed
        A_inv: Tensor,  # (n, n)
        logabsdet: Tensor,  # (), of A
    ) -> tuple[Tensor, Tensor]:
        w = torch.mv(A_inv, u)
        f = 1 + torch.dot(v, w).item()
        per_f = _reciprocal(f)
        t = torch.mm(y - b, A_inv.T)
        s = torch.mv(t, v)
        x = t.addr_(s, w, alpha=-per_f)
        ctx.save_for_backward(y, u, v, b, x, A_inv)
        ctx.set_materialize_grads(False)
        ctx.kept = w, s, per_f
        return x, y.new_full((y.shape[0],), -logabsdet.item() - log_abs(f))

    @staticmethod
    def backward(ctx: Any, gx: Tensor | None, gl: Tensor | None) -> Gradients:
        y, u, v, b, x, A_inv = ctx.saved_tensors
        if torch.is_grad_enabled():
            return _by_autograd(_plain_inverse, (y, u, v, b), (A_inv,), (gx, gl))
        w, s, per_f = ctx.kept
        gx = torch.zeros_like(x) if gx is None else gx
        weight = 0.0 if gl is None else -gl.sum().item() * per_f
        q, r = torch.mv(A_inv.T, v), torch.mv(gx, w)
        gv = torch.addmv(w, x.T, r, beta=weight, alpha=-per_f)
        gy = torch.mm(gx, A_inv).addr_(r, q, alpha=-per_f)
        gu = torch.addmv(q, gy.T, s, beta=weight, alpha=-per_f)
        return gy, gu, gv, gy.sum(0).neg_(), None, None, None


def _reciprocal(f: float) -> float:
    return 1 / f if f else math.inf


def _by_autograd(
    function: Callable[..., tuple[Tensor, Tensor]],
    inputs: tuple[Tensor, ...],
    constants: tuple[Tensor, ...],
    grads: tuple[Tensor | None, ...],
) -> Gradients:
    """The same gradients with a graph of their own, for second derivatives."""
    # Views, since one input may have been computed from another.
    inputs = tuple(t.view_as(t) for t in inputs)
    pairs = zip(function(*inputs, *constants), grads, strict=True)
    used = [(output, gradient) for output, gradient in pairs if gradient is not None]
    outputs, weights = zip(*used, strict=True)
    wanted = [t for t in inputs if t.requires_grad]
    found = iter(
        torch.autograd.grad(outputs, wanted, weights, create_graph=True, materialize_grads=True)
    )
    return *(next(found) if t.requires_grad else None for t in inputs), None, None, None


def _plain_forward(
    x: Tensor, u: Tensor, v: Tensor, b: Tensor, A: Tensor, A_inv: Tensor
) -> tuple[Tensor, Tensor]:
    """P4Forward up to a constant of the determinant."""
    return product(A, u, v, x) + b, rank_one_factor(A_inv, u, v).logabs.expand(x.shape[0])


def _plain_inverse(
    y: Tensor, u: Tensor, v: Tensor, b: Tensor, A_inv: Tensor
) -> tuple[Tensor, Tensor]:
    """P4Inverse up to a constant of the determinant."""
    logabs = rank_one_factor(A_inv, u, v).logabs
    return inverse_product(A_inv, u, v, y - b), -logabs.expand(y.shape[0])
