"""Markdown table of runs' metrics for docs/results.md: results_table.py RUN [RUN ...]."""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

Metrics = dict[str, Any]


def percent(key: str, digits: int = 1) -> Callable[[Metrics], str]:
    return lambda m: f"{100 * m[key]:.{digits}f} %"


def with_floor(key: str, floor: str) -> Callable[[Metrics], str]:
    return lambda m: f"{m[key]:.3f} ({m[floor]:.3f})"


def free_energy(m: Metrics, prefix: str) -> str:
    value, error = m[prefix + "kt"], m[prefix + "error_kt"]
    return "absent" if value is None else f"{value:.1f} ± {error:.1f}"


def populations(m: Metrics) -> str:
    kinds = ("samples", "reweighted", "md")
    return " / ".join(f"{100 * phi_share(m, kind):.2f} %" for kind in kinds)


def phi_share(m: Metrics, kind: str) -> float:
    """Of the first residue with φ > 0."""
    shares = m[f"state_shares_{kind}"]
    return float(next(share for label, share in shares.items() if label.startswith("φ ")))


def training_s(m: Metrics) -> float:
    return float(sum(v for k, v in m["wall_time_s"].items() if k.startswith("train_")))


ROWS: dict[str, Callable[[Metrics], str]] = {
    "ESS, raw": percent("ess_raw"),
    "ESS, top 1e-4 clipped": percent("ess_clipped"),
    "held-out log-likelihood": lambda m: f"{m['log_likelihood_heldout']:.3f}",
    "mean energy shift, raw": lambda m: f"{m['mean_energy_shift_kt']:.2f} kT",
    "mean energy shift, reweighted": lambda m: (
        f"{m['mean_energy_shift_reweighted_kt']:.2f} ± "
        f"{m['mean_energy_shift_reweighted_error_kt']:.2f} kT"
    ),
    "below the highest training energy": percent("low_energy_fraction", 2),
    "rejected": lambda m: f"{m['n_rejected']} of {m['n_samples']}",
    "wrong chirality": percent("wrong_chirality_fraction"),
    "Ramachandran TV, raw (floor)": with_floor("ramachandran_tv", "ramachandran_tv_sampling_floor"),
    "Ramachandran TV, reweighted (floor)": with_floor(
        "ramachandran_tv_reweighted", "ramachandran_tv_sampling_floor_reweighted"
    ),
    "φ > 0: samples / reweighted / MD": populations,
    "ΔF(φ > 0): reweighted / MD": lambda m: (
        f"{free_energy(m, 'delta_f_phi_')} / {free_energy(m, 'delta_f_phi_md_')} kT"
    ),
    "ΔF(φ > 0) from both ends, BAR": lambda m: f"{free_energy(m, 'delta_f_phi_bar_')} kT",
    "energy evaluations in training": lambda m: f"{m['n_energy_evaluations']:,}",
    "core-hours of training": lambda m: (
        f"{m['core_hours']:.2f}" if m.get("core_hours") else "not counted"
    ),
    "training, wall": lambda m: f"{training_s(m):,.0f} s",
}


def main(runs: list[Path]) -> None:
    metrics = [json.loads((run / "report" / "metrics.json").read_text()) for run in runs]
    print("| metric | " + " | ".join(f"`{run.name}`" for run in runs) + " |")
    print("|" + "---|" * (len(runs) + 1))
    for row, cell in ROWS.items():
        print(f"| {row} | " + " | ".join(map(cell, metrics)) + " |")


if __name__ == "__main__":
    main([Path(run) for run in sys.argv[1:]])
