"""Which conformers an ensemble has, and how much of each."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import mdtraj
import numpy as np
from numpy.typing import NDArray

from bgp4.answers.by_rmsd import Clusters
from bgp4.answers.by_torsions import InWells, TorsionWells
from bgp4.answers.cells import cell_of, joined_cells
from bgp4.answers.rmsd import SymmetricRMSD
from bgp4.answers.weighted import Weighted
from bgp4.errors import UserInputError

__all__ = ["LEAST", "OTHER", "Conformers", "conformers"]

Array = NDArray[np.float64]
Labels = NDArray[np.int64]

LEAST = 0.01
"""Population below which a conformer is not listed."""

FEW = 3.0
"""Fewer effective conformations are no conformer."""

OTHER = -1
"""Label of conformations of no conformer that is listed."""


@dataclass(frozen=True, eq=False)
class Conformers:
    """Conformers, the most populated first.

    Attributes:
        rmsd_nm: Cutoff of RMSD, nm; None for wells of torsions.
        labels: (n,), the conformer of each conformation that the sample was made from, or `OTHER`;
            those without weight are of none.
        populations: (m + 1,), of each conformer, and of all else; the sum is 1.
        errors: (m + 1,), one standard error of each, by bootstrap.
        free_energy_kt: (m,), -ln of the population over the first one's, kT.
        free_energy_error_kt: (m,), one standard error; infinite where replicates lack it.
        effective: (m,), effective samples (Kish).
        representatives: (m,), places of typical conformations, as in `labels`: for torsions the
            one whose torsions agree best with their mean directions, for RMSD the one nearest to
            all others. It is not that of the lowest energy, which all other coordinates decide,
            and which says little of a single conformation.
        structures: The representatives, superposed, m frames.
        torsions: Labels of the torsions that tell conformers apart; all torsions if none does.
        angles_deg: (m, torsions), their mean directions, after permutation of equivalent atoms.
        remarks: (m,), which centres are inverted, or empty.
        assign: The labels of other conformations of the molecule.
        temperature_k: Temperature of the populations, K.
    """

    rmsd_nm: float | None
    labels: Labels
    populations: Array
    errors: Array
    free_energy_kt: Array
    free_energy_error_kt: Array
    effective: Array
    representatives: Labels
    structures: mdtraj.Trajectory
    torsions: list[str]
    angles_deg: Array
    remarks: list[str]
    assign: Callable[[mdtraj.Trajectory], Labels]
    temperature_k: float

    def __len__(self) -> int:
        return len(self.representatives)

    def populations_of(self, sample: Weighted) -> tuple[Array, Array]:
        """Populations of the same conformers, and of all else, in other conformations.

        Returns:
            Populations and errors, each (m + 1,).
        """
        value, error = _shares(self.assign(sample.frames), len(self), sample)
        return value[: len(self) + 1], error[: len(self) + 1]

    def describe(self, conformer: int) -> str:
        """Its torsions in words.

        >>> found.describe(0)  # doctest: +SKIP
        'φ ALA2 -75°, ψ ALA2 145°'
        """
        angles = zip(self.torsions, self.angles_deg[conformer], strict=True)
        words = [f"{label} {angle:.0f}°" for label, angle in angles]
        return ", ".join([*words, *filter(None, [self.remarks[conformer]])])


def conformers(
    sample: Weighted,
    rmsd_nm: float | None = None,
    least: float = LEAST,
    most: int | None = None,
) -> Conformers:
    """The conformers of a sample; equivalent atoms are not told apart.

    Args:
        sample: Conformations and weights.
        rmsd_nm: A conformer has all conformations whose RMSD from the middle of a cluster is at
            most this, nm; by default, all whose torsions are in the same wells.
        least: Population that a conformer has at least.
        most: How many are listed at most, those of the lowest free energy; by default all.

    Raises:
        UserInputError: If an argument is out of range, or no conformer is so populated.
    """
    _check(rmsd_nm, least, most)
    frames, weights = sample.frames, sample.weights
    wells = TorsionWells(frames, weights)
    inside = wells.of(frames)
    clusters: _ByTorsions | _ByRMSD
    if rmsd_nm is None:
        clusters = _ByTorsions(wells, inside, weights)
    else:
        clusters = _ByRMSD(frames, weights, rmsd_nm, least)
    kept = _listed(clusters.raw, weights, least, most)
    if not kept:
        raise UserInputError(_none(clusters.raw, sample, least, rmsd_nm))
    labels, n = _renumbered(clusters.raw, kept), len(kept)
    places = [clusters.representative(i) for i in kept]
    value, error = _shares(labels, n, sample)
    squares = np.bincount(labels + 1, weights**2, n + 1)[1:]
    means = np.stack([_means(inside.angles, weights, labels == i) for i in range(n)])
    shown = _shown(wells, inside, labels, n, rmsd_nm is not None)
    everywhere = np.full(len(sample.kept), OTHER)
    everywhere[sample.kept] = labels
    return Conformers(
        rmsd_nm,
        everywhere,
        *(value[: n + 1], error[: n + 1], value[n + 1 :], error[n + 1 :]),
        value[:n] ** 2 / squares,
        np.flatnonzero(sample.kept)[places],
        SymmetricRMSD(frames.topology, frames.xyz[places[0]]).superposed(frames[places]),
        [wells.torsions[i].label for i in shown],
        np.degrees(np.angle(means[:, shown])),
        [clusters.remark(i) for i in kept],
        lambda others: _renumbered(clusters.of(others), kept),
        sample.temperature_k,
    )


class _ByTorsions:
    """All conformers of wells, whether they are listed or not; `raw` is that of each sample."""

    def __init__(self, wells: TorsionWells, inside: InWells, weights: Array) -> None:
        self._wells, self._inside, self._weights = wells, inside, weights
        self._keys, self.raw = joined_cells(wells, inside, weights)

    def of(self, frames: mdtraj.Trajectory) -> Labels:
        return cell_of(self._keys, self._wells.of(frames))

    def representative(self, conformer: int) -> int:
        return _typical(self._inside.angles, self._weights, self.raw == conformer)

    def remark(self, conformer: int) -> str:
        atoms = self._wells.inverted(self._keys[conformer][0])
        return f"inverted at {', '.join(atoms)}" if atoms else ""


class _ByRMSD:
    """The same of clusters by RMSD."""

    def __init__(
        self, frames: mdtraj.Trajectory, weights: Array, cutoff_nm: float, least: float
    ) -> None:
        self._clusters = Clusters(frames, weights, cutoff_nm, least / 2)
        self.raw = self._clusters.of(frames)

    def of(self, frames: mdtraj.Trajectory) -> Labels:
        return self._clusters.of(frames)

    def representative(self, conformer: int) -> int:
        return self._clusters.middles[conformer]

    def remark(self, conformer: int) -> str:
        return ""


def _check(rmsd_nm: float | None, least: float, most: int | None) -> None:
    if not 0 < least < 1:
        raise UserInputError(f"conformers: expected a population of 0 to 1, found {least:g}")
    if most is not None and most < 1:
        raise UserInputError(f"conformers: expected one conformer or more, found {most}")
    if rmsd_nm is not None and not (np.isfinite(rmsd_nm) and rmsd_nm > 0):
        raise UserInputError(f"conformers: expected an RMSD above 0 nm, found {rmsd_nm:g}")


def _listed(raw: Labels, weights: Array, least: float, most: int | None) -> list[int]:
    """Those that are populated enough, the most populated first."""
    shares, squares = (np.bincount(raw + 1, w)[1:] for w in (weights, weights**2))
    enough = (shares >= least) & (shares**2 >= FEW * squares) & (shares > 0)
    order = [int(i) for i in np.argsort(-shares, kind="stable") if enough[i]]
    return order[:most]


def _none(raw: Labels, sample: Weighted, least: float, rmsd_nm: float | None) -> str:
    shares = np.bincount(raw + 1, sample.weights)[1:]
    way = "list rarer ones, or draw more conformations, or "
    way += "cluster them by RMSD" if rmsd_nm is None else "raise the cutoff of RMSD"
    return (
        f"conformers: expected one of {least:.3g} of the population and {FEW:g} effective "
        f"conformations, found {max(shares, default=0):.2g} for the fullest; {way}"
    )


def _renumbered(raw: Labels, kept: list[int]) -> Labels:
    places = np.full(max([*kept, int(raw.max(initial=0))]) + 2, OTHER)
    places[kept] = np.arange(len(kept))
    return places[raw]  # the last place is that of -1


def _means(angles: Array, weights: Array, members: NDArray[np.bool_]) -> NDArray[np.complex128]:
    """Mean directions of all torsions, (torsions,), whose length says how narrow they are."""
    own = weights[members]
    found: NDArray[np.complex128] = own @ np.exp(1j * angles[members]) / own.sum()
    return found


def _typical(angles: Array, weights: Array, members: NDArray[np.bool_]) -> int:
    means = _means(angles, weights, members)
    agreement = (np.exp(-1j * angles[members]) @ means).real
    return int(np.flatnonzero(members)[agreement.argmax()])


def _shown(wells: TorsionWells, inside: InWells, labels: Labels, n: int, every: bool) -> list[int]:
    """Places of torsions of several wells, unless `every` those that differ between conformers in
    the well that most conformations are in; if there are none, all torsions.
    """
    several = wells.several
    if not every:
        members = [inside.keys[labels == i, : len(several)] for i in range(n)]
        usual = np.array([[np.bincount(column).argmax() for column in own.T] for own in members])
        several = [place for i, place in enumerate(several) if len(set(usual[:, i])) > 1]
    return several or list(range(len(wells.torsions)))


def _shares(labels: Labels, n: int, sample: Weighted) -> tuple[Array, Array]:
    """Populations and then free energies, (2 n + 1,), and their errors."""
    place = np.where(labels == OTHER, n, labels)

    def statistic(weights: Array) -> Array:
        shares = np.bincount(place, weights, n + 1) / weights.sum()
        with np.errstate(divide="ignore", invalid="ignore"):  # a replicate may lack a conformer
            return np.concatenate([shares, np.log(shares[0] / shares[:n])])

    return statistic(sample.weights), sample.errors(statistic)
