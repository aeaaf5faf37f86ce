"""Conformations made from energies, where the answer is known and against MD frames."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import mdtraj
import numpy as np
import openmm
import pytest
import torch
from mdtraj.core.element import carbon

from bgp4.config import SystemConfig
from bgp4.coordinates import InternalCoordinates, zmatrix_from_topology
from bgp4.data.frames import Frames, all_trans, load_frames
from bgp4.data.from_energies import (
    CONFORMATIONS,
    NARROWEST,
    WIDEST,
    conformations_from_energy,
    minimised,
    torsion_barriers,
    widths,
)
from bgp4.energies.reference import ReferenceEnergy
from bgp4.errors import UserInputError
from bgp4.molecule.molecule import Molecule, load_molecule
from bgp4.training.train import fitted_generator
from bgp4.units import kt_in_kjmol

KT = kt_in_kjmol(1000.0)


def chain(bond: float, angle: float, torsion: float) -> Molecule:
    """Four atoms in a row whose energy is a sum over their bonds, angles and one torsion.

    Minimum: bonds of 0.15 nm, angles of 2 rad, a torsion of 1 rad. Force constants in kJ/mol, nm
    and rad; the torsion's is half its barrier.
    """
    system, topology = openmm.System(), mdtraj.Topology()
    residue = topology.add_residue("X", topology.add_chain())
    atoms = [topology.add_atom(f"C{i}", carbon, residue) for i in range(4)]
    bonds, angles, torsions = (
        kind()
        for kind in (
            openmm.HarmonicBondForce,
            openmm.HarmonicAngleForce,
            openmm.PeriodicTorsionForce,
        )
    )
    for i in range(4):
        system.addParticle(12.0)
        if i > 0:
            topology.add_bond(atoms[i - 1], atoms[i])
            bonds.addBond(i - 1, i, 0.15, bond)
        if i > 1:
            angles.addAngle(i - 2, i - 1, i, 2.0, angle)
    torsions.addTorsion(0, 1, 2, 3, 2, 2.0 - np.pi, torsion)
    for force in (bonds, angles, torsions):
        system.addForce(force)
    q = torch.tensor([[0.16, 0.14, 0.15, 2.1, 1.8, 0.7]]).double()
    zmatrix = zmatrix_from_topology(topology)
    start = InternalCoordinates(zmatrix).inverse(q)[0].reshape(4, 3).numpy()
    return Molecule("chain", openmm.XmlSerializer.serialize(system), topology, start, zmatrix)


MINIMUM = torch.tensor([0.15, 0.15, 0.15, 2.0, 2.0, 1.0]).double()


def test_minimum_and_widths_of_a_harmonic_molecule() -> None:
    molecule = chain(2e5, 400.0, 30.0)
    coordinates = InternalCoordinates(zmatrix_from_topology(molecule.topology))
    energy = ReferenceEnergy(molecule.system_xml, 4, 1000.0)
    lowest, positions = minimised(energy, molecule)
    centre, _ = coordinates(torch.as_tensor(positions).reshape(1, -1))
    assert lowest == pytest.approx(-30 + 30, abs=1e-3)
    torch.testing.assert_close(centre[0], MINIMUM, atol=5e-3, rtol=0)
    found = widths(energy, coordinates, centre[0], KT)
    curvature = torch.tensor([2e5] * 3 + [400.0] * 2 + [30.0 * 2**2]).double()
    torch.testing.assert_close(found, (KT / curvature).sqrt(), rtol=1e-3, atol=0)


@pytest.mark.parametrize(("constants", "bound"), [((1.0,) * 3, WIDEST), ((1e8,) * 3, NARROWEST)])
def test_widths_have_bounds(constants: tuple[float, float, float], bound: tuple) -> None:
    molecule = chain(*constants)
    coordinates = InternalCoordinates(zmatrix_from_topology(molecule.topology))
    energy = ReferenceEnergy(molecule.system_xml, 4, 1000.0)
    found = widths(energy, coordinates, MINIMUM, KT)
    expected = torch.tensor([bound[0]] * 3 + [bound[1]] * 2 + [bound[2]]).double()
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize(("torsion", "turns"), [(9.0, True), (11.0, False)])
def test_a_torsion_turns_if_its_barrier_is_low(torsion: float, turns: bool) -> None:
    molecule = chain(2e5, 400.0, torsion)
    coordinates = InternalCoordinates(zmatrix_from_topology(molecule.topology))
    barriers, _ = torsion_barriers(molecule, coordinates, MINIMUM)
    assert (barriers < 20.0).tolist() == [False] * 5 + [turns]


def turning_bonds(molecule: Molecule) -> set[frozenset[str]]:
    """By the names of the two atoms."""
    coordinates = InternalCoordinates(zmatrix_from_topology(molecule.topology))
    centre, _ = coordinates(torch.as_tensor(molecule.positions_nm).reshape(1, -1))
    circles = torsion_barriers(molecule, coordinates, centre[0])[0] < 4 * KT
    first = len(centre[0]) - molecule.n_atoms + 3
    names = [f"{a.residue.name} {a.name}" for a in molecule.topology.atoms]
    return {
        frozenset({names[row.bond], names[row.angle]})
        for row, circle in zip(coordinates.zmatrix.rows, circles[first:], strict=True)
        if circle
    }


def test_what_turns_in_alanine_dipeptide(alanine) -> None:
    """φ, ψ and three methyls, but no peptide bond."""
    assert turning_bonds(alanine) == {
        frozenset({"ALA N", "ALA CA"}),
        frozenset({"ALA CA", "ALA C"}),
        frozenset({"ALA CA", "ALA CB"}),
        frozenset({"ACE CH3", "ACE C"}),
        frozenset({"NME N", "NME C"}),
    }


def test_what_turns_in_toluene() -> None:
    """The methyl, but nothing in the ring."""
    toluene = load_molecule(SystemConfig(testsystem="TolueneVacuum"))
    assert turning_bonds(toluene) == {frozenset({"TOL C6", "TOL C7"})}


@pytest.fixture(scope="module")
def made(alanine) -> Frames:
    return conformations_from_energy(alanine, 1000.0, True, seed=1)


def test_the_same_torsions_are_circles_as_by_md_frames(made, alanine, smoke_config) -> None:
    trans = load_frames(smoke_config.data.model_copy(update={"peptide_bonds": "trans"}), alanine)
    by_energy, by_frames = (
        fitted_generator(smoke_config, alanine.zmatrix, frames.positions_nm).standardise
        for frames in (made, trans)
    )
    assert by_energy.n_circular == 5
    assert torch.equal(by_energy.circular, by_frames.circular)
    linear = ~by_frames.circular
    ratio = by_energy.scale[linear] / by_frames.scale[linear]
    assert ((ratio > 0.5) & (ratio < 1.2)).all(), "narrower, as the nearest by reverse KL is"


def handedness(positions_nm: np.ndarray, topology: mdtraj.Topology) -> np.ndarray:
    """Sign of the volume that N, C and CB span at CA."""
    ca, *rest = (topology.select(f"resname ALA and name {n}")[0] for n in ("CA", "N", "C", "CB"))
    return np.sign(np.linalg.det(positions_nm[:, rest] - positions_nm[:, [ca]]))


def test_handedness_and_peptide_bonds_are_kept(made, alanine) -> None:
    assert len(made.positions_nm) == CONFORMATIONS
    start = handedness(alanine.positions_nm[None], alanine.topology)
    assert (handedness(made.positions_nm, alanine.topology) == start).all()
    assert all_trans(made.positions_nm, alanine.topology).all()


def test_the_rotatable_torsions_are_uniform(made, alanine) -> None:
    trajectory = mdtraj.Trajectory(made.positions_nm, alanine.topology)
    for _, torsion in (mdtraj.compute_phi(trajectory), mdtraj.compute_psi(trajectory)):
        counts, _ = np.histogram(torsion, bins=8, range=(-np.pi, np.pi))
        np.testing.assert_allclose(counts, CONFORMATIONS / 8, rtol=0.25)


def test_energies_are_those_of_the_temperature(made, alanine, plain_openmm) -> None:
    calm, _ = plain_openmm(alanine.system_xml, made.made.calm_nm)
    turned, _ = plain_openmm(alanine.system_xml, made.positions_nm[:200])
    kt = kt_in_kjmol(1000.0)
    assert calm.mean() == pytest.approx(made.made.typical_kjmol, abs=6 * kt)
    assert np.median(turned) == pytest.approx(made.made.typical_kjmol, abs=12 * kt)


def test_the_seed_says_all(made, alanine) -> None:
    again, other = (conformations_from_energy(alanine, 1000.0, True, seed=s) for s in (1, 2))
    np.testing.assert_array_equal(again.positions_nm, made.positions_nm)
    np.testing.assert_array_equal(again.made.calm_nm, made.made.calm_nm)
    assert again.made.n_evaluations == made.made.n_evaluations
    assert not np.array_equal(other.positions_nm, made.positions_nm)


def test_every_evaluation_is_counted(alanine, monkeypatch) -> None:
    counted = []
    real: Callable = ReferenceEnergy._evaluate

    def evaluate(self: ReferenceEnergy, positions: np.ndarray) -> object:
        counted.append(len(positions))
        return real(self, positions)

    monkeypatch.setattr(ReferenceEnergy, "_evaluate", evaluate)
    made = conformations_from_energy(alanine, 1000.0, True, seed=1)
    assert made.made.n_evaluations == sum(counted)


def test_cis_is_refused_where_trans_is_asked_for(alanine) -> None:
    coordinates = InternalCoordinates(zmatrix_from_topology(alanine.topology))
    q, _ = coordinates(torch.as_tensor(alanine.positions_nm).reshape(1, -1))
    names = [f"{a.residue.name} {a.name}" for a in alanine.topology.atoms]
    (column,) = (
        i
        for i, row in enumerate(coordinates.zmatrix.rows, q.shape[1] - alanine.n_atoms + 3)
        if {names[row.bond], names[row.angle]} == {"ACE C", "ALA N"}
        and names[row.atom] == "ACE CH3"
    )
    q[:, column] += np.pi
    cis = dataclasses.replace(
        alanine, positions_nm=coordinates.inverse(q)[0].reshape(-1, 3).numpy()
    )
    with pytest.raises(UserInputError, match=r"data\.peptide_bonds.*cis"):
        conformations_from_energy(cis, 1000.0, True, seed=1)


@pytest.mark.filterwarnings("ignore")
def test_positions_without_an_energy(alanine) -> None:
    nowhere = dataclasses.replace(alanine, positions_nm=np.zeros((22, 3)))
    with pytest.raises(UserInputError, match="not finite near its start"):
        conformations_from_energy(nowhere, 1000.0, True, seed=1)
