"""Batched energies: a force field in torch, compiled where a C++ compiler is there."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Callable

import torch
from torch import Tensor

from bgp4.energies.potential import Potential

__all__ = ["compiled"]

log = logging.getLogger(__name__)

Function = Callable[[Tensor], Tensor]


def compiled(potential: Potential) -> Function:
    """The potential through `torch.compile`, or as it is where there is no C++ compiler."""
    if shutil.which("g++") or shutil.which("clang++"):
        return torch.compile(potential, dynamic=False)
    log.warning("no C++ compiler (g++ or clang++): batched energies run uncompiled, at half speed")
    return potential
