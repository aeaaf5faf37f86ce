"""Start positions with turned torsions: other torsions, the same molecule."""

from __future__ import annotations

import mdtraj
import numpy as np
import pytest

from bgp4.data.turned import turned_positions
from bgp4.energies.reference import ReferenceEnergy
from bgp4.report.torsions import chirality_signs, stereocentres
from tests.data.test_from_energies import chain

N = 16


def test_torsions_turn_and_all_else_stays(alanine) -> None:
    found = turned_positions(alanine, N, seed=1)
    frames = mdtraj.Trajectory(found.astype(np.float32), alanine.topology)
    _, phi = mdtraj.compute_phi(frames)
    assert np.ptp(phi) > np.pi / 2
    _, omega = mdtraj.compute_omega(frames)
    assert (np.abs(omega) > np.radians(150)).all()
    centres = stereocentres(alanine.topology)
    expected = chirality_signs(alanine.positions_nm[None], centres)
    assert (chirality_signs(found, centres) == expected).all()


def test_they_do_not_clash(alanine) -> None:
    """Below what MD at 1000 K has: kT/2 for each of 60 coordinates is 249 kJ/mol."""
    energy = ReferenceEnergy(alanine.system_xml, alanine.n_atoms, 300.0)
    found = energy.evaluate(turned_positions(alanine, N, seed=1)).energy_kjmol
    lowest = energy.evaluate(alanine.positions_nm[None]).energy_kjmol[0]
    assert (found < lowest + 250).all()


def test_a_seed_says_which(alanine) -> None:
    one, same, other = (turned_positions(alanine, 2, seed) for seed in (1, 1, 2))
    assert (one == same).all()
    assert (one != other).any()


def test_both_sides_of_peptide_bonds_where_an_ensemble_has_them(alanine) -> None:
    found = turned_positions(alanine, 32, seed=1, peptide_bonds="any")
    frames = mdtraj.Trajectory(found.astype(np.float32), alanine.topology)
    cis = np.abs(mdtraj.compute_omega(frames)[1]) < np.pi / 2
    assert cis.any(axis=0).all()
    assert (~cis).any(axis=0).all()
    centres = stereocentres(alanine.topology)
    expected = chirality_signs(alanine.positions_nm[None], centres)
    assert (chirality_signs(found, centres) == expected).all()


@pytest.mark.parametrize(("barrier_kjmol", "sides"), [(60.0, {0, 1}), (200.0, {0})])
def test_a_torsion_that_turns_slowly_is_on_both_sides(barrier_kjmol, sides) -> None:
    """Of a torsion with two equal minima; behind a high barrier there is another molecule."""
    molecule = chain(2e5, 400.0, barrier_kjmol / 2)
    found = turned_positions(molecule, 32, seed=1).astype(np.float32)
    frames = mdtraj.Trajectory(found, molecule.topology)
    torsions = mdtraj.compute_dihedrals(frames, [[0, 1, 2, 3]], periodic=False)[:, 0] - 1.0
    assert set(np.round(np.abs(torsions / np.pi)).tolist()) == sides
    assert np.allclose(np.sin(torsions), 0, atol=0.01)
