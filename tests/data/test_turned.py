"""Start positions with turned torsions: other torsions, the same molecule."""

from __future__ import annotations

import mdtraj
import numpy as np

from bgp4.data.turned import turned_positions
from bgp4.energies.reference import ReferenceEnergy
from bgp4.report.torsions import chirality_signs, stereocentres

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
