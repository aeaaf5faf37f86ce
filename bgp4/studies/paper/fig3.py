"""Figure 3: training towards a 32-dimensional positive definite matrix."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from matplotlib.figure import Figure
from torch import Tensor

from bgp4.parallel.progress import Report
from bgp4.report.style import new_figure, styled
from bgp4.studies.paper.figure import Check, Outcome
from bgp4.studies.paper.linear_maps import (
    LinearFit,
    Method,
    Trace,
    fit_all,
    median_iterations,
    positive_definite,
)
from bgp4.studies.paper.plots import draw_eigenvalues, draw_losses

CLAIM = (
    "Towards a 32-d positive definite matrix, P4Inv needs as many iterations as training the "
    "matrix directly at N = 1, hardly more at N = 10 and about twice as many at N = 50. Training "
    "through its inverse converges as well."
)


@dataclass(frozen=True)
class Settings:
    """Learning rates far below 1 / n keep SGD stable although |v|^2 is about n.

    Through the inverse, the rate at which an eigenvalue of the map converges goes with its fourth
    power: small ones are slow, and a learning rate of its own keeps the number of steps in hand.
    """

    n: int = 32
    iterations: int = 80_000
    learning_rate: float = 5e-4
    inverse_learning_rate: float = 2e-3
    tolerance: float = 1e-6
    condition: float = 4.0
    seeds: tuple[int, ...] = (0, 1, 2, 3, 4)


FULL = Settings()
QUICK = Settings(
    n=6,
    iterations=2_500,
    learning_rate=4e-3,
    inverse_learning_rate=8e-3,
    tolerance=1e-2,
    seeds=(0,),
)

FITS: dict[str, tuple[Method, int]] = {
    "direct": ("direct", 10),
    "P4Inv, N = 1": ("p4inv", 1),
    "P4Inv, N = 10": ("p4inv", 10),
    "P4Inv, N = 50": ("p4inv", 50),
    "inverse P4Inv, N = 10": ("p4inv_inverse", 10),
    "relative gradient": ("relative", 10),
    "exp S": ("expm", 10),
}


def run(settings: Settings, report: Report, folder: Path) -> Outcome:
    fits = {
        name: LinearFit(
            method,
            settings.iterations,
            settings.inverse_learning_rate if method == "p4inv_inverse" else settings.learning_rate,
            merge_every,
            tolerance=settings.tolerance,
        )
        for name, (method, merge_every) in FITS.items()
    }
    targets = {
        seed: positive_definite(settings.n, settings.condition, seed) for seed in settings.seeds
    }
    traces = fit_all(targets, fits, report)
    iterations = {name: median_iterations(runs) for name, runs in traces.items()}
    ratios = {name: value / iterations["direct"] for name, value in iterations.items()}
    numbers = {
        "iterations": {name: [t.finished for t in runs] for name, runs in traces.items()},
        "converged": {name: [t.converged for t in runs] for name, runs in traces.items()},
        "median_iterations_over_direct": ratios,
        "rejected_merges": {name: [t.rejected for t in runs] for name, runs in traces.items()},
        "worst_residual": {
            name: max(t.residual.max() for t in runs) for name, runs in traces.items()
        },
    }
    paper = [name for name in FITS if name == "direct" or "P4Inv" in name]
    converged = sum(t.converged for name in paper for t in traces[name])
    checks = (
        Check(
            f"runs converged, of {len(paper) * len(settings.seeds)}",
            converged,
            converged == len(paper) * len(settings.seeds),
        ),
        Check(
            "iterations of N = 1 over direct, at most 1.25",
            ratios["P4Inv, N = 1"],
            ratios["P4Inv, N = 1"] <= 1.25,
        ),
        Check(
            "iterations of N = 10 over direct, at most 1.25",
            ratios["P4Inv, N = 10"],
            ratios["P4Inv, N = 10"] <= 1.25,
        ),
        Check(
            "iterations of N = 50 over direct, at most 3",
            ratios["P4Inv, N = 50"],
            ratios["P4Inv, N = 50"] <= 3,
        ),
    )
    return Outcome(checks, numbers, draw(traces, targets[settings.seeds[0]]))


@styled
def draw(traces: dict[str, list[Trace]], target: Tensor) -> Figure:
    figure, axes = new_figure(1, 2, 10, 4)
    draw_losses(axes[0, 0], traces)
    draw_eigenvalues(axes[0, 1], traces["P4Inv, N = 10"][0], target)
    return figure
