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
from bgp4.energies.batched import (
    BatchedEnergy,
    check_against_openmm,
    energies_and_forces,
    in_place,
)
from bgp4.energies.forcefield import read_force_field
from bgp4.energies.openmm import OpenMMEnergy
from bgp4.energies.potential import Potential
from bgp4.energies.select import training_energy
from bgp4.energies.terms import UnsupportedForce
from bgp4.errors import UserInputError
from bgp4.kernels import compiled
from bgp4.kernels import energies as kernel
from bgp4.kernels.energies import load_kernel
from bgp4.molecule.molecule import Molecule, load_molecule
from bgp4.statistics.samples import REJECTED_ENERGY_KT
from bgp4.studies.bench.peptides import alanine_peptide

FOLDER = "openmmtools:data/alanine-dipeptide-gbsa/alanine-dipeptide"


def prmtop(solvent: str | None) -> SystemConfig:
    return SystemConfig(prmtop=f"{FOLDER}.prmtop", inpcrd=f"{FOLDER}.crd", implicit_solvent=solvent)


def force_field(solvent: str) -> SystemConfig:
    return SystemConfig(pdb="ala4.pdb", forcefield=("amber14-all.xml", solvent))


MOLECULES: dict[str, SystemConfig | tuple[str, ...]] = {
    "ala2/vacuum": SystemConfig(testsystem="AlanineDipeptideVacuum"),
    "ala2/OBC1": SystemConfig(testsystem="AlanineDipeptideImplicit"),
    "ala2/OBC1 prmtop": prmtop("OBC1"),
    "ala2/OBC2": prmtop("OBC2"),
    "ala2/HCT": prmtop("HCT"),
    "ala2/GBn": prmtop("GBn"),
    "ala2/GBn2": prmtop("GBn2"),
    "ala4/OBC1 force field": force_field("implicit/obc1.xml"),
    "ala4/OBC2 force field": force_field("implicit/obc2.xml"),
    "ala4/GBn2 force field": force_field("implicit/gbn2.xml"),
    "ala3/ff19SB, HCT": ("amber19-all.xml", "implicit/hct.xml"),
    "ala3/ff19SB, GBn2": ("amber19-all.xml", "implicit/gbn2.xml"),
    "ala3/CHARMM36, GBn2": ("charmm36.xml", "implicit/gbn2.xml"),
    "toluene/vacuum": SystemConfig(testsystem="TolueneVacuum"),
    "toluene/implicit": SystemConfig(testsystem="TolueneImplicit"),
}
"""Configs of molecules, or force fields of tri-alanine."""


@pytest.fixture(scope="module", params=MOLECULES.values(), ids=MOLECULES.keys())
def molecule(request: pytest.FixtureRequest) -> Molecule:
    if isinstance(request.param, SystemConfig):
        return load_molecule(request.param)
    return alanine_peptide(2, request.param)


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


def test_what_a_gpu_computes_in_place_is_what_goes_through_numpy(alanine, caplog) -> None:
    positions = shaken(alanine, 4)
    positions[2, 0] = positions[2, 15]
    x = torch.as_tensor(positions)
    through_numpy, energy = (BatchedEnergy(alanine, 450.0) for _ in range(2))
    terms = read_force_field(alanine.system_xml)
    energy._in_place = in_place(terms, torch.float64, energy.device)
    with caplog.at_level("WARNING", logger="bgp4"):
        made = energy.reduced(x)
        assert not caplog.records, "to say so it would have to wait for the GPU"
        assert (energy.n_evaluations, energy.n_rejected) == (4, 1)
    assert "rejected 1 of 4 conformations" in caplog.text
    for values, expected in zip(made, through_numpy.reduced(x), strict=True):
        torch.testing.assert_close(values, expected, rtol=1e-9, atol=1e-6)
    by_way_of_it = energy._by_way_of_the_device(positions)
    for ours, theirs in zip(by_way_of_it, energy._function(positions), strict=True):
        np.testing.assert_allclose(np.delete(ours, 2, 0), np.delete(theirs, 2, 0), rtol=1e-7)


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


ENGINES = {
    "kernel": energies_and_forces,
    "torch": lambda terms, dtype: Potential(terms, dtype).evaluate,
}


@pytest.fixture(params=ENGINES.values(), ids=ENGINES.keys())
def engine(request: pytest.FixtureRequest) -> Callable:
    if request.param is ENGINES["kernel"] and load_kernel() is None:
        pytest.skip("no C++ compiler")
    return request.param


def test_both_engines_against_openmm(engine, molecule, plain_openmm) -> None:
    positions = shaken(molecule, 40)
    expected, forces = plain_openmm(molecule.system_xml, positions)
    terms = read_force_field(molecule.system_xml)
    double, double_forces = engine(terms, torch.float64)(positions)
    np.testing.assert_allclose(double, expected, rtol=0, atol=1e-3)
    np.testing.assert_allclose(double_forces, forces, rtol=1e-6, atol=1e-2)
    single, single_forces = engine(terms, torch.float32)(positions)
    np.testing.assert_allclose(single, double, rtol=1e-6, atol=3e-3)
    np.testing.assert_allclose(single_forces, double_forces, rtol=0, atol=1e-5 * np.ptp(forces))


def test_the_kernels_gradient_is_that_of_the_torch_energy(molecule) -> None:
    """Analytic against autograd, to the last digits, also where atoms are far out of place."""
    terms = read_force_field(molecule.system_xml)
    positions = shaken(molecule, 40) + np.random.default_rng(1).normal(0, 0.02, (40, 1, 1))
    energy, forces = ENGINES["torch"](terms, torch.float64)(positions)
    ours, our_forces = energies_and_forces(terms, torch.float64)(positions)
    np.testing.assert_allclose(ours, energy, rtol=1e-11, atol=1e-9)
    np.testing.assert_allclose(our_forces, forces, rtol=1e-8, atol=1e-7)


@pytest.mark.parametrize("batch", [0, 1, 31, 32, 33, 100])
@pytest.mark.parametrize("threads", [1, 3])
def test_each_conformation_by_itself(alanine, batch: int, threads: int) -> None:
    """Whatever the batch and the number of threads, bit by bit; in torch but for rounding."""
    positions = shaken(alanine, 100)
    energy = BatchedEnergy(alanine, 300.0, torch.float32)
    expected = energy.evaluate(positions)
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        result = energy.evaluate(positions[:batch])
    finally:
        torch.set_num_threads(before)
    rounding = 0 if load_kernel() else 1e-5
    for name in ("energy_kjmol", "forces_kjmol_nm"):
        found, whole = getattr(result, name), getattr(expected, name)
        atol = rounding * np.abs(whole).max()
        np.testing.assert_allclose(found, whole[:batch], rtol=0, atol=atol)


def test_a_stretched_molecule_and_a_straight_angle(alanine, plain_openmm) -> None:
    """Beyond the spheres that overlap, where exponentials vanish and angles reach 180°."""
    positions = np.stack([scale * alanine.positions_nm for scale in (0.7, 3.0, 20.0)])
    expected, forces = plain_openmm(alanine.system_xml, positions)
    result = BatchedEnergy(alanine, 300.0).evaluate(positions)
    np.testing.assert_allclose(result.energy_kjmol, expected, rtol=1e-9)
    np.testing.assert_allclose(result.forces_kjmol_nm, forces, rtol=1e-7, atol=1e-2)
    system, angle = particles(), openmm.HarmonicAngleForce()
    for i in range(2):
        angle.addAngle(i, i + 1, i + 2, 2.0, 100.0)
    system.addForce(angle)
    chain = replace(
        alanine,
        system_xml=openmm.XmlSerializer.serialize(system),
        positions_nm=np.array([[0, 0, 0], [0.1, 0, 0], [0.2, 1e-5, 0], [0.1, 1e-5, 2e-5]]),
    )
    expected, _ = plain_openmm(chain.system_xml, chain.positions_nm[None])
    energy = BatchedEnergy(chain, 300.0).evaluate(chain.positions_nm[None]).energy_kjmol
    np.testing.assert_allclose(energy, expected, rtol=1e-6)


def test_without_a_compiler_torch_serves(alanine, monkeypatch, caplog) -> None:
    monkeypatch.setattr(compiled.shutil, "which", lambda name: None)
    load_kernel.cache_clear()
    try:
        with caplog.at_level("WARNING", logger="bgp4"):
            function = energies_and_forces(read_force_field(alanine.system_xml), torch.float32)
    finally:
        load_kernel.cache_clear()
    assert isinstance(function.__self__, Potential)
    assert "no C++ compiler" in caplog.text


def test_the_kernel_is_compiled_once(tmp_path, monkeypatch, caplog) -> None:
    """A second process finds the first one's library; a source that is no C++ is no disaster."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    load = load_kernel.__wrapped__
    if load() is None:
        pytest.skip("no C++ compiler")
    (made,) = (tmp_path / "bgp4").iterdir()
    written = made.stat().st_mtime_ns
    assert load() is not None
    assert made.stat().st_mtime_ns == written
    broken = tmp_path / "broken.cpp"
    broken.write_text("no C++")
    monkeypatch.setattr(kernel, "SOURCE", broken)
    with caplog.at_level("WARNING", logger="bgp4"):
        assert load() is None
    assert "broken.cpp can't be compiled" in caplog.text
    assert "error: " in caplog.text


def particles(n: int = 4) -> openmm.System:
    system = openmm.System()
    for _ in range(n):
        system.addParticle(12.0)
    return system


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
    restraint = openmm.CustomBondForce("10*(r-0.5)^4")
    restraint.addBond(0, 21)
    system.addForce(restraint)
    return replace(alanine, system_xml=openmm.XmlSerializer.serialize(system))


def select(method: str, molecule: Molecule) -> Any:
    config = EnergyConfig(method=method, platform="Reference", workers=1)
    return training_energy(config, molecule, 300.0, shaken(molecule, 3))


def test_training_uses_the_batched_energy_where_it_can(alanine) -> None:
    with select("auto", alanine) as energy:
        assert isinstance(energy, BatchedEnergy)
        assert energy.dtype == torch.float32


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
    with pytest.raises(UserInputError, match="batched does not support CustomBond"):
        select("batched", restrained)
