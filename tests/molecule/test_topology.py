"""What the bond graph says: torsions against mdtraj's own, rings and methyl groups by name."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import mdtraj
import networkx as nx
import numpy as np
import openmmtools
import pytest
from openmmtools.testsystems import AlanineDipeptideVacuum, TolueneVacuum

from bgp4.molecule.topology import (
    atoms_label,
    bond_graph,
    bonded_angles,
    peptide_torsions,
    rotatable_torsions,
)
from bgp4.studies.bench.peptides import alanine_peptide

OPENMMTOOLS = Path(openmmtools.__file__).parent / "data"
LYSOZYME = "T4-lysozyme-L99A-implicit"
MDTRAJ: dict[str, Callable] = {
    "φ": mdtraj.compute_phi,
    "ψ": mdtraj.compute_psi,
    "ω": mdtraj.compute_omega,
    "χ1": mdtraj.compute_chi1,
    "χ2": mdtraj.compute_chi2,
    "χ3": mdtraj.compute_chi3,
    "χ4": mdtraj.compute_chi4,
    "χ5": mdtraj.compute_chi5,
}


def dipeptide() -> tuple[mdtraj.Topology, np.ndarray]:
    made = AlanineDipeptideVacuum()
    return mdtraj.Topology.from_openmm(made.topology), np.asarray(made.positions._value)


def peptide() -> tuple[mdtraj.Topology, np.ndarray]:
    molecule = alanine_peptide(5)
    return molecule.topology, molecule.positions_nm


def lysozyme() -> tuple[mdtraj.Topology, np.ndarray]:
    topology = mdtraj.load_prmtop(OPENMMTOOLS / LYSOZYME / "receptor.prmtop")
    return topology, np.random.default_rng(0).normal(size=(topology.n_atoms, 3))


@pytest.mark.parametrize("molecule", [dipeptide, peptide, lysozyme])
@pytest.mark.parametrize("symbol", MDTRAJ)
def test_named_torsions_are_those_of_mdtraj(molecule: Callable, symbol: str) -> None:
    """All of them but those within rings, of proline."""
    topology, positions = molecule()
    graph = nx.Graph([(a.index, b.index) for a, b in topology.bonds])
    atoms, (angles,) = MDTRAJ[symbol](mdtraj.Trajectory(positions, topology))
    bridges = {frozenset(bond) for bond in nx.bridges(graph)}
    expected = {
        tuple(four): angle
        for four, angle in zip(atoms.tolist(), angles, strict=True)
        if frozenset(four[1:3]) in bridges
    }
    found = [t.atoms for t in rotatable_torsions(topology) if t.label.startswith(f"{symbol} ")]
    assert set(found) >= set(expected)
    extra = set(found) - set(expected)  # ω at caps, whose carbon is no CA
    assert extra == {f for f in peptide_torsions(topology) if symbol == "ω"} - set(expected)
    quadruples = np.array(found).reshape(-1, 4)
    values = mdtraj.compute_dihedrals(mdtraj.Trajectory(positions, topology), quadruples)[0]
    for four, value in zip(found, values, strict=True):
        assert expected.get(four, value) == pytest.approx(value)


def test_lysozyme_has_every_kind_and_its_prolines_lack_some() -> None:
    topology, _ = lysozyme()
    labels = [torsion.label for torsion in rotatable_torsions(topology)]
    assert len(labels) == len(set(labels))
    assert {label.split()[0] for label in labels} >= {
        "φ",
        "ψ",
        "ω",
        *(f"χ{i}" for i in range(1, 6)),
    }
    prolines = {str(r) for r in topology.residues if r.name == "PRO"}
    assert prolines
    assert not {f"φ {name}" for name in prolines} & set(labels)


def test_names_of_the_dipeptide() -> None:
    labels = [torsion.label for torsion in rotatable_torsions(dipeptide()[0])]
    assert labels == ["ω ACE1", "φ ALA2", "ψ ALA2", "ω ALA2"]


@pytest.mark.parametrize("ligand", [f"{LYSOZYME}/ligand.prmtop", "toluene"])
def test_rings_with_methyl_groups_have_none(ligand: str) -> None:
    """p-Xylene and toluene."""
    topology = (
        mdtraj.Topology.from_openmm(TolueneVacuum().topology)
        if ligand == "toluene"
        else mdtraj.load_prmtop(OPENMMTOOLS / ligand)
    )
    assert topology.n_bonds == topology.n_atoms  # one ring
    assert rotatable_torsions(topology) == []


def test_ligand_with_two_chains_on_a_bipyridine() -> None:
    """The bond between the rings, and every bond of both chains, O1-C11-...-N and O2-C12-...-N."""
    topology = mdtraj.load_prmtop(OPENMMTOOLS / "cb7-viologen" / "leap" / "ligand.prmtop")
    name = [atom.name for atom in topology.atoms]
    bonds = {frozenset((name[t.atoms[1]], name[t.atoms[2]])) for t in rotatable_torsions(topology)}
    chains = ["C11 C13 C15 C17 C19 C21 N1", "C12 C14 C16 C18 C20 C22 N2"]
    within = [pair for c in chains for pair in zip(c.split(), c.split()[1:], strict=False)]
    assert bonds == {frozenset(pair) for pair in [("C9", "C10"), *within]}
    labels = {torsion.label for torsion in rotatable_torsions(topology)}
    assert {"C1–C9–C10–C3", "O1–C11–C13–C15"} <= labels
    heavy = {atom.index for atom in topology.atoms if atom.element.symbol != "H"}
    for torsion in rotatable_torsions(topology):
        assert set(torsion.atoms) <= heavy
        assert all(
            bond_graph(topology).has_edge(a, b)
            for a, b in zip(torsion.atoms, torsion.atoms[1:], strict=False)
        )


def test_order_of_the_bonds_does_not_matter() -> None:
    topology, _ = dipeptide()
    turned = topology.copy()
    turned._bonds = turned._bonds[::-1]
    assert rotatable_torsions(turned) == rotatable_torsions(topology)
    assert bonded_angles(turned) == bonded_angles(topology)


def test_angles_are_all_pairs_of_bonds_that_share_an_atom() -> None:
    topology, _ = peptide()
    angles = bonded_angles(topology)
    degrees = np.bincount([atom.index for bond in topology.bonds for atom in bond])
    assert len(angles) == len(set(angles)) == (degrees * (degrees - 1) // 2).sum()
    bonds = {frozenset((a.index, b.index)) for a, b in topology.bonds}
    assert all({frozenset((i, j)), frozenset((j, k))} <= bonds and i < k for i, j, k in angles)


def test_labels_name_residues_where_there_are_several() -> None:
    topology, _ = dipeptide()
    assert atoms_label(topology, [8, 10]) == "CA–CB ALA2"
    assert atoms_label(topology, [4, 6]) == "C–N ACE1/ALA2"
    toluene = mdtraj.Topology.from_openmm(TolueneVacuum().topology)
    assert atoms_label(toluene, [5, 6]) == "C6–C7"
