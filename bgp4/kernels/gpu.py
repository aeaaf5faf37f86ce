"""Where Triton's kernels run: on a GPU, if Triton is there."""

from __future__ import annotations

from functools import cache
from importlib.util import find_spec

import torch
from torch import Tensor

__all__ = ["has_triton", "on_gpu", "runs_triton"]


def on_gpu(tensor: Tensor) -> bool:
    """Whether Triton can see it: tests say so of a CPU's, for its interpreter."""
    return tensor.is_cuda


@cache
def has_triton() -> bool:
    """Whether Triton is installed, as it is with torch's CUDA wheels."""
    return find_spec("triton") is not None


def runs_triton(device: torch.device) -> bool:
    """Whether a device is a GPU, and Triton is there."""
    return device.type == "cuda" and has_triton()
