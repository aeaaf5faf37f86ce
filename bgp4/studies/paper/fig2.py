"""Figure 2: wall-clock time of linear flow layers, forward and backward, determinant included."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from bgp4.parallel.progress import Report
from bgp4.report.style import new_figure, run_colour, styled
from bgp4.studies.bench.linear import DIRECTIONS, bench_linear
from bgp4.studies.bench.machine import describe_machine
from bgp4.studies.paper.figure import Check, Outcome

CLAIM = (
    "A P4Inv layer with inverse and determinant is many times faster than recomputing both, and "
    "faster than LU decomposition. The advantage grows with the size of the matrix."
)

NAMES = {
    "two_gemm": "two matrix products",
    "two_gemm_best": "the same, as P4Inv does them",
    "linear": "nn.Linear",
    "standard": "standard",
    "lu": "LU",
    "p4inv": "P4Inv",
    "nflows_lu": "LU (nflows)",
    "bgflow": "P4Inv (bgflow)",
    "relative_gradient": "relative gradient",
    "matrix_exp": "exp S",
}
"""Where they can be imported; those of the paper, and more."""

PAPER = ("standard", "lu", "p4inv")


@dataclass(frozen=True)
class Settings:
    sizes: tuple[int, ...] = (64, 512, 4096)
    batch: int = 256
    rounds: int = 15
    budget_s: float = 400.0
    threads: int = 1
    flow_blocks: int = 25


FULL = Settings()
QUICK = Settings(sizes=(64, 128, 256), rounds=3, budget_s=10.0, flow_blocks=0)


def run(settings: Settings, report: Report, folder: Path) -> Outcome:
    bench = bench_linear(
        settings.sizes,
        settings.batch,
        tuple(NAMES),
        settings.rounds,
        settings.budget_s,
        settings.threads,
        flow_blocks=settings.flow_blocks,
    )
    bench["machine"] = describe_machine()
    times = {(r["method"], r["n"], r["direction"]): r for r in bench["results"]}
    least = {
        (method, n): min(r[f"{method}/p4inv"] for r in bench["ratios"] if r["n"] == n)
        for n in settings.sizes
        for method in ("standard", "lu")
    }
    small, large = min(settings.sizes), max(settings.sizes)
    bars = {
        ("standard", large): 12.0,
        ("lu", large): 3.0,
        ("standard", small): 1.0,
        ("lu", small): 1.0,
    }
    checks = tuple(
        Check(
            f"time of {NAMES[method]} over P4Inv's at n = {n}, either direction, at least {bar:g}",
            least[method, n],
            least[method, n] >= bar,
        )
        for (method, n), bar in bars.items()
    )
    return Outcome(checks, bench, draw(settings.sizes, times))


@styled
def draw(sizes: tuple[int, ...], times: Mapping[tuple[str, int, str], dict[str, Any]]) -> Figure:
    """Medians of each direction; whiskers from the fastest tenth to the slowest tenth."""
    figure, axes = new_figure(1, 2, 11, 5, sharey=True)
    for ax, direction in zip(axes[0], DIRECTIONS, strict=True):
        for i, method in enumerate(NAMES):
            rows = [times[method, n, direction] for n in sizes if (method, n, direction) in times]
            if not rows:
                continue
            x = [row["n"] * 1.05 ** (i - 4) for row in rows]
            median = np.array([row["median_s"] for row in rows]) * 1e3
            low = median - np.array([row["p10_s"] for row in rows]) * 1e3
            high = np.array([row["p90_s"] for row in rows]) * 1e3 - median
            style = ("o" if i < 5 else "s") + ("-" if method in PAPER else "--")
            ax.errorbar(
                x,
                median,
                [low, high],
                fmt=style,
                color=run_colour(i),
                ms=4,
                lw=1.2,
                capsize=2,
                label=NAMES[method],
            )
        ax.set(xscale="log", yscale="log", xlabel="features", title=f"through the {direction}")
        ax.set_xticks(sizes, [str(n) for n in sizes])
        ax.minorticks_off()
    axes[0, 0].set_ylabel("forward + backward / ms")
    axes[0, 0].legend()
    return figure
