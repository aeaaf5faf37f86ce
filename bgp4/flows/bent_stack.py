r"""Stacks of P4Inv layers with Bent identities in between, in few operations a layer.

With few features, layers spend their time in calls. So what needs no order is done for all layers
at once: matrices, determinants, slopes and gradients. In order there remain, of each layer,

.. math:: c = W x + b, \qquad x ← c + ρ \sqrt{c^2 + q^2}.

With q = 1 and ρ = 1/2 this is the Bent identity of c, less a constant. With c = 2y + 1, q = √3 and
ρ = -1/2 it is 3/2 of the inverse of y. Constants and factors go into the matrices and biases.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from nflows.transforms import CompositeTransform, InverseTransform, Transform
from torch import Tensor
from torch.autograd import Function
from torch.nn.functional import pad

from bgp4.flows.bent import BentIdentity
from bgp4.p4 import P4InvLinear

__all__ = ["BentStack"]


class BentStack(CompositeTransform):
    """P4Inv layers, and between them a Bent identity or its inverse, by turns.

    Its inverse goes from layer to layer.

    Args:
        layers: All of one size.
        through_inverse: Whether data go to latent by the layers' inverses.
    """

    def __init__(self, layers: Sequence[P4InvLinear], through_inverse: bool = False) -> None:
        transforms: list[Transform] = []
        for i, layer in enumerate(layers):
            if i > 0:
                transforms.append(BentIdentity() if i % 2 else InverseTransform(BentIdentity()))
            transforms.append(InverseTransform(layer) if through_inverse else layer)
        super().__init__(transforms)
        self.layers, self.through_inverse = tuple(layers), through_inverse
        inverted = torch.arange(len(layers) - 1) % 2 == 1
        self.register_buffer("_inverted", inverted, persistent=False)

    def forward(
        self,
        inputs: Tensor,  # (batch, n)
        context: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:  # (batch, n), (batch,)
        matrices, biases, logabsdet = self._maps()
        inverted = self._inverted[:, None].to(inputs)
        # c = before (W x + b) + inverted, then y = after (c + ρ r) - shift
        before, after, shift = 1 + inverted, 1 - inverted / 3, (1 - inverted) / 2
        ratio, width = 0.5 - inverted, 1 + (math.sqrt(3) - 1) * inverted
        biases = biases - pad(_times(matrices[1:], shift), (0, 0, 1, 0))
        last, first = pad(before, (0, 0, 0, 1), value=1), pad(after, (0, 0, 1, 0), value=1)
        scaled = (last * first)[..., None] * matrices
        shifted = last * biases + pad(inverted, (0, 0, 0, 1))
        z, log_slope = _Chain.apply(inputs, scaled, shifted, ratio, width)
        constant = (before * after).log().sum() * inputs.shape[1]
        return z, log_slope + (logabsdet + constant)

    def _maps(self) -> tuple[Tensor, Tensor, Tensor]:
        """W (layers, n, n) and b (layers, n) from data to latent, and the sum of log|det W|, ()."""
        layers = self.layers
        u, v, b = (torch.stack([getattr(m, k) for m in layers]) for k in ("u", "v", "bias"))
        inverse = torch.stack([m.A_inv for m in layers])
        known = torch.stack([m.A_logabsdet for m in layers]).sum().to(u)
        w = _times(inverse, u)
        f = 1 + (v * w).sum(1)
        logabsdet = known + f.abs().log().sum()
        if not self.through_inverse:
            matrices = torch.stack([m.A for m in layers]) + u[:, :, None] * v[:, None, :]
            return matrices, b, logabsdet
        q = _times(inverse.mT, v)
        matrices = inverse - (w / f[:, None])[:, :, None] * q[:, None, :]
        return matrices, -_times(matrices, b), -logabsdet


def _times(
    matrices: Tensor,  # (layers, n, n)
    vectors: Tensor,  # (layers, n) or (layers, 1)
) -> Tensor:  # (layers, n)
    return (matrices * vectors[:, None, :]).sum(2)


class _Chain(Function):
    """x ← c + ρ r with c = W x + b, r = √(c² + q²), and a last W x + b; Σ log(1 + ρ c / r)."""

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,  # (batch, n)
        matrices: Tensor,  # (layers, n, n): W
        biases: Tensor,  # (layers, n): b
        ratio: Tensor,  # (layers - 1, 1): ρ
        width: Tensor,  # (layers - 1, 1): q
    ) -> tuple[Tensor, Tensor]:
        inputs, cs, rs = [x], [], []
        transposed, rows = matrices.mT.unbind(), biases.unbind()
        for i, (rho, q) in enumerate(zip(ratio.flatten().tolist(), width.unbind(), strict=True)):
            cs.append(torch.addmm(rows[i], inputs[i], transposed[i]))
            rs.append(torch.hypot(cs[i], q))
            inputs.append(torch.add(cs[i], rs[i], alpha=rho))
        z = torch.addmm(rows[-1], inputs[-1], transposed[-1])
        if not cs:
            ctx.save_for_backward(torch.stack(inputs), matrices, None, None)
            return z, torch.zeros_like(x[:, 0])
        c, r = torch.stack(cs), torch.stack(rs)
        bend = ratio[..., None] * c / r
        curvature = ratio[..., None] * width[..., None].square() / (r**3 * (1 + bend))
        ctx.save_for_backward(torch.stack(inputs), matrices, 1 + bend, curvature)
        return z, bend.log1p().sum((0, 2))

    @staticmethod
    def backward(ctx: Any, gz: Tensor, gl: Tensor) -> tuple[Tensor | None, ...]:
        inputs, matrices, slope, curvature = ctx.saved_tensors
        of_c, each = [gz], matrices.unbind()
        if slope is not None:
            bends = zip((gl[:, None] * curvature).unbind(), slope.unbind(), strict=True)
            for i, (bent, steep) in reversed(list(enumerate(bends))):
                of_c.append(torch.addcmul(bent, of_c[-1] @ each[i + 1], steep))
        g = torch.stack(of_c[::-1])
        return of_c[-1] @ each[0], g.mT @ inputs, g.sum(1), None, None
