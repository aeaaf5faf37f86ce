"""The weights that a training leads to, and what they are worth."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, PercentFormatter
from numpy.typing import NDArray

from bgp4.report.plots import name_runs
from bgp4.report.result import RunResult
from bgp4.report.style import DATA_COLOUR, FAINT, new_figure, run_colour, styled
from bgp4.statistics.weights import (
    effective_sample_size,
    effective_sample_size_clipped,
    effective_sample_size_growth,
)

__all__ = ["plot_weights"]

Array = NDArray[np.float64]

ESTIMATES: tuple[tuple[str, Any, Callable[[Array], float]], ...] = (
    ("raw", "-", effective_sample_size),
    ("largest weights clipped", ":", effective_sample_size_clipped),
)

LOWEST_LOG_WEIGHT = -20.0
"""Smaller log-weights are drawn here."""


@styled
def plot_weights(runs: Sequence[RunResult]) -> Figure | None:
    """Histogram of the log-weights around uniform, and the ESS of the first m samples over m.

    `None` where no sample of any run has weight.
    """
    if not any(run.accepted.any() for run in runs):
        return None
    figure, axes = new_figure(1, 2, 9.0, 3.6)
    histogram, growth = axes[0]
    for index, run in enumerate(runs):
        if run.accepted.any():
            _draw_weights(histogram, run, run_colour(index))
            _draw_growth(growth, run, run_colour(index))
    histogram.set(title="weights", xlabel="ln(N w)", ylabel="samples", yscale="log")
    histogram.axvline(0, color=FAINT, linestyle="--", linewidth=0.9)
    growth.set(title="effective sample size", xlabel="first m samples", ylabel="share of m")
    growth.set(xscale="log", ylim=(0, min(1.0, 1.3 * growth.get_ylim()[1])))
    growth.yaxis.set_major_formatter(PercentFormatter(1.0))
    for axis in (histogram.yaxis, growth.xaxis):
        axis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:,.0f}"))
        axis.set_minor_formatter("")
    keys = [Line2D([], [], color=DATA_COLOUR, linestyle=s, label=text) for text, s, _ in ESTIMATES]
    growth.legend(handles=keys, loc="best")
    name_runs(figure, runs)
    return figure


def _draw_weights(ax: Axes, run: RunResult, colour: str) -> None:
    with np.errstate(divide="ignore"):
        scaled = np.log(run.n_samples * run.weights[run.accepted])
    shown = np.maximum(scaled, LOWEST_LOG_WEIGHT)
    ax.hist(shown, bins=80, histtype="stepfilled", color=colour, alpha=0.45)
    ax.hist(shown, bins=80, histtype="step", color=colour, linewidth=1.2)


def _draw_growth(ax: Axes, run: RunResult, colour: str) -> None:
    sizes = np.unique(np.geomspace(min(100, run.n_samples), run.n_samples, 60).astype(int))
    for _, style, estimate in ESTIMATES:
        growth = effective_sample_size_growth(run.safe_log_weight, sizes.tolist(), estimate)
        ax.plot(sizes, growth, style, color=colour, linewidth=1.6)
