"""Boxes and arrows, for figures that draw a model from its modules."""

from __future__ import annotations

from matplotlib.axes import Axes
from matplotlib.patches import FancyBboxPatch

from bgp4.report.style import DATA_COLOUR, lighter

__all__ = ["arrow", "blank", "box"]


def blank(ax: Axes, width: float, height: float) -> None:
    """An empty canvas of width x height."""
    ax.set(xlim=(0, width), ylim=(0, height), aspect="equal")
    ax.axis("off")


def box(ax: Axes, x: float, y: float, width: float, height: float, text: str, colour: str) -> None:
    """A rounded box around (x, y)."""
    corner = (x - width / 2, y - height / 2)
    style = "round,pad=0,rounding_size=0.12"
    face = lighter(colour, 0.78)
    ax.add_patch(FancyBboxPatch(corner, width, height, style, fc=face, ec=colour, lw=1))
    ax.text(x, y, text, ha="center", va="center", fontsize=8, color=DATA_COLOUR)


def arrow(
    ax: Axes, start: tuple[float, float], end: tuple[float, float], text: str = "", bend: float = 0
) -> None:
    """An arrow, with words at its middle."""
    properties = {
        "arrowstyle": "-|>",
        "color": DATA_COLOUR,
        "lw": 0.9,
        "connectionstyle": f"arc3,rad={bend}",
    }
    ax.annotate("", end, start, arrowprops=properties)
    if text:
        middle = ((start[0] + end[0]) / 2, (start[1] + end[1]) / 2)
        ax.text(*middle, text, fontsize=7.5, color=DATA_COLOUR, ha="left", va="center")
