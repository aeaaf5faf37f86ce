"""Energies made fit for training: a smooth cap, and the worst of a batch left out."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["keep_lowest", "smooth_cap"]


def smooth_cap(
    energy_kt: Tensor,  # (batch,)
    cap_kt: float,
) -> Tensor:  # (batch,)
    """u below the cap, cap + log(1 + u - cap) above: continuous with its first derivative.

    The logarithm keeps a clash's gradient finite without hiding its direction (Noé et al.,
    Science 365, eaaw1147 (2019), with the cap instead of zero as the point of change).

    >>> smooth_cap(torch.tensor([1.0, 100.0, 1e6]), 100.0)
    tensor([  1.0000, 100.0000, 113.8154])
    """
    excess = (energy_kt - cap_kt).clamp_min(0)
    return torch.where(energy_kt > cap_kt, cap_kt + torch.log1p(excess), energy_kt)


def keep_lowest(
    energy_kt: Tensor,  # (batch,)
    drop_fraction: float,
) -> Tensor:  # (batch,), bool
    """Which energies to keep when the highest `drop_fraction` of the batch is left out."""
    n_drop = int(len(energy_kt) * drop_fraction)
    keep = torch.ones_like(energy_kt, dtype=torch.bool)
    keep[energy_kt.detach().topk(n_drop).indices] = False
    return keep
