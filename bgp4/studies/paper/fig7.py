"""Figure 7: alanine dipeptide at 1000 K, the paper's flow with swaps against P4Inv."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypedDict

import numpy as np
from matplotlib.figure import Figure

from bgp4.config import Config, load_config
from bgp4.parallel.progress import Report
from bgp4.report.basins import Basins, md_basins
from bgp4.report.collect import collect_run
from bgp4.report.metrics import (
    energy_metrics,
    low_energy_fraction,
    ramachandran_metrics,
)
from bgp4.report.metrics_states import state_shares
from bgp4.report.plots_energies import draw_energies
from bgp4.report.plots_maps import FULL_KT, draw_histogram, minus_log
from bgp4.report.result import RunResult
from bgp4.report.style import angle_axis, new_figure, styled
from bgp4.report.torsions import BackboneTorsions
from bgp4.studies.paper.figure import Check, Outcome
from bgp4.training.run import RunFolder

CLAIM = (
    "With P4Inv in place of swaps, the generator's energies are closer to those of MD, and more "
    "of its samples are below MD's highest energy. Both cover the (φ, ψ) map."
)

PHI = "φ ALA2 > 0"

MIXING = {"RNVP": "swap", "P4Inv": "p4inv"}
BAR_KJMOL = 15.0
BAR_FLOORS = 2.0
"""Total variation of (φ, ψ) to MD, in units of what as many independent frames would have."""

BAR_FACTOR = 1.5
"""How many times MD's a basin's share may be, or the other way around."""


Numbers = dict[str, list[float]]
"""Each over seeds."""


class BasinShares(TypedDict):
    """Of a basin: MD's share, and each seed's samples'."""

    md: float
    samples: list[float]


@dataclass(frozen=True)
class Settings:
    """Overrides are those of `bgp4 train --set`."""

    config: str = "ala2_paper.yaml"
    overrides: tuple[str, ...] = ()
    seeds: tuple[int, ...] = (0,)


AS_MANY_AS_FRAMES = "report.samples=50000"
"""The floor of a map of fewer samples is so high that half of the map may be empty."""

FULL = Settings(overrides=(AS_MANY_AS_FRAMES,))
QUICK = Settings(
    overrides=(
        "data.path=ala2_smoke.h5",
        "model.blocks=2",
        "training.steps=60",
        "training.batch_size=128",
        "training.energy_batch_size=64",
        "training.evaluate_every=30",
        "report.samples=500",
        "report.bins=32",
        "report.bootstrap=10",
    ),
    seeds=(0,),
)


def run(settings: Settings, report: Report, folder: Path) -> Outcome:
    """Train, or go on with, folder/runs/MODEL-SEED; draw samples; compare."""
    results: dict[str, list[RunResult]] = {name: [] for name in MIXING}
    total = len(settings.seeds) * len(MIXING)
    for i, seed in enumerate(settings.seeds):
        for k, (name, mixing) in enumerate(MIXING.items()):
            report(100 * (i * len(MIXING) + k) // total, f"{name}, seed {seed}")
            config = load_config(
                settings.config, [*settings.overrides, f"model.mixing={mixing}", f"seed={seed}"]
            )
            results[name].append(_result(config, folder / "runs" / f"{name}-{seed}"))
    numbers = {name: _numbers(runs) for name, runs in results.items()}
    basins = {name: _basins(runs) for name, runs in results.items()}
    checks = (
        *_energy_checks(numbers),
        *(_map_check(name, of_flow) for name, of_flow in numbers.items()),
        *(_basin_check(name, shares) for name, shares in basins.items()),
    )
    found = {name: {**numbers[name], "basins": basins[name]} for name in MIXING}
    return Outcome(checks, {"seeds": len(settings.seeds), **found}, draw(results))


def _energy_checks(numbers: Mapping[str, Numbers]) -> Iterator[Check]:
    shift, spread = _mean_and_spread(numbers["P4Inv"]["mean_energy_shift_kjmol"])
    median = np.mean(numbers["P4Inv"]["median_energy_shift_kjmol"])
    yield Check(
        f"P4Inv's mean energy over MD's in kJ/mol, at most {BAR_KJMOL:g} ({_spread(spread)}; "
        f"median energy: {median:.1f} over MD's)",
        shift,
        shift <= BAR_KJMOL,
    )
    rival = float(np.mean(numbers["RNVP"]["mean_energy_shift_kjmol"]))
    yield Check(f"the same, at most RNVP's {rival:.1f}", shift, shift <= rival)
    low = {name: _mean_and_spread(n["low_energy_fraction"]) for name, n in numbers.items()}
    yield Check(
        "low-energy fraction of P4Inv, at least RNVP's "
        f"{low['RNVP'][0]:.4f} ({_spread(low['P4Inv'][1])}; RNVP: {_spread(low['RNVP'][1])})",
        low["P4Inv"][0],
        low["P4Inv"][0] >= low["RNVP"][0],
    )


def _map_check(name: str, numbers: Numbers) -> Check:
    distance = np.mean(numbers["ramachandran_tv"])
    floors = float(distance / np.mean(numbers["ramachandran_tv_sampling_floor"]))
    return Check(
        f"total variation of {name}'s (φ, ψ) map to MD's over that of as many frames, at most "
        f"{BAR_FLOORS:g} (total variation {distance:.3f})",
        floors,
        floors <= BAR_FLOORS,
    )


def _basin_check(name: str, shares: Mapping[str, BasinShares]) -> Check:
    factors = {basin: _factor(float(np.mean(s["samples"])), s["md"]) for basin, s in shares.items()}
    worst = max(factors, key=lambda basin: factors[basin])
    own = np.mean(shares[worst]["samples"])
    return Check(
        f"factor between {name}'s and MD's share of a basin, at most {BAR_FACTOR:g} (the worst of "
        f"{len(shares)}: {worst}, {own:.2%}, MD {shares[worst]['md']:.2%})",
        factors[worst],
        factors[worst] <= BAR_FACTOR,
    )


def _factor(a: float, b: float) -> float:
    return max(a, b) / min(a, b) if min(a, b) > 0 else np.inf


def _result(config: Config, path: Path) -> RunResult:
    from bgp4.training.train import train

    begun = RunFolder(path).checkpoint_path.is_file()
    return collect_run(train(config, path, resume=begun))


def _basins(runs: Sequence[RunResult]) -> dict[str, BasinShares]:
    """Share of each basin that MD's (φ, ψ) map has, of MD and of each seed's samples."""
    basins = md_basins(runs[0])[0]
    md = _shares(basins, runs[0].data_torsions[0])
    own = [_shares(basins, run.sample_torsions[0]) for run in runs]
    return {
        basin: {"md": md[i], "samples": [shares[i] for shares in own]}
        for i, basin in enumerate(basins.names)
    }


def _shares(basins: Basins, torsions: BackboneTorsions) -> list[float]:
    places = np.bincount(basins.of(torsions), minlength=len(basins.names) + 1)
    shares: list[float] = (places / places.sum()).tolist()
    return shares


def _numbers(runs: Sequence[RunResult]) -> Numbers:
    """Each metric of the energies and of (φ, ψ), likelihood and wall time, over seeds."""
    rows = [
        {
            **energy_metrics(run),
            **{key: by_state[PHI] for key, by_state in state_shares(run).items()},
            **ramachandran_metrics(run),
            "low_energy_fraction_of_accepted": low_energy_fraction(
                run.energy_kt[run.accepted], run.max_data_energy_kt
            ),
            "accepted_fraction": run.accepted.mean(),
            "log_likelihood": run.run_info["log_likelihood_heldout"],
            "core_hours": run.run_info["core_hours"],
            "wall_time_s": sum(run.run_info["wall_time_s"].values()),
        }
        for run in runs
    ]
    single = [key for key, value in rows[0].items() if not isinstance(value, Mapping)]
    return {key: [float(row[key]) for row in rows] for key in single}


def _mean_and_spread(values: Sequence[float]) -> tuple[float, float]:
    """Mean, and standard deviation between seeds."""
    return float(np.mean(values)), float(np.std(values, ddof=1)) if len(values) > 1 else np.nan


def _spread(value: float) -> str:
    return "one seed" if np.isnan(value) else f"spread between seeds {value:.2g}"


@styled
def draw(results: Mapping[str, Sequence[RunResult]]) -> Figure:
    """The first seed: violins, and -ln p over (φ, ψ) of MD, RNVP and P4Inv with one scale."""
    first = {name: runs[0] for name, runs in results.items()}
    figure, axes = new_figure(1, 4, 18, 4.6, gridspec_kw={"width_ratios": [2.2, 1, 1, 1]})
    draw_energies(axes[0, 0], list(first.values()))
    histograms = {name: run.ramachandran[0] for name, run in first.items()}
    panels = {"MD data": minus_log(histograms["RNVP"][0])}
    panels |= {name: minus_log(three[1]) for name, three in histograms.items()}
    finite = np.concatenate([panel[np.isfinite(panel)] for panel in panels.values()])
    lowest, high = float(finite.min()), max(float(np.ptp(finite)), FULL_KT)
    for ax, (name, panel) in zip(axes[0, 1:], panels.items(), strict=True):
        image = draw_histogram(ax, panel - lowest, high)
        angle_axis(ax, "x", "φ", step=120)
        angle_axis(ax, "y", "ψ", step=120)
        ax.set_title(name)
    figure.colorbar(image, ax=axes[0, 1:], shrink=0.8).set_label("$-\\ln\\,p$ / kT")
    return figure
