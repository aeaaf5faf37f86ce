r"""The two directions of P4Inv as autograd functions, with hand-written gradients.

Autograd alone would get the cost right; these get the constant right: per direction one n^2
product and one matrix-vector product, forward and backward alike, few kernels, no n x n
intermediate. With M = A + u v^T, f = 1 + v^T w, w = A^-1 u and q = A^-T v,

.. math::
    \partial \log|f| / \partial u = q / f, \qquad \partial \log|f| / \partial v = w / f,

and for the values, with bars for gradients and sums over the batch understood,

.. math::
    y = M x + b:      \quad & \bar x = M^T \bar y, & \bar u = \bar y\,(v^T x),
                            & \bar v = x\,(u^T \bar y), \\
    x = M^{-1}(y - b):\quad & \bar y = M^{-T} \bar x, & \bar u = -\bar y\,(v^T x),
                            & \bar v = -x\,(u^T \bar y).

Backward keeps what forward computed; where a graph of the gradients is asked for
(``create_graph=True``) it recomputes that from the inputs, so second derivatives are right.
"""

from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function

from bgp4.p4.rank_one import Factor, rank_one_factor

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
        f, s = rank_one_factor(A_inv, u, v), torch.mv(x, v)
        y = torch.addmm(b, x, A.T).addr_(s, u)
        _save(ctx, (x, u, v, A, A_inv), (f, s))
        return y, _spread(logabsdet + f.logabs, x)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor | None) -> Gradients:
        x, u, v, A, A_inv = ctx.saved_tensors
        gy, gl = _materialise(grads[0], x), grads[1]
        f, s = ctx.kept
        if torch.is_grad_enabled():
            f, s = rank_one_factor(A_inv, u, v), torch.mv(x, v)
        r = torch.mv(gy, u)
        gx = torch.mm(gy, A).addr_(r, v) if ctx.needs_input_grad[0] else None
        gu, gv = torch.mv(gy.T, s), torch.mv(x.T, r)
        if gl is not None:
            scale = gl.sum() / f.value
            gu = torch.addmv(gu, A_inv.T, scale * v)
            gv = torch.addcmul(gv, scale, f.w)
        return gx, gu, gv, gy.sum(0), None, None, None


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
        f = rank_one_factor(A_inv, u, v)
        t = torch.mm(y - b, A_inv.T)
        x = t.addr_(torch.mv(t, v), f.w / -f.value)
        _save(ctx, (x, u, v, A_inv), (f,))
        return x, _spread(-logabsdet - f.logabs, y)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor | None) -> Gradients:
        x, u, v, A_inv = ctx.saved_tensors
        gx, gl = _materialise(grads[0], x), grads[1]
        (f,) = ctx.kept
        if torch.is_grad_enabled():
            f = rank_one_factor(A_inv, u, v)
        q = torch.mv(A_inv.T, v)
        gy = torch.mm(gx, A_inv).addr_(torch.mv(gx, f.w), q / -f.value)
        gu, gv = torch.mv(gy.T, torch.mv(x, v)), torch.mv(x.T, torch.mv(gy, u))
        if gl is not None:
            scale = gl.sum() / f.value
            gu, gv = torch.addcmul(gu, scale, q), torch.addcmul(gv, scale, f.w)
        return gy, -gu, -gv, -gy.sum(0), None, None, None


def _save(ctx: Any, tensors: tuple[Tensor, ...], kept: tuple[Factor | Tensor, ...]) -> None:
    ctx.save_for_backward(*tensors)
    ctx.kept = kept
    ctx.set_materialize_grads(False)


def _spread(logabsdet: Tensor, x: Tensor) -> Tensor:
    return x.new_empty(x.shape[0]).copy_(logabsdet)


def _materialise(gradient: Tensor | None, like: Tensor) -> Tensor:
    return torch.zeros_like(like) if gradient is None else gradient
