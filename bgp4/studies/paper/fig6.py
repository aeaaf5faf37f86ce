"""Figure 6: densities in the plane, RealNVP against stacks of P4Inv layers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from bgp4.parallel.progress import Report
from bgp4.report.style import new_figure, styled
from bgp4.studies.paper.figure import Check, Outcome
from bgp4.studies.paper.planar import (
    PAPER_DENSITIES,
    QUICK_PLANE,
    Fits,
    Planar,
    Plane,
    Runs,
    divergences,
    draw_densities,
    fit_densities,
    log_likelihoods,
    n_parameters,
    planar_numbers,
)

CLAIM = (
    "On densities in the plane, stacks of P4Inv layers and Bent identities do as well as RealNVP "
    "or better, with as many parameters. Each density is learned so far that it is recognised."
)


FULL = Plane(PAPER_DENSITIES, Planar(), seeds=(0, 1))
QUICK = QUICK_PLANE

BAR_NATS = 0.3
"""KL(data || flow) at which a density is recognised.

The checkerboard's whole square, without its pattern, is log 2 = 0.69 nats from it; a disc without
rings is 0.85 from the rings.
"""


def run(settings: Plane, report: Report, folder: Path) -> Outcome:
    planar = settings.planar
    fits = fit_densities(("RNVP", "P4Inv"), settings, report)
    gains = _gains(fits["P4Inv"], fits["RNVP"])
    numbers = planar_numbers(fits, planar)
    numbers["P4Inv minus RNVP"] = {
        name: {"mean": gain.mean(), "std": gain.std(ddof=1)} for name, gain in gains.items()
    }
    checks = (
        _size_check(planar),
        _gain_check(gains),
        *(_recognition_check(name, fits) for name in settings.densities),
    )
    return Outcome(checks, numbers, draw(fits))


def _gains(ours: Runs, theirs: Runs) -> dict[str, NDArray[np.float64]]:
    """Held-out log-likelihood above theirs, by density; of each seed, (seeds,)."""
    return {name: log_likelihoods(ours[name]) - log_likelihoods(theirs[name]) for name in ours}


def _size_check(planar: Planar) -> Check:
    ratio = n_parameters("P4Inv", planar) / n_parameters("RNVP", planar)
    return Check("P4Inv's parameters over RNVP's, within 5 %", ratio, abs(ratio - 1) <= 0.05)


def _gain_check(gains: dict[str, NDArray[np.float64]]) -> Check:
    better = sum(bool(gain.mean() >= 0) for gain in gains.values())
    clearly = sum(bool(gain.mean() > gain.std(ddof=1)) for gain in gains.values())
    return Check(
        f"densities where P4Inv's held-out log-likelihood is at least RNVP's, most of {len(gains)}",
        f"{better} ({clearly} by more than the seeds' standard deviation)",
        better > len(gains) / 2,
    )


def _recognition_check(name: str, fits: Fits) -> Check:
    by_flow = {kind: float(divergences(runs[name]).mean()) for kind, runs in fits.items()}
    best = min(by_flow, key=lambda kind: by_flow[kind])
    return Check(
        f"KL of the nearest flow ({best}) from the {name} in nats, at most {BAR_NATS}",
        by_flow[best],
        by_flow[best] <= BAR_NATS,
    )


@styled
def draw(fits: Fits) -> Figure:
    rows = len(fits["RNVP"])
    figure, axes = new_figure(rows, 3, 7.5, 2.6 * rows)
    draw_densities(axes, fits)
    return figure
