"""Which permutations of a molecule's atoms leave it the same molecule.

They are automorphisms of the bond graph of heavy atoms, by element, bonds and number of hydrogens:
flips of phenyl and carboxylate, turns of tert-butyl, both ends of a symmetric chain. Hydrogens
follow their heavy atoms. A permutation that would need an inversion, such as that of the two
methyl groups of a leucine, is none: no motion leads there.

The whole group may be huge, but it is the product of small ones that move different atoms.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Sequence
from itertools import product

import mdtraj
import networkx as nx
import numpy as np
from numpy.typing import NDArray

from bgp4.molecule.topology import atom_label, bond_graph

__all__ = ["chiral_centres", "handedness", "products", "symmetries"]

log = logging.getLogger(__name__)

MOST = 2000
"""Permutations of a group above which it is left out."""

PYRAMIDS = {"S", "P", "Se", "As"}
"""Elements that keep their handedness with three neighbours."""

Permutations = NDArray[np.int64]
Mapping = dict[int, int]


def symmetries(
    topology: mdtraj.Topology,
    positions_nm: NDArray[np.floating],  # (atoms, 3)
    together: Iterable[Sequence[int]] = (),
) -> list[Permutations]:
    """Groups of permutations, each (permutations, atoms), the first of which moves nothing.

    Row p says that atom i takes the place of atom p[i]; rows leave hydrogens in place. Each
    combination of one permutation from each group is a symmetry.

    Args:
        topology: Of the molecule.
        positions_nm: A conformation, whose handedness counts.
        together: Sets of atoms; permutations that move atoms of the same set are in one group.
    """
    heavy = _heavy_graph(topology)
    centres = chiral_centres(topology)
    generators = list(_generators(heavy))
    neighbourhoods = [centre[1:] for centre in centres]
    groups = []
    for own in _joined(generators, [*together, *neighbourhoods]):
        closed = _closure(own, topology)
        rows = np.tile(np.arange(topology.n_atoms), (len(closed), 1))
        for row, mapping in zip(rows, closed, strict=True):
            row[list(mapping)] = list(mapping.values())
        possible = rows[_keeps_handedness(rows, centres, topology, positions_nm)]
        if len(possible) > 1:
            groups.append(possible)
    return groups


def products(groups: Sequence[Permutations], n_atoms: int) -> Permutations:
    """All combinations of one permutation from each group, the first of which moves nothing."""
    rows = [np.arange(n_atoms)]
    for group in groups:
        rows = [row[own] for row, own in product(rows, group)]
    return np.array(rows)


def chiral_centres(topology: mdtraj.Topology) -> list[list[int]]:
    """Atoms that keep their handedness, each followed by its neighbours, a hydrogen last.

    They have four neighbours, of which one is a hydrogen at most, or three if the atom is in
    `PYRAMIDS`. They need not be stereocentres: neighbours may be alike.
    """
    graph = bond_graph(topology)
    symbols = [atom.element.symbol for atom in topology.atoms]
    found = []
    for atom, symbol in enumerate(symbols):
        near = sorted(graph[atom], key=lambda i: (symbols[i] == "H", i))
        hydrogens = sum(symbols[i] == "H" for i in near)
        if hydrogens < 2 and (len(near) == 4 or (len(near) == 3 and symbol in PYRAMIDS)):
            found.append([atom, *near])
    return found


def handedness(
    positions_nm: NDArray[np.floating],  # (n, atoms, 3)
    centres: Sequence[Sequence[int]],
) -> NDArray[np.bool_]:  # (n, centres)
    """Whether the first three neighbours, seen from the centre, turn to the right."""
    signs = np.empty((len(positions_nm), len(centres)), dtype=bool)
    for column, (centre, *near) in enumerate(centres):
        a, b, c = (positions_nm[:, i] - positions_nm[:, centre] for i in near[:3])
        signs[:, column] = np.einsum("ni,ni->n", a, np.cross(b, c)) > 0
    return signs


def _heavy_graph(topology: mdtraj.Topology) -> nx.Graph:
    """Bonds of heavy atoms, each of a class that no look at elements and bonds splits further."""
    graph = bond_graph(topology)
    symbols = [atom.element.symbol for atom in topology.atoms]
    heavy = graph.subgraph([i for i in graph if symbols[i] != "H"]).copy()
    for atom in heavy:
        hydrogens = sum(symbols[i] == "H" for i in graph[atom])
        heavy.nodes[atom]["colour"] = f"{symbols[atom]}{hydrogens}"
    hashes = nx.weisfeiler_lehman_subgraph_hashes(
        heavy, node_attr="colour", iterations=max(len(heavy) // 2, 1)
    )
    classes = {atom: heavy.nodes[atom]["colour"] + hashes[atom][-1] for atom in heavy}
    nx.set_node_attributes(heavy, classes, "class")
    return heavy


def _generators(heavy: nx.Graph) -> Iterator[Mapping]:
    """Of the whole group: for each atom, one permutation to each place that it may take while all
    atoms before it stay. Only atoms that move are in a mapping.
    """
    fixed: set[int] = set()
    classes = nx.get_node_attributes(heavy, "class")
    for atom in sorted(heavy):
        for image in sorted(heavy):
            if image != atom and image not in fixed and classes[image] == classes[atom]:
                found = _automorphism(heavy, classes, fixed, atom, image)
                if found:
                    yield {i: j for i, j in found.items() if i != j}
        fixed.add(atom)


def _automorphism(
    heavy: nx.Graph, classes: dict[int, str], fixed: set[int], start: int, image: int
) -> Mapping | None:
    """One that takes `start` to `image`, and moves other atoms only where it has to."""
    order = [start, *(child for _, child in nx.bfs_edges(heavy, start))]
    mapping: Mapping = {start: image}

    def candidates(atom: int) -> Iterator[int]:
        near = [i for i in heavy[atom] if i in mapping]
        places = [atom] if atom in fixed else sorted(heavy[mapping[near[0]]])
        for place in sorted(places, key=lambda i: i != atom):
            if (
                classes[place] == classes[atom]
                and place not in taken
                and (place not in fixed or place == atom)
                and all(heavy.has_edge(mapping[i], place) for i in near)
            ):
                yield place

    taken = {image}
    tries = [candidates(order[1])] if len(order) > 1 else []
    while tries and len(mapping) < len(order):
        atom = order[len(tries)]
        taken.discard(mapping.pop(atom, -1))
        place = next(tries[-1], None)
        if place is None:
            tries.pop()
            continue
        mapping[atom] = place
        taken.add(place)
        if len(mapping) < len(order):
            tries.append(candidates(order[len(tries) + 1]))
    return mapping if len(mapping) == len(order) else None


def _joined(generators: list[Mapping], together: list[Sequence[int]]) -> Iterator[list[Mapping]]:
    """Generators in groups that share no atom that moves, and no set of atoms."""
    graph = nx.Graph()
    for place, mapping in enumerate(generators):
        graph.add_edges_from((("generator", place), atom) for atom in mapping)
    for atoms in together:
        nx.add_path(graph, [atom for atom in atoms if atom in graph])
    for part in nx.connected_components(graph):
        yield [m for place, m in enumerate(generators) if ("generator", place) in part]


def _closure(generators: list[Mapping], topology: mdtraj.Topology) -> list[Mapping]:
    """The group that they generate, or the one that moves nothing if that has too many."""
    atoms = sorted(set().union(*generators))
    identity = tuple(atoms)
    found, edge = {identity: None}, [identity]
    while edge:
        made = [tuple(mapping.get(i, i) for i in one) for one in edge for mapping in generators]
        edge = [one for one in dict.fromkeys(made) if one not in found]
        found.update(dict.fromkeys(edge))
        if len(found) > MOST:
            log.warning(
                "symmetry: more than %d permutations of %s and %d other atoms are left out; "
                "equivalent conformers of theirs count as different ones",
                *(MOST, atom_label(topology, atoms[0]), len(atoms) - 1),
            )
            return [dict(zip(atoms, identity, strict=True))]
    return [dict(zip(atoms, one, strict=True)) for one in found]


def _keeps_handedness(
    rows: Permutations,
    centres: list[list[int]],
    topology: mdtraj.Topology,
    positions_nm: NDArray[np.floating],
) -> NDArray[np.bool_]:  # (permutations,)
    """Which permutations take each centre to one of the same handedness."""
    symbols = np.array([atom.element.symbol for atom in topology.atoms])
    own = {centre[0]: centre for centre in centres}
    before = handedness(positions_nm[None], centres)[0]
    kept = np.ones(len(rows), dtype=bool)
    for place, row in enumerate(rows):
        taken = [
            [row[i] if symbols[i] != "H" else own[row[centre[0]]][-1] for i in centre]
            for centre in centres
        ]
        kept[place] = np.array_equal(handedness(positions_nm[None], taken)[0], before)
    return kept
