"""Curves of the training."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator, PercentFormatter
from numpy.typing import NDArray

from bgp4.report.metrics_states import state_shares
from bgp4.report.plots import name_runs
from bgp4.report.result import RunResult
from bgp4.report.style import DATA_COLOUR, FAINT, new_figure, run_colour, styled
from bgp4.training.history import STATE, state_column

__all__ = ["phase_starts", "plot_training"]

Array = NDArray[np.float64]


class _Panel(NamedTuple):
    """A column of the history, and the unit along its axis: "share", "log", or as it is written."""

    title: str
    column: str
    unit: str


PANELS = (
    _Panel("likelihood loss", "nll", "nats"),
    _Panel("energy loss", "kl", "nats"),
    _Panel("held-out log-likelihood", "heldout_log_likelihood", "nats"),
    _Panel("effective sample size (estimate)", "ess", "share"),
    _Panel("temperature learned", "temperature_k", "K"),
    _Panel("P4 residual ‖AA⁻¹ − I‖", "p4_residual", "log"),
)
COLUMNS = 3

PHASES = {"ml": "likelihood", "anneal": "annealing", "kl": "energies"}
"""What a phase is called above the axes."""

LETTER = 0.028
"""Width of one of its letters, as a share of the axis."""

SUPERSCRIPTS = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


@styled
def plot_training(runs: Sequence[RunResult]) -> Figure | None:
    """A panel a column of the history, over the optimizer steps at which it was evaluated.

    Of the states' shares, there is that of MD's rarest. A dashed line marks where a phase begins.
    Panels without data are left out, and that of the temperature where it is one throughout;
    `None` where none is left.
    """
    rarest = _rarest_state(runs[0])
    shares = [_Panel(f"share of {label}", state_column(label), "share") for label in rarest]
    panels = [panel for panel in (*PANELS, *shares) if any(_shows(run, panel) for run in runs)]
    if not panels:
        return None
    columns = min(COLUMNS, len(panels))
    rows = -(-len(panels) // columns)
    figure, axes = new_figure(rows, columns, max(3.2 * columns, 4.8), 0.4 + 2.3 * rows)
    for ax, panel in zip(axes.flat, panels, strict=False):
        _draw_panel(ax, runs, panel)
    for ax in axes.flat[len(panels) :]:
        ax.remove()
    name_runs(figure, runs)
    return figure


def _draw_panel(ax: Axes, runs: Sequence[RunResult], panel: _Panel) -> None:
    for index, run in enumerate(runs):
        values = _column(run, panel.column)
        there = np.isfinite(values)
        if panel.unit == "log":  # before the first merge there is none
            there &= values > 0
        ax.plot(_steps(run)[there], values[there], color=run_colour(index), linewidth=1.5)
    if panel.column.startswith(STATE):
        _draw_md(ax, runs, panel.column.removeprefix(STATE))
    _draw_value_axis(ax, panel.unit, [np.asarray(line.get_ydata()) for line in ax.lines])
    ax.set_title(panel.title, pad=16)
    ax.set_xlabel("optimizer step")
    ax.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    ax.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:,.0f}"))
    ax.set_xlim(ax.get_xlim())
    for index, run in enumerate(runs):
        _mark_phases(ax, run, index, named=len(runs) == 1)


def _rarest_state(run: RunResult) -> list[str]:
    """Label of the state that MD is in most seldom, or out of; none where MD never changes."""
    md = state_shares(run)["state_shares_md"]
    shares = {label: share for label, share in md.items() if 0 < share < 1}
    return sorted(shares, key=lambda label: min(shares[label], 1 - shares[label]))[:1]


def _draw_md(ax: Axes, runs: Sequence[RunResult], label: str) -> None:
    """MD's own share of a state, of each run's data."""
    shares = [state_shares(run)["state_shares_md"] for run in runs]
    for share in sorted({of[label] for of in shares if label in of}):
        ax.axhline(share, color=DATA_COLOUR, linewidth=1.0, linestyle=":")
        end, above = (1, share), (-2, 3)
        ax.annotate(
            "MD",
            end,
            above,
            xycoords=("axes fraction", "data"),
            textcoords="offset points",
            ha="right",
            fontsize=8,
            color=DATA_COLOUR,
            in_layout=False,
        )


def _draw_value_axis(ax: Axes, unit: str, curves: Sequence[Array]) -> None:
    low, high = _bulk(curves)
    margin = 0.08 * (high - low) or 0.1 * max(abs(high), 1e-3)
    match unit:
        case "share":
            ax.set_ylim(0, min(1.0, max(1.1 * high, 1e-3)))
            ax.yaxis.set_major_formatter(PercentFormatter(1.0))
        case "log":
            ax.set_yscale("log")
            ax.yaxis.set_major_formatter(FuncFormatter(_power_of_ten))
            ax.yaxis.set_minor_formatter("")
            bottom = np.floor(np.log10(low) + 1e-9)
            ax.set_ylim(10**bottom, 10 ** max(np.ceil(np.log10(high) - 1e-9), bottom + 1))
        case _:
            ax.set_ylabel(unit)
            ax.set_ylim(low - margin, high + margin)


def _power_of_ten(value: float, _: int) -> str:
    return "10" + str(round(np.log10(value))).translate(SUPERSCRIPTS)


def _bulk(curves: Sequence[Array]) -> tuple[float, float]:
    """Ends of an axis; a first, steep descent leaves the picture rather than flatten the rest."""
    ends = []
    for values in filter(len, curves):
        shares = [0.05, 0.95] if len(values) >= 10 else [0, 1]
        low, high = np.quantile(values, shares, method="nearest")
        margin = 0.5 * (high - low)
        ends.append((max(values.min(), low - margin), min(values.max(), high + margin)))
    lows, highs = zip(*ends, strict=True)
    return float(min(lows)), float(max(highs))


def phase_starts(run: RunResult) -> list[tuple[str, float]]:
    """The phases of a training, and the step after which each begins."""
    steps, phases = _steps(run), np.asarray(run.history.get("phase", ())).tolist()
    starts = [next(rows) for _, rows in groupby(range(len(phases)), key=phases.__getitem__)]
    return [(phases[row], float(steps[row - 1]) if row else 0.0) for row in starts]


def _mark_phases(ax: Axes, run: RunResult, index: int, named: bool) -> None:
    """A dashed line where another phase begins, and above the axes its name if there is room."""
    low, high = ax.get_xlim()
    colour = FAINT if named else run_colour(index)
    for name, start, end in _phases_between(run, low, high):
        if start > max(low, 0):
            ax.axvline(start, color=colour, linestyle="--", linewidth=0.9, zorder=0)
        word = PHASES.get(name, name)
        if named and (end - start) / (high - low) > LETTER * len(word):
            place = ((start + end) / 2, 1.02)
            across = ax.get_xaxis_transform()
            ax.text(*place, word, transform=across, ha="center", fontsize=8, color=FAINT)


def _phases_between(run: RunResult, low: float, high: float) -> Iterator[tuple[str, float, float]]:
    """Phases and their ends, as far as they lie between two steps."""
    starts = phase_starts(run)
    ends = [*(start for _, start in starts[1:]), np.inf]
    for (name, start), end in zip(starts, ends, strict=False):
        if start < high and end > low:
            yield name, max(start, low), min(end, high)


def _column(run: RunResult, name: str) -> Array:  # (rows,)
    """A numeric column of the history, NaN throughout where it is missing."""
    rows = len(next(iter(run.history.values()), ()))
    return np.asarray(run.history.get(name, np.full(rows, np.nan)), dtype=np.float64)


def _steps(run: RunResult) -> Array:  # (rows,)
    """Optimizer steps of the history's rows, or their numbers where it doesn't say."""
    found = _column(run, "step")
    return np.where(np.isnan(found), np.arange(len(found)), found)


def _shows(run: RunResult, panel: _Panel) -> bool:
    values = _column(run, panel.column)
    values = values[np.isfinite(values)]
    if panel.unit == "log":
        return bool((values > 0).any())
    return len(values) > 0 and (panel.column != "temperature_k" or bool(np.ptp(values)))
