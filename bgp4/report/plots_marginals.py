"""Pictures of single coordinates: every rotatable torsion, and the worst bonds and angles."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from bgp4.report.marginals import sampling_floors
from bgp4.report.plots import by_molecule, legend_above, looks, names_of
from bgp4.report.result import RunResult
from bgp4.report.style import DATA_COLOUR, FAINT, Grid, angle_axis, new_figure, styled

__all__ = ["plot_geometry", "plot_torsions", "torsion_id"]

Array = NDArray[np.float64]

COLUMNS = 3

WORST = 12
"""Bonds and angles that are shown."""


class _Distance(NamedTuple):
    """Total variations of one run's coordinate, of counting noise alone, and of MD's halves."""

    tv: float
    floor: float
    tv_reweighted: float
    floor_reweighted: float
    halves: float


class _Panel(NamedTuple):
    """A coordinate of a molecule, the runs that share it, and a distance for each."""

    label: str
    kind: str
    place: int
    group: list[int]
    distances: list[_Distance]

    @property
    def worst(self) -> _Distance:
        return max(self.distances, key=lambda distance: np.nan_to_num(distance.tv, nan=-1.0))


@styled
def plot_torsions(runs: Sequence[RunResult]) -> Figure | None:
    """Densities of every rotatable torsion; `None` for molecules without any."""
    return _figure(runs, _panels(runs, ("torsion",)))


@styled
def plot_geometry(runs: Sequence[RunResult]) -> Figure | None:
    """Densities of the bonds and angles farthest from MD's, the worst first; `None` without any."""
    panels = _panels(runs, ("bond", "angle"))
    panels.sort(key=lambda panel: -np.nan_to_num(panel.worst.tv, nan=-1.0))
    return _figure(runs, panels[:WORST])


def _panels(runs: Sequence[RunResult], kinds: Sequence[str]) -> list[_Panel]:
    """Panels of all coordinates of these kinds, molecule by molecule."""
    panels = []
    for group in by_molecule(runs):
        for kind in kinds:
            distances = zip(*(_distances(runs[i], kind) for i in group), strict=True)
            labels = runs[group[0]].marginals[kind].labels
            for place, (label, of_runs) in enumerate(zip(labels, distances, strict=True)):
                panels.append(_Panel(label, kind, place, group, list(of_runs)))
    return panels


def _distances(run: RunResult, kind: str) -> list[_Distance]:
    found = run.marginals[kind]
    floors = (sampling_floors(found, n, run.rng()) for n in (run.n_samples, run.n_effective))
    floor, weighted_floor = floors
    columns = (found.tv, floor, found.tv_reweighted, weighted_floor, found.noise_floor)
    return [_Distance(*map(float, row)) for row in zip(*columns, strict=True)]


def torsion_id(runs: Sequence[RunResult], index: int, place: int) -> str:
    """The id, in an SVG, of the ground of a torsion's panel, which the molecule's runs share."""
    group = next(group for group in by_molecule(runs) if index in group)
    return f"torsion-{group[0]}-{place}"


def _figure(runs: Sequence[RunResult], panels: Sequence[_Panel]) -> Figure | None:
    if not panels:
        return None
    columns = min(COLUMNS, len(panels))
    rows = math.ceil(len(panels) / columns)
    width, height = max(3.0 * columns, 4.8), 0.5 + 2.2 * rows
    figure, axes = new_figure(rows, columns, width, height)
    for ax, panel in zip(axes.flat, panels, strict=False):
        _draw_panel(ax, runs, panel)
    _finish(axes, len(panels))
    legend_above(figure, axes)
    return figure


def _finish(axes: Grid, n_panels: int) -> None:
    for ax in axes.flat[n_panels:]:
        ax.set_axis_off()
    for ax in axes[:, 0]:
        ax.set_ylabel("density")


def _draw_panel(ax: Axes, runs: Sequence[RunResult], panel: _Panel) -> None:
    edges = [_edges(runs[index], panel) for index in panel.group]
    for index, own in zip(panel.group, edges, strict=True):
        _draw_run(ax, runs, index, panel, own)
    _draw_axes(ax, panel.kind, edges)
    if panel.kind == "torsion":
        ax.patch.set_gid(torsion_id(runs, panel.group[0], panel.place))
    names = names_of(runs, panel.group)
    ax.set_title(f"{panel.label}  {names}".rstrip(), fontsize=9.5, pad=24)
    place: Any = {"xycoords": "axes fraction", "textcoords": "offset points", "ha": "center"}
    ax.annotate(_distance_text(panel), (0.5, 1.0), (0, 4), fontsize=7.5, color=FAINT, **place)


def _edges(run: RunResult, panel: _Panel) -> Array:
    """Ends of a run's bins, the open ones drawn as wide as the others; rad, nm or degrees."""
    found, place = run.marginals[panel.kind], panel.place
    low, high, n = found.low[place], found.high[place], found.data.shape[1] - 2
    if panel.kind == "torsion":
        return np.linspace(low, high, n + 1)
    step = (high - low) / n
    edges = np.linspace(low - step, high + step, n + 3)
    return np.degrees(edges) if panel.kind == "angle" else edges


def _draw_run(ax: Axes, runs: Sequence[RunResult], index: int, panel: _Panel, edges: Array) -> None:
    inner = slice(1, -1) if panel.kind == "torsion" else slice(None)
    for name, (label, colour, linestyle) in looks(runs, index).items():
        probability = getattr(runs[index].marginals[panel.kind], name)[panel.place, inner]
        density = probability / (edges[1] - edges[0])
        if name == "data":
            ax.stairs(density, edges, fill=True, color=DATA_COLOUR, alpha=0.12)
        style: Any = {"color": colour, "linestyle": linestyle, "linewidth": 1.3}
        ax.stairs(density, edges, label=label, baseline=None, **style)


def _draw_axes(ax: Axes, kind: str, edges: Sequence[Array]) -> None:
    """Axes over all runs' bins; the open bins are shaded where the runs share them."""
    ax.set_ylim(0, 1.05 * ax.dataLim.y1)
    ax.set_yticks([])
    ax.spines["left"].set_visible(False)
    if kind == "torsion":
        angle_axis(ax, "x", "", step=120)
        return
    if all(np.array_equal(own, edges[0]) for own in edges):
        for outside in (edges[0][:2], edges[0][-2:]):
            ax.axvspan(*outside, color=FAINT, alpha=0.25, linewidth=0)
    ax.xaxis.set_major_locator(MaxNLocator(5, prune="both"))
    ax.set_xlim(min(own[0] for own in edges), max(own[-1] for own in edges))
    ax.set_xlabel("nm" if kind == "bond" else "degrees")


def _distance_text(panel: _Panel) -> str:
    """Total variation on two lines; that of the worst run, where there are several."""
    tv, floor, tv_reweighted, floor_reweighted, halves = (_three(value) for value in panel.worst)
    up_to = "up to " if len(panel.group) > 1 else ""
    by_weight = "" if up_to else f", by weight {tv_reweighted} ({floor_reweighted})"
    return f"TV {up_to}{tv} (floor {floor}){by_weight}\n{halves} between MD's halves"


def _three(value: float) -> str:
    return f"{value:.3f}" if math.isfinite(value) else "–"
