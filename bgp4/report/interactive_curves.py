"""The curves of a report's page as plain numbers: what the pictures of `plots*.py` show, too."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import yaml
from numpy.typing import ArrayLike, NDArray

from bgp4.report.marginals import sampling_floors
from bgp4.report.plots import (
    energy_columns,
    energy_limits,
    same_data,
    smoothed_density,
    weighted_quantiles,
)
from bgp4.report.plots_profiles import UNKNOWN_ERROR_KT
from bgp4.report.plots_training import LOWEST_LOG_WEIGHT, column, steps
from bgp4.report.result import RunResult
from bgp4.statistics.distributions import free_energy_profile, free_energy_profile_error
from bgp4.statistics.weights import (
    effective_sample_size,
    effective_sample_size_clipped,
    effective_sample_size_growth,
)

__all__ = [
    "energy_data",
    "marginal_data",
    "profile_data",
    "rounded",
    "training_data",
    "weight_data",
]

Array = NDArray[np.float64]

VIOLIN_POINTS = 120
WEIGHT_BINS = 80
GROWTH_POINTS = 60
MOST_ROWS = 1000
"""Evaluations of a training that are drawn; of more, every second, third ..."""


def energy_data(runs: Sequence[RunResult]) -> dict[str, Any]:
    """The violins of `plot_energies`: densities on a grid, quartiles, mean, low-energy share."""
    columns = [energy_columns(runs, index) for index in range(len(runs))]
    low, high = energy_limits(runs, [column for own in columns for column in own])
    return {
        "limits": [round(low, 3), round(high, 3)],
        "bars": sorted({round(run.max_data_energy_kt, 3) for run in runs}),
        "columns": [
            {
                "label": column.label,
                "kind": kind,
                "run": index,
                "low": _number(column.low),
                **_violin(column.energy_kt, column.weights, low, high),
            }
            for index, own in enumerate(columns)
            for kind, column in zip(
                ("data", "noise", "samples", "reweighted")[-len(own) :], own, strict=True
            )
        ],
    }


def _violin(energy_kt: Array, weights: Array, low: float, high: float) -> dict[str, Any]:
    if weights.sum() <= 0:
        return {"beyond": None}
    share = weights / weights.sum()
    q1, median, q3 = weighted_quantiles(energy_kt, share, [0.25, 0.5, 0.75])
    averages = rounded([q1, median, q3, share @ energy_kt], 3)
    beyond = _number(share[energy_kt > high].sum())
    inside = (energy_kt >= low) & (energy_kt <= high)
    if share[inside].sum() <= 0:
        return {"beyond": beyond, "averages": averages}
    grid, density = smoothed_density(energy_kt[inside], share[inside], low, high)
    thin = np.unique(np.linspace(0, len(grid) - 1, VIOLIN_POINTS).astype(int))
    return {
        "beyond": beyond,
        "averages": averages,
        "grid": rounded(grid[thin], 3),
        "density": rounded(density[thin] / max(float(density.max()), 1e-300), 4),
    }


def profile_data(runs: Sequence[RunResult]) -> list[list[dict[str, Any]]]:
    """For each run and residue, free-energy profiles along phi and psi in kT, and their errors."""
    return [
        [
            {
                "label": md.residue,
                "phi": _profiles(runs, i, r, "phi"),
                "psi": _profiles(runs, i, r, "psi"),
            }
            for r, md in enumerate(run.data_torsions)
        ]
        for i, run in enumerate(runs)
    ]


def _profiles(runs: Sequence[RunResult], index: int, residue: int, angle: str) -> dict[str, Any]:
    run = runs[index]
    md = getattr(run.data_torsions[residue], angle)
    own = getattr(run.sample_torsions[residue], angle)
    zero = float(free_energy_profile(md, run.bins).min())
    found: dict[str, Any] = {}
    if not any(same_data(run, earlier) for earlier in runs[:index]):
        found["data"] = _profile(run, md, np.ones(len(md)), zero, run.data_blocks)
    found["samples"] = [rounded(free_energy_profile(own, run.bins) - zero, 3), None]
    if run.sample_weights_in_space.any():
        found["reweighted"] = _profile(run, own, run.sample_weights_in_space, zero)
    return found


def _profile(
    run: RunResult, angles: Array, weights: Array, zero: float, blocks: int | None = None
) -> list[Any]:
    error = free_energy_profile_error(angles, run.bins, weights, run.bootstrap, run.rng(), blocks)
    known = np.where(np.isfinite(error), error, UNKNOWN_ERROR_KT)
    return [rounded(free_energy_profile(angles, run.bins, weights) - zero, 3), rounded(known, 3)]


CURVES = (
    "nll",
    "kl",
    "heldout_log_likelihood",
    "ess",
    "phi_positive",
    "temperature_k",
    "p4_residual",
    "learning_rate",
)


def training_data(run: RunResult) -> dict[str, Any]:
    """Columns of the history, where each phase begins, and the P4 merges up to each evaluation."""
    at = steps(run)
    thin = slice(None, None, max(1, -(-len(at) // MOST_ROWS)))
    phases = np.asarray(run.history.get("phase", ())).tolist()
    begins = [i for i, phase in enumerate(phases) if i == 0 or phase != phases[i - 1]]
    curves = {name: column(run, name)[thin] for name in CURVES}
    shown = {name: values for name, values in curves.items() if np.isfinite(values).any()}
    return {
        "step": rounded(at[thin], 0),
        "curves": {name: [_significant(x) for x in values] for name, values in shown.items()},
        "phases": [{"phase": phases[i], "step": _number(_start(at, i))} for i in begins],
        "merges": rounded(column(run, "p4_merges")[thin], 0),
        "merge_every": _merge_every(run.config_yaml),
        "phi_positive_md": (
            _number(np.mean(run.data_torsions[0].phi > 0)) if run.data_torsions else None
        ),
    }


def _start(at: Array, row: int) -> float:
    """A phase begins after the evaluation before its first one."""
    return float(at[row - 1]) if row else 0.0


def _merge_every(config_yaml: str) -> int | None:
    """`training.merge_every` of a config, where it says so."""
    try:
        config = yaml.safe_load(config_yaml)
    except yaml.YAMLError:
        return None
    training = config.get("training") if isinstance(config, Mapping) else None
    every = training.get("merge_every") if isinstance(training, Mapping) else None
    return every if isinstance(every, int) else None


def weight_data(run: RunResult) -> dict[str, Any] | None:
    """Histogram of ln(N w), and the ESS of the first m samples; None where none has weight."""
    if not run.accepted.any():
        return None
    with np.errstate(divide="ignore"):
        scaled = np.log(run.n_samples * run.weights[run.accepted])
    counts, edges = np.histogram(np.maximum(scaled, LOWEST_LOG_WEIGHT), WEIGHT_BINS)
    sizes = np.geomspace(min(100, run.n_samples), run.n_samples, GROWTH_POINTS)
    m = np.unique(sizes.astype(int)).tolist()
    return {
        "counts": counts.tolist(),
        "edges": rounded(edges[[0, -1]], 4),
        "m": m,
        "raw": rounded(effective_sample_size_growth(run.safe_log_weight, m), 5),
        "clipped": rounded(
            effective_sample_size_growth(run.safe_log_weight, m, effective_sample_size_clipped), 5
        ),
        "ess": _number(effective_sample_size(run.safe_log_weight)),
    }


def marginal_data(run: RunResult) -> dict[str, Any]:
    """Curves of torsions, bonds and angles: bins in degrees or nm, probabilities, distances.

    The farthest from MD first. Probabilities are per 100,000.
    """
    return {kind: _of_kind(run, kind) for kind in ("torsion", "bond", "angle")}


def _of_kind(run: RunResult, kind: str) -> list[dict[str, Any]]:
    found = run.marginals[kind]
    floors, weighted = (
        sampling_floors(found, n, run.rng()) for n in (run.n_samples, run.n_effective)
    )
    inner = slice(1, -1) if kind == "torsion" else slice(None)
    order = np.argsort(-np.nan_to_num(found.tv, nan=-1.0), kind="stable").tolist()
    unit = 1.0 if kind == "bond" else 180 / np.pi
    return [
        {
            "label": found.labels[i],
            "range": rounded([found.low[i] * unit, found.high[i] * unit], 5),
            "tv": rounded(
                [found.tv[i], floors[i], found.tv_reweighted[i], weighted[i], found.noise_floor[i]],
                4,
            ),
            **{
                name: [None if x is None else round(x) for x in rounded(1e5 * values[i, inner], 0)]
                for name, values in (
                    ("data", found.data),
                    ("samples", found.samples),
                    ("reweighted", found.reweighted),
                )
            },
        }
        for i in order
    ]


def rounded(values: ArrayLike, digits: int) -> Any:
    """Nested lists of numbers with so many decimals, None for NaN and infinities."""
    array = np.asarray(values, dtype=float)
    if array.ndim > 1:
        return [rounded(row, digits) for row in array]
    return [round(x, digits) if np.isfinite(x) else None for x in array.tolist()]


def _significant(value: float, digits: int = 6) -> float | None:
    return float(f"{value:.{digits}g}") if np.isfinite(value) else None


def _number(value: Any) -> float | None:
    return _significant(float(value))
