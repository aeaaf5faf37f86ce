"""The Z-matrix: every coordinate local, every molecule complete, anything else refused."""

from __future__ import annotations

import mdtraj
import networkx as nx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from openmmtools import testsystems

from bgp4.coordinates import ZMatrix, zmatrix_from_bonds, zmatrix_from_topology
from bgp4.errors import UserInputError


def check(zmatrix: ZMatrix, bonds: list[tuple[int, int]], n: int) -> None:
    """N - 1 bonds, N - 2 angles, N - 3 torsions; along bonds; only atoms that are placed."""
    graph = nx.Graph(bonds)
    assert (len(zmatrix.bonds), len(zmatrix.angles), len(zmatrix.torsions)) == (n - 1, n - 2, n - 3)
    assert all(graph.has_edge(*pair) for pair in zmatrix.bonds)
    assert all(graph.has_edge(a, b) and graph.has_edge(b, c) for a, b, c in zmatrix.angles)
    placed = set(zmatrix.root)
    for row in zmatrix.rows:
        assert set(row.partners) <= placed
        assert len(set(row.atoms)) == 4
        placed.add(row.atom)
    assert placed == set(range(n))
    seen = set(zmatrix.root)
    for level in zmatrix.levels:
        assert all(set(row.partners) <= seen for row in level)
        seen |= {row.atom for row in level}
    assert seen == placed


def test_phi_and_psi_are_single_coordinates(alanine) -> None:
    zmatrix = zmatrix_from_topology(alanine.topology)
    trajectory = mdtraj.Trajectory(alanine.positions_nm, alanine.topology)
    graph = nx.Graph([(a.index, b.index) for a, b in alanine.topology.bonds])
    forwards = {tuple(t) for t in zmatrix.torsions}
    both = forwards | {t[::-1] for t in forwards}
    for compute in (mdtraj.compute_phi, mdtraj.compute_psi):
        (atoms,), _ = compute(trajectory)
        assert tuple(atoms) in both
        proper = [t for t in forwards if graph.has_edge(t[2], t[3])]
        about = [t for t in proper if {t[1], t[2]} == {atoms[1], atoms[2]}]
        assert len(about) == 1, "other torsions about this bond would have to turn with it"


@pytest.mark.parametrize("name", ["AlanineDipeptideVacuum", "TolueneVacuum"])
def test_molecules_of_openmmtools(name: str) -> None:
    made = getattr(testsystems, name)(constraints=None)
    topology = mdtraj.Topology.from_openmm(made.topology)
    bonds = [(a.index, b.index) for a, b in topology.bonds]
    check(zmatrix_from_topology(topology), bonds, topology.n_atoms)


@settings(max_examples=50)
@given(st.integers(4, 20), st.integers(0, 10**6))
def test_random_trees(n: int, seed: int) -> None:
    tree = nx.random_labeled_tree(n, seed=seed)
    bonds = list(tree.edges)
    check(zmatrix_from_bonds(["C"] * n, bonds), bonds, n)


def test_the_order_of_the_bonds_does_not_matter(alanine) -> None:
    elements = [a.element.symbol for a in alanine.topology.atoms]
    bonds = [(a.index, b.index) for a, b in alanine.topology.bonds]
    turned = [(b, a) for a, b in reversed(bonds)]
    assert zmatrix_from_bonds(elements, bonds) == zmatrix_from_bonds(elements, turned)


def test_disconnected_and_small_molecules_are_refused() -> None:
    made = testsystems.HostGuestVacuum(constraints=None)
    with pytest.raises(UserInputError, match=r"one covalently connected .*found 2: 126 .*30"):
        zmatrix_from_topology(mdtraj.Topology.from_openmm(made.topology))
    with pytest.raises(UserInputError, match="at least 4 atoms, found 3"):
        zmatrix_from_bonds(["O", "H", "H"], [(0, 1), (0, 2)])
