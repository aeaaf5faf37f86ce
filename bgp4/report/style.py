"""One look for every picture: colours (Okabe-Ito, safe for colour-blind readers), type, axes."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import wraps
from io import BytesIO
from typing import Any, TypeVar, cast

import matplotlib
import numpy as np
from markupsafe import escape
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure

__all__ = [
    "DATA_COLOUR",
    "FAINT",
    "NOISE_COLOUR",
    "PAGE_COLOURS",
    "Grid",
    "angle_axis",
    "inline_svg",
    "lighter",
    "new_figure",
    "png_bytes",
    "run_colour",
    "short_name",
    "styled",
    "svg_bytes",
]

DATA_COLOUR = "#3b4252"
NOISE_COLOUR = "#E69F00"
FAINT = "#5a6474"
INK = "#1b2330"
RUN_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#B8A200")

PAGE_COLOURS = {
    "#ffffff": "panel",
    INK: "ink",
    FAINT: "soft",
    DATA_COLOUR: "data",
    NOISE_COLOUR: "noise",
    **{colour: f"run{i}" for i, colour in enumerate(RUN_COLOURS)},
}
"""Colours that a page, light or dark, draws in its own, and the names that `report.css` has."""

DPI = 150
STYLE: Any = {
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],
    "svg.fonttype": "none",
    "text.color": INK,
    "axes.labelcolor": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "font.size": 10,
    "axes.titlesize": 10.5,
    "axes.titleweight": "bold",
    "axes.labelsize": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": DATA_COLOUR,
    "axes.linewidth": 0.8,
    "xtick.labelsize": 9,
    "ytick.labelsize": 9,
    "legend.fontsize": 9,
    "legend.frameon": False,
    "axes.grid": False,
    "figure.facecolor": "white",
}

Grid = np.ndarray[tuple[int, int], Any]


Plot = TypeVar("Plot", bound=Callable[..., Any])


def styled(plot: Plot) -> Plot:
    """Have a plotting function run with this module's matplotlib settings."""

    @wraps(plot)
    def with_style(*args: Any, **kwargs: Any) -> Any:
        with matplotlib.rc_context(STYLE):
            return plot(*args, **kwargs)

    return cast(Plot, with_style)


def new_figure(
    rows: int, columns: int, width: float, height: float, layout: Any = "constrained", **grid: Any
) -> tuple[Figure, Grid]:
    """A figure of width x height inches and its axes, shape (rows, columns)."""
    figure = Figure(figsize=(width, height), layout=layout)
    FigureCanvasAgg(figure)
    return figure, figure.subplots(rows, columns, squeeze=False, **grid)


@styled
def png_bytes(figure: Figure) -> bytes:
    """The figure as PNG; the same figure gives the same bytes."""
    buffer = BytesIO()
    figure.savefig(buffer, format="png", dpi=DPI, metadata={"Software": None})
    return buffer.getvalue()


@styled
def svg_bytes(figure: Figure) -> bytes:
    """The figure as SVG, its words as text; the same figure gives the same bytes."""
    buffer = BytesIO()
    with matplotlib.rc_context({"svg.hashsalt": "bgp4"}):
        figure.savefig(buffer, format="svg", metadata={"Date": None})
    return re.sub(rb' d="[^"]*"', lambda path: SUPERFLUOUS.sub(rb"\1", path[0]), buffer.getvalue())


SUPERFLUOUS = re.compile(rb"(\.\d\d)\d+")
"""Digits of a path's coordinates beyond 0.01 pt."""


def inline_svg(svg: bytes, name: str, words: str) -> str:
    """An SVG as an element of a page, in the page's colours; `words` say what it is.

    Its ids begin with `name`, so that no two figures of a page have one in common.
    """
    text = svg.decode()
    text = re.sub(r"<metadata>.*?</metadata>|<style .*?</style>", "", text, flags=re.DOTALL)
    text = re.sub(r'( id="|url\(#|href="#)', rf"\g<1>{name}-", text[text.index("<svg") :])
    for colour, variable in PAGE_COLOURS.items():
        text = text.replace(colour.lower(), f"var(--{variable})")
    return text.replace("<svg", f'<svg role="img" aria-label="{escape(words)}"', 1).strip()


def run_colour(index: int) -> str:
    """Colour of the run at that place; they repeat after six."""
    return RUN_COLOURS[index % len(RUN_COLOURS)]


def lighter(colour: str, amount: float = 0.55) -> tuple[float, float, float]:
    """The colour mixed with white."""
    red, green, blue = (1 - (1 - channel) * (1 - amount) for channel in to_rgb(colour))
    return red, green, blue


def short_name(name: str) -> str:
    """A run's name where space is scarce."""
    return name if len(name) <= 16 else name[:15] + "\N{HORIZONTAL ELLIPSIS}"


def angle_axis(ax: Axes, which: str, label: str, step: int = 60) -> None:
    """An axis in rad over the whole circle, ticked every `step` degrees around 0."""
    degrees = range(-120, 180, step)
    labels = [f"{d}°".replace("-", "\N{MINUS SIGN}") for d in degrees]
    ax.set(**{f"{which}lim": (-np.pi, np.pi), f"{which}label": label})
    (ax.set_xticks if which == "x" else ax.set_yticks)(np.radians(list(degrees)).tolist(), labels)
