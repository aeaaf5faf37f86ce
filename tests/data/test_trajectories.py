"""Trajectories as they come: several files, solvent around, a box that cuts the molecule."""

from __future__ import annotations

import logging
from pathlib import Path

import mdtraj
import numpy as np
import pytest
from openmmtools.testsystems import AlanineDipeptideExplicit

from bgp4.config import DataConfig
from bgp4.data.frames import load_frames
from bgp4.data.trajectories import read_trajectory
from bgp4.errors import UserInputError


@pytest.fixture
def trajectory(alanine, smoke_frames) -> mdtraj.Trajectory:
    return mdtraj.Trajectory(smoke_frames.positions_nm[:60], alanine.topology)


@pytest.fixture(scope="module")
def solvated(alanine, smoke_frames) -> mdtraj.Trajectory:
    """Frames of the molecule between the water of openmmtools' box, the box cutting through it."""
    made = AlanineDipeptideExplicit()
    topology = mdtraj.Topology.from_openmm(made.topology)
    box = 3.0
    xyz = np.repeat(np.asarray(made.positions._value)[None], 12, axis=0)
    xyz[:, :22] = np.add(smoke_frames.positions_nm[:12], [0.0, 0.1, 0.2])
    return mdtraj.Trajectory(
        xyz % box, topology, unitcell_lengths=[[box] * 3] * 12, unitcell_angles=[[90] * 3] * 12
    )


def frames(alanine, path, **settings):
    return load_frames(DataConfig(path=path, **settings), alanine)


def assert_same_shape(one: np.ndarray, other: np.ndarray, atol: float) -> None:
    """Up to a shift: the distances between all atoms."""
    for a, b in zip(one, other, strict=True):
        apart = [np.linalg.norm(x[:, None] - x[None], axis=-1) for x in (a, b)]
        np.testing.assert_allclose(*apart, atol=atol)


@pytest.mark.parametrize("suffix", [".h5", ".xtc", ".dcd", ".nc", ".trr", ".pdb"])
def test_formats(suffix, trajectory, alanine, in_tmp) -> None:
    trajectory.save(f"a{suffix}")
    found = frames(alanine, f"a{suffix}").positions_nm
    tolerance = 1e-3 if suffix in (".xtc", ".pdb") else 1e-6
    np.testing.assert_allclose(found, trajectory.xyz, atol=tolerance)


def test_several_files_and_a_slice(trajectory, alanine, in_tmp) -> None:
    trajectory[:25].save("a.h5")
    trajectory[25:].save("b.dcd")
    both = frames(alanine, ("a.h5", "b.dcd"))
    assert both.paths == (Path("a.h5"), Path("b.dcd"))
    np.testing.assert_allclose(both.positions_nm, trajectory.xyz, atol=1e-6)
    some = frames(alanine, ("a.h5", "b.dcd"), start=4, stop=50, stride=5)
    np.testing.assert_allclose(some.positions_nm, trajectory.xyz[4:50:5], atol=1e-6)
    with pytest.raises(UserInputError, match=r"data\.start: .* has no frame from 60 on \(found 60"):
        frames(alanine, ("a.h5", "b.dcd"), start=60)


def write(path: str, trajectory: mdtraj.Trajectory, kelvin, energy: np.ndarray) -> None:
    with mdtraj.formats.HDF5TrajectoryFile(path, "w") as file:
        file.topology = trajectory.topology
        full = np.full(len(energy), kelvin, np.float32)
        file.write(trajectory.xyz, temperature=full, potentialEnergy=energy.astype(np.float32))


def test_energies_and_temperatures_of_files(
    trajectory, alanine, smoke_frames, in_tmp, caplog
) -> None:
    known = smoke_frames.energy_kjmol[:60]
    write("a.h5", trajectory[:30], 1000, known[:30])
    write("b.h5", trajectory[30:], 1000, known[30:])
    write("cold.h5", trajectory[30:], 300, known[30:])
    write("other.h5", trajectory, 1000, known + 1)
    both = frames(alanine, ("a.h5", "b.h5"), stride=7)
    np.testing.assert_allclose(both.energy_kjmol, known[::7], atol=1e-3)
    assert both.temperature_k == 1000
    with pytest.raises(UserInputError, match=r"1000 K in a\.h5 and 300 K in cold\.h5"):
        frames(alanine, ("a.h5", "cold.h5"))
    trajectory[30:].save("silent.dcd")
    mixed = frames(alanine, ("a.h5", "silent.dcd"))
    assert (mixed.energy_kjmol, mixed.temperature_k) == (None, None)
    with caplog.at_level(logging.WARNING):
        assert frames(alanine, "other.h5").energy_kjmol is None
    assert "energies are not those of this System" in caplog.text


def test_kinetic_temperatures_are_not_the_ensembles(
    trajectory, alanine, smoke_frames, in_tmp
) -> None:
    """mdtraj's HDF5Reporter writes them, here as it would with 60 degrees of freedom."""
    spread = np.random.default_rng(1).gamma(30, 10, 60)
    write("a.h5", trajectory[:30], spread[:30], smoke_frames.energy_kjmol[:30])
    write("b.h5", trajectory[30:], spread[30:], smoke_frames.energy_kjmol[30:60])
    words = r"data\.temperature_k: expected .* of a\.h5: .* kinetic .* mean (28|29|30|31)\d\.\d K"
    for path in ("a.h5", ("a.h5", "b.h5")):
        with pytest.raises(UserInputError, match=words):
            frames(alanine, path)
    both = frames(alanine, ("a.h5", "b.h5"), temperature_k=300)
    assert (len(both.positions_nm), both.temperature_k) == (60, None)


def test_solvent_is_left_out_and_the_molecule_made_whole(
    solvated, alanine, smoke_frames, in_tmp, caplog
) -> None:
    solvated.save("box.h5")
    with caplog.at_level(logging.INFO):
        found = read_trajectory(Path("box.h5"), alanine)
    assert_same_shape(found, smoke_frames.positions_nm[:12], atol=1e-5)
    assert f"left out {solvated.n_atoms - 22} atoms of HOH" in caplog.text
    assert "made the molecule whole in 12 frames" in caplog.text


def test_a_format_without_names_needs_a_topology(solvated, alanine, smoke_frames, in_tmp) -> None:
    solvated.save("box.dcd")
    solvated[0].save("box.pdb")
    with pytest.raises(UserInputError, match=r"expected 22 atoms; .* data\.topology"):
        frames(alanine, "box.dcd")
    found = frames(alanine, "box.dcd", topology="box.pdb")
    assert_same_shape(found.positions_nm, smoke_frames.positions_nm[:12], atol=1e-4)
    with pytest.raises(UserInputError, match=r"data\.topology: no such file: lost\.pdb"):
        frames(alanine, "box.dcd", topology="lost.pdb")


def test_a_molecule_that_is_there_twice_or_not_at_all(trajectory, alanine, in_tmp) -> None:
    twice = trajectory.stack(trajectory)
    twice.save("twice.h5")
    with pytest.raises(UserInputError, match=r"once, found it 2 times"):
        frames(alanine, "twice.h5")
    trajectory.atom_slice(range(21)).save("part.h5")
    with pytest.raises(UserInputError, match=r"expected the 22 atoms .*, found 21, without"):
        frames(alanine, "part.h5")


def test_a_box_of_zeros_is_none(trajectory, alanine, in_tmp) -> None:
    trajectory.unitcell_vectors = np.zeros((60, 3, 3))
    trajectory.save("a.h5")
    np.testing.assert_allclose(frames(alanine, "a.h5").positions_nm, trajectory.xyz, atol=1e-6)
