"""Conformers by wells: those conformations whose torsions are all in the same wells.

Torsions are those of rotatable bonds, of rings, and of hydroxyl, thiol and amino groups. A torsion
of one well, such as any in a phenyl ring, tells nothing apart. Where permutations of equivalent
atoms lead to other wells, the first of all combinations counts, so that equivalent conformations
are the same conformer. A conformation with an inverted centre is another molecule's, and a
conformer of its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import mdtraj
import numpy as np
from numpy.typing import NDArray

from bgp4.answers.wells import well_index, wells
from bgp4.molecule.lines import linear_atoms
from bgp4.molecule.symmetry import chiral_centres, handedness, symmetries
from bgp4.molecule.topology import (
    Torsion,
    atom_label,
    atoms_label,
    bond_graph,
    distinct,
    rings,
    rotatable_torsions,
)

__all__ = ["InWells", "TorsionWells"]

Array = NDArray[np.float64]
Quadruple = tuple[int, int, int, int]

HYDROGENS = -1
"""In the place of a torsion's last atom: all hydrogens on the third, by their mean direction."""

LEAST_RESULTANT = 0.35
"""Length of the mean direction of hydrogens below which it is none: 0.5 for an amine, 0 for an
amide or a methyl group."""


class InWells(NamedTuple):
    """Where conformations are.

    Attributes:
        keys: (n, columns) uint8, the well of each torsion that has several, and whether each
            centre is inverted.
        angles: (n, torsions), rad, after the permutation of equivalent atoms that leads to the
            key.
    """

    keys: NDArray[np.uint8]
    angles: Array


class TorsionWells:
    """Torsions of a molecule, and their wells in some conformations.

    Args:
        frames: Conformations, which decide where wells end and what handedness is usual.
        weights: (n,), their sum is 1.
    """

    def __init__(self, frames: mdtraj.Trajectory, weights: Array) -> None:
        self._topology = topology = frames.topology
        self._hydrogens = _hydrogens(topology)
        self._centres = chiral_centres(topology)
        signs = handedness(frames.xyz, self._centres)
        self._usual = weights @ signs > 0.5
        reference = int(np.argmax(weights * (signs == self._usual).all(axis=1)))
        self.torsions = self._of(frames, weights)
        atoms = [[i for i in t.atoms if i != HYDROGENS] for t in self.torsions]
        groups = symmetries(topology, frames.xyz[reference], atoms)
        still = np.arange(topology.n_atoms)[None]
        self._groups = [still, *groups]
        self._group_of = [_group(groups, own) for own in atoms]
        angles = self._angles(frames)
        self.cuts = []
        for place in range(len(self.torsions)):
            images = {self._image(place, row) for row in self._rows(place)}
            pooled = np.concatenate([angles[image] for image in sorted(images)])
            self.cuts.append(wells(pooled, np.tile(weights, len(images))))

    @property
    def several(self) -> list[int]:
        """Places of the torsions that have several wells."""
        return [place for place, cuts in enumerate(self.cuts) if len(cuts)]

    def inverted(self, key: NDArray[np.uint8]) -> list[str]:
        """Atoms at the centres that are inverted in conformations of this key."""
        flags = key[len(self.several) :]
        centres = [c[0] for c, flag in zip(self._centres, flags, strict=True) if flag]
        return [atom_label(self._topology, centre) for centre in centres]

    def of(self, frames: mdtraj.Trajectory) -> InWells:
        """Where these conformations of the molecule are."""
        angles = self._angles(frames)
        flags = handedness(frames.xyz, self._centres) != self._usual
        several = self.several
        keys = np.empty((frames.n_frames, len(several) + len(self._centres)), dtype=np.uint8)
        canonical = np.empty((frames.n_frames, len(self.torsions)))
        moved = [_group(self._groups[1:], centre[:1]) for centre in self._centres]
        for group, rows in enumerate(self._groups):
            own = [place for place, other in enumerate(self._group_of) if other == group]
            centres = [place for place, other in enumerate(moved) if other == group]
            columns = [several.index(place) for place in own if place in several]
            columns += [len(several) + place for place in centres]
            best, chosen = self._first(rows, own, centres, angles, flags)
            keys[:, columns] = best
            canonical[:, own] = chosen
        return InWells(keys, canonical)

    def _first(
        self,
        rows: NDArray[np.int64],  # (permutations, atoms)
        torsions: Sequence[int],
        centres: Sequence[int],
        angles: dict[Quadruple, Array],
        flags: NDArray[np.bool_],  # (n, centres)
    ) -> tuple[NDArray[np.uint8], Array]:
        """The first key among those of a group's permutations, and the angles that have it."""
        place_of = {centre[0]: place for place, centre in enumerate(self._centres)}
        several = [place for place in torsions if len(self.cuts[place])]
        place_in_well: dict[tuple[int, Quadruple], NDArray[np.uint8]] = {}

        def column(place: int, row: NDArray[np.int64]) -> NDArray[np.uint8]:
            at = place, self._image(place, row)
            if at not in place_in_well:
                place_in_well[at] = well_index(angles[at[1]], self.cuts[place]).astype(np.uint8)
            return place_in_well[at]

        best, chosen, seen = None, np.empty((len(flags), len(torsions))), set()
        for row in rows:
            images = [self._image(place, row) for place in torsions]
            flagged = [place_of[int(row[self._centres[place][0]])] for place in centres]
            if (action := (*images, *flagged)) in seen:
                continue
            seen.add(action)
            key = np.empty((len(flags), len(several) + len(centres)), dtype=np.uint8)
            for i, place in enumerate(several):
                key[:, i] = column(place, row)
            key[:, len(several) :] = flags[:, flagged]
            better = np.full(len(key), True) if best is None else _before(key, best)
            best = key if best is None else np.where(better[:, None], key, best)
            for i, image in enumerate(images):
                chosen[better, i] = angles[image][better]
        assert best is not None
        return best, chosen

    def _rows(self, place: int) -> NDArray[np.int64]:
        return self._groups[self._group_of[place]]

    def _image(self, place: int, row: NDArray[np.int64]) -> Quadruple:
        """The torsion that takes a torsion's place, in one of its two directions."""
        return _forward([HYDROGENS if i == HYDROGENS else int(row[i]) for i in self._atoms(place)])

    def _atoms(self, place: int) -> Quadruple:
        return self.torsions[place].atoms

    def _angles(self, frames: mdtraj.Trajectory) -> dict[Quadruple, Array]:
        """Of all torsions and those that may take their place, each (n,), rad."""
        images = {
            self._image(place, row)
            for place in range(len(self.torsions))
            for row in self._rows(place)
        }
        return {image: np.angle(self._directions(frames, image)) for image in sorted(images)}

    def _directions(self, frames: mdtraj.Trajectory, atoms: Quadruple) -> NDArray[np.complex128]:
        """exp(i torsion), (n,), or its mean over hydrogens."""
        ends = self._hydrogens[atoms[2]] if atoms[3] == HYDROGENS else [atoms[3]]
        fours = np.array([[*atoms[:3], end] for end in ends])
        found = mdtraj.compute_dihedrals(frames, fours, periodic=False).astype(np.float64)
        mean: NDArray[np.complex128] = np.exp(1j * found).mean(axis=1)
        return mean

    def _of(self, frames: mdtraj.Trajectory, weights: Array) -> list[Torsion]:
        """The torsions, those of hydrogens only where these have a mean direction."""
        found = [*rotatable_torsions(frames.topology), *_in_rings(frames.topology)]
        for torsion in _of_hydrogens(frames.topology, self._hydrogens):
            if weights @ np.abs(self._directions(frames, torsion.atoms)) > LEAST_RESULTANT:
                found.append(torsion)
        labels = distinct(torsion.label for torsion in found)
        return [Torsion(label, t.atoms) for label, t in zip(labels, found, strict=True)]


def _group(groups: Sequence[NDArray[np.int64]], atoms: Sequence[int]) -> int:
    """The group that moves one of these atoms, counted from 1, or 0 for none."""
    for place, rows in enumerate(groups):
        if (rows[:, atoms] != np.array(atoms)).any():
            return place + 1
    return 0


def _forward(atoms: Sequence[int]) -> Quadruple:
    a, b, c, d = atoms if atoms[-1] == HYDROGENS else min(list(atoms), list(atoms)[::-1])
    return a, b, c, d


def _before(
    one: NDArray[np.uint8],  # (n, columns)
    other: NDArray[np.uint8],
) -> NDArray[np.bool_]:  # (n,)
    """Whether one row comes before the other."""
    if one.shape[1] == 0:
        return np.zeros(len(one), dtype=bool)
    differ = one != other
    first = differ.argmax(axis=1)[:, None]
    less = np.take_along_axis(one, first, 1) < np.take_along_axis(other, first, 1)
    return less[:, 0]


def _hydrogens(topology: mdtraj.Topology) -> list[list[int]]:
    """Of each atom."""
    graph = bond_graph(topology)
    return [
        [i for i in sorted(graph[atom]) if topology.atom(i).element.symbol == "H"]
        for atom in range(topology.n_atoms)
    ]


def _in_rings(topology: mdtraj.Topology) -> list[Torsion]:
    """Those along each ring of four atoms or more."""
    found = []
    for ring in rings(bond_graph(topology)):
        for start in range(len(ring) if len(ring) > 3 else 0):
            a, b, c, d = (ring[(start + i) % len(ring)] for i in range(4))
            found.append(Torsion(atoms_label(topology, (a, b, c, d)), (a, b, c, d)))
    return found


def _of_hydrogens(topology: mdtraj.Topology, hydrogens: list[list[int]]) -> list[Torsion]:
    """About each bond to an atom that has one or two hydrogens and nothing else."""
    graph = bond_graph(topology)
    linear = linear_atoms(graph, [atom.element.symbol for atom in topology.atoms])
    found = []
    for k, own in enumerate(hydrogens):
        if len(own) not in (1, 2) or len(graph[k]) != len(own) + 1:
            continue
        (j,) = set(graph[k]) - set(own)
        before = sorted(set(graph[j]) - {k, *hydrogens[j]})
        if before and not {j, k} & linear:
            names = "/".join(topology.atom(i).name for i in own)
            label = atoms_label(topology, (before[0], j, k, own[0]))
            label = label.replace(topology.atom(own[0]).name, names) if len(own) > 1 else label
            found.append(Torsion(label, (before[0], j, k, HYDROGENS)))
    return found
