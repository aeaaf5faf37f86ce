"""Permutations of equivalent atoms, against RDKit's and the orders of rotation groups."""

from __future__ import annotations

import logging
from math import prod

import numpy as np
import pytest

from bgp4.molecule.symmetry import chiral_centres, handedness, products, symmetries
from bgp4.molecule.topology import bond_graph
from tests.answers.molecules import molecule
from tests.for_each import for_each

Chem = pytest.importorskip("rdkit.Chem")

FLAT = (
    *("CCCC", "CCCCC", "c1ccccc1C", "c1ccccc1CCc1ccccc1", "C1CCCCC1", "c1ccc(cc1)-c1ccccc1"),
    *("c1ccc(cc1)N(c1ccccc1)c1ccccc1", "CN(C)C=O", "C=C(C)C", "CCO", "C1CC1", "c1ccc2ccccc2c1"),
)
"""Molecules of which no atom keeps a handedness: any automorphism will do."""


@for_each("smiles", FLAT)
def test_there_are_as_many_as_rdkit_finds(smiles: str) -> None:
    mol, topology, positions_nm = molecule(smiles)
    found = symmetries(topology, positions_nm)
    heavy = Chem.RemoveHs(mol)
    matches = heavy.GetSubstructMatches(heavy, uniquify=False, maxMatches=10_000)
    assert prod(map(len, found)) == len(matches)
    rows = products(found, topology.n_atoms)[:, [a.GetIdx() for a in heavy.GetAtoms()]]
    assert {tuple(row) for row in rows.tolist()} == set(matches)


ROTATIONS = {
    "CC(C)(C)C": 12,  # a tetrahedron's rotations, without reflections
    "C12C3C4C1C5C2C3C45": 24,  # cubane
    "CCC(C)(C)C": 3,
    "CCC(F)(F)F": 3,
    "CCC(C)C": 1,  # two methyl groups, and no rotation that exchanges them
    "CC(C)C[C@H](N)C(=O)O": 1,
    "CCS(C)(=O)=O": 1,
    "CS(C)=O": 1,
    "CCC(C)(C)CC": 2,  # both pairs at once
    "CC(=O)[O-]": 2,  # resonance
    "C[N+](=O)[O-]": 2,
    "NC(=[NH2+])NC": 2,
    "C[C@@H](O)[C@H](C)O": 1,  # meso: by reflection alone
    "C[C@@H](O)[C@@H](C)O": 2,
    "CC(C)(C)C(C(C)(C)C)C(C)(C)C": 81,
    "C": 1,
}


@for_each(("smiles", "order"), ROTATIONS.items())
def test_none_needs_an_inversion(smiles: str, order: int) -> None:
    _, topology, positions_nm = molecule(smiles)
    assert prod(map(len, symmetries(topology, positions_nm))) == order


@for_each("smiles", (*FLAT, *ROTATIONS))
def test_bonds_elements_and_handedness_stay(smiles: str) -> None:
    _, topology, positions_nm = molecule(smiles)
    graph = bond_graph(topology)
    heavy = [atom.index for atom in topology.atoms if atom.element.symbol != "H"]
    bonds = {frozenset(bond) for bond in graph.subgraph(heavy).edges}
    for row in products(symmetries(topology, positions_nm), topology.n_atoms).tolist():
        assert {frozenset((row[a], row[b])) for a, b in map(tuple, bonds)} == bonds
        assert all(topology.atom(i).element == topology.atom(row[i]).element for i in heavy)
        assert sorted(row) == list(range(topology.n_atoms))


def test_flips_of_different_rings_are_different_groups() -> None:
    peptide = "N[C@@H](Cc1ccccc1)C(=O)" * 6 + "O"
    _, topology, positions_nm = molecule(peptide)
    found = symmetries(topology, positions_nm)
    assert [len(group) for group in found] == [2] * 6
    ends = [np.flatnonzero(group[1] != group[0]).tolist() for group in found]
    assert sorted(map(len, ends)) == [4] * 6
    assert len({i for atoms in ends for i in atoms}) == 24


def test_atoms_together_are_in_one_group() -> None:
    _, topology, positions_nm = molecule("c1ccccc1CCCC(=O)[O-]")
    assert sorted(len(group) for group in symmetries(topology, positions_nm)) == [2, 2]
    (group,) = symmetries(topology, positions_nm, [range(topology.n_atoms)])
    assert len(group) == 4


def test_too_many_are_left_out_and_named(caplog: pytest.LogCaptureFixture) -> None:
    """Four CF3 groups and their fluorines, 4! (3!)^4 = 31,104."""
    _, topology, positions_nm = molecule("FC(F)(F)C(C(F)(F)F)(C(F)(F)F)C(F)(F)F")
    with caplog.at_level(logging.WARNING):
        assert symmetries(topology, positions_nm) == []
    assert "count as different ones" in caplog.text


def test_a_mirror_image_has_the_other_handedness() -> None:
    _, topology, positions_nm = molecule("C[C@H](N)C(=O)N[C@@H](CC)C(=O)O")
    centres = chiral_centres(topology)
    assert len(centres) == 2
    both = handedness(np.stack([positions_nm, positions_nm * [1, 1, -1]]), centres)
    assert (both[0] != both[1]).all()
