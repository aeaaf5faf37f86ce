"""What the machine can do by itself: the peaks that a speed is to be seen beside."""

from __future__ import annotations

import platform
import time
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from bgp4.energies.openmm import available_cores
from bgp4.p4.rank_one import matmul
from bgp4.parallel.hardware import gpu_facts
from bgp4.parallel.ranks import CPU
from bgp4.parallel.threads import threads

__all__ = ["describe_machine", "in_words"]

PRODUCT = 1024
COPIED_BYTES = 1 << 26
ROUNDS = 7


def describe_machine(device: torch.device = CPU) -> dict[str, Any]:
    """The CPU's name, and the peaks of a plain product and of a plain copy on one thread.

    Returns:
        {"cpu", "vectors", "cores", "torch", "product_gflops": {"float32", "float32_best",
        "float64"}, "copy_gb_per_s"}: products of 1024 x 1024 matrices by torch, and by the library
        that P4Inv takes; a copy of 64 MiB, which no cache holds, counted once. Best of rounds.
        "gpu" names the device, if it is one.
    """
    with threads(1):
        products = {
            "float32": _gflops(torch.matmul, torch.float32),
            "float32_best": _gflops(matmul, torch.float32),
            "float64": _gflops(torch.matmul, torch.float64),
        }
        copied = torch.zeros(2, COPIED_BYTES // 4)
        copy_s = _least_seconds(lambda: copied[0].copy_(copied[1]))
    return {
        "cpu": _cpu_name(),
        "vectors": torch.backends.cpu.get_cpu_capability(),
        "cores": available_cores(),
        "torch": torch.__version__,
        "product_gflops": products,
        "copy_gb_per_s": COPIED_BYTES / copy_s / 1e9,
        **({"gpu": gpu} if (gpu := gpu_facts(device)) else {}),
    }


def in_words(machine: dict[str, Any]) -> str:
    """One line of `describe_machine`."""
    product = machine["product_gflops"]
    return (
        f"{machine['cpu']}, {machine['vectors']}, {machine['cores']} cores; on one of them a plain "
        f"product does {product['float32']:.0f} GFlop/s in float32 (by P4Inv's library "
        f"{product['float32_best']:.0f}), {product['float64']:.0f} in float64, a plain copy "
        f"{machine['copy_gb_per_s']:.1f} GB/s"
    )


def _cpu_name() -> str:
    """As the CPU names itself, with its family and model, since clouds leave out the rest."""
    from cpuinfo import get_cpu_info  # type: ignore[import-untyped]

    found = get_cpu_info()
    numbers = [f"{key} {found[key]}" for key in ("family", "model") if key in found]
    name = found.get("brand_raw") or platform.processor() or platform.machine()
    return f"{name} ({', '.join(numbers)})" if numbers else name


def _gflops(multiply: Callable[[Tensor, Tensor], Tensor], dtype: torch.dtype) -> float:
    a, b = torch.randn(2, PRODUCT, PRODUCT, dtype=dtype)
    return 2 * PRODUCT**3 / _least_seconds(lambda: multiply(a, b.T)) / 1e9


def _least_seconds(work: Callable[[], object]) -> float:
    spent = []
    for _ in range(ROUNDS):
        start = time.perf_counter()
        work()
        spent.append(time.perf_counter() - start)
    return min(spent)
