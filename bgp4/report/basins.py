"""Basins of a (phi, psi) histogram: found by flooding, named by where they are, and populated."""

from __future__ import annotations

from collections.abc import Iterator
from string import ascii_uppercase
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from bgp4.report.result import RunResult
from bgp4.report.torsions import BackboneTorsions
from bgp4.statistics.distributions import bin_centres, bin_index
from bgp4.statistics.weights import bootstrap, bootstrap_error

__all__ = [
    "OUTSIDE",
    "REGIONS",
    "Basins",
    "basin_populations",
    "find_basins",
    "md_basins",
    "region",
]

SMOOTHING_RAD = np.radians(10.0)
"""Standard deviation of the Gaussian that smooths the histogram."""

BARRIER_KT = 0.5
"""A peak that rises less than this above the saddle to a higher one belongs to it."""

LEAST_SHARE, LEAST_FRAMES = 2e-4, 10.0
"""Share and number of frames that a basin must hold above its saddle."""

OUTSIDE = "outside"
"""What is left: bins that no basin reaches."""

REGIONS: dict[str, tuple[tuple[float, float], tuple[float, float]]] = {
    "C5": ((-190, -110), (110, 210)),
    "PII": ((-110, -30), (100, 210)),
    "C7eq": ((-120, -30), (30, 100)),
    "αR": ((-120, -30), (-90, 30)),
    "αL": ((30, 90), (-10, 100)),
    "C7ax": ((40, 110), (-120, -20)),
}
"""Ranges of phi and psi, degrees, where the peak of a basin of that name lies."""

Array = NDArray[np.float64]


class Basins(NamedTuple):
    """Basins in the order of their population, the most populated one first.

    Attributes:
        names: (m,), of `REGIONS`, or else letters.
        peaks: (m, 2), phi and psi of each one's highest bin, rad.
        labels: (bins, bins), place of each bin's basin, m where it is `OUTSIDE`.
    """

    names: list[str]
    peaks: Array
    labels: NDArray[np.int64]

    def of(self, torsions: BackboneTorsions) -> NDArray[np.int64]:  # (n,)
        """The basin of each conformation, as in `labels`."""
        bins = len(self.labels)
        found: NDArray[np.int64] = self.labels[
            bin_index(torsions.phi, bins), bin_index(torsions.psi, bins)
        ]
        return found


def md_basins(run: RunResult) -> list[Basins]:
    """Basins of each residue's histogram of the MD frames."""
    histograms = (md for md, *_ in run.ramachandran)
    return [find_basins(found, len(run.data_energy_kt)) for found in histograms]


def find_basins(
    probabilities: Array,  # (bins, bins), phi first
    n_frames: int,
) -> Basins:
    """Basins of a periodic histogram of that many frames.

    The histogram is smoothed by a Gaussian of `SMOOTHING_RAD`. Then its bins are taken from the
    highest to the lowest, as water that sinks lets them emerge: a bin without a neighbour above
    the water is a new peak, any other joins the highest peak among its eight neighbours. Where two
    peaks meet, the lower one joins the higher if it rises less than `BARRIER_KT` above this
    saddle, or holds too few frames (`LEAST_SHARE`, `LEAST_FRAMES`).
    """
    bins = len(probabilities)
    density = gaussian_filter(probabilities, SMOOTHING_RAD * bins / (2 * np.pi), mode="wrap")
    least = max(LEAST_SHARE, LEAST_FRAMES / n_frames)
    roots = _flooded(density, least)
    peaks = [peak for peak in np.unique(roots) if peak >= 0]
    mass = {peak: probabilities.ravel()[roots == peak].sum() for peak in peaks}
    kept = sorted((p for p in peaks if mass[p] >= least), key=lambda p: -mass[p])
    labels = np.full(bins * bins, len(kept))
    for place, peak in enumerate(kept):
        labels[roots == peak] = place
    centres = bin_centres(bins)
    at = np.array([(centres[p // bins], centres[p % bins]) for p in kept]).reshape(-1, 2)
    return Basins(_names(at), at, labels.reshape(bins, bins))


def _flooded(density: Array, least: float) -> NDArray[np.int64]:  # (bins * bins,)
    """The peak that each bin belongs to, -1 where the density is zero."""
    bins = len(density)
    heights = density.ravel()
    joined: dict[int, int] = {}  # peaks that have joined another
    mass: dict[int, float] = {}
    roots = np.full(len(heights), -1)

    def top(peak: int) -> int:
        while peak in joined:
            peak = joined[peak]
        return peak

    for here in np.argsort(-heights, kind="stable").tolist():
        if heights[here] <= 0:
            break
        near = {top(roots[i]) for i in _neighbours(here, bins) if roots[i] >= 0}
        highest = max(near, key=lambda peak: heights[peak], default=here)
        for peak in near - {highest}:
            if heights[peak] < heights[here] * np.exp(BARRIER_KT) or mass[peak] < least:
                joined[peak] = highest
                mass[highest] += mass[peak]
        roots[here] = highest
        mass[highest] = mass.get(highest, 0.0) + heights[here]
    return np.array([top(root) for root in roots.tolist()])


def _neighbours(index: int, bins: int) -> Iterator[int]:
    row, column = divmod(index, bins)
    for i in (row - 1, row, row + 1):
        for j in (column - 1, column, column + 1):
            if (i, j) != (row, column):
                yield i % bins * bins + j % bins


def _names(peaks: Array) -> list[str]:
    """A region's name for the first peak in it, the letter of its rank for any other."""
    names: list[str] = []
    for rank, (phi, psi) in enumerate(np.degrees(peaks)):
        name = region(phi, psi)
        letter = ascii_uppercase[rank] if rank < len(ascii_uppercase) else f"Z{rank}"
        names.append(name if name and name not in names else letter)
    return names


def region(phi: float, psi: float) -> str | None:
    """The region of `REGIONS` that holds a point, in degrees.

    >>> region(-75, -20), region(-160, 170), region(170, -170), region(0, 0)
    ('αR', 'C5', 'C5', None)
    """
    for name, ranges in REGIONS.items():
        if all(
            (angle - low) % 360 < high - low
            for angle, (low, high) in zip((phi, psi), ranges, strict=True)
        ):
            return name
    return None


def basin_populations(
    basins: Basins,
    torsions: BackboneTorsions,
    weights: Array,  # (n,)
    repeats: int,
    rng: np.random.Generator,
    blocks: int | None = None,
) -> tuple[Array, Array]:  # (m + 1,), (m + 1,)
    """Share of each basin, and of what is outside, and one bootstrap standard error of each.

    NaN where there is no weight.
    """
    places, size = basins.of(torsions), len(basins.names) + 1
    if not weights.any():
        return np.full(size, np.nan), np.full(size, np.nan)

    def shares(drawn: Array) -> Array:
        counts = np.bincount(places, drawn, size)
        return counts / (counts.sum() or np.nan)

    return shares(weights), bootstrap_error(bootstrap(shares, weights, repeats, rng, blocks))
