"""The panels that several of the paper's figures share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from torch import Tensor

from bgp4.report.style import DATA_COLOUR, lighter, run_colour
from bgp4.studies.paper.linear_maps import Trace

__all__ = ["draw_eigenvalues", "draw_losses", "draw_residual"]


def draw_losses(ax: Axes, traces: Mapping[str, Sequence[Trace]]) -> None:
    """Loss over iterations, one line a seed, one colour a method."""
    for i, (name, runs) in enumerate(traces.items()):
        for k, trace in enumerate(runs):
            style = "-" if i < 6 else "--"
            label = name if k == 0 else None
            ax.plot(trace.iteration, trace.loss, style, color=run_colour(i), lw=1, label=label)
    ax.set(yscale="log", xlabel="iteration", ylabel=r"$\|A - T\|_F^2 / n$", title="Loss")
    ax.locator_params(axis="x", nbins=5)
    ax.legend()


def draw_residual(ax: Axes, trace: Trace, colour: str, label: str | None) -> None:
    """max |A A^-1 - I| over iterations, for a logarithmic axis; it is 0 at the start."""
    ax.plot(trace.iteration[1:], trace.residual[1:], color=colour, lw=1, label=label)


def draw_eigenvalues(ax: Axes, trace: Trace, target: Tensor) -> None:
    """Eigenvalues over training, from light to dark; the last as crosses, T's as squares."""
    steps = len(trace.eigenvalues)
    for k, values in enumerate(trace.eigenvalues):
        shade = lighter(run_colour(0), 0.85 - 0.75 * k / steps)
        ax.plot(values.real, values.imag, ".", ms=1.5, color=shade)
    goal, last = np.linalg.eigvals(target.numpy()), trace.eigenvalues[-1]
    ax.plot(goal.real, goal.imag, "s", ms=6, mfc="none", mec=DATA_COLOUR, label="target")
    ax.plot(last.real, last.imag, "x", ms=5, color=run_colour(1), label="final")
    ax.axhline(0, color=DATA_COLOUR, lw=0.4)
    ax.axvline(0, color=DATA_COLOUR, lw=0.4)
    ax.set(xlabel="Re λ", ylabel="Im λ", title="Eigenvalues", aspect="equal", adjustable="datalim")
    ax.legend()
