"""Atoms in a line: triple bonds, nitriles, allenes, azides. Their bonds have no torsion."""

from __future__ import annotations

from collections.abc import Sequence

import networkx as nx
import numpy as np
from numpy.typing import NDArray

__all__ = ["Lines", "linear_atoms", "off_the_line"]

LINE_DEG = 170.0
"""Three atoms with a larger angle at the start positions are in a line."""

LINEAR_DEG = 140.0
"""So are those about an atom that is linear by its bonds, whose start positions may be a snapshot
of MD; a carbene has a smaller angle."""

SHAKE_NM = 1e-5
"""What moves atoms off a line on which OpenMM's torsions, even of no barrier, have no force."""


def linear_atoms(graph: nx.Graph, elements: Sequence[str]) -> set[int]:
    """Atoms whose two bonds are in a line, by elements and bonds alone.

    These are carbons with two neighbours, and nitrogens between another atom and a terminal
    nitrogen or carbon (azides, diazo groups, isocyanides).
    """

    def is_linear(atom: int) -> bool:
        ends = {elements[i] for i in graph[atom] if graph.degree(i) == 1}
        return elements[atom] == "C" or (elements[atom] == "N" and bool(ends & {"N", "C"}))

    return {atom for atom in graph if graph.degree(atom) == 2 and is_linear(atom)}


class Lines:
    """Which atoms are in a line at a molecule's start positions.

    Args:
        positions_nm: (atoms, 3), nm.
        linear: Atoms that are linear by their bonds.
    """

    def __init__(self, positions_nm: NDArray[np.floating], linear: set[int]) -> None:
        self._positions_nm = positions_nm
        self._linear = linear

    def through(self, i: int, j: int, k: int) -> bool:
        """Whether atoms i, j and k, with j in the middle, are in a line."""
        return self._between_deg((j, i), (j, k)) > (LINEAR_DEG if j in self._linear else LINE_DEG)

    def along(self, bond: tuple[int, int], other: tuple[int, int]) -> bool:
        """Whether two bonds, or pairs of atoms, have one direction or opposite ones."""
        angle = self._between_deg(bond, other)
        return min(angle, 180 - angle) < 180 - LINE_DEG

    def _between_deg(self, one: tuple[int, int], other: tuple[int, int]) -> float:
        u, v = (self._positions_nm[b] - self._positions_nm[a] for a, b in (one, other))
        return float(np.degrees(np.arctan2(np.linalg.norm(np.cross(u, v)), u @ v)))


def off_the_line(
    positions_nm: NDArray[np.float64],  # (atoms, 3)
    triples: Sequence[tuple[int, int, int]],
) -> NDArray[np.float64]:  # (atoms, 3)
    """The positions, a little shaken if these atoms, vertex in the middle, are exactly in a line:
    symmetric molecules often lie along an axis.
    """
    if not triples:
        return positions_nm
    i, j, k = (positions_nm[list(atoms)] for atoms in zip(*triples, strict=True))
    height_nm = np.linalg.norm(np.cross(i - j, k - j), axis=1) / np.linalg.norm(k - j, axis=1)
    if height_nm.min() > SHAKE_NM:
        return positions_nm
    noise = np.random.default_rng(0).normal(0, SHAKE_NM, positions_nm.shape)
    return np.asarray(positions_nm + noise)
