"""Figure 4: training towards a rotation of 128 dimensions."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from torch import Tensor

from bgp4.parallel.progress import Report
from bgp4.report.style import new_figure, run_colour, styled
from bgp4.studies.paper.figure import Check, Outcome
from bgp4.studies.paper.linear_maps import (
    LinearFit,
    Trace,
    fit_all,
    median_iterations,
    rivals,
    rotation,
)
from bgp4.studies.paper.plots import draw_eigenvalues, draw_losses, draw_residual

CLAIM = (
    "Towards a random rotation of 128 dimensions, P4Inv converges and is slower only at the "
    "start. Its eigenvalues go round the origin, and its inverse stays accurate."
)


@dataclass(frozen=True)
class Settings:
    """The first seed alone has controls: P4Inv in float64, and `rivals`."""

    n: int
    fit: LinearFit
    seeds: tuple[int, ...]


FULL = Settings(
    128, LinearFit(iterations=100_000, learning_rate=1.25e-4, tolerance=1e-6), (0, 1, 2, 3, 4)
)
QUICK = Settings(8, LinearFit(iterations=4_000, learning_rate=2e-3, tolerance=1e-2), (0,))


def run(settings: Settings, report: Report, folder: Path) -> Outcome:
    targets = {seed: rotation(settings.n, seed) for seed in settings.seeds}
    fits = {"direct": replace(settings.fit, method="direct"), "P4Inv": settings.fit}
    traces = fit_all(targets, fits, report)
    first = {settings.seeds[0]: targets[settings.seeds[0]]}
    controls = {"P4Inv, float64": replace(settings.fit, precision="float64")}
    traces |= fit_all(first, controls | rivals(settings.fit), report)
    direct, p4 = traces["direct"], traces["P4Inv"]
    early, late = _slowdown(direct, p4, early=True), _slowdown(direct, p4, early=False)
    residual, double = (
        max(float(trace.residual.max()) for trace in traces[name])
        for name in ("P4Inv", "P4Inv, float64")
    )
    final = max(float(trace.residual[-1]) for trace in p4)
    nearest = min(float(np.abs(trace.eigenvalues).min()) for trace in p4)
    wrong = max(float(np.abs(t.logabsdet - t.true_logabsdet).max()) for t in p4)
    n_converged = sum(trace.converged for trace in p4)
    checks = (
        Check(f"P4Inv runs converged, of {len(p4)}", n_converged, n_converged == len(p4)),
        Check(
            "P4Inv's iterations over direct's, first half (in log loss) above second half's",
            [round(early, 3), round(late, 3)],
            early > late,
        ),
        Check("smallest |eigenvalue| on the way, above 0", nearest, nearest > 0),
        Check("max |A A^-1 - I| throughout, at most 1e-5", residual, residual <= 1e-5),
        Check("the same in float64, one seed", double, double <= 1e-5),
        Check("max |A A^-1 - I| at the end, at most 1e-5", final, final <= 1e-5),
    )
    numbers = {
        "iterations": {name: [t.finished for t in runs] for name, runs in traces.items()},
        "converged": {name: [t.converged for t in runs] for name, runs in traces.items()},
        "final_loss": {name: [t.loss[-1] for t in runs] for name, runs in traces.items()},
        "median_iterations": {name: median_iterations(runs) for name, runs in traces.items()},
        "slowdown_first_half": early,
        "slowdown_second_half": late,
        "smallest_eigenvalue": nearest,
        "residual": residual,
        "residual_float64": double,
        "final_residual": final,
        "logabsdet_error": wrong,
        "rejected_merges": [t.rejected for t in p4],
    }
    return Outcome(checks, numbers, draw(traces, targets[settings.seeds[0]]))


def _slowdown(direct: list[Trace], p4: list[Trace], early: bool) -> float:
    """P4Inv's iterations over direct's, median over seeds, for one half of the way in log loss."""
    return float(
        np.median([_span(b, early) / _span(a, early) for a, b in zip(direct, p4, strict=True)])
    )


def _span(trace: Trace, early: bool) -> float:
    """Iterations to the geometric mean of the first and the last loss, or from there on."""
    middle = (np.log(trace.loss[0]) + np.log(trace.loss[-1])) / 2
    at = float(np.interp(-middle, -np.log(trace.loss), trace.iteration))
    return at if early else float(trace.iteration[-1]) - at


@styled
def draw(traces: dict[str, list[Trace]], target: Tensor) -> Figure:
    figure, axes = new_figure(1, 3, 14, 4.2)
    draw_losses(axes[0, 0], traces)
    draw_eigenvalues(axes[0, 1], traces["P4Inv"][0], target)
    ax = axes[0, 2]
    for i, name in enumerate(("P4Inv", "P4Inv, float64")):
        for k, trace in enumerate(traces[name]):
            draw_residual(ax, trace, run_colour(i), name if k == 0 else None)
    ax.axhline(1e-5, color="black", lw=0.6, ls="--")
    ax.set(yscale="log", xlabel="iteration", ylabel="max |A A⁻¹ − I|", title="Inverse of P4Inv")
    ax.legend()
    return figure
