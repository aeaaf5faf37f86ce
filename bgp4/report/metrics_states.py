"""Shares and free energies of the states that a run watches."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bgp4.report.result import RunResult
from bgp4.statistics.verdicts import Verdict, share_verdict
from bgp4.statistics.weights import bootstrap, bootstrap_error

__all__ = ["state_metrics", "state_shares"]

Array = NDArray[np.float64]
Metrics = dict[str, Any]


def state_metrics(run: RunResult) -> Metrics:
    """Shares, verdicts, and free energies against all else, each by the states' labels."""
    shares = state_shares(run)
    return {
        **shares,
        **_verdicts(run, *shares.values()),
        **_free_energies(run, "", run.sample_states, run.sample_weights_in_space),
        **_free_energies(
            run, "_md", run.data_states, np.ones(len(run.data_states)), run.data_blocks
        ),
    }


def state_shares(run: RunResult) -> dict[str, dict[str, float]]:
    """Shares of each state among MD frames, samples, and reweighted samples."""
    own, weights = run.sample_states, run.sample_weights_in_space
    return {
        "state_shares_md": _by_label(run, _shares(run.data_states, np.ones(len(run.data_states)))),
        "state_shares_samples": _by_label(run, _shares(own, np.ones(len(own)))),
        "state_shares_reweighted": _by_label(run, _shares(own, weights)),
    }


def _by_label(run: RunResult, values: Iterable[Any]) -> dict[str, Any]:
    return dict(zip((state.label for state in run.states), values, strict=True))


def _shares(
    inside: NDArray[np.bool_],  # (n, states)
    weights: Array,  # (n,)
) -> Array:  # (states,)
    """NaN where there is no weight."""
    total = weights.sum()
    return weights @ inside / total if total else np.full(inside.shape[1], np.nan)


def _verdicts(
    run: RunResult, md: dict[str, float], raw: dict[str, float], weighted: dict[str, float]
) -> Metrics:
    """Whether each state has the data's share among the samples, raw and by weight."""
    n_raw, tests = int(np.count_nonzero(run.in_space)), len(run.states)

    def verdicts(own: dict[str, float], n: int) -> dict[str, Verdict | None]:
        return {
            label: share_verdict(own[label], n, share, tests, draws)
            for (label, share), draws in zip(md.items(), run.data_draws, strict=True)
        }

    return {
        "state_verdicts": verdicts(raw, n_raw),
        "state_verdicts_reweighted": verdicts(weighted, run.n_effective),
    }


def _free_energies(
    run: RunResult,
    suffix: str,
    inside: NDArray[np.bool_],  # (n, states)
    weights: Array,  # (n,)
    blocks: int | None = None,
) -> Metrics:
    """-ln(P / (1 - P)) of each state in kT, infinite where P is 0 or 1, and its error."""
    values = errors = np.full(inside.shape[1], np.nan)
    if weights.any() and len(run.states):
        scaled = weights / weights.max()

        def against_all_else(drawn: Array) -> Array:
            with np.errstate(divide="ignore", invalid="ignore"):  # a side may be empty
                return np.asarray(np.log(drawn @ ~inside) - np.log(drawn @ inside))

        values = against_all_else(scaled)
        replicates = bootstrap(against_all_else, scaled, run.bootstrap, run.rng(), blocks)
        errors = bootstrap_error(replicates)
    return {
        f"state_delta_f{suffix}_kt": _by_label(run, values.tolist()),
        f"state_delta_f{suffix}_error_kt": _by_label(run, errors.tolist()),
    }
