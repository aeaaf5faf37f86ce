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

Small layers spend their time in calling kernels rather than in them. So on a CPU two operators in
C++ do the same (``kernel.cpp``), which call nothing but the n^2 product with the batch. Here a
rank-one term is the start value or the accumulation of a product that is computed anyway, and
scalars stay tensors, since each transfer would make a GPU wait. Within torch.func's transforms
(vmap, jacrev, ...) the formulas stand as they are, for torch to differentiate.
"""

from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function

from bgp4.kernels.p4 import kernel_for, within_torch_func
from bgp4.p4.rank_one import inverse_product, product, rank_one_factor

__all__ = ["P4Forward", "P4Inverse", "p4_forward", "p4_inverse"]

Gradients = tuple[Tensor | None, ...]


def p4_forward(x: Tensor, *layer: Tensor) -> tuple[Tensor, Tensor]:
    """:class:`P4Forward`, by the kernel where that serves."""
    if within_torch_func():
        u, v, b, A, A_inv, logabsdet = layer
        change = rank_one_factor(A_inv, u, v).logabs
        return product(A, u, v, x) + b, _same_for_all(x, logabsdet + change)
    kernel = kernel_for(x, layer[0])
    return kernel.forward(x, *layer) if kernel else P4Forward.apply(x, *layer)


def p4_inverse(y: Tensor, *layer: Tensor) -> tuple[Tensor, Tensor]:
    """:class:`P4Inverse`, by the kernel where that serves."""
    if within_torch_func():
        u, v, b, _, A_inv, logabsdet = layer
        change = rank_one_factor(A_inv, u, v).logabs
        return inverse_product(A_inv, u, v, y - b), _same_for_all(y, -logabsdet - change)
    kernel = kernel_for(y, layer[0])
    return kernel.inverse(y, *layer) if kernel else P4Inverse.apply(y, *layer)


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
        f = 1 + torch.dot(v, w)
        y = torch.addr(b, s, u).addmm_(x, A.T)
        ctx.save_for_backward(x, u, v, A, A_inv)
        ctx.set_materialize_grads(False)
        ctx.kept = w, s, f
        return y, _same_for_all(x, logabsdet + f.abs().log())

    @staticmethod
    def backward(ctx: Any, gy: Tensor | None, gl: Tensor | None) -> Gradients:
        x, u, v, A, A_inv = ctx.saved_tensors
        w, s, f = ctx.kept
        if torch.is_grad_enabled():  # the same with graphs of their own, for second derivatives
            w, s = torch.mv(A_inv, u), torch.mv(x, v)
            f = 1 + torch.dot(v, w)
        gy = torch.zeros_like(x) if gy is None else gy
        weight = 0.0 if gl is None else gl.sum() / f
        # The n^2 product comes last: it drives the rest out of the cache.
        q, r = torch.mv(A_inv.T, v), torch.mv(gy, u)
        gu = torch.addmv(weight * q, gy.T, s)
        gb = gy.sum(0)
        gv = torch.addmv(weight * w, x.T, r)
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
        f = 1 + torch.dot(v, w)
        t = torch.mm(y - b.expand_as(y), A_inv.T)
        s = torch.mv(t, v) / f
        x = t.addr_(s, w, alpha=-1)
        ctx.save_for_backward(u, v, x, A_inv)
        ctx.set_materialize_grads(False)
        ctx.kept = w, s, f
        return x, _same_for_all(y, -logabsdet - f.abs().log())

    @staticmethod
    def backward(ctx: Any, gx: Tensor | None, gl: Tensor | None) -> Gradients:
        u, v, x, A_inv = ctx.saved_tensors
        w, s, f = ctx.kept
        if torch.is_grad_enabled():
            w, s = torch.mv(A_inv, u), torch.mv(x, v)
            f = 1 + torch.dot(v, w)
        gx = torch.zeros_like(x) if gx is None else gx
        weight = 0.0 if gl is None else -gl.sum() / f
        q, r = torch.mv(A_inv.T, v), torch.mv(gx, w) / f
        gv = torch.addmv(weight * w, x.T, r, alpha=-1)
        gy = torch.mm(gx, A_inv).addr_(r, q, alpha=-1)
        gu = torch.addmv(weight * q, gy.T, s, alpha=-1)
        return gy, gu, gv, -gy.sum(0), None, None, None


def _same_for_all(
    x: Tensor,  # (batch, n)
    value: Tensor,  # ()
) -> Tensor:
    """A value for each row, (batch,), in the dtype of x."""
    return value.to(x.dtype).repeat(x.shape[0])
