"""Pictures of free-energy surfaces: a curve with its error, or a map."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from bgp4.answers.surface import FEW, Axis, Surface
from bgp4.report.style import FAINT, angle_axis, lighter, new_figure, run_colour, styled

__all__ = ["plot_surface"]


@styled
def plot_surface(found: Surface, factor: float = 1.0, unit: str = "kT") -> Figure:
    """The free energy above the fullest bin; empty bins are white, uncertain ones marked.

    Args:
        found: Along one or two variables.
        factor: Energies are shown in kT times this.
        unit: What that is called.
    """
    figure, axes = new_figure(1, 1, 5.2, 3.4 if len(found.axes) == 1 else 4.2)
    (_curve if len(found.axes) == 1 else _map)(figure, axes[0, 0], found, factor, unit)
    return figure


def _curve(figure: Figure, ax: Axes, found: Surface, factor: float, unit: str) -> None:
    energy, error = factor * found.free_energy_kt, factor * found.error_kt
    x, known = found.axes[0].centres, np.nan_to_num(error)
    ax.fill_between(x, energy - known, energy + known, color=lighter(run_colour(0)), linewidth=0)
    ax.plot(x, energy, color=run_colour(0), linewidth=1.4)
    few = found.effective < FEW
    ax.plot(x[few], energy[few], "o", color=FAINT, markersize=3, label=f"under {FEW:g} effective")
    if np.isfinite(energy[few]).any():
        ax.legend()
    _label(ax, "x", found.axes[0])
    ax.set_ylabel(f"F / {unit}")


def _map(figure: Figure, ax: Axes, found: Surface, factor: float, unit: str) -> None:
    first, second = found.axes
    image = ax.pcolormesh(
        *(first.edges, second.edges, factor * found.free_energy_kt.T), cmap="viridis", rasterized=True
    )
    _label(ax, "x", first)
    _label(ax, "y", second)
    figure.colorbar(image, ax=ax).set_label(f"F / {unit}")


def _label(ax: Axes, which: str, axis: Axis) -> None:
    if axis.periodic:
        angle_axis(ax, which, axis.name)
    else:
        ax.set(**{f"{which}label": f"{axis.name} / {axis.unit}" if axis.unit else axis.name})
