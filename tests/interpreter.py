"""Triton's kernels on a CPU, by its interpreter, which computes them in NumPy."""

from __future__ import annotations

import os
from importlib.util import find_spec

import pytest

if find_spec("triton"):
    os.environ.setdefault("TRITON_INTERPRET", "1")  # read where Triton is imported first


def interpret_triton(patch: pytest.MonkeyPatch) -> None:
    """Take a CPU's tensors for a GPU's, or skip the test where Triton is missing."""
    pytest.importorskip("triton")
    if os.environ["TRITON_INTERPRET"] != "1":
        pytest.skip("TRITON_INTERPRET is not 1")
    patch.setattr("bgp4.kernels.spline.on_gpu", lambda tensor: True)
    patch.setattr("bgp4.energies.batched.runs_triton", lambda device: True)
    for module in ("spline", "energies"):  # it takes its time for each program
        patch.setattr(f"bgp4.kernels.{module}_triton.BLOCK", 512)
