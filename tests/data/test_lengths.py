"""Frames for a constrained System: those that have its lengths, and those that don't."""

from __future__ import annotations

import logging
from dataclasses import replace

import mdtraj
import numpy as np
import openmm
import pytest
import torch

from bgp4.config import SystemConfig
from bgp4.coordinates import InternalCoordinates
from bgp4.data.constrained import with_free_bonds
from bgp4.data.frames import Frames, check_number
from bgp4.data.from_energies import conformations_from_energy
from bgp4.data.lengths import with_system_lengths
from bgp4.dynamics.replicas import BatchedReplicas, DynamicsSettings
from bgp4.energies.reference import ReferenceEnergy
from bgp4.energies.worker import make_context
from bgp4.errors import UserInputError
from bgp4.molecule.molecule import Molecule, load_molecule


def constrained(constraints: str, name: str = "AlanineDipeptideImplicit") -> Molecule:
    return load_molecule(SystemConfig(testsystem=name, constraints=constraints))


@pytest.fixture(scope="module")
def hbonds() -> Molecule:
    return constrained("HBonds")


@pytest.fixture(scope="module")
def own_frames(hbonds) -> Frames:
    """Of constrained MD, with energies as a file has them."""
    settings = DynamicsSettings(
        hbonds.system_xml, hbonds.positions_nm, (1000.0,), 60, 2.0, 20.0, "Reference", 1
    )
    replicas = BatchedReplicas(settings)
    replicas.run(150)
    positions = replicas.positions_nm(0).astype(np.float32)
    energy = ReferenceEnergy(hbonds.system_xml, 22, 1000.0).evaluate(positions).energy_kjmol
    return Frames((), positions, energy, 1000.0)


def lengths(positions_nm: np.ndarray, molecule: Molecule) -> np.ndarray:
    i, j = molecule.constraints.pairs.T
    return np.linalg.norm(positions_nm[:, i] - positions_nm[:, j], axis=-1)


@pytest.mark.parametrize("rounded_nm", [0.0, 1e-3])
def test_frames_of_the_same_constraints_stay_as_they_are(hbonds, own_frames, rounded_nm) -> None:
    frames = own_frames
    if rounded_nm:  # as XTC does
        rounded = (np.round(frames.positions_nm / rounded_nm) * rounded_nm).astype(np.float32)
        frames = replace(frames, positions_nm=rounded)
    assert with_system_lengths(frames, hbonds) is frames
    assert with_free_bonds(frames, hbonds, 1000.0, 0) is frames
    assert not frames.constrained


def test_a_system_without_constraints_sets_no_lengths(alanine, smoke_frames) -> None:
    assert with_system_lengths(smoke_frames, alanine) is smoke_frames


def test_frames_of_free_bonds_get_the_lengths(hbonds, smoke_frames, caplog) -> None:
    """Angles and torsions of the Z-matrix, and all other bonds, stay."""
    caplog.set_level(logging.INFO, logger="bgp4")
    found = with_system_lengths(smoke_frames, hbonds)
    assert "without the System's constraints (all bonds to hydrogen)" in caplog.text
    assert found.lengths_set
    assert found.energy_kjmol is None
    expected = np.broadcast_to(hbonds.constraints.lengths_nm, (len(found.positions_nm), 12))
    np.testing.assert_allclose(lengths(found.positions_nm, hbonds), expected, rtol=1e-5)
    coordinates = InternalCoordinates(hbonds.zmatrix)
    one, other = (
        coordinates(torch.as_tensor(frames.positions_nm).double().flatten(1))[0]
        for frames in (found, smoke_frames)
    )
    held = [tuple(sorted(pair)) in hbonds.constraints.bonds for pair in hbonds.zmatrix.bonds]
    free = [i for i in range(60) if i >= len(held) or not held[i]]
    off = (one - other)[:, free]
    assert (torch.remainder(off + np.pi, 2 * np.pi) - np.pi).abs().max() < 1e-3


def test_other_constraints_than_the_systems(own_frames) -> None:
    """MD held bonds to hydrogen, the System holds all: the others get their lengths too."""
    allbonds = constrained("AllBonds")
    found = with_system_lengths(own_frames, allbonds)
    assert found.lengths_set
    assert lengths(found.positions_nm, allbonds).std(axis=0).max() < 1e-5
    assert with_free_bonds(found, allbonds, 1000.0, 0) is found


def test_md_that_held_more_than_the_system(hbonds) -> None:
    """The System's bonds are its own; those that MD held in addition are drawn."""
    allbonds = constrained("AllBonds")
    settings = DynamicsSettings(
        allbonds.system_xml, allbonds.positions_nm, (1000.0,), 60, 2.0, 20.0, "Reference", 1
    )
    replicas = BatchedReplicas(settings)
    replicas.run(150)
    frames = Frames((), replicas.positions_nm(0).astype(np.float32), None, 1000.0)
    found = with_free_bonds(with_system_lengths(frames, hbonds), hbonds, 1000.0, 0)
    assert len(found.constrained) == 9
    assert not set(found.constrained) & set(hbonds.constraints.bonds)


def test_few_frames_are_counted_by_the_coordinates_that_vary(hbonds, own_frames) -> None:
    few = replace(own_frames, positions_nm=own_frames.positions_nm[:5])
    with pytest.raises(UserInputError, match="to learn 48 coordinates from"):
        check_number(few, hbonds, 300.0)


@pytest.mark.parametrize("constraints", ["HBonds", "AllBonds"])
def test_conformations_from_energies_have_the_lengths(constraints) -> None:
    """Around the minimum that OpenMM finds with its constraints."""
    molecule = constrained(constraints, "AlanineDipeptideVacuum")
    made = conformations_from_energy(molecule, 600.0, True, 0)
    expected = np.broadcast_to(molecule.constraints.lengths_nm, (16, len(molecule.constraints)))
    np.testing.assert_allclose(lengths(made.made.calm_nm, molecule), expected, rtol=1e-5)
    n_free = 60 - len(molecule.constraints)
    lowest = made.made.typical_kjmol - n_free * 8.31446e-3 * 600 / 2
    assert lowest == pytest.approx(minimum_kjmol(molecule), abs=0.1)
    trajectory = mdtraj.Trajectory(made.positions_nm, molecule.topology)
    assert np.isfinite(trajectory.xyz).all()


def minimum_kjmol(molecule: Molecule) -> float:
    """Nearest to the start positions, on the manifold of the constraints."""
    context = make_context(molecule.system_xml, "Reference")
    context.setPositions(molecule.positions_nm)
    openmm.LocalEnergyMinimizer.minimize(context, 0.1)
    return float(context.getState(energy=True).getPotentialEnergy()._value)
