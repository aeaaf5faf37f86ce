"""Constrained bonds: the measure of constrained MD, by brute force and by MD itself."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import mdtraj
import numpy as np
import openmm
import pytest
import torch
from numpy.typing import NDArray
from scipy import stats
from torch.autograd.functional import jacobian

from bgp4.config import Config, SystemConfig
from bgp4.coordinates import ConstrainedCoordinates, InternalCoordinates, internal_coordinates
from bgp4.dynamics.replicas import BatchedReplicas, DynamicsSettings
from bgp4.energies.reference import ReferenceEnergy
from bgp4.flows.generator import in_double_precision
from bgp4.molecule.molecule import Molecule, load_molecule
from bgp4.molecule.placing import zmatrix_from_bonds
from bgp4.training.train import fitted_generator

KT = 8.31446261815324e-3 * 300
MASSES = np.array([40.0, 1.0, 40.0, 1.0])
LENGTH, ACROSS, STIFFNESS = 0.15, 0.24, 300.0
"""The first angle is that of a light atom between heavy ones, where the factor shows; hardly
anything holds it."""


@pytest.fixture(scope="module")
def chain() -> Molecule:
    """Four atoms in a row, all bonds constrained, with weak springs across the angles alone."""
    system, springs = openmm.System(), openmm.HarmonicBondForce()
    for mass in MASSES:
        system.addParticle(mass)
    for i in range(3):
        system.addConstraint(i, i + 1, LENGTH)
    for i in range(2):
        springs.addBond(i, i + 2, ACROSS, STIFFNESS)
    system.addForce(springs)
    topology = mdtraj.Topology()
    residue = topology.add_residue("MOL", topology.add_chain())
    atoms = [topology.add_atom(f"C{i}", mdtraj.element.carbon, residue) for i in range(4)]
    for one, other in pairwise(atoms):
        topology.add_bond(one, other)
    zmatrix = zmatrix_from_bonds(["C"] * 4, [(0, 1), (1, 2), (2, 3)])
    coordinates = InternalCoordinates(zmatrix)
    start, _ = coordinates.inverse(torch.tensor([[LENGTH] * 3 + [1.9] * 2 + [1.0]]).double())
    positions = start.numpy().reshape(4, 3)
    return Molecule("chain", openmm.XmlSerializer.serialize(system), topology, positions, zmatrix)


def coordinates_of(molecule: Molecule) -> ConstrainedCoordinates:
    made = internal_coordinates(molecule.zmatrix, molecule.constraints)
    assert isinstance(made, ConstrainedCoordinates)
    return made


@pytest.fixture(scope="module", params=["chain", "HBonds", "AllBonds"])
def molecule(request) -> Molecule:
    if request.param == "chain":
        return request.getfixturevalue("chain")
    return load_molecule(
        SystemConfig(testsystem="AlanineDipeptideVacuum", constraints=request.param)
    )


def near(molecule: Molecule, n: int) -> torch.Tensor:
    """Internal coordinates with the System's lengths, around the start positions."""
    coordinates = coordinates_of(molecule)
    q, _ = coordinates(torch.as_tensor(molecule.positions_nm).reshape(1, -1))
    noise = 0.2 * torch.randn(n, q.shape[1], generator=torch.Generator().manual_seed(1))
    noise[:, : molecule.n_atoms - 1] *= 0.02
    return torch.where(coordinates.fixed, q, q + noise.double())


def test_the_measure_is_that_of_the_mass_metric(molecule) -> None:
    """√det M_ss, from the numbers ∂x/∂q_s themselves, rigid motion included."""
    coordinates = coordinates_of(molecule)
    q = near(molecule, 5)
    free = (~coordinates.fixed).nonzero().flatten()
    mass = torch.as_tensor(molecule.constraints.masses).repeat_interleave(3)
    found = []
    for row in q:
        tangent = jacobian(lambda q: coordinates.inverse(q[None])[0][0], row)[:, free]
        x = coordinates.inverse(row[None])[0].reshape(-1, 3)
        moved = [axis.repeat(len(x), 1) for axis in torch.eye(3).double()]
        turned = [torch.linalg.cross(axis.expand_as(x), x) for axis in torch.eye(3).double()]
        rigid = torch.stack([v.flatten() for v in (*moved, *turned)], 1)
        every = torch.cat([tangent, rigid], 1)
        found.append(0.5 * torch.linalg.slogdet(every.T @ (mass[:, None] * every)).logabsdet)
    _, log_measure = coordinates.inverse(q)
    off = torch.stack(found) - log_measure
    np.testing.assert_allclose(off, off.mean(), atol=1e-8)
    assert log_measure.std() > 0.1


def test_forward_undoes_inverse_and_projects(molecule) -> None:
    coordinates = coordinates_of(molecule)
    q = near(molecule, 4)
    x, log_measure = coordinates.inverse(q)
    again, back = coordinates(x)
    torch.testing.assert_close(coordinates.inverse(again)[0], x)  # torsions may be a turn off
    torch.testing.assert_close(back, -log_measure)
    pairs = torch.as_tensor(molecule.constraints.pairs)
    longer = x + 1e-4 * torch.randn(x.shape, generator=torch.Generator().manual_seed(2))
    held = coordinates.inverse(coordinates(longer)[0])[0].reshape(4, -1, 3)
    lengths = (held[:, pairs[:, 0]] - held[:, pairs[:, 1]]).norm(dim=-1)
    expected = torch.as_tensor(molecule.constraints.lengths_nm).expand_as(lengths)
    torch.testing.assert_close(lengths, expected)


def test_the_factor_has_its_gradient(molecule) -> None:
    coordinates = coordinates_of(molecule)
    x = coordinates.inverse(near(molecule, 2))[0].requires_grad_()
    assert torch.autograd.gradcheck(coordinates.half_log_det, (x,), atol=1e-6)


def test_bonds_without_a_common_atom_have_no_factor(chain) -> None:
    constraints = replace(
        chain.constraints,
        pairs=chain.constraints.pairs[[0, 2]],
        lengths_nm=chain.constraints.lengths_nm[[0, 2]],
    )
    coordinates = ConstrainedCoordinates(chain.zmatrix, constraints)
    factor = coordinates.half_log_det(torch.as_tensor(chain.positions_nm).reshape(1, -1))
    torch.testing.assert_close(factor, torch.zeros_like(factor))


GRID = np.linspace(1e-3, np.pi - 1e-3, 801)


def exact(with_factor: bool) -> NDArray:
    """Density of the first angle of the chain on `GRID`, the other integrated out: Z is 3 × 3."""
    one, other = np.meshgrid(GRID, GRID, indexing="ij")
    first, middle, last = 1 / MASSES[:-1] + 1 / MASSES[1:]
    det_z = first * middle * last
    det_z = det_z - last * np.square(np.cos(one) / MASSES[1])
    det_z = det_z - first * np.square(np.cos(other) / MASSES[2])
    across = 2 * LENGTH * np.sin([one / 2, other / 2])
    energy = STIFFNESS / 2 * np.square(across - ACROSS).sum(0)
    joint = np.sin(one) * np.sin(other) * np.exp(-energy / KT)
    density: NDArray = (joint * np.sqrt(det_z) if with_factor else joint).sum(1)
    return density / density.sum()


def cdf(with_factor: bool, values: NDArray) -> NDArray:
    return np.interp(values, GRID, np.cumsum(exact(with_factor)))


def first_angle(positions: NDArray, chain: Molecule) -> NDArray:  # (frames,)
    trajectory = mdtraj.Trajectory(positions, chain.topology)
    return mdtraj.compute_angles(trajectory, [(0, 1, 2)])[:, 0].astype(float)


def of_openmm(chain: Molecule) -> NDArray:
    """2,000 frames of one trajectory, 0.3 ps apart."""
    integrator = openmm.LangevinMiddleIntegrator(300, 20, 0.002)
    integrator.setRandomNumberSeed(1)
    system = openmm.XmlSerializer.deserialize(chain.system_xml)
    platform = openmm.Platform.getPlatformByName("Reference")
    context = openmm.Context(system, integrator, platform)
    context.setPositions(chain.positions_nm)
    context.setVelocitiesToTemperature(300, 1)
    frames = []
    for _ in range(2000):
        integrator.step(150)
        frames.append(context.getState(positions=True).getPositions(asNumpy=True)._value)
    return np.array(frames)


def of_batches(chain: Molecule) -> NDArray:
    """4,000 frames of 800 replicas, 0.3 ps apart."""
    settings = DynamicsSettings(
        chain.system_xml, chain.positions_nm, (300.0,), 800, 2.0, 20.0, "Reference", 5
    )
    replicas = BatchedReplicas(settings)
    replicas.run(300)
    frames = [replicas.positions_nm(0) for _ in range(5) if replicas.run(150) is None]
    return np.concatenate(frames)


@pytest.mark.parametrize("frames_of", [of_openmm, of_batches])
def test_constrained_md_samples_the_factor(chain, frames_of) -> None:
    """Both engines: within the noise of the frames with the factor, far outside without."""
    found = first_angle(frames_of(chain), chain)
    assert stats.kstest(found, lambda v: cdf(True, v)).pvalue > 1e-3
    assert stats.kstest(found, lambda v: cdf(False, v)).pvalue < 1e-6


def test_a_flows_weights_make_its_averages_those_of_constrained_md(chain) -> None:
    """A flow fitted to frames, but not trained: its weights bring in the factor."""
    small = {"blocks": 1, "torsion_blocks": 1, "hidden": [8], "mixing": "permutation"}
    config = Config(system="AlanineDipeptideVacuum", temperature_k=300, model=small)
    frames = of_batches(chain).astype(np.float32)
    model = fitted_generator(config, chain.zmatrix, frames, chain.constraints)
    assert model.standardise.features == 3
    double = in_double_precision(model)
    with torch.no_grad():
        made = double.generate(20_000, torch.Generator().manual_seed(3))
        again = double.log_prob_xyz(made.positions_nm)
    inside = made.valid
    torch.testing.assert_close(again[inside], made.log_prob_xyz[inside], rtol=0, atol=1e-7)
    positions = made.positions_nm[inside].numpy()
    energy_kt = ReferenceEnergy(chain.system_xml, 4, 300.0).evaluate(positions).energy_kjmol / KT
    log_weight = -energy_kt - made.log_prob_xyz[inside].numpy()
    weight = np.exp(log_weight - log_weight.max())
    n_effective = weight.sum() ** 2 / np.square(weight).sum()
    assert n_effective > 2_000
    found = first_angle(positions, chain)
    mean, bare = ((exact(f) * (GRID - np.pi / 2) ** 2).sum() for f in (True, False))
    values = (found - np.pi / 2) ** 2
    average = np.average(values, weights=weight)
    error = values.std() / np.sqrt(n_effective)
    assert abs(average - mean) < 4 * error < abs(mean - bare)
