"""Frames as the flow's variables: standardised internal coordinates."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from bgp4.data.frames import Rung
from bgp4.flows.generator import BoltzmannGenerator
from bgp4.training.torsions import TorsionFrames

__all__ = ["FRAMES_AT_A_TIME", "standardised", "torsion_frames"]

FRAMES_AT_A_TIME = 50_000


@torch.no_grad()
def standardised(
    model: BoltzmannGenerator,
    positions_nm: NDArray[np.float32],  # (frames, atoms, 3), nm
    dtype: torch.dtype,
) -> tuple[Tensor, Tensor]:  # (frames, features), (frames,)
    """Standardised variables and log-determinants of frames, a part at a time."""
    parts = []
    for some in np.array_split(positions_nm, -(-max(len(positions_nm), 1) // FRAMES_AT_A_TIME)):
        x, logabsdet = model.standardised(torch.as_tensor(some, device=model.device))
        parts.append((x.to(dtype), logabsdet))
    xs, logabsdets = zip(*parts, strict=True)
    return torch.cat(xs), torch.cat(logabsdets)


def torsion_frames(
    model: BoltzmannGenerator,
    cooler: Sequence[Rung],
    x_train: Tensor,  # (frames, features), standardised, of the hottest
    data_k: float,
) -> TorsionFrames | None:
    """Torsions of a ladder's frames; None without a ladder or torsions."""
    if not cooler or not model.standardise.n_circular:
        return None
    split = model.transform.split
    rungs = [
        (kelvin, split(standardised(model, x, model.dtype)[0])[1].clone()) for kelvin, x in cooler
    ]
    return TorsionFrames.of([*rungs, (data_k, split(x_train)[1])])
