"""The GPU that a run is on: its name, and what is asked of its arithmetic."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch

__all__ = ["full_precision", "gpu_facts", "wait_for"]

DRIVER = ("nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader")


def gpu_facts(device: torch.device) -> dict[str, Any]:
    """Name, memory, driver and CUDA version of a GPU; nothing of a CPU."""
    if device.type != "cuda":
        return {}
    found = torch.cuda.get_device_properties(device)
    return {
        "name": found.name,
        "memory_gb": round(found.total_memory / 1e9, 1),
        "capability": f"{found.major}.{found.minor}",
        "driver": _driver(),
        "cuda": torch.version.cuda,
        "torch": torch.__version__,
    }


def _driver() -> str | None:
    """The driver's version, or None where nvidia-smi does not say."""
    try:
        done = subprocess.run(DRIVER, capture_output=True, text=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.split("\n", 1)[0].strip() or None


def wait_for(device: torch.device) -> None:
    """Until a GPU has done what it was told; a CPU always has."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


@contextmanager
def full_precision() -> Iterator[None]:
    """Products of float32 in float32 while the block runs, whatever the process was told.

    TF32 keeps three digits. That is too little for differences of coordinates, for knots of
    splines, and for the inverse of a P4 layer.
    """
    restore = _as_it_is()
    torch.set_float32_matmul_precision("highest")
    try:
        yield
    finally:
        restore()


def _as_it_is() -> Callable[[], None]:
    """What sets the precision of products as it is now; torch has an old and a new name for it."""
    try:
        return partial(torch.set_float32_matmul_precision, torch.get_float32_matmul_precision())
    except RuntimeError:  # it was set by the new one
        backends: Any = torch.backends
        kinds = backends.cuda.matmul, backends.mkldnn.matmul
        before = [(kind, kind.fp32_precision) for kind in kinds]

        def restore() -> None:
            for kind, value in before:
                kind.fp32_precision = value

        return restore
