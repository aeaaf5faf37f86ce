"""Between host and device without waiting: a GPU works on while the host prepares the next step.

A GPU has to finish all that it was told before the host can read a number of it. So a training
step reads once, and what goes the other way comes from pinned memory.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

__all__ = ["numbers", "sent"]


def sent(value: Tensor, device: torch.device) -> Tensor:
    """A tensor on a device; the host's gets there without waiting for what a GPU does now."""
    if device.type != "cuda" or not value.is_cpu:
        return value.to(device)
    return value.pin_memory().to(device, non_blocking=True)


def numbers(scalars: Mapping[str, Tensor]) -> dict[str, float]:
    """Tensors of one value, (), as numbers: all of them in one transfer.

    >>> numbers({"loss": torch.tensor(0.5), "n": torch.tensor(3)})
    {'loss': 0.5, 'n': 3.0}
    """
    if not scalars:
        return {}
    stacked = torch.stack([value.detach().double() for value in scalars.values()])
    return dict(zip(scalars, stacked.tolist(), strict=True))
