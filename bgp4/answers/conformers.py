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
from bgp4.molecule.topology import atom_label

__all__ = ["CUTOFF_NM", "LEAST", "OTHER", "Conformers", "conformers"]

Array = NDArray[np.float64]
Labels = NDArray[np.int64]

LEAST = 0.01
"""Population below which a conformer is not listed."""

CUTOFF_NM = 0.1
"""Of RMSD."""

FEW = 3.0
"""Fewer effective conformations are no conformer."""

OTHER = -1
"""Label of conformations of no conformer that is listed."""


@dataclass(frozen=True, eq=False)
class Conformers:
    """Conformers, the most populated first.

    Attributes:
        by: "torsions" or "rmsd".
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
        torsions: Labels of the torsions that tell conformers apart; all if there is only one.
        angles_deg: (m, torsions), their mean directions, after permutation of equivalent atoms.
        remarks: (m,), which centres are inverted, or empty.
        assign: The labels of other conformations of the molecule.
        temperature_k: Temperature of the populations, K.
    """

    by: str
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

    @property
    def words(self) -> str:
        """What conformers are told apart by."""
        return "torsions" if self.by == "torsions" else "mean torsions"

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
    by: str = "torsions",
    least: float = LEAST,
    most: int | None = None,
    cutoff_nm: float = CUTOFF_NM,
) -> Conformers:
    """The conformers of a sample; equivalent atoms are not told apart.

    Args:
        sample: Conformations and weights.
        by: "torsions": conformations with all torsions in the same wells are a conformer;
            "rmsd": those within a distance of the middle of a cluster.
        least: Population that a conformer has at least.
        most: How many are listed at most, those of the lowest free energy; by default all.
        cutoff_nm: Of RMSD, nm.

    Raises:
        UserInputError: If an argument is out of range, or no conformer is so populated.
    """
    _check(by, least, most, cutoff_nm)
    wells = TorsionWells(sample.frames, sample.weights)
    inside = wells.of(sample.frames)
    if by == "torsions":
        keys, raw = joined_cells(wells, inside, sample.weights)
        kept = _listed(raw, sample.weights, least, most)

        def assign(frames: mdtraj.Trajectory) -> Labels:
            return _renumbered(cell_of(keys, wells.of(frames)), kept)

        remarks = [_inverted(wells, keys[i][0], sample.frames.topology) for i in kept]
        places = [_typical(inside.angles, sample.weights, raw == i) for i in kept]
    else:
        clusters = Clusters(sample.frames, sample.weights, cutoff_nm, least / 2)
        raw = clusters.of(sample.frames)
        kept = _listed(raw, sample.weights, least, most)

        def assign(frames: mdtraj.Trajectory) -> Labels:
            return _renumbered(clusters.of(frames), kept)

        remarks = [""] * len(kept)
        places = [clusters.middles[i] for i in kept]
    if not kept:
        raise UserInputError(_none(raw, sample, least, by))
    labels = _renumbered(raw, kept)
    means = np.stack([_means(inside.angles, sample.weights, labels == i) for i in range(len(kept))])
    shown = _telling(wells, inside, labels, len(kept))
    shape = SymmetricRMSD(sample.frames.topology, sample.frames.xyz[places[0]])
    everywhere = np.full(len(sample.kept), OTHER)
    everywhere[sample.kept] = labels
    return Conformers(
        by,
        everywhere,
        *_populations(labels, len(kept), sample),
        np.flatnonzero(sample.kept)[places],
        shape.superposed(sample.frames[places]),
        [wells.torsions[i].label for i in shown],
        np.degrees(np.angle(means[:, shown])),
        remarks,
        assign,
        sample.temperature_k,
    )


def _check(by: str, least: float, most: int | None, cutoff_nm: float) -> None:
    if by not in ("torsions", "rmsd"):
        raise UserInputError(f"conformers: expected by torsions or rmsd, found {by!r}")
    if not 0 < least < 1:
        raise UserInputError(f"conformers: expected a population of 0 to 1, found {least:g}")
    if most is not None and most < 1:
        raise UserInputError(f"conformers: expected one conformer or more, found {most}")
    if not (np.isfinite(cutoff_nm) and cutoff_nm > 0):
        raise UserInputError(f"conformers: expected a cutoff above 0 nm, found {cutoff_nm:g}")


def _listed(raw: Labels, weights: Array, least: float, most: int | None) -> list[int]:
    """Those that are populated enough, the most populated first."""
    shares, squares = (np.bincount(raw + 1, w)[1:] for w in (weights, weights**2))
    enough = (shares >= least) & (shares**2 >= FEW * squares) & (shares > 0)
    order = [int(i) for i in np.argsort(-shares, kind="stable") if enough[i]]
    return order[:most]


def _none(raw: Labels, sample: Weighted, least: float, by: str) -> str:
    shares = np.bincount(raw + 1, sample.weights)[1:]
    way = "list rarer ones, draw more conformations"
    way += ", or cluster them by RMSD" if by == "torsions" else ", or raise the cutoff"
    return (
        f"conformers: expected one of {least:.3g} of the population and {FEW:g} effective "
        f"conformations, found {max(shares, default=0):.2g} for the fullest; {way}"
    )


def _renumbered(raw: Labels, kept: list[int]) -> Labels:
    places = np.full(max([*kept, int(raw.max(initial=0))]) + 2, OTHER)
    places[kept] = np.arange(len(kept))
    return places[raw]  # the last place is that of -1


def _inverted(wells: TorsionWells, key: NDArray[np.uint8], topology: mdtraj.Topology) -> str:
    atoms = [atom_label(topology, i) for i in wells.inverted(key)]
    return f"inverted at {', '.join(atoms)}" if atoms else ""


def _means(angles: Array, weights: Array, members: NDArray[np.bool_]) -> NDArray[np.complex128]:
    """Mean directions of all torsions, (torsions,), whose length says how narrow they are."""
    own = weights[members]
    found: NDArray[np.complex128] = own @ np.exp(1j * angles[members]) / own.sum()
    return found


def _typical(angles: Array, weights: Array, members: NDArray[np.bool_]) -> int:
    means = _means(angles, weights, members)
    agreement = (np.exp(-1j * angles[members]) @ means).real
    return int(np.flatnonzero(members)[agreement.argmax()])


def _telling(wells: TorsionWells, inside: InWells, labels: Labels, n: int) -> list[int]:
    """Places of the torsions that differ between conformers in what most of each one has."""
    if n == 1:
        return list(range(len(wells.torsions)))
    usual = np.array(
        [[np.bincount(column).argmax() for column in inside.keys[labels == i].T] for i in range(n)]
    )
    several = wells.several
    return [place for i, place in enumerate(several) if len(set(usual[:, i])) > 1]


def _populations(
    labels: Labels, n: int, sample: Weighted
) -> tuple[Array, Array, Array, Array, Array]:
    """Populations and errors, free energies and errors, and effective samples."""
    place = np.where(labels == OTHER, n, labels)

    def statistic(weights: Array) -> Array:
        shares = np.bincount(place, weights, n + 1) / weights.sum()
        with np.errstate(divide="ignore", invalid="ignore"):  # a replicate may lack a conformer
            return np.concatenate([shares, np.log(shares[0] / shares[:n])])

    value, error = statistic(sample.weights), sample.errors(statistic)
    shares = value[: n + 1]
    squares = np.bincount(place, sample.weights**2, n + 1)[:n]
    effective = shares[:n] ** 2 / squares
    return shares, error[: n + 1], value[n + 1 :], error[n + 1 :], effective
