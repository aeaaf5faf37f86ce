"""Runs side by side: the headline metrics, their bootstrap errors, and differences to the first."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from bgp4.report.definitions import METRICS
from bgp4.report.result import RunResult
from bgp4.statistics.distributions import bin_index, total_variation
from bgp4.statistics.weights import bootstrap, bootstrap_error, kish

__all__ = ["Compared", "Estimate", "compare"]

Array = NDArray[np.float64]

Name = tuple[str, str]
"""A metric's key, and the state that it is of, or nothing."""

SIGNIFICANT = 2.0
"""Standard errors from which a difference is more than noise."""


class Estimate(NamedTuple):
    """A number and its standard error; None where there is none."""

    value: float | None
    error: float | None

    def minus(self, other: Estimate) -> Estimate:
        """The difference, with the errors added in quadrature."""
        if self.value is None or other.value is None:
            return Estimate(None, None)
        errors = (self.error, other.error)
        known = [error for error in errors if error is not None]
        error = math.hypot(*known) if len(known) == len(errors) else None
        return Estimate(self.value - other.value, error)

    @property
    def significant(self) -> bool:
        """Whether it is off zero by more than `SIGNIFICANT` errors."""
        return bool(self.value and self.error and abs(self.value) > SIGNIFICANT * self.error)


class Compared(NamedTuple):
    """A row of the comparison: one estimate a run, and its difference to the first run's.

    Attributes:
        key: Of the metric.
        part: Label of the state that it is of, or nothing.
        label: What the table calls the row.
    """

    key: str
    part: str
    label: str
    values: list[Estimate]
    differences: list[Estimate]

    @property
    def name(self) -> str:
        """Its key in metrics.json."""
        return ": ".join(filter(None, (self.key, self.part)))


def compare(runs: Sequence[RunResult], metrics: Sequence[Mapping[str, Any]]) -> list[Compared]:
    """The rows for which any run has a number.

    Args:
        runs: The first one is what the others are compared with.
        metrics: Of each run, as `json_ready` leaves them.
    """
    errors = [{**_errors(run), **_given(of)} for run, of in zip(runs, metrics, strict=True)]
    numbers = [_numbers(of) for of in metrics]
    rows = []
    for name in dict.fromkeys(name for of in numbers for name in of):
        values = [
            Estimate(of.get(name), own.get(name)) for of, own in zip(numbers, errors, strict=True)
        ]
        if any(value.value is not None for value in values):
            differences = [value.minus(values[0]) for value in values]
            rows.append(
                Compared(*name, METRICS[name[0]].label.format(name[1]), values, differences)
            )
    return rows


def _numbers(metrics: Mapping[str, Any]) -> dict[Name, float | None]:
    """The metrics that have a label, those of states one by one."""
    found: dict[Name, float | None] = {}
    for key in (key for key, metric in METRICS.items() if metric.label):
        value = metrics.get(key)
        parts = value if isinstance(value, Mapping) else {"": value}
        found.update({(key, part): of_part for part, of_part in parts.items()})
    return found


def _given(metrics: Mapping[str, Any]) -> dict[Name, float]:
    """Errors that are metrics themselves."""
    given = {key: metrics.get(metric.error) for key, metric in METRICS.items() if metric.error}
    return {(key, ""): error for key, error in given.items() if error is not None}


def _errors(run: RunResult) -> dict[Name, float]:
    """Bootstrap standard errors over single samples, of what they are known for.

    MD counts as exact. Of total variations and the coverage, replicates are biased, but as wide as
    the estimates scatter.
    """
    if not run.accepted.any():
        return {}
    places = _Places(run)
    replicates = bootstrap(places.statistics, np.ones(run.n_samples), run.bootstrap, run.rng())
    found = dict(zip(places.names, bootstrap_error(replicates).tolist(), strict=True))
    return {name: error for name, error in found.items() if math.isfinite(error)}


class _Places:
    """What one replicate needs of a run: weights, bins, flags; statistics are of the counts."""

    def __init__(self, run: RunResult) -> None:
        self.run = run
        self.weight = run.weights / run.weights.max()
        self.low = run.energy_kt < run.max_data_energy_kt
        self.residues = []
        for (md, *_), own in zip(run.ramachandran, run.sample_torsions, strict=True):
            bins = run.bins
            cell = bin_index(own.phi, bins) * bins + bin_index(own.psi, bins)
            self.residues.append((md.ravel(), cell))
        labels = [state.label for state in run.states]
        self.names: list[Name] = [("ess_raw", ""), ("low_energy_fraction", "")]
        self.names += [("state_shares_samples", label) for label in labels]
        self.names += [("state_shares_reweighted", label) for label in labels]
        if self.residues:
            self.names += [
                (key, "") for key in ("coverage", "ramachandran_tv", "ramachandran_tv_reweighted")
            ]

    def statistics(self, counts: Array) -> list[float]:
        """In the order of `names`."""
        weight = counts * self.weight
        ess = kish(float(weight.sum()), float(counts @ self.weight**2), len(counts))
        found = [ess, float(counts @ self.low) / len(counts)]
        inside = self.run.in_space
        drawn = (counts[inside], weight[inside])
        for w in drawn:
            found += (w @ self.run.sample_states / (w.sum() or np.nan)).tolist()
        if self.residues:
            found += self._of_torsions(*drawn)
        return found

    def _of_torsions(self, counts: Array, weight: Array) -> list[float]:
        maps = []
        for md, cell in self.residues:
            raw, weighted = (
                np.bincount(cell, w, len(md)) / (w.sum() or np.nan) for w in (counts, weight)
            )
            maps.append(
                (md[raw > 0].sum(), total_variation(md, raw), total_variation(md, weighted))
            )
        return [float(value) for value in np.mean(maps, axis=0)]
