"""The wells of a torsion: where the density of its weighted angles has maxima with barriers."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter1d

from bgp4.statistics.distributions import bin_centres, bin_index

__all__ = ["BARRIER_KT", "barrier_kt", "histograms", "well_index", "wells"]

Array = NDArray[np.float64]

BINS = 120
"""Of the circle, 3° each."""

WIDTH = BINS / 36
"""Standard deviation, in bins, of the Gaussian that smooths the histogram: 10°."""

BARRIER_KT = 0.5
"""Two maxima are two wells if the density between them falls this far below the lower one."""

SIGMAS = 3.0
"""And by so many standard errors."""

FEW = 10.0
"""A well has at least so many effective samples."""


def wells(
    angles: Array,  # (n,), rad
    weights: Array,  # (n,)
) -> Array:  # (wells,), or (0,) if there is one
    """Where each well ends and the next begins, rad, ascending.

    The weakest barrier is taken out until all are high enough, then that of the smallest well
    until all have enough samples.
    """
    place = bin_index(angles, BINS)
    height: Array = np.bincount(place, weights, BINS).astype(np.float64)
    squares: Array = np.bincount(place, weights**2, BINS).astype(np.float64)
    density = _smooth(height, WIDTH)
    variance = _smooth(squares, WIDTH / np.sqrt(2)) / (2 * np.sqrt(np.pi) * WIDTH)
    cuts = np.flatnonzero((density < np.roll(density, 1)) & (density <= np.roll(density, -1)))
    while len(cuts) > 1:
        parts = _parts(cuts)
        tops = np.array([part[density[part].argmax()] for part in parts])
        before = np.roll(tops, 1)
        lower = np.where(density[before] < density[tops], before, tops)
        strength = np.minimum(
            np.log(density[lower] / density[cuts]) / BARRIER_KT,
            (density[lower] - density[cuts]) / np.sqrt(variance[lower] + variance[cuts]) / SIGMAS,
        )
        worth = np.array([_worth(height[part], squares[part]) for part in parts])
        if strength.min() < 1:
            cuts = np.delete(cuts, strength.argmin())
        elif worth.min() < FEW:
            least = int(worth.argmin())
            sides = [least, (least + 1) % len(cuts)]
            cuts = np.delete(cuts, min(sides, key=lambda side: strength[side]))
        else:
            return bin_centres(BINS)[cuts]
    return np.empty(0)


def _worth(weights: Array, squares: Array) -> float:
    """Effective samples of a well, 0 where it is empty."""
    return float(weights.sum() ** 2 / squares.sum()) if squares.any() else 0.0


def _smooth(values: Array, width: float) -> Array:
    """On the circle, so far that no bin stays empty."""
    smooth: Array = gaussian_filter1d(values, width, mode="wrap", truncate=BINS / 2 / width)
    return smooth + np.finfo(float).tiny


def well_index(angles: Array, cuts: Array) -> NDArray[np.int64]:
    """The well of each angle, counted from the first cut on; the last one goes around."""
    if len(cuts) == 0:
        return np.zeros(angles.shape, dtype=np.int64)
    return (np.searchsorted(cuts, angles, side="right") - 1) % len(cuts)


def histograms(
    angles: Array,  # (n,), rad
    weights: Array,  # (n,)
    members: NDArray[np.integer],  # (n,), below `n_sets`
    n_sets: int,
) -> Array:  # (sets, bins)
    """A histogram for each set of angles, for `barrier_kt`."""
    place = members * BINS + bin_index(angles, BINS)
    found: Array = np.bincount(place, weights, n_sets * BINS).astype(np.float64)
    return found.reshape(n_sets, BINS)


def barrier_kt(
    histogram: Array,  # (bins,), of the angles in a well and the next
    cuts: Array,  # (wells,), rad
    well: int,
) -> float:
    """How far the density falls between the two, in kT below the lower maximum."""
    density = _smooth(histogram, WIDTH)
    parts = _parts(bin_index(cuts, BINS))
    one, other = (
        part[density[part].argmax()] for part in (parts[well], parts[well + 1 - len(cuts)])
    )
    way = density[np.arange(one, one + (other - one) % BINS + 1) % BINS]
    return float(np.log(min(density[one], density[other]) / way.min()))


def _parts(cuts: NDArray[np.intp]) -> list[NDArray[np.intp]]:
    """The bins from each cut to the next."""
    ends = np.append(cuts[1:], cuts[0] + BINS)
    return [np.arange(low, high) % BINS for low, high in zip(cuts, ends, strict=True)]
