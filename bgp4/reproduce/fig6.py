"""Figure 6: densities in the plane, RealNVP against stacks of P4Inv layers."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from matplotlib.figure import Figure

from bgp4.analysis.style import new_figure, styled
from bgp4.progress import Report
from bgp4.reproduce.figure import Check, Outcome
from bgp4.reproduce.planar import (
    PAPER_DENSITIES,
    Fits,
    Planar,
    draw_densities,
    fit_densities,
    log_likelihoods,
    n_parameters,
    planar_numbers,
)

CLAIM = (
    "On densities in the plane, stacks of P4Inv layers and Bent identities do as well as RealNVP "
    "or better, with as many parameters."
)


@dataclass(frozen=True)
class Settings:
    """Every density and seed is trained alike."""

    densities: tuple[str, ...]
    planar: Planar
    seeds: tuple[int, ...]


FULL = Settings(PAPER_DENSITIES, Planar(), seeds=(0, 1, 2, 3, 4))
QUICK = Settings(
    densities=("moons",),
    planar=Planar(p4_layers=14, couplings=4, hidden=(3,), steps=150),
    seeds=(0, 1),
)


def run(settings: Settings, report: Report, folder: Path) -> Outcome:
    planar = settings.planar
    fits = fit_densities(("RNVP", "P4Inv"), settings.densities, planar, settings.seeds, report)
    ratio = n_parameters("P4Inv", planar) / n_parameters("RNVP", planar)
    gains = {
        name: log_likelihoods(fits["P4Inv"][name]) - log_likelihoods(fits["RNVP"][name])
        for name in settings.densities
    }
    better = sum(gain.mean() >= 0 for gain in gains.values())
    checks = (
        Check("P4Inv's parameters over RNVP's, within 5 %", ratio, abs(ratio - 1) <= 0.05),
        Check(
            f"densities with P4Inv's held-out log-likelihood at least RNVP's, more than half of "
            f"{len(gains)}",
            better,
            better > len(gains) / 2,
        ),
    )
    numbers = planar_numbers(fits, planar)
    numbers["P4Inv_minus_RNVP"] = {
        name: {"mean": gain.mean(), "std": gain.std(ddof=1)} for name, gain in gains.items()
    }
    return Outcome(checks, numbers, draw(fits))


@styled
def draw(fits: Fits) -> Figure:
    rows = len(fits["RNVP"])
    figure, axes = new_figure(rows, 3, 7.2, 2.5 * rows)
    draw_densities(axes, fits)
    return figure
