"""Triton's kernels on a CPU, by its interpreter, which computes them in NumPy."""

from __future__ import annotations

import os
from importlib.util import find_spec

import pytest

MODULES = ("spline",)
"""Of `bgp4.kernels`, those that have a kernel in Triton."""

if find_spec("triton"):
    os.environ.setdefault("TRITON_INTERPRET", "1")  # read where Triton is imported first


def interpret_triton(patch: pytest.MonkeyPatch) -> None:
    """Take a CPU's tensors for a GPU's, or skip the test where Triton is missing."""
    pytest.importorskip("triton")
    if os.environ["TRITON_INTERPRET"] != "1":
        pytest.skip("TRITON_INTERPRET is not 1")
    for module in MODULES:
        patch.setattr(f"bgp4.kernels.{module}.on_gpu", lambda tensor: True)
        patch.setattr(f"bgp4.kernels.{module}_triton.BLOCK", 512)  # it takes its time per program
