"""Numbers on single bonds, angles and torsions: how far their distributions are from MD's."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from bgp4.report.marginals import Marginals, sampling_floors
from bgp4.report.result import RunResult

__all__ = ["marginal_metrics"]

Array = NDArray[np.float64]


def marginal_metrics(run: RunResult) -> dict[str, Any]:
    """Total variations of all bonds, all angles and all rotatable torsions, and their floors."""
    return {
        f"{kind}_tv_{name}": value
        for kind, found in run.marginals.items()
        for name, value in _of_kind(run, found).items()
    }


def _of_kind(run: RunResult, found: Marginals) -> dict[str, Any]:
    """NaN, and no name, where there is no such coordinate or no sample."""
    floor = sampling_floors(found, run.n_samples, run.rng())
    weighted_floor = sampling_floors(found, run.n_effective, run.rng())
    return {
        "mean": _mean(found.tv),
        "max": _max(found.tv),
        "max_of": _name_of_max(found.labels, found.tv),
        "mean_reweighted": _mean(found.tv_reweighted),
        "max_reweighted": _max(found.tv_reweighted),
        "max_of_reweighted": _name_of_max(found.labels, found.tv_reweighted),
        "sampling_floor": _mean(floor),
        "sampling_floor_reweighted": _mean(weighted_floor),
        "noise_floor": _mean(found.noise_floor),
    }


def _mean(values: Array) -> float:
    return float(np.mean(values)) if len(values) else np.nan


def _max(values: Array) -> float:
    return float(np.max(values)) if len(values) else np.nan


def _name_of_max(labels: list[str], values: Array) -> str | None:
    return labels[int(np.argmax(values))] if np.isfinite(values).any() else None
