"""Cells of the same wells, and which of them are one conformer.

Wells come from one torsion at a time. Where others decide, two cells that differ in the well of
one torsion may have no barrier between them: they are one conformer.
"""

from __future__ import annotations

import networkx as nx
import numpy as np
from numpy.typing import NDArray

from bgp4.answers.by_torsions import InWells, TorsionWells
from bgp4.answers.wells import BARRIER_KT, barrier_kt, histograms

__all__ = ["cell_of", "joined_cells"]

MOST = 1000
"""Cells, the most populated ones, whose neighbours are looked at."""

Keys = list[NDArray[np.uint8]]
"""Of each conformer, the keys of its cells, (cells, columns), the most populated first."""


def joined_cells(
    wells: TorsionWells,
    inside: InWells,
    weights: NDArray[np.float64],  # (n,)
) -> tuple[Keys, NDArray[np.int64]]:
    """Keys of the conformers, and the conformer of each conformation, (n,)."""
    keys, cell = np.unique(inside.keys, axis=0, return_inverse=True)
    shares = np.bincount(cell.reshape(-1), weights)
    order = np.argsort(-shares, kind="stable")
    keys = keys[order]
    cell = np.argsort(order)[cell.reshape(-1)]
    graph = nx.Graph()
    graph.add_nodes_from(range(len(keys)))
    place = {key.tobytes(): i for i, key in enumerate(keys[:MOST])}
    few = cell < len(place)
    for column, torsion in enumerate(wells.several):
        cuts = wells.cuts[torsion]
        own = histograms(inside.angles[few, torsion], weights[few], cell[few], len(place))
        for one, key in enumerate(keys[:MOST]):
            near = key.copy()
            near[column] = (key[column] + 1) % len(cuts)
            other = place.get(near.tobytes())
            if other is not None:
                height = barrier_kt(own[one] + own[other], cuts, int(key[column]))
                if height < BARRIER_KT:
                    graph.add_edge(one, other)
    parts = sorted(sorted(part) for part in nx.connected_components(graph))
    conformer = np.empty(len(keys), dtype=np.int64)
    for i, part in enumerate(parts):
        conformer[part] = i
    return [keys[part] for part in parts], conformer[cell]


def cell_of(keys: Keys, inside: InWells) -> NDArray[np.int64]:  # (n,)
    """The conformer of each conformation, -1 for cells that none has."""
    known = {key.tobytes(): i for i, cells in enumerate(keys) for key in cells}
    found, place = np.unique(inside.keys, axis=0, return_inverse=True)
    return np.array([known.get(key.tobytes(), -1) for key in found])[place.reshape(-1)]
