"""The Z-matrix: every coordinate local, every molecule complete, anything else refused."""

from __future__ import annotations

from collections import Counter

import mdtraj
import networkx as nx
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from openmmtools import testsystems

from bgp4.coordinates import ZMatrix, zmatrix_from_bonds, zmatrix_from_topology
from bgp4.errors import UserInputError
from bgp4.molecule.placing import lines_of
from bgp4.molecule.zmatrix import Row, zmatrix_from_rows
from tests import linear, turning
from tests.for_each import for_each


def check(zmatrix: ZMatrix, bonds: list[tuple[int, int]], n: int) -> None:
    """N - 1 bonds, N - 2 angles, N - 3 torsions; along bonds; only atoms that are placed."""
    graph = nx.Graph(bonds)
    ears = {row.atom for row in zmatrix.rows if row.ear}
    assert (len(zmatrix.bonds), len(zmatrix.angles), len(zmatrix.torsions)) == (n - 1, n - 2, n - 3)
    assert all(graph.has_edge(*pair) for pair in zmatrix.bonds if pair[0] not in ears)
    assert all(
        graph.has_edge(a, b) and graph.has_edge(b, c) for a, b, c in zmatrix.angles if a not in ears
    )
    placed, sides = set(zmatrix.root), {frozenset(zmatrix.root[::2])}
    sides |= {frozenset(pair) for pair in zmatrix.distances}
    for row in zmatrix.rows:
        assert not row.ear or {row.bond, row.angle} in sides
        assert set(row.partners) <= placed
        assert len(set(row.atoms)) == len(row.atoms)
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


@for_each("name", turning.NAMES)
def test_every_bond_of_a_ring_that_turns_is_a_coordinate(name: str) -> None:
    topology, positions = linear.structure(name)
    zmatrix = zmatrix_of(name)
    bonds = [(a.index, b.index) for a, b in topology.bonds()]
    check(zmatrix, bonds, topology.getNumAtoms())
    open_ = [pair for pair in bonds if tuple(sorted(pair)) not in zmatrix.distances]
    assert len(open_) == (name == "tetralin"), "one of benzene's"
    heavy = [a.index for a in topology.atoms() if a.element.symbol != "H"]
    for row in zmatrix.rows:
        if row.ear:
            assert {row.atom, *row.partners} <= set(heavy)
            assert clear_of_a_line(positions, row)


def zmatrix_of(name: str) -> ZMatrix:
    made, positions = linear.structure(name)
    topology = mdtraj.Topology.from_openmm(made)
    return zmatrix_from_topology(topology, lines_of(topology, positions))


def clear_of_a_line(positions_nm: np.ndarray, row: Row) -> bool:
    """Whether the atom, and the one across the side, are 0.03 nm and more off that side."""
    one, other = positions_nm[row.bond], positions_nm[row.angle]
    along = (other - one) / np.linalg.norm(other - one)
    off = positions_nm[[row.atom, row.torsion]] - one
    return bool((np.linalg.norm(np.cross(off, along), axis=1) > 0.03).all())


def test_chords_of_a_peptides_ring_depend_on_few_rotations() -> None:
    """Five span an angle, and two a peptide bond between α carbons; the ring is entered at another
    α carbon, so that the remaining two close a polygon of four.
    """
    zmatrix, (topology, _) = zmatrix_of("cyclo-(Gly)4"), linear.structure("cyclo-(Gly)4")
    graph = nx.Graph([(a.index, b.index) for a, b in topology.bonds()])
    alpha = {atom for atom in graph if graph.degree(atom) == 4}
    pairs = [*zmatrix.distances, zmatrix.root[::2]]
    spans = Counter(nx.shortest_path_length(graph, *pair) for pair in pairs)
    assert spans == {1: graph.number_of_edges(), 2: 5, 3: 2, 4: 1, 6: 1}
    assert all(
        set(pair) <= alpha for pair in pairs if nx.shortest_path_length(graph, *pair) in (3, 6)
    )


def test_small_and_flat_rings_leave_a_bond_to_the_energy() -> None:
    cases = {"benzene": (6, 1), "proline's": (5, 2), "cyclooctatetraene": (8, 1)}
    for name, (n, hydrogens) in cases.items():
        ring = [(i, (i + 1) % n) for i in range(n)]
        more = [(i, n + i * hydrogens + k) for i in range(n) for k in range(hydrogens)]
        zmatrix = zmatrix_from_bonds(["C"] * n + ["H"] * n * hydrogens, ring + more)
        check(zmatrix, ring + more, n * (1 + hydrogens))
        assert not any(row.ear for row in zmatrix.rows), name


def test_rows_of_ears_are_checked() -> None:
    rows = [(0,), (1, 0), (2, 1, 0), (3, 2, 0, 1), (4, 3, 1, 2)]
    made = zmatrix_from_rows(rows, 5, ears=[3])
    assert [row.ear for row in made.rows] == [True, False]
    with pytest.raises(ValueError, match="row 5: expected an ear on two atoms whose distance"):
        zmatrix_from_rows(rows, 5, ears=[3, 4])


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
