"""Figure 5: training towards -I in 101 dimensions, through det = 0."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from matplotlib.figure import Figure

from bgp4.parallel.progress import Report
from bgp4.report.style import DATA_COLOUR, new_figure, run_colour, styled
from bgp4.studies.paper.figure import Check, Outcome
from bgp4.studies.paper.linear_maps import LinearFit, Trace, fit_all, median_iterations, rivals
from bgp4.studies.paper.plots import draw_losses, draw_residual

CLAIM = (
    "Towards -I in 101 dimensions, whose determinant is -1, P4Inv without penalty converges in "
    "about as many iterations as training the matrix directly. The residual of its inverse grows "
    "near det = 0 and recovers to five decimals."
)


@dataclass(frozen=True)
class Settings:
    """The determinant and the inverse are tracked from the identity on, never computed anew.

    The first seed alone has controls: P4Inv with penalty, and `rivals`.
    """

    n: int
    fit: LinearFit
    seeds: tuple[int, ...]
    penalty: float = 0.1


FULL = Settings(
    101, LinearFit(iterations=90_000, learning_rate=1.6e-4, tolerance=1e-6), (0, 1, 2, 3, 4)
)
QUICK = Settings(7, LinearFit(iterations=3_000, learning_rate=2.3e-3, tolerance=1e-2), (0,))


def run(settings: Settings, report: Report, folder: Path) -> Outcome:
    targets = {seed: -torch.eye(settings.n, dtype=torch.float64) for seed in settings.seeds}
    fits = {"direct": replace(settings.fit, method="direct"), "P4Inv": settings.fit}
    traces = fit_all(targets, fits, report)
    first = {settings.seeds[0]: targets[settings.seeds[0]]}
    penalised = replace(settings.fit, penalty=settings.penalty)
    traces |= fit_all(first, {"penalised": penalised} | rivals(settings.fit), report)
    return Outcome(_checks(traces), _numbers(traces), draw(traces))


def _checks(traces: dict[str, list[Trace]]) -> tuple[Check, ...]:
    p4, control = traces["P4Inv"], traces["penalised"]
    converged = sum(t.converged for name in ("direct", "P4Inv") for t in traces[name])
    ratio = median_iterations(p4) / median_iterations(traces["direct"])
    peak, final = _residues(p4)
    signs = [int(t.sign[-1]) for t in p4]
    error = _final_error(p4)
    return (
        Check(
            f"runs of both without penalty converged, of {2 * len(p4)}",
            converged,
            converged == 2 * len(p4),
        ),
        Check("P4Inv's iterations over direct's, at most 1.5", ratio, ratio <= 1.5),
        Check(
            "peak residual of the inverse over the final one, above 1", peak / final, peak > final
        ),
        Check("final residual of the inverse, at most 1e-5", final, final <= 1e-5),
        Check("tracked signs of det at the end, all -1", signs, all(s == -1 for s in signs)),
        Check("error of the tracked |det| at the end, at most 1 %", error, error <= 0.01),
        Check(
            "with penalty, sign of det at the end, still 1",
            int(control[0].sign[-1]),
            control[0].sign[-1] == 1 and not control[0].converged,
        ),
    )


def _numbers(traces: dict[str, list[Trace]]) -> dict[str, object]:
    p4 = traces["P4Inv"]
    peak, final = _residues(p4)
    return {
        "iterations": {name: [t.finished for t in runs] for name, runs in traces.items()},
        "converged": {name: [t.converged for t in runs] for name, runs in traces.items()},
        "final_loss": {name: [t.loss[-1] for t in runs] for name, runs in traces.items()},
        "final_sign": {name: [t.true_sign[-1] for t in runs] for name, runs in traces.items()},
        "peak_residue": peak,
        "final_residue": final,
        "smallest_logabsdet": [float(t.logabsdet.min()) for t in p4],
        "absdet_relative_error": _final_error(p4),
        "worst_logabsdet_error": [float(np.abs(t.logabsdet - t.true_logabsdet).max()) for t in p4],
        "merges": [t.merges for t in p4],
        "rejected_merges": [t.rejected for t in p4],
    }


def _residues(traces: list[Trace]) -> tuple[float, float]:
    """Largest over time and seeds; largest over seeds at the end."""
    return max(float(t.residual.max()) for t in traces), max(float(t.residual[-1]) for t in traces)


def _final_error(traces: list[Trace]) -> float:
    """Relative error of |det|, in float32 through a |det| of 1e-60, never recomputed."""
    return max(float(abs(np.expm1(t.logabsdet[-1] - t.true_logabsdet[-1]))) for t in traces)


@styled
def draw(traces: dict[str, list[Trace]]) -> Figure:
    figure, axes = new_figure(1, 2, 10.5, 4)
    ax, direct, p4 = axes[0, 0], traces["direct"][0], traces["P4Inv"][0]
    draw_residual(ax, p4, DATA_COLOUR, "residual of the inverse")
    for i, (name, trace) in enumerate({"direct": direct, "P4Inv": p4}.items()):
        colour, log10 = run_colour(i), np.maximum(trace.logabsdet / np.log(10), -100)
        ax.plot(trace.iteration, 10.0**log10, color=colour, lw=1, label=f"|det|, {name}")
        ax.axvline(trace.finished, color=colour, lw=0.8, ls="--")
    ax.set(yscale="log", xlabel="iteration", title="Towards −I, no penalty (dashed: converged)")
    ax.legend()
    draw_losses(axes[0, 1], traces)
    return figure
