"""Pictures of free-energy surfaces, a curve with its error or a map; and of measurements."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from bgp4.answers.surface import FEW, Axis, Surface
from bgp4.answers.weighted import Estimate
from bgp4.report.style import DATA_COLOUR, FAINT, angle_axis, new_figure, run_colour, styled

__all__ = ["plot_measured", "plot_surface"]

UNKNOWN_ERROR_KT = 3.0
"""Half width of the band where so few samples carry a bin that some replicates miss it."""


@styled
def plot_surface(
    own: Surface, md: Surface | None = None, factor: float = 1.0, unit: str = "kT"
) -> Figure:
    """The free energy above the samples' fullest bin; empty bins are left out.

    Args:
        own: Of the samples, along one or two variables.
        md: Of MD frames, on the same axes.
        factor: Energies are shown in kT times this.
        unit: What that is called.
    """
    label = f"free energy / {unit}"
    if len(own.axes) == 1:
        figure, axes = new_figure(1, 1, 5.6, 3.6)
        _draw_curves(axes[0, 0], own, md, factor)
        axes[0, 0].set_ylabel(label)
        return figure
    shown = {"samples, reweighted": own, **({"MD": md} if md is not None else {})}
    figure, axes = new_figure(1, len(shown), 4.6 * len(shown) + 0.6, 4.2, sharex=True, sharey=True)
    highest = float(np.nanmax(own.free_energy_kt)) * factor
    for ax, (title, found) in zip(axes[0], shown.items(), strict=True):
        ax.set_title(title)
        image = _draw_map(ax, found, _above(found, own) * factor, highest)
    axes[0, 0].set_ylabel(_words(own.axes[1]))
    figure.colorbar(image, ax=axes).set_label(label)
    return figure


def _above(found: Surface, own: Surface) -> np.ndarray:
    """-ln p in kT over the fullest bin of the samples."""
    with np.errstate(divide="ignore"):
        energy = np.log(own.probability.max()) - np.log(found.probability)
    return np.where(np.isfinite(energy), energy, np.nan)


def _draw_curves(ax: Axes, own: Surface, md: Surface | None, factor: float) -> None:
    x = own.axes[0].centres
    curves: list[tuple[str, str, str, Surface]] = [("samples", run_colour(0), "-", own)]
    if md is not None:
        curves.insert(0, ("MD", DATA_COLOUR, "--", md))
    for label, colour, line, found in curves:
        energy = factor * _above(found, own)
        error = factor * np.where(np.isnan(found.error_kt), UNKNOWN_ERROR_KT, found.error_kt)
        ax.plot(x, energy, label=label, color=colour, linestyle=line, linewidth=1.5)
        ax.fill_between(x, energy - error, energy + error, color=colour, alpha=0.22, linewidth=0)
    few = np.isfinite(own.free_energy_kt) & (own.effective < FEW)
    if few.any():
        style: Any = {"marker": ".", "linestyle": "", "color": FAINT, "zorder": 3}
        words = f"under {FEW:g} effective samples"
        ax.plot(x[few], factor * own.free_energy_kt[few], label=words, **style)
    ax.set_ylim(-0.05 * factor, 1.08 * factor * float(np.nanmax(own.free_energy_kt)))
    ax.legend(loc="upper center", bbox_to_anchor=(0.5, 1.16), ncols=3)
    _label(ax, "x", own.axes[0])


def _draw_map(ax: Axes, found: Surface, energy: np.ndarray, highest: float) -> Any:
    first, second = found.axes
    style: Any = {"cmap": "viridis", "vmin": 0, "vmax": highest, "rasterized": True}
    image = ax.pcolormesh(first.edges, second.edges, np.ma.masked_invalid(energy.T), **style)
    _label(ax, "x", first)
    if second.periodic:
        angle_axis(ax, "y", "", step=120)
    return image


def _label(ax: Axes, which: str, axis: Axis) -> None:
    if axis.periodic:
        angle_axis(ax, which, axis.name)
    else:
        ax.set(**{f"{which}label": _words(axis)})


def _words(axis: Axis) -> str:
    return f"{axis.name} / {axis.unit}" if axis.unit and not axis.periodic else axis.name


@styled
def plot_measured(measured: Sequence[Estimate], estimates: Sequence[Estimate]) -> Figure:
    """What the ensemble gives over what was measured, a panel for each unit."""
    units = list(dict.fromkeys(one.unit for one in estimates))
    figure, axes = new_figure(1, len(units), 4.2 * len(units), 4.0)
    for ax, unit in zip(axes[0], units, strict=True):
        pairs = [p for p in zip(measured, estimates, strict=True) if p[1].unit == unit]
        x, y = (np.array([p[i].value for p in pairs]) for i in (0, 1))
        xerr, yerr = (np.array([p[i].error for p in pairs]) for i in (0, 1))
        low = min((x - xerr).min(), (y - yerr).min())
        high = max((x + xerr).max(), (y + yerr).max())
        ends = (low - 0.05 * (high - low), high + 0.05 * (high - low))
        ax.plot(ends, ends, color=FAINT, linewidth=0.8, linestyle=":")
        ax.errorbar(x, y, yerr=yerr, xerr=xerr, fmt="o", color=run_colour(0), markersize=4)
        words = f" / {unit}" if unit else ""
        ax.set(xlabel=f"measured{words}", ylabel=f"ensemble{words}", xlim=ends, ylim=ends)
    return figure
