"""Averages over weighted samples: weights, effective sample sizes, free energies, errors.

A sample x of density q has log-weight log w(x) = -u(x) - log q(x); with the weights normalised to
sum w_i = 1, sum w_i f(x_i) estimates the Boltzmann average of f. A log-weight of -inf (a sample
whose energy was rejected) is a weight of zero. Everything is float64 and safe against overflow.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import logsumexp

__all__ = [
    "CLIPPED_FRACTION",
    "FreeEnergy",
    "bootstrap",
    "bootstrap_error",
    "clip_log_weights",
    "effective_sample_size",
    "effective_sample_size_clipped",
    "effective_sample_size_growth",
    "effective_sample_size_relative",
    "free_energy_difference",
    "kish",
    "normalised_weights",
    "resampling_counts",
    "weighted_mean",
]

Array = NDArray[np.float64]

CLIPPED_FRACTION = 1e-4
"""Share of the weights that `clip_log_weights` lowers, as published results do."""


class FreeEnergy(NamedTuple):
    """A free-energy difference between two sets of samples.

    Attributes:
        value_kt: -ln(P_first / P_second) in kT; +inf where the first is absent, -inf where the
            second is.
        error_kt: One standard error in kT (half the width of the central 68 % of bootstrap
            replicates); inf where a side is absent, also from many replicates.
        missing: `"first"` or `"second"` where that side has no weight, else `None`.
    """

    value_kt: float
    error_kt: float
    missing: str | None


def normalised_weights(
    log_weight: ArrayLike,  # (n,)
) -> Array:  # (n,)
    """Self-normalised weights w_i = exp(log_weight_i) / sum_j exp(log_weight_j).

    >>> normalised_weights([0.0, -np.inf, 0.0]).tolist()
    [0.5, 0.0, 0.5]

    Raises:
        ValueError: If there are no samples, a log-weight is NaN or +inf, or all are -inf.
    """
    checked = _checked(log_weight)
    if np.isneginf(checked).all():
        raise ValueError(f"all {len(checked)} samples have weight zero (log-weight -inf)")
    weight: Array = np.exp(checked - logsumexp(checked))
    return weight / weight.sum()


def kish(total: float, squares: float, n: int) -> float:
    """Kish's effective sample size of n weights as a fraction of 1: (sum w)^2 / (n sum w^2).

    It is 0 where all weights are zero.

    Args:
        total: Sum of the weights.
        squares: Sum of their squares.
        n: How many there are.
    """
    return total**2 / (n * squares) if squares else 0.0


def effective_sample_size(
    log_weight: ArrayLike,  # (n,)
) -> float:
    """Kish's effective sample size as a fraction of 1: 1 / (n sum w_i^2), w normalised.

    It is 0 where all samples have weight zero.

    >>> effective_sample_size([3.0, 3.0, -np.inf, -np.inf])
    0.5
    """
    checked = _checked(log_weight)
    if np.isneginf(checked).all():
        return 0.0
    weight = normalised_weights(checked)
    return kish(1.0, float(np.sum(weight**2)), len(weight))


def clip_log_weights(
    log_weight: ArrayLike,  # (n,)
    fraction: float = CLIPPED_FRACTION,
) -> Array:  # (n,)
    """Set the k largest log-weights to the smallest among them, k = max(2, round(fraction n)).

    At least the largest weight is lowered (to the second largest), even of few samples.

    >>> clip_log_weights([0.0, 5.0, 9.0]).tolist()
    [0.0, 5.0, 5.0]
    """
    checked = _checked(log_weight)
    k = min(max(2, round(fraction * len(checked))), len(checked))
    return np.minimum(checked, np.partition(checked, -k)[-k])


def effective_sample_size_clipped(
    log_weight: ArrayLike,  # (n,)
    fraction: float = CLIPPED_FRACTION,
) -> float:
    """`effective_sample_size` after `clip_log_weights`, as a fraction of 1.

    Where clipping would leave no weight at all (one sample alone has any), 1 / n.
    """
    clipped = clip_log_weights(log_weight, fraction)
    return 1.0 / len(clipped) if np.isneginf(clipped).all() else effective_sample_size(clipped)


def effective_sample_size_growth(
    log_weight: ArrayLike,  # (n,)
    sizes: Sequence[int],
    estimate: Callable[[Array], float] = effective_sample_size,
) -> Array:  # (len(sizes),)
    """ESS fraction of the first m samples for each m of `sizes`; 0 where none has weight."""
    checked = _checked(log_weight)
    return np.array([estimate(checked[:m]) for m in sizes])


def effective_sample_size_relative(
    log_weight: ArrayLike,  # (n,)
    before: ArrayLike,  # (n,)
) -> float:
    """Effective sample size under new weights, as a fraction of that of perfect samples of the old.

    It estimates 1 / (1 + chi²(new | old)), whatever the samples were drawn from: weights v of the
    old density and w of the new one give (sum w)² / (sum v sum w² / v). Samples without an old
    weight do not count.

    >>> round(effective_sample_size_relative([7.0, 9.0], [5.0, 7.0]), 9)
    1.0
    """
    after, first = _checked(log_weight), _checked(before)
    kept = np.isfinite(first) & np.isfinite(after)
    if not kept.any():
        return 0.0
    squares = _log_sum(first) + _log_sum(2 * after[kept] - first[kept])
    return float(np.exp(2 * _log_sum(after[kept]) - squares))


def weighted_mean(
    values: ArrayLike,  # (n, ...)
    log_weight: ArrayLike,  # (n,)
) -> Any:  # (...)
    """Self-normalised average sum w_i f_i; values of weight zero do not count, even if NaN."""
    weight = normalised_weights(log_weight)
    positive = weight > 0
    return np.tensordot(weight[positive], np.asarray(values, dtype=float)[positive], axes=1)


def resampling_counts(
    n: int, rng: np.random.Generator, blocks: int | None = None
) -> NDArray[np.int64]:  # (n,)
    """How often each sample appears in one bootstrap replicate.

    Args:
        n: Samples.
        rng: Source of the replicate.
        blocks: `None` for independent samples. For correlated ones in time order, the number of
            contiguous blocks that are drawn whole; a block should outlast the correlation.
    """
    units = n if blocks is None else min(blocks, n)
    counts = np.bincount(rng.integers(units, size=units), minlength=units)
    return counts[np.arange(n) * units // n]


def bootstrap(
    statistic: Callable[[Array], Any],
    weights: Array,  # (n,)
    repeats: int,
    rng: np.random.Generator,
    blocks: int | None = None,
) -> Array:  # (repeats, ...)
    """A statistic of the weights, over bootstrap replicates of the samples.

    Args:
        statistic: Of unnormalised weights (n,); a replicate is the weights times the counts.
        weights: Unnormalised, at least one positive. Ones for unweighted samples.
        repeats: Number of replicates.
        rng: Source of the replicates.
        blocks: As in `resampling_counts`.
    """
    draws = (weights * resampling_counts(len(weights), rng, blocks) for _ in range(repeats))
    return np.array([statistic(draw) for draw in draws], dtype=float)


def bootstrap_error(
    replicates: Array,  # (repeats, ...)
) -> Any:  # (...)
    """Half the width of the central 68.27 % of replicates: one standard error for a Gaussian.

    Infinite where that range reaches an infinite replicate. NaN replicates do not count.
    """
    return np.apply_along_axis(_half_width, 0, np.asarray(replicates, dtype=float))


def free_energy_difference(
    first: ArrayLike,  # (n,) bool
    second: ArrayLike,  # (n,) bool
    log_weight: ArrayLike,  # (n,)
    repeats: int,
    rng: np.random.Generator,
    blocks: int | None = None,
) -> FreeEnergy:
    """-ln(P_first / P_second) in kT, with its bootstrap error.

    Args:
        first: Which samples lie in the first state.
        second: Which samples lie in the second state.
        log_weight: Zeros for unweighted samples.
        repeats: Bootstrap replicates.
        rng: Source of the replicates.
        blocks: As in `resampling_counts`; for MD frames.
    """
    checked = _checked(log_weight)
    states = [np.asarray(first, dtype=bool), np.asarray(second, dtype=bool)]
    log_p_first, log_p_second = (_log_sum(checked[state]) for state in states)
    if np.isneginf(log_p_first) and np.isneginf(log_p_second):
        raise ValueError("neither state has a sample of positive weight")
    if np.isneginf(log_p_first):
        return FreeEnergy(np.inf, np.inf, "first")
    if np.isneginf(log_p_second):
        return FreeEnergy(-np.inf, np.inf, "second")
    value = log_p_second - log_p_first
    error = _free_energy_error(states, checked, value, repeats, rng, blocks)
    return FreeEnergy(float(value), error, None)


def _free_energy_error(
    states: Sequence[NDArray[np.bool_]],
    log_weight: Array,
    value: float,
    repeats: int,
    rng: np.random.Generator,
    blocks: int | None,
) -> float:
    """Each state's weights relative to its own sum, so that a rare state does not underflow."""
    inside = [np.where(state, log_weight, -np.inf) for state in states]
    units = np.stack([np.exp(part - _log_sum(part)) for part in inside], axis=1)

    def difference(counts: Array) -> float:
        with np.errstate(divide="ignore", invalid="ignore"):  # a state may be absent, or both
            log_first, log_second = np.log(counts @ units)
            return float(value + log_second - log_first)

    ones = np.ones(len(log_weight))
    return float(bootstrap_error(bootstrap(difference, ones, repeats, rng, blocks)))


def _half_width(replicates: Array) -> float:
    finite_or_inf = replicates[~np.isnan(replicates)]
    if len(finite_or_inf) == 0:
        return np.inf
    low, high = np.quantile(finite_or_inf, [0.158655, 0.841345], method="inverted_cdf")
    return float(high - low) / 2 if np.isfinite(low) and np.isfinite(high) else np.inf


def _log_sum(log_weight: Array) -> float:
    return float(logsumexp(log_weight)) if len(log_weight) else -np.inf


def _checked(log_weight: ArrayLike) -> Array:
    values = np.asarray(log_weight, dtype=np.float64)
    if values.ndim != 1 or len(values) == 0:
        raise ValueError(f"expected log-weights of shape (n,), n > 0, got {values.shape}")
    bad = np.flatnonzero(np.isnan(values) | np.isposinf(values))
    if len(bad):
        raise ValueError(f"log-weight {values[bad[0]]} at sample {bad[0]} ({len(bad)} such in all)")
    return values
