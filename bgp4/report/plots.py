"""Pictures of the ensemble: energies and (phi, psi) histograms.

Each function takes the runs to show side by side and returns a matplotlib `Figure`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter1d

from bgp4.report.metrics import low_energy_fraction, ramachandran_histograms
from bgp4.report.result import RunResult
from bgp4.report.style import (
    DATA_COLOUR,
    FAINT,
    NOISE_COLOUR,
    angle_axis,
    lighter,
    new_figure,
    run_colour,
    short_name,
    styled,
)

__all__ = [
    "FEW",
    "FULL_KT",
    "EnergyColumn",
    "draw_energies",
    "draw_histogram",
    "energy_columns",
    "energy_limits",
    "minus_log",
    "plot_energies",
    "plot_ramachandran",
    "same_data",
    "smoothed_density",
    "weighted_quantiles",
]

Array = NDArray[np.float64]

FEW = 4
"""Rows up to which each is drawn large."""

FULL_KT = 4.0
"""Least height of the colour scale, kT."""


def same_data(one: RunResult, other: RunResult) -> bool:
    """Whether two runs have the same MD data, so that one column can stand for both."""
    return (
        one.temperature_k == other.temperature_k
        and np.array_equal(one.data_energy_kt, other.data_energy_kt)
        and one.topology == other.topology
    )


@dataclass(frozen=True)
class EnergyColumn:
    """One violin: its label, energies, weights, colour, and what share lies below the bar."""

    label: str
    energy_kt: Array
    weights: Array
    colour: str | tuple[float, float, float]
    low: float


@styled
def plot_energies(runs: Sequence[RunResult]) -> Figure:
    """Violins of the energies in kT, with the low-energy fraction over each column.

    The axis reaches from the lowest MD energy to a good way past the highest one; how much of a
    column lies beyond is printed at its top.
    """
    n_columns = sum(len(energy_columns(runs, i)) for i in range(len(runs)))
    figure, axes = new_figure(1, 1, max(6.4, 1.4 * n_columns + 1.0), 4.6)
    draw_energies(axes[0, 0], runs)
    return figure


def draw_energies(ax: Axes, runs: Sequence[RunResult]) -> None:
    """The violins of `plot_energies` into given axes."""
    columns = [column for i in range(len(runs)) for column in energy_columns(runs, i)]
    low, high = energy_limits(runs, columns)
    ax.set(
        ylim=(low, high), xlim=(-0.6, len(columns) - 0.4), ylabel="potential energy  $u$ / $k_BT$"
    )
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


def energy_columns(runs: Sequence[RunResult], index: int) -> list[EnergyColumn]:
    """A run's violins: samples and reweighted, after those of MD if no earlier run shows them."""
    run, colour = runs[index], run_colour(index)
    several = len(runs) > 1
    prefix = f"{short_name(run.name)}\n" if several else ""
    energy = run.energy_kt[run.accepted]
    bar = run.max_data_energy_kt
    weighted_low = float(run.weights @ (run.energy_kt < bar))
    columns = [
        EnergyColumn(
            f"{prefix}samples",
            energy,
            np.ones(len(energy)),
            colour,
            low_energy_fraction(run.energy_kt, bar),
        ),
        EnergyColumn(
            f"{prefix}reweighted", energy, run.weights[run.accepted], lighter(colour), weighted_low
        ),
    ]
    if any(same_data(run, earlier) for earlier in runs[:index]):
        return columns
    md, noisy = run.data_energy_kt, run.noisy_energy_kt[np.isfinite(run.noisy_energy_kt)]
    at = "" if all(same_data(run, other) for other in runs) else f"\n{_of_data(runs, run)}"
    return [
        EnergyColumn(
            f"MD data{at}", md, np.ones(len(md)), DATA_COLOUR, low_energy_fraction(md, bar)
        ),
        EnergyColumn(
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


def energy_limits(
    runs: Sequence[RunResult], columns: Sequence[EnergyColumn]
) -> tuple[float, float]:
    """Ends of the energy axis, kT."""
    lowest = min(float(run.data_energy_kt.min()) for run in runs)
    bar = max(run.max_data_energy_kt for run in runs)
    spread = max(bar - lowest, 1.0)
    bulk = [np.quantile(c.energy_kt, 0.95) for c in columns if len(c.energy_kt)]
    top = min(max(bar + 0.15 * spread, *bulk), bar + 1.5 * spread)
    return lowest - 0.15 * spread, top + 0.05 * spread


def _draw_violin(ax: Axes, x: float, column: EnergyColumn, low: float, high: float) -> None:
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
    ax: Axes, x: float, column: EnergyColumn, weights: Array, low: float, high: float
) -> None:
    inside = (column.energy_kt >= low) & (column.energy_kt <= high)
    if weights[inside].sum() <= 0:
        return
    grid, density = smoothed_density(column.energy_kt[inside], weights[inside], low, high)
    width = 0.4 * density / density.max(initial=1e-300)
    ax.fill_betweenx(grid, x - width, x + width, color=column.colour, linewidth=0)


def _draw_averages(ax: Axes, x: float, energy_kt: Array, weights: Array) -> None:
    """The middle half as a bar, the median as a dot, the mean as a line across."""
    q1, median, q3 = weighted_quantiles(energy_kt, weights, [0.25, 0.5, 0.75])
    mean = float(weights @ energy_kt)
    ax.vlines(x, q1, q3, color="white", linewidth=3.5, alpha=0.9)
    for colour, linewidth in ((DATA_COLOUR, 3.4), ("white", 1.6)):
        ax.plot([x - 0.11, x + 0.11], [mean, mean], color=colour, linewidth=linewidth)
    ax.plot(x, median, "o", color=DATA_COLOUR, markersize=4.5, markeredgecolor="white")


def smoothed_density(values: Array, weights: Array, low: float, high: float) -> tuple[Array, Array]:
    """Gaussian-smoothed density on a grid over the values' own range (Silverman's bandwidth)."""
    counts, edges = np.histogram(values, bins=600, range=(low, high), weights=weights)
    q1, q3 = weighted_quantiles(values, weights, [0.25, 0.75])
    effective = weights.sum() ** 2 / (weights**2).sum()
    bandwidth = 0.9 * (q3 - q1) / 1.34 * effective**-0.2
    smooth = gaussian_filter1d(counts, max(bandwidth / (edges[1] - edges[0]), 2.0))
    centres = (edges[:-1] + edges[1:]) / 2
    own = (edges[1:] >= values.min()) & (edges[:-1] <= values.max())
    return centres[own], smooth[own]


def weighted_quantiles(values: Array, weights: Array, at: Sequence[float]) -> Array:
    """Quantiles of weighted values, at these shares of 1."""
    order = np.argsort(values)
    cumulative = np.cumsum(weights[order])
    places = np.searchsorted(cumulative, np.asarray(at) * cumulative[-1])
    return values[order][np.minimum(places, len(values) - 1)]


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"


@styled
def plot_ramachandran(runs: Sequence[RunResult]) -> Figure | None:
    """-ln p of the joint (phi, psi) histograms: MD, samples, reweighted samples; a row a run.

    One colour scale, from the fullest to the emptiest bin of MD and the unweighted samples. Empty
    bins are white. `None` for molecules without phi and psi.
    """
    rows = [row for run in runs for row in _ramachandran_rows(run, several=len(runs) > 1)]
    if not rows:
        return None
    many = len(rows) > FEW
    size = (7.2, 1.0 + 2.1 * len(rows)) if many else (9.0, 0.6 + 2.5 * len(rows))
    figure, axes = new_figure(len(rows), 3, *size, layout="compressed", sharex=True, sharey=True)
    shown = np.concatenate(
        [panel[np.isfinite(panel)] for _, panels in rows for panel in panels[:2]]
    )
    lowest = float(shown.min())
    high = max(float(shown.max()) - lowest, FULL_KT)
    for which in "xy":
        angle_axis(axes[0, 0], which, "", step=120)  # which all panels share
    for row, (label, panels) in enumerate(rows):
        for ax, panel in zip(axes[row], panels, strict=True):
            image = draw_histogram(ax, panel - lowest, high)
        axes[row, 0].set_ylabel(f"{label}ψ")
    for ax in axes[-1]:
        ax.set_xlabel("φ")
    for ax, title in zip(axes[0], ("MD data", "samples", "reweighted samples"), strict=True):
        ax.set_title(title)
    place: Any = {"aspect": 12 + 12 * len(rows)}
    if many:
        place = {"location": "top", "aspect": 40, "pad": 0.15 / size[1]}
    bar = figure.colorbar(image, ax=axes, extend="max", extendfrac=0.03, **place)
    bar.set_label("$-\\ln\\,p$ / kT, above the fullest bin")
    return figure


def _ramachandran_rows(run: RunResult, several: bool) -> list[tuple[str, list[Array]]]:
    """For each residue, the start of the row's label and -ln p of its three panels."""
    labels = [t.residue if len(run.data_torsions) > 1 else "" for t in run.data_torsions]
    prefix = short_name(run.name) if several else ""
    panels = [[minus_log(p) for p in three] for three in ramachandran_histograms(run)]
    heads = [" ".join(filter(None, (prefix, label))) for label in labels]
    return [(f"{head}\n" if head else "", three) for head, three in zip(heads, panels, strict=True)]


def minus_log(probabilities: Array) -> Array:
    """-ln p, infinite where p is zero or NaN."""
    with np.errstate(divide="ignore"):
        return -np.log(np.nan_to_num(probabilities))


def draw_histogram(ax: Axes, energy_kt: Array, high: float) -> AxesImage:
    """-ln p in kT over bins of phi along x and psi along y; empty bins, infinite, are white."""
    ax.set_aspect("equal")
    ax.axvline(0, color=FAINT, linewidth=0.5, linestyle=":")
    if not np.isfinite(energy_kt).any():
        ax.text(0, 0, "none", ha="center", va="center", color=FAINT)
    return ax.imshow(
        np.where(np.isfinite(energy_kt), energy_kt, np.nan).T,
        origin="lower",
        extent=(-np.pi, np.pi, -np.pi, np.pi),
        vmin=0,
        vmax=high,
        cmap="viridis",
        interpolation="nearest",
        zorder=2,
    )
