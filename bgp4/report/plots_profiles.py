"""Free-energy profiles of the backbone torsions."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from bgp4.report.plots import FEW, Look, by_molecule, legend_above, looks, names_of
from bgp4.report.result import RunResult
from bgp4.report.style import angle_axis, new_figure, styled
from bgp4.statistics.distributions import (
    bin_centres,
    free_energy_profile,
    free_energy_profile_error,
)

__all__ = ["plot_profiles"]

Array = NDArray[np.float64]


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
