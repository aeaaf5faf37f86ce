"""Clusters of atoms against the bonds that mdtraj knows, and what local conditioners see."""

from __future__ import annotations

import networkx
import pytest
import torch
from torch.autograd.functional import jacobian

from bgp4.config import ModelConfig
from bgp4.flows.build import build_transform
from bgp4.flows.neighbours import Neighbours, neighbours_within


@pytest.mark.parametrize("reach", [2, 4, 5])
def test_clusters_and_what_they_see_follow_from_the_bonds(alanine, reach: int) -> None:
    n = 3 * alanine.n_atoms - 6
    columns = list(range(0, n, 2))
    found = neighbours_within(alanine.zmatrix, columns, reach)
    bonds = networkx.Graph([(a.index, b.index) for a, b in alanine.topology.bonds])
    apart = dict(networkx.all_pairs_shortest_path_length(bonds))
    z = alanine.zmatrix
    last = [*(b for _, b in z.bonds[:2]), *(row.atom for row in z.rows)]  # bonds end in these
    placed = last + last[1:] + last[2:]
    atoms = [placed[columns[i]] for i in found.order.tolist()]
    clusters = [set(part.tolist()) for part in torch.tensor(atoms).split(found.sizes)]
    assert sorted(found.order.tolist()) == list(range(len(columns)))
    assert len(clusters) > 1
    assert sum(map(len, clusters)) == len(set(atoms)), "an atom is in one cluster"
    assert all(apart[a][b] <= reach for cluster in clusters for a in cluster for b in cluster)
    for i, atom in enumerate(atoms):
        for k, cluster in enumerate(clusters):
            nearest = min(apart[atom][b] for b in cluster)
            assert found.near[i, k] or nearest > reach
            assert nearest <= 2 * reach or not found.near[i, k]


def test_a_molecule_within_reach_is_one_cluster_in_its_order(alanine) -> None:
    n = 3 * alanine.n_atoms - 6
    found = neighbours_within(alanine.zmatrix, range(n), 100)
    assert found.order.tolist() == list(range(n))
    assert found.sizes == [n]
    assert found.near.all()


def test_a_cluster_is_moved_by_what_it_sees_alone() -> None:
    """One coupling pair: the outer clusters do not know of each other."""
    near = torch.tensor([[1, 1, 0]] * 4 + [[1, 1, 1]] * 4 + [[0, 1, 1]] * 4).bool()
    clusters = Neighbours(torch.arange(12), [4, 4, 4], near)
    model = ModelConfig(coupling="affine", blocks=1, torsion_blocks=1, local_hidden=(8,))
    torch.manual_seed(0)
    transform = build_transform(model, 12, 3, 0, clusters)
    first = transform.linear._transforms[1]
    with torch.no_grad():
        for parameter in transform.parameters():
            parameter += 0.3 * torch.randn_like(parameter)
    y, context = torch.randn(1, 12), torch.randn(1, 6)
    by_y = jacobian(lambda row: first(row, context)[0], y)[0, :, 0].abs() > 1e-9
    assert not by_y[:4, 8:].any()
    assert not by_y[8:, :4].any()
    assert by_y[:2, 6:8].all(), "the half that is kept of the cluster beside"
    by_context = jacobian(lambda row: first(y, row)[0], context)[0, :, 0].abs() > 1e-9
    assert by_context[[0, 1, 4, 5, 8, 9]].all()
