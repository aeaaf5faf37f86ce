"""Histograms and free-energy profiles of torsions, and distances between distributions.

Torsions are in rad and periodic; `bins` equal bins cover [-pi, pi). Distances are in nats.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.special import rel_entr

from bgp4.statistics.weights import bootstrap, bootstrap_error

__all__ = [
    "PSEUDO_PROBABILITY",
    "bin_centres",
    "bin_index",
    "free_energy_profile",
    "free_energy_profile_error",
    "histogram",
    "js_divergence",
    "kl_divergence",
    "ramachandran_histogram",
    "sampling_total_variation",
    "total_variation",
]

PSEUDO_PROBABILITY = 1e-6
"""Added to every bin of both histograms of a KL divergence, which are then normalised again."""

Array = NDArray[np.float64]


def bin_centres(bins: int) -> Array:  # (bins,)
    """Centres of the bins, rad."""
    return np.linspace(-np.pi, np.pi, bins, endpoint=False) + np.pi / bins


def bin_index(
    angles: Array,  # (n,), rad
    bins: int,
) -> NDArray[np.int64]:  # (n,)
    """The bin of each angle."""
    return np.floor((angles + np.pi) * (bins / (2 * np.pi))).astype(np.int64) % bins


def histogram(
    angles: Array,  # (n,)
    bins: int,
    weights: Array | None = None,  # (n,)
) -> Array:  # (bins,)
    """Probability of each bin; all zero where no sample has weight."""
    return _probabilities(bin_index(angles, bins), bins, weights)


def ramachandran_histogram(
    phi: Array,  # (n,)
    psi: Array,  # (n,)
    bins: int,
    weights: Array | None = None,  # (n,)
) -> Array:  # (bins, bins), phi first
    """Joint probability of each (phi, psi) bin; all zero where no sample has weight."""
    index = bin_index(phi, bins) * bins + bin_index(psi, bins)
    return _probabilities(index, bins * bins, weights).reshape(bins, bins)


def _probabilities(index: NDArray[np.int64], size: int, weights: Array | None) -> Array:
    counts = np.bincount(index, weights=weights, minlength=size).astype(np.float64)
    return counts / max(counts.sum(), np.finfo(float).tiny)


def total_variation(p: Array, q: Array) -> float:
    """Half the sum of |p - q|: 0 where they agree, 1 where they share no bin."""
    return float(0.5 * np.abs(p - q).sum())


def kl_divergence(p: Array, q: Array) -> float:
    """sum p ln(p / q), both with `PSEUDO_PROBABILITY` in every bin."""
    padded_p, padded_q = _padded(p), _padded(q)
    return float(rel_entr(padded_p, padded_q).sum())


def _padded(p: Array) -> Array:
    padded = p + PSEUDO_PROBABILITY
    return padded / padded.sum()


def js_divergence(p: Array, q: Array) -> float:
    """(KL(p, m) + KL(q, m)) / 2 with m = (p + q) / 2; between 0 and ln 2."""
    m = (p + q) / 2
    return float(rel_entr(p, m).sum() + rel_entr(q, m).sum()) / 2


def sampling_total_variation(
    p: Array,  # probabilities
    n: int,
    rng: np.random.Generator,
    repeats: int = 10,
) -> float:
    """Mean total variation between p and the histogram of n independent draws from p itself."""
    draws = rng.multinomial(n, p.ravel() / p.sum(), size=repeats) / n
    return float(np.mean([total_variation(p.ravel(), draw) for draw in draws]))


def free_energy_profile(
    angles: Array,  # (n,)
    bins: int,
    weights: Array | None = None,  # (n,)
) -> Array:  # (bins,)
    """-ln p of each bin, in kT; inf in empty bins."""
    with np.errstate(divide="ignore"):
        return -np.log(histogram(angles, bins, weights))


def free_energy_profile_error(
    angles: Array,  # (n,)
    bins: int,
    weights: Array,  # (n,)
    repeats: int,
    rng: np.random.Generator,
    blocks: int | None = None,
) -> Array:  # (bins,)
    """One bootstrap standard error of each bin's -ln p, in kT; inf or NaN where it has none.

    Args:
        angles: rad.
        bins: Bins over [-pi, pi).
        weights: Ones for MD frames.
        repeats: Bootstrap replicates.
        rng: Their source.
        blocks: As in `bgp4.statistics.weights.resampling_counts`, for MD frames.
    """
    index = bin_index(angles, bins)

    def minus_log(drawn: Array) -> Array:
        with np.errstate(divide="ignore"):
            return -np.log(_probabilities(index, bins, drawn))

    error: Array = bootstrap_error(bootstrap(minus_log, weights, repeats, rng, blocks))
    return error
