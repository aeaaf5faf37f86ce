"""Violins of the energies of MD data, noisy MD data, samples and reweighted samples."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter1d

from bgp4.report.metrics import low_energy_fraction
from bgp4.report.plots import same_data
from bgp4.report.result import RunResult
from bgp4.report.style import (
    DATA_COLOUR,
    FAINT,
    NOISE_COLOUR,
    new_figure,
    run_colour,
    short_name,
    styled,
)

__all__ = ["draw_energies", "plot_energies", "smoothed_density"]

Array = NDArray[np.float64]


@dataclass(frozen=True)
class _EnergyColumn:
    """One violin: its label, energies, weights, colour, and what share lies below the bar."""

    label: str
    energy_kt: Array
    weights: Array
    colour: str | tuple[str, float]
    low: float


@styled
def plot_energies(runs: Sequence[RunResult]) -> Figure:
    """Violins of the energies in kT, with the low-energy fraction over each column.

    The axis reaches from the lowest MD energy to a good way past the highest one; how much of a
    column lies beyond is printed at its top.
    """
    n_columns = sum(len(_energy_columns(runs, i)) for i in range(len(runs)))
    figure, axes = new_figure(1, 1, max(6.4, 1.4 * n_columns + 1.0), 4.6)
    draw_energies(axes[0, 0], runs)
    return figure


def draw_energies(ax: Axes, runs: Sequence[RunResult]) -> None:
    """The violins of `plot_energies` into given axes."""
    columns = [column for i in range(len(runs)) for column in _energy_columns(runs, i)]
    low, high = _energy_limits(runs, columns)
    ax.set(ylim=(low, high), xlim=(-0.6, len(columns) - 0.4), ylabel="potential energy u / kT")
    for bar in sorted({run.max_data_energy_kt for run in runs}):
        ax.axhline(bar, color=FAINT, linestyle="--", linewidth=1.0, zorder=0)
    for x, column in enumerate(columns):
        _draw_violin(ax, x, column, low, high)
    ax.set_xticks(range(len(columns)), [column.label for column in columns])
    ax.tick_params(axis="x", length=0)
    ax.set_title(
        "low-energy fraction: share below the highest MD energy (dashed)",
        fontsize=9,
        color=FAINT,
        pad=32,
        fontweight="normal",
    )


def _energy_columns(runs: Sequence[RunResult], index: int) -> list[_EnergyColumn]:
    """A run's violins: samples and reweighted, after those of MD if no earlier run shows them."""
    run, colour = runs[index], run_colour(index)
    several = len(runs) > 1
    prefix = f"{short_name(run.name)}\n" if several else ""
    energy = run.energy_kt[run.accepted]
    bar = run.max_data_energy_kt
    weighted_low = float(run.weights @ (run.energy_kt < bar))
    columns = [
        _EnergyColumn(
            f"{prefix}samples",
            energy,
            np.ones(len(energy)),
            colour,
            low_energy_fraction(run.energy_kt, bar),
        ),
        _EnergyColumn(
            f"{prefix}reweighted", energy, run.weights[run.accepted], (colour, 0.5), weighted_low
        ),
    ]
    if any(same_data(run, earlier) for earlier in runs[:index]):
        return columns
    md, noisy = run.data_energy_kt, run.noisy_energy_kt[np.isfinite(run.noisy_energy_kt)]
    at = "" if all(same_data(run, other) for other in runs) else f"\n{_of_data(runs, run)}"
    return [
        _EnergyColumn(
            f"MD data{at}", md, np.ones(len(md)), DATA_COLOUR, low_energy_fraction(md, bar)
        ),
        _EnergyColumn(
            f"MD + {run.noise_nm:g} nm\nnoise{at}",
            noisy,
            np.ones(len(noisy)),
            NOISE_COLOUR,
            low_energy_fraction(run.noisy_energy_kt, bar),
        ),
        *columns,
    ]


def _of_data(runs: Sequence[RunResult], run: RunResult) -> str:
    """What tells a run's MD data from the others': the temperature, or the run's name."""
    temperatures = {other.temperature_k for other in runs}
    alike = len(temperatures) == 1 or any(run.topology != other.topology for other in runs)
    return f"of {short_name(run.name)}" if alike else f"{run.temperature_k:g} K"


def _energy_limits(
    runs: Sequence[RunResult], columns: Sequence[_EnergyColumn]
) -> tuple[float, float]:
    """Ends of the energy axis, kT."""
    lowest = min(float(run.data_energy_kt.min()) for run in runs)
    bar = max(run.max_data_energy_kt for run in runs)
    spread = max(bar - lowest, 1.0)
    bulk = [np.quantile(c.energy_kt, 0.95) for c in columns if len(c.energy_kt)]
    top = min(max(bar + 0.15 * spread, *bulk), bar + 1.5 * spread)
    return lowest - 0.15 * spread, top + 0.05 * spread


def _draw_violin(ax: Axes, x: float, column: _EnergyColumn, low: float, high: float) -> None:
    if column.weights.sum() <= 0:
        _write_above(ax, x, "none")
        return
    weights = column.weights / column.weights.sum()
    beyond = float(weights[column.energy_kt > high].sum())
    off_scale = f"\N{BLACK UP-POINTING TRIANGLE} {_percent(beyond)} off scale"
    _write_above(ax, x, _percent(column.low), off_scale if beyond > 0.0005 else "")
    _draw_body(ax, x, column, weights, low, high)
    _draw_averages(ax, x, column.energy_kt, weights)


def _write_above(ax: Axes, x: float, text: str, small: str = "") -> None:
    place: Any = {"xycoords": ("data", "axes fraction"), "textcoords": "offset points"}
    ax.annotate(text, (x, 1.0), (0, 15), ha="center", fontweight="bold", **place)
    ax.annotate(small, (x, 1.0), (0, 4), ha="center", fontsize=7.5, color=FAINT, **place)


def _draw_body(
    ax: Axes, x: float, column: _EnergyColumn, weights: Array, low: float, high: float
) -> None:
    inside = (column.energy_kt >= low) & (column.energy_kt <= high)
    if weights[inside].sum() <= 0:
        return
    grid, density = smoothed_density(column.energy_kt[inside], weights[inside], low, high)
    width = 0.4 * density / density.max(initial=1e-300)
    ax.fill_betweenx(grid, x - width, x + width, color=column.colour, linewidth=0)


def _draw_averages(ax: Axes, x: float, energy_kt: Array, weights: Array) -> None:
    """The middle half as a bar, the median as a dot, the mean as a line across."""
    q1, median, q3 = _weighted_quantiles(energy_kt, weights, [0.25, 0.5, 0.75])
    mean = float(weights @ energy_kt)
    ax.vlines(x, q1, q3, color="white", linewidth=3.5, alpha=0.9)
    for colour, linewidth in ((DATA_COLOUR, 3.4), ("white", 1.6)):
        ax.plot([x - 0.11, x + 0.11], [mean, mean], color=colour, linewidth=linewidth)
    ax.plot(x, median, "o", color=DATA_COLOUR, markersize=4.5, markeredgecolor="white")


def smoothed_density(values: Array, weights: Array, low: float, high: float) -> tuple[Array, Array]:
    """Gaussian-smoothed density on a grid over the values' own range (Silverman's bandwidth)."""
    counts, edges = np.histogram(values, bins=600, range=(low, high), weights=weights)
    q1, q3 = _weighted_quantiles(values, weights, [0.25, 0.75])
    effective = weights.sum() ** 2 / (weights**2).sum()
    bandwidth = 0.9 * (q3 - q1) / 1.34 * effective**-0.2
    smooth = gaussian_filter1d(counts, max(bandwidth / (edges[1] - edges[0]), 2.0))
    centres = (edges[:-1] + edges[1:]) / 2
    own = (edges[1:] >= values.min()) & (edges[:-1] <= values.max())
    return centres[own], smooth[own]


def _weighted_quantiles(values: Array, weights: Array, at: Sequence[float]) -> Array:
    """Quantiles of weighted values, at these shares of 1."""
    order = np.argsort(values)
    cumulative = np.cumsum(weights[order])
    places = np.searchsorted(cumulative, np.asarray(at) * cumulative[-1])
    return values[order][np.minimum(places, len(values) - 1)]


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"
