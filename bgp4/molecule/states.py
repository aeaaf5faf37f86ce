"""States of a molecule: labelled regions of conformations whose shares say whether modes are lost.

They follow from the bonds, and a config may add others:

- each rotatable torsion but ψ, which the (φ, ψ) map shows: positive between a trigonal and a
  tetrahedral atom (φ > 0 of each residue), cis between two trigonal ones, g+, t and g− between two
  tetrahedral ones;
- the pucker of each ring with two neighbouring tetrahedral atoms: the sign of one torsion in it;
- of a ring that turns, the signs of all its torsions and, of six atoms, both chairs; if it is a
  large one, its torsions as if they were in no ring.

Atoms with three neighbours count as trigonal, so an amine does too. A rotation about a line of
bonds has no states: nothing hinders it or, in an allene, it is a chirality.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import chain
from typing import TYPE_CHECKING, NamedTuple

import mdtraj
import networkx as nx
import numpy as np
from numpy.typing import NDArray

from bgp4.errors import UserInputError
from bgp4.molecule.ears import LARGEST_OPEN, turns
from bgp4.molecule.topology import (
    atom_label,
    atoms_label,
    bond_graph,
    distinct,
    peptide_torsions,
    rings,
    rotatable_torsions,
)

if TYPE_CHECKING:
    from bgp4.config import Config, StateConfig

__all__ = ["State", "members", "members_by_symmetry", "states", "states_of_bonds"]

POSITIVE = {"> 0": (0.0, 180.0)}
CIS = {"cis": (-90.0, 90.0)}
ROTAMERS = {"g+": (0.0, 120.0), "t": (120.0, 240.0), "g−": (240.0, 360.0)}


class State(NamedTuple):
    """Conformations with a torsion or a distance in a range.

    Attributes:
        label: What it is called, such as `φ ALA2 > 0`.
        atoms: Four of a torsion, two of a distance, or four of each of several torsions, which are
            all in the range.
        low: Where the range begins, degrees or nm.
        high: Where it ends; of a torsion the range goes up from `low`, around the circle.
    """

    label: str
    atoms: tuple[int, ...]
    low: float
    high: float


def states(topology: mdtraj.Topology, config: Config) -> list[State]:
    """The states that a run watches: those of the bonds, then those of its config.

    Cis peptide bonds are not among them where the ensemble is that of trans ones.

    Raises:
        UserInputError: If the config names an atom that the molecule lacks, or a label twice.
    """
    peptide_bonds = {frozenset(four[1:3]) for four in peptide_torsions(topology)}
    found = [
        state
        for state in states_of_bonds(topology)
        if not (
            config.data.peptide_bonds == "trans"
            and (state.low, state.high) == CIS["cis"]
            and frozenset(state.atoms[1:3]) in peptide_bonds
        )
    ]
    index = {atom_label(topology, i): i for i in range(topology.n_atoms)}
    own = [_of_config(place, added, index) for place, added in enumerate(config.states)]
    labels = [state.label for state in (*found, *own)]
    twice = next((label for label in labels if labels.count(label) > 1), None)
    if twice is not None:
        raise UserInputError(f"config key states: expected different names, found {twice!r} twice")
    return [*found, *own]


def members(
    watched: Sequence[State],
    positions_nm: NDArray[np.floating],  # (n, atoms, 3)
    topology: mdtraj.Topology,
) -> NDArray[np.bool_]:  # (n, states)
    """Which conformations lie in which state."""
    frames = mdtraj.Trajectory(np.asarray(positions_nm, dtype=np.float32), topology)
    found = np.ones((len(frames.xyz), len(watched)), dtype=np.bool_)
    for n_atoms, measure in ((4, _torsions_deg), (2, _distances_nm)):
        measured = [
            (i, state.atoms[first : first + n_atoms])
            for i, state in enumerate(watched)
            if (len(state.atoms) == 2) == (n_atoms == 2)
            for first in range(0, len(state.atoms), n_atoms)
        ]
        if not measured:
            continue
        values = measure(frames, [atoms for _, atoms in measured])
        for (i, _), column in zip(measured, values.T, strict=True):
            beyond = column - watched[i].low
            width = watched[i].high - watched[i].low
            found[:, i] &= (beyond % 360 if n_atoms == 4 else beyond) < width
            if n_atoms == 2:
                found[:, i] &= beyond >= 0
    return found


def members_by_symmetry(
    watched: Sequence[State],
    positions_nm: NDArray[np.floating],  # (n, atoms, 3)
    topology: mdtraj.Topology,
    groups: Sequence[NDArray[np.int64]],
) -> NDArray[np.float64]:  # (n, states)
    """To what share each conformation lies in each state, over the names of equivalent atoms.

    A ring that has flipped, or guanidinium, is the same conformation under other names, and just as
    probable. So the mean of these shares is the state's population, without a simulation that
    visits all names: one half of each side of a phenyl ring, whatever was visited.

    Args:
        groups: The molecule's `symmetries`.
    """
    graph = bond_graph(topology)
    images = [_images(state, groups, graph) for state in watched]
    found = members(list(chain.from_iterable(images)), positions_nm, topology)
    counts = [len(of_state) for of_state in images]
    of_image = np.repeat(np.arange(len(watched)), counts)
    mean = (of_image[:, None] == np.arange(len(watched))) / np.array(counts)
    share: NDArray[np.float64] = found @ mean
    return share


def _images(state: State, groups: Sequence[NDArray[np.int64]], graph: nx.Graph) -> list[State]:
    """The state under all names of its atoms, itself among them, each once."""
    found = {state.atoms}
    for group in groups:
        found = {
            tuple(_renamed(atom, row, graph) for atom in atoms) for atoms in found for row in group
        }
    return [state._replace(atoms=atoms) for atoms in sorted(found)]


def _renamed(atom: int, row: NDArray[np.int64], graph: nx.Graph) -> int:
    """Of a permutation that leaves hydrogens in place: they go with the atom that they are bound
    to.
    """
    if graph.degree(atom) != 1 or row[atom] != atom:
        return int(row[atom])
    (parent,) = graph[atom]
    if row[parent] == parent:
        return atom
    own, theirs = (
        sorted(i for i in graph[p] if graph.degree(i) == 1 and row[i] == i)
        for p in (parent, int(row[parent]))
    )
    return theirs[own.index(atom)]


def _torsions_deg(frames: mdtraj.Trajectory, atoms: Sequence[tuple[int, ...]]) -> NDArray:
    radians = mdtraj.compute_dihedrals(frames, np.array(atoms), periodic=False)
    return np.degrees(radians.astype(np.float64))


def _distances_nm(frames: mdtraj.Trajectory, atoms: Sequence[tuple[int, ...]]) -> NDArray:
    return mdtraj.compute_distances(frames, np.array(atoms), periodic=False).astype(np.float64)


def states_of_bonds(topology: mdtraj.Topology) -> Iterator[State]:
    """Those that follow from the bonds alone."""
    graph = bond_graph(topology)
    for torsion in rotatable_torsions(topology):
        if not torsion.label.startswith("ψ ") and graph.has_edge(*torsion.atoms[1:3]):
            for name, (low, high) in _ranges(graph, torsion.atoms).items():
                yield State(f"{torsion.label} {name}", torsion.atoms, low, high)
    found = rings(graph)
    puckers = [four for ring in found for four in _puckers(graph, ring)]
    labels = distinct(f"ring {atoms_label(topology, four)}" for four in puckers)
    for label, four in zip(labels, puckers, strict=True):
        yield State(f"{label} > 0", four, *POSITIVE["> 0"])
    large = [ring for ring in found if len(ring) > LARGEST_OPEN]
    fours = list(dict.fromkeys(four for ring in large for four in _torsions(ring)))
    labels = distinct(f"ring {atoms_label(topology, four)}" for four in fours)
    for label, four in zip(labels, fours, strict=True):
        for name, (low, high) in _ranges(graph, four).items():
            yield State(f"{label} {name}", four, low, high)
    sixes = [ring for ring in found if len(ring) == 6 and turns(graph, ring)]
    labels = distinct(f"ring {atoms_label(topology, sorted(ring))}" for ring in sixes)
    for label, ring in zip(labels, sixes, strict=True):
        every_second = tuple(atom for four in _torsions(ring)[::2] for atom in four)
        yield State(f"{label} chair", every_second, *POSITIVE["> 0"])
        yield State(f"{label} other chair", every_second, -180.0, 0.0)


def _ranges(graph: nx.Graph, atoms: Sequence[int]) -> dict[str, tuple[float, float]]:
    """Of a torsion, in degrees, by the number of neighbours of its middle atoms."""
    neighbours = sorted(graph.degree(atom) for atom in atoms[1:3])
    if neighbours in ([3, 3], [2, 3]):
        return CIS
    if neighbours == [2, 2] or 3 in neighbours:
        return POSITIVE
    return ROTAMERS


def _puckers(graph: nx.Graph, ring: Sequence[int]) -> list[tuple[int, ...]]:
    """The ring's first torsion about a bond of two tetrahedral atoms, if it has one; where it
    turns, all torsions but those about double bonds. Large rings have none.
    """
    if not 3 < len(ring) <= LARGEST_OPEN:
        return []
    if turns(graph, ring):
        return [f for f in _torsions(ring) if not graph.degree(f[1]) == graph.degree(f[2]) == 3]
    able = [f for f in _torsions(ring) if graph.degree(f[1]) == graph.degree(f[2]) == 4]
    return sorted(able, key=lambda four: four[1:3])[:1]


def _torsions(ring: Sequence[int]) -> list[tuple[int, ...]]:
    """Torsions about the ring's bonds, in the order of its bonds, from its lowest atom on; the
    lower atom of the bond comes first.
    """
    n, start = len(ring), list(ring).index(min(ring))
    step = 1 if ring[(start + 1) % n] < ring[start - 1] else -1
    around = [ring[(start + step * i) % n] for i in range(n)]
    fours = [tuple(around[(i + k) % n] for k in (-1, 0, 1, 2)) for i in range(n)]
    return [four if four[1] < four[2] else four[::-1] for four in fours]


def _of_config(place: int, added: StateConfig, index: dict[str, int]) -> State:
    labels = added.torsion or added.distance or ()
    unknown = next((label for label in labels if label not in index), None)
    if unknown is not None:
        raise UserInputError(
            f"config key states.{place}: expected atoms such as {next(iter(index))}, found "
            f"{unknown!r}; `bgp4 init` lists the molecule's atoms"
        )
    return State(added.name, tuple(index[label] for label in labels), *added.range)
