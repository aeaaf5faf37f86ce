"""Pictures of the training and of the weights it leads to."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, PercentFormatter
from numpy.typing import NDArray

from bgp4.report.result import RunResult
from bgp4.report.style import (
    DATA_COLOUR,
    FAINT,
    lighter,
    new_figure,
    run_colour,
    short_name,
    styled,
)
from bgp4.statistics.weights import (
    effective_sample_size,
    effective_sample_size_clipped,
    effective_sample_size_growth,
)
from bgp4.training.history import STATE, state_column

__all__ = ["plot_training", "plot_weights"]

Array = NDArray[np.float64]

SHARE = "share of samples"
PANELS = (
    ("losses", ("nll", "kl"), "loss / nats"),
    ("held-out log-likelihood", ("heldout_log_likelihood",), "nats"),
    ("effective sample size (estimate)", ("ess",), SHARE),
    ("temperature learned", ("temperature_k",), "K"),
)
LOSS_KEY = (("likelihood", DATA_COLOUR), ("energy (KL)", lighter(DATA_COLOUR)))


@styled
def plot_training(runs: Sequence[RunResult]) -> Figure | None:
    """Loss parts, held-out likelihood, ESS estimate and a state's share over the optimizer steps.

    The state is MD's rarest. A dashed line marks where the energy loss joins. Panels without data
    are left out, and that of the temperature where it is one throughout; `None` where none is left.
    """
    state = rarest_state(runs[0])
    state_panel = () if state is None else ((f"share of {state}", (state_column(state),), SHARE),)
    panels = [
        panel
        for panel in (*PANELS, *state_panel)
        if any(_shows(run, name) for run in runs for name in panel[1])
    ]
    if not panels:
        return None
    rows = (len(panels) + 1) // 2
    figure, axes = new_figure(rows, 2, 9.0, 0.4 + 2.6 * rows)
    for ax, (title, names, unit) in zip(axes.flat, panels, strict=False):
        ax.set(title=title, ylabel=unit, xlabel="optimizer step")
        for index, run in enumerate(runs):
            _draw_history(ax, run, names, run_colour(index))
        if unit.startswith("share"):
            _share_axis(ax)
        if names == ("nll", "kl"):
            ax.legend(handles=[Line2D([], [], color=c, label=text) for text, c in LOSS_KEY])
    for ax in list(axes.flat)[len(panels) :]:
        ax.remove()
    _name_runs(figure, runs)
    return figure


def rarest_state(run: RunResult) -> str | None:
    """Label of the state that MD is in most seldom, or out of; `None` without any."""
    shares = {label: share for label, share in data_shares(run).items() if 0 < share < 1}
    return min(shares, key=lambda label: min(shares[label], 1 - shares[label]), default=None)


def data_shares(run: RunResult) -> dict[str, float]:
    """MD's share of each state, by label."""
    shares = run.data_states.mean(axis=0).tolist()
    return {state.label: share for state, share in zip(run.states, shares, strict=True)}


def column(run: RunResult, name: str) -> Array:  # (rows,)
    """A numeric column of the history, NaN throughout where it is missing."""
    rows = len(next(iter(run.history.values()), ()))
    return np.asarray(run.history.get(name, np.full(rows, np.nan)), dtype=np.float64)


def switch_step(run: RunResult) -> float | None:
    """The last step of likelihood alone, or `None` where it isn't followed by energies."""
    later = np.flatnonzero(np.asarray(run.history.get("phase", ())) != "ml")
    return float(steps(run)[later[0] - 1]) if len(later) and later[0] else None


def steps(run: RunResult) -> Array:  # (rows,)
    """Optimizer steps of the history's rows, or their numbers where it doesn't say."""
    found = column(run, "step")
    return np.where(np.isnan(found), np.arange(len(found)), found)


def _shows(run: RunResult, name: str) -> bool:
    values = column(run, name)
    values = values[np.isfinite(values)]
    return len(values) > 0 and (name != "temperature_k" or bool(np.ptp(values)))


def _draw_history(ax: Axes, run: RunResult, names: Sequence[str], colour: str) -> None:
    for name, shade in zip(names, (colour, lighter(colour)), strict=False):
        values = column(run, name)
        there = np.isfinite(values)
        ax.plot(steps(run)[there], values[there], color=shade, linewidth=1.5)
        _keep_bulk(ax, values[there])
    if names[0].startswith(STATE):
        share = data_shares(run).get(names[0].removeprefix(STATE), np.nan)
        ax.axhline(share, color=DATA_COLOUR, linewidth=1.0, linestyle=":")
        ax.annotate(
            "MD",
            (1, share),
            (-2, 3),
            xycoords=("axes fraction", "data"),
            ha="right",
            textcoords="offset points",
            fontsize=8,
            color=DATA_COLOUR,
            in_layout=False,
        )
        _keep_bulk(ax, np.full(10, share))
    _mark_switch(ax, run, named=names == ("nll", "kl"))


def _keep_bulk(ax: Axes, values: Array) -> None:
    """Let a first, steep descent leave the picture rather than flatten the rest of the curve."""
    if not len(values):
        return
    low, high = np.quantile(values, [0.05, 0.95] if len(values) >= 10 else [0, 1])
    margin = 0.5 * (high - low)
    lower, upper = max(values.min(), low - margin), min(values.max(), high + margin)
    old = getattr(ax, "_bgp4_limits", (np.inf, -np.inf))
    lower, upper = min(lower, old[0]), max(upper, old[1])
    ax._bgp4_limits = (lower, upper)  # type: ignore[attr-defined]
    if upper > lower:
        ax.set_ylim(lower - 0.06 * (upper - lower), upper + 0.12 * (upper - lower))


def _mark_switch(ax: Axes, run: RunResult, named: bool) -> None:
    step = switch_step(run)
    if step is None:
        return
    ax.axvline(step, color=FAINT, linestyle="--", linewidth=0.9, zorder=0)
    if named:
        for text, offset, side in (("ML", -5, "right"), ("energies", 5, "left")):
            ax.annotate(
                text,
                (step, 0.95),
                (offset, 0),
                xycoords=("data", "axes fraction"),
                textcoords="offset points",
                ha=side,
                fontsize=8,
                color=FAINT,
                in_layout=False,
            )


def _share_axis(ax: Axes) -> None:
    ax.set_ylim(0, min(1.0, 1.1 * max(ax.get_ylim()[1], 1e-3)))
    ax.yaxis.set_major_formatter(PercentFormatter(1.0))


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
    histogram.set(title="weights", xlabel="$\\ln(N\\,w)$", ylabel="samples", yscale="log")
    histogram.axvline(0, color=FAINT, linestyle="--", linewidth=0.9)
    growth.set(title="effective sample size", xlabel="first m samples", ylabel="share of m")
    growth.set(xscale="log", ylim=(0, min(1.0, 1.3 * growth.get_ylim()[1])))
    growth.yaxis.set_major_formatter(PercentFormatter(1.0))
    growth.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:,.0f}"))
    keys = [Line2D([], [], color=DATA_COLOUR, linestyle=s, label=text) for text, s, _ in ESTIMATES]
    growth.legend(handles=keys, loc="best")
    _name_runs(figure, runs)
    return figure


ESTIMATES: tuple[tuple[str, Any, Callable[[Array], float]], ...] = (
    ("raw", "-", effective_sample_size),
    ("largest weights clipped", ":", effective_sample_size_clipped),
)


def _name_runs(figure: Figure, runs: Sequence[RunResult]) -> None:
    """A legend of the runs' colours, where there are several."""
    if len(runs) > 1:
        names = [short_name(run.name) for run in runs]
        keys = [Line2D([], [], color=run_colour(i), label=name) for i, name in enumerate(names)]
        figure.legend(handles=keys, loc="outside upper center", ncols=4)


def _draw_weights(ax: Axes, run: RunResult, colour: str) -> None:
    with np.errstate(divide="ignore"):
        scaled = np.log(run.n_samples * run.weights[run.accepted])
    shown = np.maximum(scaled, LOWEST_LOG_WEIGHT)
    ax.hist(shown, bins=80, histtype="stepfilled", color=colour, alpha=0.45)
    ax.hist(shown, bins=80, histtype="step", color=colour, linewidth=1.2)


LOWEST_LOG_WEIGHT = -20.0
"""Smaller log-weights are drawn here."""


def _draw_growth(ax: Axes, run: RunResult, colour: str) -> None:
    sizes = np.unique(np.geomspace(min(100, run.n_samples), run.n_samples, 60).astype(int))
    for _, style, estimate in ESTIMATES:
        growth = effective_sample_size_growth(run.safe_log_weight, sizes.tolist(), estimate)
        ax.plot(sizes, growth, style, color=colour, linewidth=1.6)
