"""Wall-clock time of linear flow layers: a training step with log-determinant, both directions.

Every method does a forward pass, log|det| and a backward pass to its parameters and its input.
The P4Inv figures contain merges every 10 steps and refinements, amortised. Methods take turns
within one run, so that a busy machine disturbs them alike. The floor is the two bare matrix
products that no exact method can avoid, of the batch and of its gradient: by ``x @ W.T``
(``two_gemm``), and by the library that P4Inv takes where that is faster (``two_gemm_best``). With
them go the passes over memory that a perturbation needs, as plain calls (``p4_floor``): what a
machine asks for them, which depends on its caches, is no fault of the code.
Whole flows of affine couplings that differ in the mixing layer alone are measured the same way.
"""

import statistics
import time
from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
import torch

from bgp4.parallel.hardware import wait_for
from bgp4.parallel.ranks import CPU
from bgp4.studies.bench.linear_methods import (
    DIRECTIONS,
    FLOW_FEATURES,
    FLOWS,
    METHODS,
    SCHEDULE,
    Maker,
    MergedStep,
    Step,
)

__all__ = ["DIRECTIONS", "FLOWS", "METHODS", "RATIOS", "bench_linear"]

GOALS = ("two_gemm", "two_gemm_best", "p4_floor", "linear")
ONE_WAY = ("linear", "relative_gradient")
RATIOS = (
    *(("p4inv", name) for name in GOALS),
    *((name, "p4inv") for name in METHODS if name not in (*GOALS, "p4inv")),
    ("flow_p4inv", "flow_permutation"),
    ("flow_lu", "flow_p4inv"),
)


def bench_linear(
    sizes: Sequence[int] = (64, 512, 4096),
    batch: int = 256,
    methods: Sequence[str] | None = None,
    rounds: int = 15,
    budget_s: float = 300.0,
    threads: int = 1,
    dtype: torch.dtype = torch.float32,
    seed: int = 0,
    flow_blocks: int = 25,
    device: torch.device = CPU,
) -> dict[str, Any]:
    """Times the methods at each size, and whole flows of 60 features.

    Args:
        methods: some of :data:`METHODS`; all by default.
        rounds: samples per method, fewer where `budget_s` ends first, but at least one.
        budget_s: seconds for all sizes and the flows together, in equal shares.
        flow_blocks: blocks of the flows, each of two couplings and two mixing layers; 0: no flows.
        device: where all of it is computed.

    Returns:
        ``{"results": [{"method", "n", "direction", "median_s", "min_s"}, ...], "ratios",
        "settings"}``; seconds are per step, ``ratios`` are those of :data:`RATIOS` between
        medians, and ``settings["skipped"]`` says what could not run and why.
    """
    names = list(METHODS if methods is None else methods)
    if unknown := set(names) - set(METHODS):
        raise ValueError(f"methods: expected some of {list(METHODS)}, got {sorted(unknown)}")
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    skipped: dict[str, str] = {}
    results = []
    entries = [(n, {name: METHODS[name] for name in names}) for n in sizes]
    if flow_blocks:
        entries.append((FLOW_FEATURES, {name: partial(FLOWS[name], flow_blocks) for name in FLOWS}))
    try:
        for n, makers in entries:
            torch.manual_seed(seed)
            with device:
                steps = _build(makers, n, batch, dtype, skipped)
                samples = _take_turns(steps, n, rounds, budget_s / len(entries), device)
            results += [_row(key, n, values) for key, values in samples.items()]
    finally:
        torch.set_num_threads(before)
    settings = {
        "batch": batch,
        "threads": threads,
        "dtype": str(dtype).removeprefix("torch."),
        "device": device.type,
        "rounds": rounds,
        "budget_s": budget_s,
        "seed": seed,
        "torch": torch.__version__,
        "merge_every": SCHEDULE.merge_every,
        "refine_every": SCHEDULE.refine_every,
        "flow_blocks": flow_blocks,
        "skipped": skipped,
    }
    return {"results": results, "ratios": _ratios(results), "settings": settings}


def _build(
    makers: dict[str, Maker],
    n: int,
    batch: int,
    dtype: torch.dtype,
    skipped: dict[str, str],
) -> dict[tuple[str, str], Step]:
    """The steps that run here, each run once to warm up; the rest is noted in `skipped`."""
    steps = {}
    for name, make in makers.items():
        for direction in DIRECTIONS:
            try:
                step = make(n, batch, dtype, direction)
                step()
            except (ImportError, AttributeError, NotImplementedError, RuntimeError) as error:
                skipped[f"{name} {direction} n={n}"] = f"{type(error).__name__}: {error}"[:200]
            else:
                steps[name, direction] = step
    return steps


def _take_turns(
    steps: dict[tuple[str, str], Step],
    n: int,
    rounds: int,
    budget_s: float,
    device: torch.device,
) -> dict[tuple[str, str], list[float]]:
    """Seconds per step of every sample; a sample is one block of steps."""
    samples: dict[tuple[str, str], list[float]] = {key: [] for key in steps}
    start = time.perf_counter()
    for _ in range(rounds):
        for key, step in steps.items():
            least = SCHEDULE.merge_every if isinstance(step, MergedStep) else 1
            samples[key].append(_seconds(step, max(least, _block_length(n)), device))
        if time.perf_counter() - start > budget_s:
            break
    return samples


def _seconds(step: Step, length: int, device: torch.device) -> float:
    extra = getattr(step, "prepare", lambda: 0.0)()
    wait_for(device)
    start = time.perf_counter()
    for _ in range(length):
        step()
    wait_for(device)
    return (time.perf_counter() - start) / length + extra


def _block_length(n: int) -> int:
    """Steps per sample: long against the first step, whose caches are cold."""
    return 50 if n <= 128 else 10 if n <= 1024 else 1


def _row(key: tuple[str, str], n: int, samples: list[float]) -> dict[str, Any]:
    return {
        "method": key[0],
        "n": n,
        "direction": key[1],
        "median_s": statistics.median(samples),
        "min_s": min(samples),
        "p10_s": float(np.quantile(samples, 0.1)),
        "p90_s": float(np.quantile(samples, 0.9)),
    }


def _ratios(results: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Those of :data:`RATIOS` that were measured, per size and direction."""
    medians = {(r["n"], r["direction"], r["method"]): r["median_s"] for r in results}

    def median(n: int, direction: str, method: str) -> float | None:
        """nn.Linear has one direction, which serves for both."""
        direction = "forward" if method in ONE_WAY else direction
        return medians.get((n, direction, method))

    rows = []
    for n, direction in dict.fromkeys((r["n"], r["direction"]) for r in results):
        row: dict[str, Any] = {"n": n, "direction": direction}
        for over, under in RATIOS:
            a, b = median(n, direction, over), median(n, direction, under)
            if a is not None and b is not None:
                row[f"{over}/{under}"] = a / b
        rows.append(row)
    return rows
