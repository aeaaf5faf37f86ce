"""Conformers by RMSD: conformations within a distance of the middle one of a cluster.

A thousand conformations, drawn evenly by weight, are clustered by average linkage.
"""

from __future__ import annotations

import mdtraj
import numpy as np
from numpy.typing import NDArray

from bgp4.answers.rmsd import SymmetricRMSD

__all__ = ["Clusters"]

Array = NDArray[np.float64]

DRAWN = 1000
"""Conformations that are clustered."""

MOST = 100
"""Clusters, the largest ones, to which others may belong."""

FEW = 3
"""A cluster has so many of the drawn conformations at least."""


class Clusters:
    """Clusters of conformations, the largest first.

    Args:
        frames: Conformations.
        weights: (n,), their sum is 1.
        cutoff_nm: Two clusters are one if their conformations are so far apart on average; a
            conformation belongs to the nearest cluster, or to none if all middles are farther.
        least: Share of the drawn conformations that a cluster has at least.

    Attributes:
        middles: Places in `frames` of the conformation nearest to all others of each cluster.
    """

    def __init__(
        self, frames: mdtraj.Trajectory, weights: Array, cutoff_nm: float, least: float
    ) -> None:
        from scipy.cluster.hierarchy import fcluster, linkage
        from scipy.spatial.distance import squareform

        self._rmsd = SymmetricRMSD(frames.topology, frames.xyz[int(np.argmax(weights))])
        self._cutoff_nm = cutoff_nm
        drawn = np.searchsorted(np.cumsum(weights), (np.arange(DRAWN) + 0.5) / DRAWN)
        drawn = np.minimum(drawn, len(weights) - 1)
        own = frames[drawn]
        centred = self._rmsd.centred(own)
        apart = np.stack([self._rmsd.to(centred, positions) for positions in own.xyz])
        apart = (apart + apart.T) / 2
        np.fill_diagonal(apart, 0.0)
        tree = linkage(squareform(apart, checks=False), "average")
        cluster = fcluster(tree, cutoff_nm, "distance")
        sizes = np.bincount(cluster)
        largest = np.argsort(-sizes, kind="stable")[:MOST]
        kept = [c for c in largest if sizes[c] >= max(least * DRAWN, FEW)]
        self.middles = [int(drawn[_middle(apart, cluster == c)]) for c in kept]
        self._positions_nm = frames.xyz[self.middles]

    def of(self, frames: mdtraj.Trajectory) -> NDArray[np.int64]:  # (n,)
        """The cluster of each conformation, -1 where all are too far."""
        centred = self._rmsd.centred(frames)
        nearest = np.full(frames.n_frames, -1)
        least = np.full(frames.n_frames, self._cutoff_nm)
        for place, positions_nm in enumerate(self._positions_nm):
            apart = self._rmsd.to(centred, positions_nm)
            nearest[apart <= least] = place
            least = np.minimum(apart, least)
        return nearest


def _middle(apart: Array, members: NDArray[np.bool_]) -> int:
    inside = np.flatnonzero(members)
    return int(inside[apart[np.ix_(inside, inside)].sum(axis=1).argmin()])
