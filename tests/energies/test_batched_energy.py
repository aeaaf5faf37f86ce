"""The force field in torch against OpenMM; what it does not know is refused by name."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import openmm
import pytest
import torch

from bgp4.config import EnergyConfig, SystemConfig
from bgp4.energies import batched as batched_module
from bgp4.energies.base import REJECTED_ENERGY_KT
from bgp4.energies.batched import BatchedEnergy, check_against_openmm
from bgp4.energies.forcefield import UnsupportedForce, read_force_field
from bgp4.energies.openmm import OpenMMEnergy
from bgp4.energies.select import training_energy
from bgp4.errors import UserInputError
from bgp4.system import Molecule, load_molecule

pytestmark = pytest.mark.filterwarnings("ignore:.torch.jit.script_method.:DeprecationWarning")

FOLDER = "openmmtools:data/alanine-dipeptide-gbsa/alanine-dipeptide"


def prmtop(solvent: str | None) -> SystemConfig:
    return SystemConfig(prmtop=f"{FOLDER}.prmtop", inpcrd=f"{FOLDER}.crd", implicit_solvent=solvent)


MOLECULES = {
    "ala2/vacuum": SystemConfig(testsystem="AlanineDipeptideVacuum"),
    "ala2/OBC1": SystemConfig(testsystem="AlanineDipeptideImplicit"),
    "ala2/OBC1 prmtop": prmtop("OBC1"),
    "ala2/OBC2": prmtop("OBC2"),
    "toluene/vacuum": SystemConfig(testsystem="TolueneVacuum"),
    "toluene/implicit": SystemConfig(testsystem="TolueneImplicit"),
}


@pytest.fixture(scope="module", params=MOLECULES.values(), ids=MOLECULES.keys())
def molecule(request: pytest.FixtureRequest) -> Molecule:
    return load_molecule(request.param)


def shaken(molecule: Molecule, n: int = 20, seed: int = 0) -> np.ndarray:
    noise = np.random.default_rng(seed).normal(0, 0.008, (n, molecule.n_atoms, 3))
    return molecule.positions_nm + noise


def test_against_openmm(molecule, plain_openmm) -> None:
    positions = shaken(molecule)
    expected, forces = plain_openmm(molecule.system_xml, positions)
    result = BatchedEnergy(molecule, 300.0).evaluate(positions)
    np.testing.assert_allclose(result.energy_kjmol, expected, rtol=0, atol=1e-3)
    np.testing.assert_allclose(result.forces_kjmol_nm, forces, rtol=1e-6, atol=1e-2)
    assert np.ptp(expected) > 100


def test_float32_is_enough_for_training(molecule, plain_openmm) -> None:
    positions = shaken(molecule)
    expected, forces = plain_openmm(molecule.system_xml, positions)
    result = BatchedEnergy(molecule, 300.0, torch.float32).evaluate(positions + 3.0)
    np.testing.assert_allclose(result.energy_kjmol, expected, rtol=1e-5, atol=2e-2)
    scale = np.abs(forces).max()
    np.testing.assert_allclose(result.forces_kjmol_nm, forces, rtol=0, atol=1e-4 * scale)


def test_energy_and_gradient_in_kt(alanine, plain_openmm) -> None:
    positions = shaken(alanine, 4)
    expected, forces = plain_openmm(alanine.system_xml, positions)
    x = torch.as_tensor(positions).requires_grad_()
    with BatchedEnergy(alanine, 450.0) as energy:
        u = energy(x)
        (gradient,) = torch.autograd.grad(u.sum(), x)
    kt = 8.31446261815324e-3 * 450.0
    np.testing.assert_allclose(u.detach().numpy(), expected / kt, rtol=1e-7)
    np.testing.assert_allclose(gradient.numpy(), -forces / kt, rtol=1e-5, atol=1e-2)


def test_what_a_gpu_computes_in_place_is_what_goes_through_numpy(alanine) -> None:
    positions = shaken(alanine, 4)
    positions[2, 0] = positions[2, 15]
    x = torch.as_tensor(positions)
    energy = BatchedEnergy(alanine, 450.0)
    for values, expected in zip(energy._reduced_in_place(x), energy.reduced(x), strict=True):
        torch.testing.assert_close(values, expected, rtol=1e-9, atol=1e-6)
    assert (energy.n_evaluations, energy.n_rejected) == (8, 2)


def test_what_is_not_finite_is_rejected(alanine, caplog) -> None:
    positions = shaken(alanine, 4)
    positions[1, 2, 0] = np.nan
    positions[3, 0] = positions[3, 15]
    energy = BatchedEnergy(alanine, 300.0)
    with caplog.at_level("WARNING", logger="bgp4"):
        x = torch.as_tensor(positions).requires_grad_()
        u = energy(x)
        u.sum().backward()
    assert u[[1, 3]].tolist() == [REJECTED_ENERGY_KT] * 2
    assert (x.grad[[1, 3]] == 0).all()
    assert torch.isfinite(u).all()
    assert (energy.n_evaluations, energy.n_rejected) == (4, 2)
    assert "rejected 2 of 4 conformations (first: index 1" in caplog.text


def test_chunks_are_padded_and_cut_again(alanine, monkeypatch) -> None:
    """Compiled functions are for one batch size; here the uncompiled one counts its calls."""
    sizes = []

    def counting(potential: Callable) -> Callable:
        def call(x: torch.Tensor) -> torch.Tensor:
            sizes.append(x.shape[2])
            return potential(x)

        return call

    monkeypatch.setattr(batched_module, "compiled", counting)
    positions = shaken(alanine, 11)
    expected = BatchedEnergy(alanine, 300.0).evaluate(positions)
    result = BatchedEnergy(alanine, 300.0, chunk=4).evaluate(positions)
    assert sizes == [4, 4, 4]
    np.testing.assert_allclose(result.energy_kjmol, expected.energy_kjmol, rtol=1e-12)
    np.testing.assert_allclose(result.forces_kjmol_nm, expected.forces_kjmol_nm, rtol=1e-9)
    empty = BatchedEnergy(alanine, 300.0, chunk=4).evaluate(positions[:0])
    assert empty.energy_kjmol.shape == (0,)
    assert empty.forces_kjmol_nm.shape == (0, 22, 3)


def particles(n: int = 4) -> openmm.System:
    system = openmm.System()
    for _ in range(n):
        system.addParticle(12.0)
    return system


def nonbonded(**settings: Any) -> openmm.NonbondedForce:
    force = openmm.NonbondedForce()
    for _ in range(4):
        force.addParticle(0.1, 0.3, 0.2)
    for name, value in settings.items():
        getattr(force, f"set{name}")(value)
    return force


def with_offsets() -> openmm.NonbondedForce:
    force = nonbonded()
    force.addGlobalParameter("scale", 1.0)
    force.addParticleParameterOffset("scale", 0, 0.5, 0.0, 0.0)
    return force


def custom_pair() -> openmm.CustomNonbondedForce:
    force = openmm.CustomNonbondedForce("1/r^12")
    for _ in range(4):
        force.addParticle([])
    return force


def born(charge: float = 0.1, **settings: Any) -> openmm.GBSAOBCForce:
    force = openmm.GBSAOBCForce()
    for _ in range(4):
        force.addParticle(charge, 0.15, 0.8)
    for name, value in settings.items():
        getattr(force, f"set{name}")(value)
    return force


UNSUPPORTED = {
    "NonbondedForce with a cutoff": [
        lambda: nonbonded(NonbondedMethod=openmm.NonbondedForce.CutoffNonPeriodic)
    ],
    "NonbondedForce with parameter offsets": [with_offsets],
    "CustomNonbondedForce": [custom_pair],
    "CustomBondForce": [lambda: openmm.CustomBondForce("r^2")],
    "RBTorsionForce": [openmm.RBTorsionForce],
    "GBSAOBCForce with a cutoff": [
        lambda: born(NonbondedMethod=openmm.GBSAOBCForce.CutoffNonPeriodic)
    ],
    "solvation with other charges than NonbondedForce": [nonbonded, lambda: born(0.2)],
    "a second HarmonicBondForce": [openmm.HarmonicBondForce, openmm.HarmonicBondForce],
}


@pytest.mark.parametrize(("name", "forces"), UNSUPPORTED.items(), ids=UNSUPPORTED.keys())
def test_unsupported_forces_are_refused_by_name(name, forces) -> None:
    for order in (forces, forces[::-1]):
        system = particles()
        for make in order:
            system.addForce(make())
        with pytest.raises(UnsupportedForce, match=name):
            read_force_field(openmm.XmlSerializer.serialize(system))


def test_forces_without_terms_add_nothing(alanine, plain_openmm) -> None:
    """Water has a PeriodicTorsionForce without torsions."""
    system, bonds = particles(), openmm.HarmonicBondForce()
    for i in range(3):
        bonds.addBond(i, i + 1, 0.1, 1000.0 * (i + 1))
    for force in (bonds, openmm.HarmonicAngleForce(), openmm.PeriodicTorsionForce()):
        system.addForce(force)
    chain = replace(
        alanine,
        system_xml=openmm.XmlSerializer.serialize(system),
        positions_nm=np.arange(12.0).reshape(4, 3) / 30,
    )
    positions = shaken(chain)
    expected, _ = plain_openmm(chain.system_xml, positions)
    np.testing.assert_allclose(
        BatchedEnergy(chain, 300.0).evaluate(positions).energy_kjmol, expected
    )


@pytest.mark.filterwarnings("ignore:Non-optimal GB parameters")
@pytest.mark.parametrize("solvent", ["HCT", "GBn", "GBn2"])
def test_other_born_models_are_refused(solvent: str) -> None:
    with pytest.raises(UnsupportedForce, match="CustomGBForce"):
        read_force_field(load_molecule(prmtop(solvent)).system_xml)


def test_the_check_sees_a_wrong_term(alanine, monkeypatch) -> None:
    positions = shaken(alanine, 3)
    check_against_openmm(alanine, positions)
    read = batched_module.read_force_field

    def wrong(system_xml: str) -> Any:
        terms = read(system_xml)
        terms.bond_parameters = terms.bond_parameters * 1.0001
        return terms

    monkeypatch.setattr(batched_module, "read_force_field", wrong)
    with pytest.raises(UnsupportedForce, match="batched energies differ from OpenMM's by"):
        check_against_openmm(alanine, positions)


@pytest.fixture
def restrained(alanine) -> Molecule:
    """Alanine dipeptide with a term that only OpenMM knows."""
    system = openmm.XmlSerializer.deserialize(alanine.system_xml)
    restraint = openmm.CustomBondForce("10*(r-0.5)^2")
    restraint.addBond(0, 21)
    system.addForce(restraint)
    return replace(alanine, system_xml=openmm.XmlSerializer.serialize(system))


def select(method: str, molecule: Molecule, n: int = 1000, batch_size: int = 64) -> Any:
    config = EnergyConfig(method=method, platform="Reference", workers=1)
    return training_energy(config, molecule, 300.0, shaken(molecule, 3), batch_size, n)


def test_training_uses_the_batched_energy_where_it_can(alanine) -> None:
    with select("auto", alanine) as energy:
        assert isinstance(energy, BatchedEnergy)
        assert energy.dtype == torch.float32
        assert energy.chunk is None, "compiling does not pay for a few evaluations"


def test_training_falls_back_to_openmm(restrained, plain_openmm, caplog) -> None:
    with caplog.at_level("INFO", logger="bgp4"), select("auto", restrained) as energy:
        assert isinstance(energy, OpenMMEnergy)
        positions = shaken(restrained, 3)
        expected, _ = plain_openmm(restrained.system_xml, positions)
        np.testing.assert_allclose(energy.evaluate(positions).energy_kjmol, expected)
    assert "CustomBondForce" in caplog.text


def test_what_the_config_asks_for_is_what_it_gets(alanine, restrained) -> None:
    with select("openmm", alanine) as energy:
        assert isinstance(energy, OpenMMEnergy)
    with pytest.raises(UserInputError, match=r"energies.method: batched does not know CustomBond"):
        select("batched", restrained)


def test_compiled_it_is_the_same_function(alanine) -> None:
    positions = shaken(alanine, 10)
    with select("auto", alanine, n=10**7, batch_size=8) as energy:
        assert energy.chunk == 8
        compiled = energy.evaluate(positions)
    plain = BatchedEnergy(alanine, 300.0).evaluate(positions)
    np.testing.assert_allclose(compiled.energy_kjmol, plain.energy_kjmol, rtol=1e-5, atol=2e-2)
    np.testing.assert_allclose(compiled.forces_kjmol_nm, plain.forces_kjmol_nm, rtol=0, atol=5)
