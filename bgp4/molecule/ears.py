"""Rings that turn: polygons cut into triangles, whose sides are coordinates and close the ring.

A ring of n atoms has n bonds. Chords, n - 3 of them, cut it into triangles, and a torsion about
each chord folds it (Hill and Reilly, J. Chem. Inf. Model. 47, 1031 (2007)). These are 3n - 6
coordinates, and every value of the torsions is a closed ring with the same sides.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from typing import NamedTuple

import networkx as nx

from bgp4.molecule.topology import rings

__all__ = ["LARGEST_OPEN", "Fold", "Through", "flat", "folds", "turning_rings", "turns"]

LARGEST_OPEN = 8
"""Atoms of a ring of which one bond may be no coordinate, closed by the energy."""

SMALLEST_TURNING = 6
"""Smaller rings pucker by few degrees, which the energy closes."""


Through = Callable[[int, int, int], bool]
"""Whether three atoms are in a line."""


class Fold(NamedTuple):
    """An atom on the two atoms of a side that it makes a triangle with, and the one across it."""

    atom: int
    side: tuple[int, int]
    across: int


def flat(triangle: Sequence[int], through: Through) -> bool:
    """Whether a triangle is none, so that nothing turns about its sides."""
    a, b, c = triangle
    return through(a, b, c) or through(b, c, a) or through(c, a, b)


def turning_rings(graph: nx.Graph, through: Through) -> list[list[int]]:
    """Rings that are placed by ears, each in the order of its bonds.

    They have six atoms and more, two of them tetrahedral, or are larger than the energy can close.
    None has atoms in a line, which make no triangle.
    """
    found = sorted(_in_order(ring) for ring in rings(graph) if turns(graph, ring))
    return [ring for ring in found if not any(through(*three) for three in _triples(ring))]


def turns(graph: nx.Graph, ring: Sequence[int]) -> bool:
    """Whether a ring has several conformations, by its bonds alone."""
    tetrahedral = sum(graph.degree(atom) == 4 for atom in ring)
    return len(ring) > LARGEST_OPEN or (len(ring) >= SMALLEST_TURNING and tetrahedral > 1)


def _in_order(ring: list[int]) -> list[int]:
    """From the first atom on, towards the lower of its neighbours."""
    start = ring.index(min(ring))
    turned = ring[start:] + ring[:start]
    return turned if turned[1] < turned[-1] else turned[:1] + turned[:0:-1]


def _triples(ring: Sequence[int]) -> Iterator[tuple[int, int, int]]:
    return ((ring[i - 2], ring[i - 1], ring[i]) for i in range(len(ring)))


def folds(graph: nx.Graph, ring: Sequence[int], through: Through) -> list[Fold] | None:
    """What places the atoms of a ring after the triangle of its first, second and last atom; None
    if there are flat triangles however it is cut.
    """
    first, *others = triangles = _triangles(graph, ring, through)
    if any(flat(triangle, through) for triangle in triangles):
        return None
    found = []
    waiting = [((first[0], first[2]), first[1])]
    for side, across in waiting:
        triangle = next((t for t in others if set(side) < set(t)), None)
        if triangle is None:
            continue
        others.remove(triangle)
        (atom,) = set(triangle) - set(side)
        found.append(Fold(atom, side, across))
        waiting += [((side[0], atom), side[1]), ((atom, side[1]), side[0])]
    return found


def _triangles(
    graph: nx.Graph, ring: Sequence[int], through: Through
) -> list[tuple[int, int, int]]:
    """The ears that are cut off, the first atom's first, and the triangle that is left.

    A chord should vary little, so next comes the ear whose chord depends on the fewest rotations.
    Chords between α carbons, for example, depend on none.
    """
    polygon = list(range(len(ring)))
    ears: list[tuple[int, int, int]] = []

    def ear(place: int) -> tuple[int, int, int]:
        around = (polygon[place - 1], polygon[place], polygon[(place + 1) % len(polygon)])
        return ring[around[0]], ring[around[1]], ring[around[2]]

    while len(polygon) > 2:
        places = range(len(polygon)) if ears else range(1)
        place = min(places, key=lambda i: (flat(ear(i), through), *_cost(graph, ring, polygon, i)))
        ears.append(ear(place))
        del polygon[place]
    return ears


def _cost(
    graph: nx.Graph, ring: Sequence[int], polygon: Sequence[int], place: int
) -> tuple[int, bool, int, int]:
    """Rotations that the ear's chord depends on; then atoms with three neighbours, and short chords
    come first.
    """
    left, right = polygon[place - 1], polygon[(place + 1) % len(polygon)]
    span = (right - left) % len(ring)
    path = [ring[(left + step) % len(ring)] for step in range(span + 1)]
    inner = pairwise(path[1:-1])
    soft = sum(not graph.degree(a) == graph.degree(b) == 3 for a, b in inner)
    return soft, graph.degree(ring[polygon[place]]) != 3, span, place
