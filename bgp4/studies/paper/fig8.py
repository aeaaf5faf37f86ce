"""Figure 8: P4Inv trained through its layers' inverse, in the plane and towards a rotation."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from bgp4.parallel.progress import Report, progress
from bgp4.report.style import new_figure, styled
from bgp4.studies.paper.figure import Check, Outcome
from bgp4.studies.paper.linear_maps import (
    LinearFit,
    Method,
    Trace,
    fit_all,
    median_iterations,
    rotation,
)
from bgp4.studies.paper.planar import (
    PAPER_DENSITIES,
    QUICK_PLANE,
    Fits,
    Kind,
    Planar,
    Plane,
    draw_densities,
    fit_densities,
    log_likelihoods,
    planar_numbers,
)
from bgp4.studies.paper.plots import draw_losses

CLAIM = (
    "In the plane, P4Inv flows trained through the inverse of their layers do as well as those "
    "trained forward. Towards a rotation of 128 dimensions, training through the inverse fails."
)


@dataclass(frozen=True)
class Settings:
    """The plane as in figure 6, the rotation as in figure 4."""

    plane: Plane
    n: int
    fit: LinearFit
    rotations: tuple[int, ...]


FULL = Settings(
    Plane(PAPER_DENSITIES, Planar(), seeds=(0, 1)),
    n=128,
    fit=LinearFit(iterations=100_000, learning_rate=1.25e-4, tolerance=1e-6),
    rotations=(0, 1),
)
QUICK = Settings(
    QUICK_PLANE,
    n=12,
    fit=LinearFit(iterations=2_000, learning_rate=2e-3, tolerance=1e-2),
    rotations=(0,),
)

KINDS: tuple[Kind, ...] = ("P4Inv", "inverse P4Inv")

METHODS: dict[str, tuple[Method, int]] = {
    "forward, N = 10": ("p4inv", 10),
    "inverse, N = 10": ("p4inv_inverse", 10),
    "inverse, N = 1": ("p4inv_inverse", 1),
    "inverse in units of A, N = 10": ("p4inv_inverse_scaled", 10),
}
"""The second is the paper's; the third and the fourth try to mend it."""


def run(settings: Settings, report: Report, folder: Path) -> Outcome:
    with progress("plane", 100) as inner:
        planar = fit_densities(KINDS, settings.plane, inner)
    report(50, "")
    targets = {seed: rotation(settings.n, seed) for seed in settings.rotations}
    fits = {
        name: replace(settings.fit, method=method, merge_every=merge_every)
        for name, (method, merge_every) in METHODS.items()
    }
    with progress("rotation", 100) as inner:
        traces = fit_all(targets, fits, inner)
    return Outcome(
        (*_planar_checks(planar), *_rotation_checks(traces)),
        {
            "plane": planar_numbers(planar, settings.plane.planar),
            "rotation": _rotation_numbers(traces),
        },
        draw(planar, traces),
    )


def _planar_checks(fits: Fits) -> tuple[Check, ...]:
    """The spread is the larger of the two standard deviations over seeds."""
    within = 0
    for name, forward in fits["P4Inv"].items():
        a, b = log_likelihoods(forward), log_likelihoods(fits["inverse P4Inv"][name])
        within += bool(a.mean() - b.mean() <= max(a.std(ddof=1), b.std(ddof=1)))
    n = len(fits["P4Inv"])
    return (
        Check(
            f"densities whose held-out log-likelihood through the inverse is within the seeds' "
            f"standard deviation of that forward, or above, all {n}",
            within,
            within == n,
        ),
    )


def _rotation_checks(traces: dict[str, list[Trace]]) -> tuple[Check, ...]:
    failing, mended = traces["inverse, N = 10"], traces["inverse in units of A, N = 10"]
    stuck = sum(not trace.converged for trace in failing)
    ratio = median_iterations(mended) / median_iterations(traces["forward, N = 10"])
    return (
        Check(
            f"rotations that training through the inverse misses, all {len(failing)}",
            stuck,
            stuck == len(failing),
        ),
        Check(
            "iterations with perturbations in units of A over forward's, at most 1.5",
            ratio,
            ratio <= 1.5,
        ),
    )


def _rotation_numbers(traces: dict[str, list[Trace]]) -> dict[str, object]:
    return {
        name: {
            "iterations": [t.finished for t in runs],
            "converged": [t.converged for t in runs],
            "final_loss": [t.loss[-1] for t in runs],
            "smallest_eigenvalue": [np.abs(t.eigenvalues).min() for t in runs],
            "final_smallest_eigenvalue": [np.abs(t.eigenvalues[-1]).min() for t in runs],
            "worst_residual": [t.residual.max() for t in runs],
            "rejected_merges": [t.rejected for t in runs],
        }
        for name, runs in traces.items()
    }


@styled
def draw(planar: Fits, traces: dict[str, list[Trace]]) -> Figure:
    rows = len(planar["P4Inv"])
    figure, axes = new_figure(rows, 5, 14, 2.5 * rows)
    draw_densities(axes[:, :3], planar)
    for ax in axes[:, 3:].flat:
        ax.remove()
    ax = figure.add_subplot(axes[0, 0].get_gridspec()[:, 3:])
    draw_losses(ax, traces)
    ax.set(title="Loss towards a rotation")
    return figure
