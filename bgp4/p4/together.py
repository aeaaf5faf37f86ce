"""Merges of many P4Inv layers of one size, all at once, for where each call has its price.

On a GPU a merge by itself is a dozen calls, and each number that is read of it makes the host wait.
Here the layers' matrices are stacked: so many calls, and two reads, whatever the number of layers.
"""

from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby
from typing import NamedTuple

import torch
from torch import Tensor

from bgp4.kernels.transfer import sent
from bgp4.p4.linear import P4InvLinear
from bgp4.p4.rank_one import Factor

__all__ = ["Due", "alike", "due_of", "merge_together"]


class Due(NamedTuple):
    """What is known of a layer before a merge, as numbers.

    Attributes:
        factor: f = 1 + v^T A^-1 u.
        logabs: log|f|.
        logabsdet: log|det A|.
        merges: So many so far.
    """

    factor: float
    logabs: float
    logabsdet: float
    merges: int


class Perturbations(NamedTuple):
    """u v^T of k layers of n features: w = A^-1 u and q = A^-T v, (k, n), f, (k,), float64."""

    w: Tensor
    q: Tensor
    f: Tensor


def alike(layers: Iterable[P4InvLinear]) -> list[list[P4InvLinear]]:
    """Layers that can be stacked with each other, in their order."""

    def kind(layer: P4InvLinear) -> tuple[int, str, str]:
        return layer.features, str(layer.A.dtype), str(layer.A.device)

    return [list(group) for _, group in groupby(sorted(layers, key=kind), kind)]


@torch.no_grad()
def due_of(layers: Sequence[P4InvLinear]) -> tuple[Perturbations, list[Due]]:
    """The perturbations of layers that are alike, and what they come to, by one read."""
    A_inv, u, v = (torch.stack(parts) for parts in zip(*map(_inputs, layers), strict=True))
    w, q = _product(A_inv, u), _product(A_inv.mT, v)
    f = 1 + (v * w).sum(1).double()
    logabsdet = torch.stack([layer.A_logabsdet for layer in layers])
    merges = torch.stack([layer.merges for layer in layers])
    rows = torch.stack([f, Factor(w, f).logabs, logabsdet, merges.double()], dim=1)
    dues = [Due(f, logabs, logabsdet, int(n)) for f, logabs, logabsdet, n in rows.tolist()]
    return Perturbations(w, q, f), dues


@torch.no_grad()
def merge_together(
    layers: Sequence[P4InvLinear],
    known: Perturbations,
    draws: Mapping[int, Tensor],
) -> list[float]:
    """`P4InvLinear.merge` of some among layers that are alike.

    Args:
        known: Of all layers, as `due_of` has it.
        draws: The new v of each layer that merges, at least one, by its index; their f are finite
            and not zero.

    Returns:
        The estimates of their residuals.
    """
    if len(draws) < len(layers):
        known = Perturbations(*(torch.stack([part[i] for i in draws]) for part in known))
    merging = [layers[i] for i in draws]
    z = sent(torch.stack(list(draws.values())), merging[0].v.device)
    A_inv, u, v = (torch.stack(parts) for parts in zip(*map(_inputs, merging), strict=True))
    A = torch.stack([m.A for m in merging]).baddbmm_(u[:, :, None], v[:, None])
    scaled = known.w / -known.f.to(known.w.dtype)[:, None]
    A_inv.baddbmm_(scaled[:, :, None], known.q[:, None])
    residual = torch.linalg.vector_norm(_product(A, _product(A_inv, z)) - z, dim=1)
    signs, logs = known.f.sign().to(A.dtype), Factor(known.w, known.f).logabs
    torch._foreach_copy_([m.A for m in merging], list(A.unbind()))
    torch._foreach_copy_([m.A_inv for m in merging], list(A_inv.unbind()))
    torch._foreach_copy_([m.v for m in merging], list(z.unbind()))
    torch._foreach_zero_([m.u for m in merging])
    torch._foreach_mul_([m.A_sign for m in merging], list(signs.unbind()))
    torch._foreach_add_([m.A_logabsdet for m in merging], list(logs.unbind()))
    torch._foreach_add_([m.merges for m in merging], 1)
    return [estimate if estimate == estimate else torch.inf for estimate in residual.tolist()]


def _inputs(layer: P4InvLinear) -> tuple[Tensor, Tensor, Tensor]:
    return layer.A_inv, layer.u, layer.v


def _product(
    A: Tensor,  # (k, n, n)
    x: Tensor,  # (k, n)
) -> Tensor:  # (k, n)
    return torch.bmm(A, x[:, :, None])[:, :, 0]
