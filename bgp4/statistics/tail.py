"""How heavy the tail of importance weights is, and so whether their averages have a variance."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = ["FEWEST", "tail_shape"]

FEWEST = 20
"""Of fewer weights in the tail no shape is fitted."""

LARGEST_SHARE = 0.2
"""Of all weights, at most, are the tail."""


def tail_shape(
    log_weight: ArrayLike,  # (n,), -inf for a weight of zero
) -> float:
    """Shape k of a generalised Pareto distribution, fitted to the largest weights.

    The tail is the largest min(n / 5, 3 √n) weights (Vehtari et al., J. Mach. Learn. Res. 25 (72),
    2024). Above 1/2 the weights have no variance; averages and their errors serve up to 0.7, and
    above 1 there is no mean. NaN where the tail has fewer than `FEWEST` weights, or no width.

    >>> log_weight = -0.25 * np.log(np.random.default_rng(0).random(20_000))
    >>> bool(abs(tail_shape(log_weight) - 0.25) < 0.1)
    True
    """
    from scipy.stats import genpareto

    finite = np.asarray(log_weight, dtype=np.float64)
    finite = np.sort(finite[np.isfinite(finite)])
    size = int(min(LARGEST_SHARE * len(finite), 3 * math.sqrt(len(finite))))
    if size < FEWEST:
        return math.nan
    threshold, tail = finite[-size - 1], finite[-size:]
    exceedance: NDArray[np.float64] = np.exp(tail - tail[-1]) - math.exp(threshold - tail[-1])
    if exceedance.mean() < 1e-12:
        return math.nan
    return float(genpareto.fit(exceedance / exceedance.mean(), floc=0)[0])
