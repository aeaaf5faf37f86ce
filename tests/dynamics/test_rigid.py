"""Constrained bonds in MD: lengths, temperature, and OpenMM's distributions."""

from __future__ import annotations

import numpy as np
import openmm
import pytest
import torch
from scipy import stats

from bgp4.config import SystemConfig
from bgp4.dynamics import rigid
from bgp4.dynamics.replicas import BatchedReplicas, DynamicsSettings, OpenMMReplicas
from bgp4.dynamics.rigid import RigidBonds, TorchRigidBonds, rigid_bonds
from bgp4.energies.reference import ReferenceEnergy
from bgp4.kernels.constraints import load_kernel
from bgp4.molecule.molecule import Molecule, load_molecule

R = 8.31446261815324e-3
DT = 0.002


@pytest.fixture(scope="module", params=["HBonds", "AllBonds"])
def molecule(request) -> Molecule:
    return load_molecule(
        SystemConfig(testsystem="AlanineDipeptideVacuum", constraints=request.param)
    )


def settings(molecule: Molecule, **changes: object) -> DynamicsSettings:
    values = {
        "system_xml": molecule.system_xml,
        "positions_nm": molecule.positions_nm,
        "temperatures_k": (300.0,),
        "stacks": 40,
        "timestep_fs": 1000 * DT,
        "friction_per_ps": 20.0,
        "platform": "Reference",
        "seed": 3,
    }
    return DynamicsSettings(**values | changes)


def lengths(molecule: Molecule, positions_nm: np.ndarray) -> np.ndarray:
    i, j = molecule.constraints.pairs.T
    return np.linalg.norm(positions_nm[:, i] - positions_nm[:, j], axis=-1)


def freed_by_openmm(molecule: Molecule, x: np.ndarray, v: np.ndarray) -> np.ndarray:
    """What OpenMM's own constraints leave of velocities."""
    system = openmm.XmlSerializer.deserialize(molecule.system_xml)
    platform = openmm.Platform.getPlatformByName("Reference")
    context = openmm.Context(system, openmm.VerletIntegrator(DT), platform)
    found = []
    for positions, velocities in zip(x, v, strict=True):
        context.setPositions(positions)
        context.setVelocities(velocities)
        context.applyVelocityConstraints(1e-10)
        found.append(context.getState(velocities=True).getVelocities(asNumpy=True)._value)
    return np.array(found)


@pytest.fixture(params=["kernel", "torch"])
def bonds(request, molecule) -> RigidBonds | TorchRigidBonds:
    if request.param == "torch":
        return TorchRigidBonds(molecule.constraints)
    if load_kernel() is None:
        pytest.skip("no C++ compiler")
    made = rigid_bonds(molecule.constraints, DT)
    assert isinstance(made, RigidBonds)
    return made


def on_the_manifold(molecule: Molecule, n: int) -> torch.Tensor:
    replicas = BatchedReplicas(settings(molecule, stacks=n))
    replicas.run(20)
    return replicas.x


@pytest.mark.parametrize("n", [1, 33])
def test_shifts_are_along_the_bonds(molecule, bonds, n) -> None:
    """Velocities, by OpenMM; and positions: to the lengths, along the bonds as they were alone."""
    x, rng = on_the_manifold(molecule, n), torch.Generator().manual_seed(1)
    v = torch.randn(x.shape, generator=rng).double()
    free = v.clone()
    assert bonds.free(free, x).all()
    np.testing.assert_allclose(free, freed_by_openmm(molecule, x.numpy(), v.numpy()), atol=1e-5)
    astray = x + DT * v
    held = astray.clone()
    assert bonds.hold(held, x).all()
    expected = molecule.constraints.lengths_nm
    np.testing.assert_allclose(lengths(molecule, held.numpy()) / expected, 1, atol=2e-8)
    mass = torch.as_tensor(molecule.constraints.masses)[:, None]
    torch.testing.assert_close((mass * held).sum(1), (mass * astray).sum(1))
    d = torch.as_tensor(molecule.constraints.difference)
    shift = mass * (held - astray)  # Dᵀ (g d): no other directions
    along = torch.einsum("ba,rbk->rakb", d, d @ x).flatten(1, 2)
    g = torch.linalg.lstsq(along, shift.flatten(1)[..., None]).solution
    torch.testing.assert_close((along @ g)[..., 0], shift.flatten(1), rtol=0, atol=1e-9)


def test_what_cannot_be_held_is_said(molecule, bonds) -> None:
    x = on_the_manifold(molecule, 2)
    far = x.clone()
    far[1] += torch.randn(far[1].shape, generator=torch.Generator().manual_seed(2)) * 10
    far[1, molecule.constraints.pairs[0, 0]] = torch.nan
    assert bonds.hold(far, x).tolist() == [True, False]
    wild = x.clone()
    wild[1] *= torch.nan
    assert bonds.free(wild, x).tolist() == [True, False]


def test_md_ends_when_bonds_cannot_be_held(molecule) -> None:
    replicas = BatchedReplicas(settings(molecule, stacks=2))
    replicas.v *= 1e4
    with pytest.raises(ValueError, match=r"shorten simulate\.timestep_fs"):
        replicas.run(1)


def test_lengths_hold_and_the_temperature_is_that_of_the_degrees_of_freedom(molecule) -> None:
    replicas = BatchedReplicas(settings(molecule, stacks=200))
    replicas.run(300)
    kinetic = []
    for _ in range(10):
        replicas.run(40)
        replicas.rigid.free(replicas.v, replicas.x)
        kinetic.append(0.5 * (replicas.mass * replicas.v.square()).sum((1, 2)).numpy())
    n_free = 3 * 22 - len(molecule.constraints)
    error = np.sqrt(2 / (n_free * 2000 / 3))  # frames 80 fs apart are not quite independent
    assert np.mean(kinetic) / (n_free * R * 300 / 2) == pytest.approx(1, abs=5 * error)
    held = lengths(molecule, replicas.positions_nm(0))
    np.testing.assert_allclose(held / molecule.constraints.lengths_nm, 1, atol=2e-8)


def test_exchanges_keep_lengths(molecule) -> None:
    """In both engines: configurations move, and rescaled velocities stay free of the bonds."""
    for engine in (BatchedReplicas, OpenMMReplicas):
        replicas = engine(settings(molecule, stacks=2, temperatures_k=(300.0, 400.0)))
        replicas.run(10)
        replicas.permute(np.array([[1, 0], [0, 1]]))
        replicas.run(10)
        for t in (0, 1):
            held = lengths(molecule, replicas.positions_nm(t))
            np.testing.assert_allclose(held / molecule.constraints.lengths_nm, 1, atol=2e-5)


def test_energies_have_openmms_distribution(molecule) -> None:
    """Potential energies of independent replicas at 2 fs, two samples by Kolmogorov-Smirnov."""
    reference = ReferenceEnergy(molecule.system_xml, 22, 300.0)
    found = []
    for engine, stacks, rounds in ((BatchedReplicas, 300, 2), (OpenMMReplicas, 40, 6)):
        replicas = engine(settings(molecule, stacks=stacks, platform="CPU"))
        replicas.run(400)
        frames = [replicas.positions_nm(0) for _ in range(rounds) if replicas.run(100) is None]
        found.append(reference.evaluate(np.concatenate(frames)).energy_kjmol)
    assert stats.ks_2samp(*found).pvalue > 1e-3
    unconstrained = 0.5 * R * 300 * len(molecule.constraints)  # what bonds would have had
    assert abs(found[0].mean() - found[1].mean()) < unconstrained / 3


def test_without_a_compiler_torch_holds_bonds(molecule, monkeypatch) -> None:
    expected = BatchedReplicas(settings(molecule, stacks=3))
    monkeypatch.setattr(rigid, "load_kernel", lambda: None)
    replicas = BatchedReplicas(settings(molecule, stacks=3))
    assert isinstance(replicas.rigid, TorchRigidBonds)
    for made in (expected, replicas):
        made.run(5)
    torch.testing.assert_close(replicas.x, expected.x, rtol=0, atol=1e-6)
