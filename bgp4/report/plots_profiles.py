"""Free-energy profiles of the backbone torsions, and how each kind of curve is drawn.

Runs of one molecule share a panel, those of another have their own.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from bgp4.report.plots import FEW, same_data
from bgp4.report.result import RunResult
from bgp4.report.style import (
    DATA_COLOUR,
    Grid,
    angle_axis,
    lighter,
    new_figure,
    run_colour,
    short_name,
    styled,
)
from bgp4.statistics.distributions import (
    bin_centres,
    free_energy_profile,
    free_energy_profile_error,
)

__all__ = ["Look", "by_molecule", "legend_above", "looks", "names_of", "plot_profiles"]

Array = NDArray[np.float64]


class Look(NamedTuple):
    """A line's name in the legend, its colour and its style."""

    label: str
    colour: str | tuple[float, float, float]
    linestyle: Any


def by_molecule(runs: Sequence[RunResult]) -> list[list[int]]:
    """Places of the runs, those of one molecule, with the same bonds to compare, together."""
    groups: list[list[int]] = []
    for index, run in enumerate(runs):
        same = (group for group in groups if _alike(runs[group[0]], run))
        group = next(same, None)
        if group is None:
            groups.append([index])
        else:
            group.append(index)
    return groups


def _alike(one: RunResult, other: RunResult) -> bool:
    same_bonds = one.incomparable_bonds == other.incomparable_bonds
    return same_bonds and bool(one.topology == other.topology)


def names_of(runs: Sequence[RunResult], group: Sequence[int]) -> str:
    """Short names of a molecule's runs, empty where there is no other molecule."""
    return "" if len(group) == len(runs) else ", ".join(short_name(runs[i].name) for i in group)


def looks(runs: Sequence[RunResult], index: int) -> dict[str, Look]:
    """How a run's "data", "samples" and "reweighted" samples are drawn.

    Without data that an earlier run shows, and without "reweighted" where no sample has weight.
    """
    run, colour = runs[index], run_colour(index)
    prefix = f"{short_name(run.name)} " if len(runs) > 1 else ""
    found = {}
    if not any(same_data(run, earlier) for earlier in runs[:index]):
        label, style = ("MD data", "-") if index == 0 else (f"{prefix}MD data", (0, (4, 2)))
        found["data"] = Look(label, DATA_COLOUR, style)
    found["samples"] = Look(f"{prefix}samples", lighter(colour, 0.35), ":")
    if run.sample_weights_in_space.sum() > 0:
        label = f"{prefix}reweighted" if prefix else "reweighted samples"
        found["reweighted"] = Look(label, colour, "-")
    return found


def legend_above(figure: Figure, axes: Grid) -> None:
    """One legend over all axes, with each label once."""
    pairs = [pair for ax in axes.flat for pair in zip(*ax.get_legend_handles_labels(), strict=True)]
    handles = {label: handle for handle, label in reversed(pairs)}
    labels = list(dict.fromkeys(label for _, label in pairs))
    figure.legend([handles[k] for k in labels], labels, loc="outside upper center", ncols=3)


@styled
def plot_profiles(runs: Sequence[RunResult]) -> Figure | None:
    """Free energy along phi and psi in kT, with bands of one bootstrap standard error.

    It is -ln p of each bin, and zero is the lowest bin of the run's MD data. A row a residue;
    `None` for molecules without phi and psi.
    """
    rows = [
        (group, residue)
        for group in by_molecule(runs)
        for residue in range(len(runs[group[0]].data_torsions))
    ]
    if not rows:
        return None
    height = 3.1 if len(rows) <= FEW else 2.2
    figure, axes = new_figure(len(rows), 2, 9.0, 0.7 + height * len(rows), sharey=True)
    for pair, (group, residue) in zip(axes, rows, strict=True):
        names = names_of(runs, group)
        label = f"({runs[group[0]].data_torsions[residue].residue})" if len(rows) > 1 else ""
        for ax, angle, symbol in zip(pair, ("phi", "psi"), "φψ", strict=True):
            for index in group:
                _draw_run_profiles(ax, runs, index, residue, angle)
            angle_axis(ax, "x", f"{symbol}{label}  {names}".rstrip())
        pair[0].set_ylabel("free energy / kT")
    axes[0, 0].set_ylim(-0.3, _highest_md_profile(runs) + 1.5)
    legend_above(figure, axes)
    return figure


def _highest_md_profile(runs: Sequence[RunResult]) -> float:
    profiles = [
        free_energy_profile(angle, run.bins)
        for run in runs
        for residue in run.data_torsions
        for angle in (residue.phi, residue.psi)
    ]
    return max(float(p[np.isfinite(p)].max() - p.min()) for p in profiles)


@dataclass(frozen=True)
class _Curve:
    """A line of a free-energy profile, and whether it has a band."""

    look: Look
    angles: Array
    weights: Array
    blocks: int | None = None
    band: bool = True


def _draw_run_profiles(
    ax: Axes, runs: Sequence[RunResult], index: int, residue: int, angle: str
) -> None:
    run = runs[index]
    md = getattr(run.data_torsions[residue], angle)
    zero = float(free_energy_profile(md, run.bins).min())
    for curve in _profile_curves(runs, index, md, getattr(run.sample_torsions[residue], angle)):
        _draw_profile(ax, run, curve, zero)


def _profile_curves(
    runs: Sequence[RunResult], index: int, md: Array, own: Array
) -> Iterator[_Curve]:
    run, look = runs[index], looks(runs, index)
    if "data" in look:
        yield _Curve(look["data"], md, np.ones(len(md)), run.data_blocks)
    yield _Curve(look["samples"], own, np.ones(len(own)), band=False)
    if "reweighted" in look:
        yield _Curve(look["reweighted"], own, run.sample_weights_in_space)


def _draw_profile(ax: Axes, run: RunResult, curve: _Curve, zero: float) -> None:
    centres = bin_centres(run.bins)
    value = free_energy_profile(curve.angles, run.bins, curve.weights) - zero
    label, colour, linestyle = curve.look
    ax.plot(centres, _gaps(value), label=label, color=colour, linestyle=linestyle, linewidth=1.6)
    if not curve.band:
        return
    error = free_energy_profile_error(
        curve.angles, run.bins, curve.weights, run.bootstrap, run.rng(), curve.blocks
    )
    error = np.where(np.isfinite(error), error, UNKNOWN_ERROR_KT)
    low, high = _gaps(value - error), _gaps(value + error)
    ax.fill_between(centres, low, high, color=colour, alpha=0.22, linewidth=0)


UNKNOWN_ERROR_KT = 3.0
"""Half width of the band where so few samples carry a bin that some replicates miss it."""


def _gaps(values: Array) -> Array:
    """NaN, which matplotlib leaves out, for the infinite free energy of an empty bin."""
    return np.where(np.isfinite(values), values, np.nan)
