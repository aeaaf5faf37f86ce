"""Torsions against mdtraj's dihedrals of named atoms, and chirality against mirror images."""

from dataclasses import replace
from typing import Any

import mdtraj
import numpy as np
import pytest
from mdtraj.core.element import Element

from bgp4.report.torsions import (
    backbone_torsions,
    chirality_signs,
    stereocentres,
    wrong_chirality,
)
from tests.report.made import with_samples


def chain(symbols: str, bonds: list[tuple[int, int]]) -> mdtraj.Topology:
    """A topology of atoms given by one-letter elements."""
    topology = mdtraj.Topology()
    residue = topology.add_residue("MOL", topology.add_chain())
    for i, symbol in enumerate(symbols):
        topology.add_atom(f"{symbol}{i}", Element.getBySymbol(symbol), residue)
    for one, other in bonds:
        topology.add_bond(topology.atom(one), topology.atom(other))
    return topology


def test_angles_are_those_asked_for_and_mdtraj_agrees(molecule: Any, frames_with: Any) -> None:
    topology, _ = molecule
    phi, psi = np.linspace(-3, 3, 20), np.linspace(3, -2, 20)
    frames = frames_with(phi, psi, seed=0)
    (found,) = backbone_torsions(frames, topology)
    assert found.residue == "ALA2"
    for values, asked, four in [
        (found.phi, phi, [4, 6, 8, 14]),
        (found.psi, psi, [6, 8, 14, 16]),
    ]:
        dihedral = mdtraj.compute_dihedrals(mdtraj.Trajectory(frames, topology), [four])[:, 0]
        np.testing.assert_allclose(values, dihedral, atol=1e-6)
        assert np.abs(np.angle(np.exp(1j * (values - asked)))).max() < 0.1


def test_range_is_half_open(molecule: Any) -> None:
    topology, start = molecule  # phi and psi within float32 of +-pi
    (found,) = backbone_torsions(start[None], topology)
    assert all(-np.pi <= angle < np.pi for angle in (found.phi[0], found.psi[0]))


def test_molecule_without_backbone_has_no_torsions() -> None:
    methane = chain("CHHHH", [(0, i) for i in range(1, 5)])
    assert backbone_torsions(np.zeros((3, 5, 3)), methane) == []
    assert stereocentres(methane).shape == (0, 5)


def test_alpha_carbon_is_the_stereocentre(molecule: Any) -> None:
    topology, _ = molecule
    (centre,) = stereocentres(topology)
    assert [topology.atom(i).name for i in centre] == ["CA", "N", "HA", "CB", "C"]


@pytest.mark.parametrize(
    ("symbols", "bonds", "centres"),
    [
        ("CHFNO", [(0, 1), (0, 2), (0, 3), (0, 4)], [0]),
        ("CHFCC", [(0, 1), (0, 2), (0, 3), (0, 4)], []),
        # two carbon branches that differ only three bonds away
        ("CHFCCCCON", [(0, 1), (0, 2), (0, 3), (0, 4), (3, 5), (4, 6), (5, 7), (6, 8)], [0]),
    ],
)
def test_stereocentres_by_graph(
    symbols: str, bonds: list[tuple[int, int]], centres: list[int]
) -> None:
    assert stereocentres(chain(symbols, bonds))[:, 0].tolist() == centres


def test_mirror_image_has_the_other_sign(good_run: Any) -> None:
    centres = stereocentres(good_run.topology)
    frames = good_run.data_positions_nm
    mirrored = frames * [1, 1, -1]
    assert np.array_equal(chirality_signs(mirrored, centres), -chirality_signs(frames, centres))
    mixed = np.concatenate([frames[:30], mirrored[:10]])
    wrong = wrong_chirality(mixed, frames, good_run.reference_positions_nm, centres)
    assert wrong.tolist() == [[False]] * 30 + [[True]] * 10


def test_md_majority_decides_and_the_reference_where_it_is_split(good_run: Any) -> None:
    frames = good_run.data_positions_nm[:4]
    d_form = replace(good_run, data_positions_nm=frames * [1, 1, -1])
    assert d_form.wrong_chirality.all()
    split = replace(good_run, data_positions_nm=np.concatenate([frames, frames * [1, 1, -1]]))
    assert not split.wrong_chirality.any()


def test_each_stereocentre_has_a_hand_of_its_own(peptide_run: Any) -> None:
    """Hα and Cβ of one residue, changed for each other, mirror this residue alone."""
    samples = peptide_run.sample_positions_nm.copy()
    index = {str(atom): atom.index for atom in peptide_run.topology.atoms}
    pair = [index["ALA3-HA"], index["ALA3-CB"]]
    samples[:30, pair] = samples[:30, pair[::-1]]
    samples[:3] *= [1, 1, -1]
    wrong = with_samples(peptide_run, sample_positions_nm=samples).wrong_chirality
    expected = np.zeros((len(samples), 3), dtype=bool)
    expected[:3] = [True, False, True]
    expected[3:30, 1] = True
    assert np.array_equal(wrong, expected)
