"""Clusters of neighbouring atoms: what local conditioners move, and what they see."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import networkx as nx
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from bgp4.molecule.zmatrix import ZMatrix

__all__ = ["Neighbours", "bonds_apart", "neighbours_within"]


class Neighbours(NamedTuple):
    """Variables in an order by which those of a cluster stand together.

    Attributes:
        order: (features,), where each of them stood before.
        sizes: How many each cluster has.
        near: (features, clusters), bool, whether a cluster's conditioners see a variable.
    """

    order: Tensor
    sizes: list[int]
    near: Tensor


def bonds_apart(zmatrix: ZMatrix) -> NDArray[np.float64]:  # (atoms, atoms)
    """How many of the Z-matrix's bonds are between two atoms."""
    apart: NDArray[np.float64] = nx.floyd_warshall_numpy(
        nx.Graph(zmatrix.bonds), range(zmatrix.n_atoms)
    )
    return apart


def neighbours_within(zmatrix: ZMatrix, columns: Sequence[int], reach: int) -> Neighbours:
    """Cut a molecule into clusters of atoms that are at most `reach` bonds apart.

    A coordinate belongs to the cluster of the atom that it places. A cluster sees the coordinates
    of atoms within `reach` bonds of one of its own. Bonds are those of the Z-matrix, in which a
    ring may be open.

    Args:
        columns: Of the internal coordinates, those that are variables, in their order.
    """
    from scipy.cluster.hierarchy import fcluster, linkage  # slow, and few flows are local
    from scipy.spatial.distance import squareform

    distance = bonds_apart(zmatrix)
    tree = linkage(squareform(distance, checks=False), method="complete")
    cluster = fcluster(tree, reach, criterion="distance")
    atoms = np.array(zmatrix.placed_atoms)[list(columns)]
    found, of_column = np.unique(cluster[atoms], return_inverse=True)
    order = of_column.argsort(kind="stable")
    near = np.stack([distance[:, cluster == c].min(axis=1) <= reach for c in found], axis=1)
    return Neighbours(
        torch.from_numpy(order),
        np.bincount(of_column, minlength=len(found)).tolist(),
        torch.from_numpy(near[atoms[order]]),
    )
