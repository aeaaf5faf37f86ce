"""Distributions of every bond, angle and rotatable torsion by itself, and how far two are apart.

Lengths are in nm, angles in rad; mdtraj computes them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import mdtraj
import numpy as np
from numpy.typing import NDArray

from bgp4.molecule.topology import (
    atoms_label,
    bond_pairs,
    bonded_angles,
    distinct,
    rotatable_torsions,
)
from bgp4.report.torsions import wrapped
from bgp4.statistics.distributions import sampling_total_variation

__all__ = [
    "Coordinates",
    "Marginals",
    "internal_coordinates",
    "marginals",
    "sampling_floors",
    "without",
]

QUANTILES = (0.001, 0.999)
"""Quantiles of MD's values between which the bins of a bond or an angle lie."""

NARROWEST = {2: 1e-4, 3: 1e-3}
"""Least width of all bins together, for constrained bonds (nm) and angles (rad)."""

BLOCK = 16
"""Coordinates whose values are in memory at a time."""

Array = NDArray[np.float64]


class Coordinates(NamedTuple):
    """Bonds, angles or torsions: a label each, and atoms, shape (m, 2), (m, 3) or (m, 4)."""

    labels: list[str]
    atoms: NDArray[np.int64]


class Marginals(NamedTuple):
    """Probabilities of m coordinates in equal bins; the first and the last one are open.

    A torsion's inner bins cover [-pi, pi), and its open ones are empty. Where no sample has weight,
    the probabilities are NaN.

    Attributes:
        labels: (m,)
        low: (m,), lower end of the inner bins, nm or rad.
        high: (m,), their upper end.
        data: (m, bins + 2), of the MD frames.
        samples: (m, bins + 2).
        reweighted: (m, bins + 2), of the weighted samples.
        noise_floor: (m,), total variation between the halves of the MD frames.
    """

    labels: list[str]
    low: Array
    high: Array
    data: Array
    samples: Array
    reweighted: Array
    noise_floor: Array

    @property
    def tv(self) -> Array:  # (m,)
        """Total variation between samples and MD."""
        return _total_variations(self.data, self.samples)

    @property
    def tv_reweighted(self) -> Array:  # (m,)
        """Total variation between weighted samples and MD."""
        return _total_variations(self.data, self.reweighted)


def internal_coordinates(topology: mdtraj.Topology) -> dict[str, Coordinates]:
    """Every "bond", every "angle" of two bonds, and every rotatable "torsion"."""
    torsions = rotatable_torsions(topology)
    bonds = sorted(bond_pairs(topology))
    return {
        "bond": _coordinates(topology, bonds, 2),
        "angle": _coordinates(topology, bonded_angles(topology), 3),
        "torsion": Coordinates([t.label for t in torsions], _atoms([t.atoms for t in torsions], 4)),
    }


def without(coordinates: Coordinates, left_out: Sequence[tuple[int, ...]]) -> Coordinates:
    """The coordinates but those of the atoms that are left out."""
    kept = [i for i, atoms in enumerate(coordinates.atoms.tolist()) if tuple(atoms) not in left_out]
    return Coordinates([coordinates.labels[i] for i in kept], coordinates.atoms[kept])


def _coordinates(
    topology: mdtraj.Topology, atoms: Sequence[tuple[int, ...]], size: int
) -> Coordinates:
    return Coordinates(distinct(atoms_label(topology, a) for a in atoms), _atoms(atoms, size))


def _atoms(atoms: Sequence[tuple[int, ...]], size: int) -> NDArray[np.int64]:
    return np.array(atoms, dtype=np.int64).reshape(-1, size)


def marginals(
    coordinates: Coordinates,
    topology: mdtraj.Topology,
    data_positions_nm: NDArray[np.floating],  # (frames, atoms, 3)
    positions_nm: NDArray[np.floating],  # (n, atoms, 3)
    weights: Array,  # (n,)
    bins: int,
) -> Marginals:
    """Distributions of the MD frames, of samples, and of weighted samples in common bins.

    The bins of bonds and angles lie between two quantiles of MD's values (`QUANTILES`).
    """
    data = mdtraj.Trajectory(np.asarray(data_positions_nm, dtype=np.float32), topology)
    own = mdtraj.Trajectory(np.asarray(positions_nm, dtype=np.float32), topology)
    starts = range(0, max(len(coordinates.atoms), 1), BLOCK)
    blocks = [
        _marginals_of(coordinates.atoms[i : i + BLOCK], data, own, weights, bins) for i in starts
    ]
    return Marginals(
        coordinates.labels, *(np.concatenate(part) for part in zip(*blocks, strict=True))
    )


def _marginals_of(
    atoms: NDArray[np.int64],
    data: mdtraj.Trajectory,
    own: mdtraj.Trajectory,
    weights: Array,
    bins: int,
) -> tuple[Array, ...]:
    """All of `Marginals` but the labels, for coordinates whose values fit into memory."""
    values = _values(data, atoms)
    low, high = _range(values, atoms.shape[1])
    places = _places(values, low, high, bins)
    half = len(places) - len(places) // 2
    halves = (_probabilities(part, bins) for part in (places[:half], places[half:]))
    own_places = _places(_values(own, atoms), low, high, bins)
    return (
        low,
        high,
        _probabilities(places, bins),
        _probabilities(own_places, bins),
        _probabilities(own_places, bins, weights),
        _total_variations(*halves),
    )


def _values(frames: mdtraj.Trajectory, atoms: NDArray[np.int64]) -> Array:  # (frames, m)
    """Lengths, angles or torsions, by how many atoms each has."""
    match atoms.shape[1]:
        case 2:
            values = mdtraj.compute_distances(frames, atoms, periodic=False)
        case 3:
            values = mdtraj.compute_angles(frames, atoms, periodic=False)
        case _:
            values = wrapped(mdtraj.compute_dihedrals(frames, atoms, periodic=False))
    return values.astype(np.float64)


def _range(values: Array, size: int) -> tuple[Array, Array]:  # (m,), (m,)
    """Ends of the inner bins of coordinates of that many atoms."""
    if size == 4:
        return np.full(values.shape[1], -np.pi), np.full(values.shape[1], np.pi)
    low, high = np.nanquantile(values, QUANTILES, axis=0).reshape(2, values.shape[1])
    missing = np.maximum(NARROWEST[size] - (high - low), 0.0)
    return low - missing / 2, high + missing / 2


def _places(
    values: Array,  # (n, m)
    low: Array,  # (m,)
    high: Array,  # (m,)
    bins: int,
) -> NDArray[np.int64]:  # (n, m)
    """Bin of each value: 1 to `bins` in [low, high), 0 below, `bins` + 1 above or NaN."""
    places = np.floor((values - low) * (bins / (high - low)))
    return np.clip(np.nan_to_num(places, nan=bins), -1, bins).astype(np.int64) + 1


def _probabilities(
    places: NDArray[np.int64],  # (n, m)
    bins: int,
    weights: Array | None = None,  # (n,)
) -> Array:  # (m, bins + 2)
    """Probability of each bin, NaN where there is no weight."""
    n, m = places.shape
    index = places + np.arange(m) * (bins + 2)
    spread = None if weights is None else np.repeat(weights, m)
    counts = np.bincount(index.ravel(), weights=spread, minlength=m * (bins + 2))
    total = float(n if weights is None else weights.sum())
    return counts.reshape(m, bins + 2) / (total or np.nan)


def _total_variations(p: Array, q: Array) -> Array:  # (m,)
    return 0.5 * np.abs(p - q).sum(axis=1)


def sampling_floors(found: Marginals, n: int, rng: np.random.Generator) -> Array:  # (m,)
    """Total variation that n perfect samples would show by counting noise alone; NaN for n = 0."""
    if n == 0:
        return np.full(len(found.labels), np.nan)
    return np.array([sampling_total_variation(p, n, rng) for p in found.data])
