"""What correlated states of several chains are worth."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["LARGEST_R_HAT", "effective_draws", "in_chains", "split_r_hat"]

LARGEST_R_HAT = 1.05
"""Above this, chains disagree."""

Array = NDArray[np.float64]


def in_chains(
    values: NDArray[np.generic],  # (frames, observables), chain after chain
    chains: int,
) -> Array:  # (observables, chains, states)
    """Each observable by chains of one length; what is left over at the end does not count."""
    length = len(values) // chains
    by_chain = values[: length * chains].reshape(chains, length, -1).astype(np.float64)
    return np.moveaxis(by_chain, 2, 0)


def effective_draws(
    values: Array,  # (chains, states)
) -> float:
    """Number of independent draws that all states are worth, for the mean of an observable.

    That is their number over the statistical inefficiency (pymbar, over all chains together); at
    most one for each change of value, and one where nothing ever changes.
    """
    if np.ptp(values) == 0 or values.shape[1] < 2:
        return 1.0
    from pymbar.timeseries import statistical_inefficiency_multiple

    inefficiency = float(statistical_inefficiency_multiple(list(values)))
    return min(values.size / max(inefficiency, 1.0), _draws_between_chains(values))


def _draws_between_chains(values: Array) -> float:
    """Draws by the spread of the chains' means, which also shows chains that never meet."""
    between = float(values.mean(axis=1).var(ddof=1)) if len(values) > 1 else 0.0
    return float(values.var() / between) * len(values) if between else float(values.size)


def split_r_hat(
    values: Array,  # (chains, states)
) -> float:
    """Split R-hat: 1 where the halves of all chains agree (Gelman et al., Bayesian Data Analysis).

    Infinite where no chain moves but chains differ; 1 where nothing ever changes.
    """
    half = values.shape[1] // 2
    if half < 2 or np.ptp(values) == 0:
        return 1.0
    parts = np.concatenate([values[:, :half], values[:, -half:]])
    within = float(parts.var(axis=1, ddof=1).mean())
    between = half * float(parts.mean(axis=1).var(ddof=1))
    if within == 0:
        return float("inf")
    return float(np.sqrt((half - 1) / half + between / half / within))
