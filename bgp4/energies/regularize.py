"""Energies made fit for training: a smooth cap, and a bound on slopes."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["clip_norm", "smooth_cap"]


def smooth_cap(
    energy_kt: Tensor,  # (batch,)
    cap_kt: Tensor | float,  # ()
) -> Tensor:  # (batch,)
    """u below the cap, cap + log(1 + u - cap) above: continuous with its first derivative.

    The logarithm keeps a clash's gradient finite without hiding its direction (Noé et al.,
    Science 365, eaaw1147 (2019), with the cap instead of zero as the point of change).

    >>> smooth_cap(torch.tensor([1.0, 100.0, 1e6]), 100.0)
    tensor([  1.0000, 100.0000, 113.8154])
    """
    excess = (energy_kt - cap_kt).clamp_min(0)
    return torch.where(energy_kt > cap_kt, cap_kt + torch.log1p(excess), energy_kt)


def clip_norm(
    values: Tensor,  # (batch, features)
    most: float,
) -> Tensor:  # (batch, features)
    """Each row with its direction, and its norm where that is at most `most`, else `most`.

    >>> clip_norm(torch.tensor([[3.0, 4.0], [0.3, 0.4]]), 1.0)
    tensor([[0.6000, 0.8000],
            [0.3000, 0.4000]])
    """
    norm = torch.linalg.vector_norm(values, dim=1, keepdim=True)
    return values * (most / norm.clamp_min(most))
