"""Maps of the backbone torsions: -ln p over (phi, psi), with MD's basins."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from numpy.typing import NDArray

from bgp4.report.basins import Basins, md_basins
from bgp4.report.plots import FEW
from bgp4.report.result import RunResult
from bgp4.report.style import FAINT, angle_axis, new_figure, short_name, styled

__all__ = [
    "FULL_KT",
    "SOURCES",
    "draw_histogram",
    "fullest_bin_kt",
    "map_id",
    "minus_log",
    "plot_ramachandran",
]

Array = NDArray[np.float64]

FULL_KT = 4.0
"""Least height of the colour scale, kT."""

SOURCES = {"data": "MD data", "samples": "samples", "reweighted": "reweighted samples"}
"""The maps of a row, and their titles."""


class _Row(NamedTuple):
    """A residue of a run: places, the start of its label, its basins, -ln p of its three maps."""

    run: int
    residue: int
    label: str
    basins: Basins
    panels: list[Array]


@styled
def plot_ramachandran(runs: Sequence[RunResult]) -> Figure | None:
    """-ln p of the joint (phi, psi) histograms: MD, samples, reweighted samples.

    A row a residue of a run. One colour scale, from the fullest to the emptiest bin of MD and the
    unweighted samples. Empty bins are white. `None` for molecules without phi and psi.
    """
    rows = [row for index in range(len(runs)) for row in _rows(runs, index)]
    if not rows:
        return None
    many = len(rows) > FEW
    size = (7.2, 1.0 + 2.1 * len(rows)) if many else (10.0, 0.65 + 2.6 * len(rows))
    figure, axes = new_figure(len(rows), 3, *size, layout="compressed", sharex=True, sharey=True)
    lowest = fullest_bin_kt(runs)
    shown = np.concatenate([panel[np.isfinite(panel)] for row in rows for panel in row.panels[:2]])
    high = max(float(shown.max()) - lowest, FULL_KT)
    for which in "xy":
        angle_axis(axes[0, 0], which, "", step=120)  # which all panels share
    for own, row in zip(axes, rows, strict=True):
        for ax, source, panel in zip(own, SOURCES, row.panels, strict=True):
            ax.patch.set_gid(map_id(row.run, row.residue, source))
            image = draw_histogram(ax, panel - lowest, high)
            _draw_borders(ax, row)
        _name_basins(own[0], row.basins)
        own[0].set_ylabel(f"{row.label}ψ")
    for ax in axes[-1]:
        ax.set_xlabel("φ")
    for ax, title in zip(axes[0], SOURCES.values(), strict=True):
        ax.set_title(title)
    place: Any = {"aspect": 12 + 12 * len(rows)}
    if many:
        place = {"location": "top", "aspect": 40, "pad": 0.15 / size[1]}
    bar = figure.colorbar(image, ax=axes, extend="max", extendfrac=0.03, **place)
    bar.set_label("−ln p / kT, above the fullest bin")
    return figure


def map_id(run: int, residue: int, source: str) -> str:
    """The id, in an SVG, of the ground of a map."""
    return f"map-{run}-{residue}-{source}"


def _rows(runs: Sequence[RunResult], index: int) -> list[_Row]:
    run = runs[index]
    residues = [t.residue if len(run.data_torsions) > 1 else "" for t in run.data_torsions]
    prefix = short_name(run.name) if len(runs) > 1 else ""
    heads = [" ".join(filter(None, (prefix, residue))) for residue in residues]
    maps = zip(heads, md_basins(run), run.ramachandran, strict=True)
    return [
        _Row(index, place, f"{head}\n" if head else "", basins, [minus_log(p) for p in three])
        for place, (head, basins, three) in enumerate(maps)
    ]


def fullest_bin_kt(runs: Sequence[RunResult]) -> float:
    """-ln p of the fullest bin of all maps of MD and samples, the zero of the colour scale."""
    shown = [p for run in runs for three in run.ramachandran for p in three[:2]]
    return min((float(minus_log(p).min()) for p in shown), default=0.0)


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
        interpolation="none",  # an SVG then has a pixel a bin
        zorder=2,
    )


def _draw_borders(ax: Axes, row: _Row) -> None:
    """Lines between basins, where MD is."""
    labels, there = row.basins.labels, np.isfinite(row.panels[0])
    edges = np.linspace(-np.pi, np.pi, len(labels) + 1)
    style: Any = {"color": "black", "linewidth": 0.6, "alpha": 0.6, "zorder": 3}
    for axis, lines in ((0, ax.vlines), (1, ax.hlines)):
        differ = labels != np.roll(labels, 1, axis)
        i, j = np.nonzero(differ & (there | np.roll(there, 1, axis)))
        at, along = (i, j) if axis == 0 else (j, i)
        lines(edges[at], edges[along], edges[along + 1], **style)


def _name_basins(ax: Axes, basins: Basins) -> None:
    """Each basin's name beside its peak, inside the map."""
    box: Any = {"facecolor": "white", "alpha": 0.75, "linewidth": 0, "pad": 1.2}
    for name, peak in zip(basins.names, basins.peaks, strict=True):
        x, y = np.clip(peak - (0, 0.55), -2.7, 2.85)
        ax.text(x, y, name, ha="center", va="center", fontsize=7.5, bbox=box, zorder=4)
