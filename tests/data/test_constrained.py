"""Frames of constrained MD: bonds that do not vary get the lengths of their harmonic terms."""

from __future__ import annotations

import logging
from dataclasses import replace

import mdtraj
import numpy as np
import openmm
import pytest
import torch
from openmm import app, unit
from openmmtools.testsystems import AlanineDipeptideVacuum
from scipy import integrate

from bgp4.config import Config, validate_config
from bgp4.coordinates import InternalCoordinates
from bgp4.data.constrained import draw_lengths, with_free_bonds
from bgp4.data.frames import Frames
from bgp4.errors import UserInputError
from bgp4.molecule.bonds import harmonic_bonds
from bgp4.report.collect import collect_run
from bgp4.report.metrics import compute_metrics
from bgp4.report.warnings import warnings
from bgp4.training.train import train

KT_300 = 2.4943387854


def hydrogens(molecule) -> list[tuple[int, int]]:
    return sorted(
        tuple(sorted((a.index, b.index)))
        for a, b in molecule.topology.bonds
        if "H" in (a.element.symbol, b.element.symbol)
    )


def held(frames: Frames, molecule, bonds: list[tuple[int, int]]) -> Frames:
    """The same frames with one length for each of these bonds."""
    coordinates = InternalCoordinates(molecule.zmatrix)
    q, _ = coordinates(torch.as_tensor(frames.positions_nm).double().flatten(1))
    for column, pair in enumerate(molecule.zmatrix.bonds):
        if tuple(sorted(pair)) in bonds:
            q[:, column] = q[0, column]
    positions = coordinates.inverse(q)[0].unflatten(1, (-1, 3)).numpy().astype(np.float32)
    return replace(frames, positions_nm=positions)


def lengths(positions_nm, bonds) -> np.ndarray:
    i, j = np.array(bonds).T
    return np.linalg.norm(positions_nm[:, i] - positions_nm[:, j], axis=-1)


def test_drawn_lengths_have_the_terms_density(alanine) -> None:
    """Against quadrature of r² exp(-k (r - r0)² / 2kT)."""
    bond = harmonic_bonds(alanine)[hydrogens(alanine)[0]]
    drawn = draw_lengths(bond, 300.0, 400_000, np.random.default_rng(1))
    ends = bond.length_nm + np.array([-1, 1]) * 0.03

    def moment(power: int) -> float:
        def weighed(r: float) -> float:
            energy = bond.k * (r - bond.length_nm) ** 2 / 2
            return r**power * r**2 * np.exp(-energy / KT_300)

        return integrate.quad(weighed, *ends, epsabs=1e-14)[0]

    mean = moment(1) / moment(0)
    std = np.sqrt(moment(2) / moment(0) - mean**2)
    assert drawn.mean() == pytest.approx(mean, abs=5 * std / np.sqrt(len(drawn)))
    assert drawn.std() == pytest.approx(std, rel=0.01)
    assert mean > bond.length_nm


@pytest.mark.parametrize("rounded_nm", [0.0, 1e-3])
def test_bonds_to_hydrogen_are_found_and_drawn(alanine, smoke_frames, rounded_nm, caplog) -> None:
    caplog.set_level(logging.INFO, logger="bgp4")
    bonds = hydrogens(alanine)
    constrained = held(smoke_frames, alanine, bonds)
    if rounded_nm:  # as XTC does
        rounded = np.round(constrained.positions_nm / rounded_nm) * rounded_nm
        constrained = replace(constrained, positions_nm=rounded.astype(np.float32))
    found = with_free_bonds(constrained, alanine, 300.0, 0)
    assert list(found.constrained) == bonds
    assert "frames of constrained MD (all bonds to hydrogen)" in caplog.text
    assert "12 of 21 bonds" in caplog.text
    width = np.array([np.sqrt(KT_300 / harmonic_bonds(alanine)[pair].k) for pair in bonds])
    n = len(found.positions_nm)
    np.testing.assert_allclose(
        lengths(found.positions_nm, bonds).std(axis=0), width, rtol=5 / np.sqrt(2 * n)
    )
    others = [pair for pair in alanine.zmatrix.bonds if tuple(sorted(pair)) not in bonds]
    np.testing.assert_allclose(
        lengths(found.positions_nm, others), lengths(constrained.positions_nm, others), atol=2e-6
    )
    torsion = np.array(alanine.zmatrix.torsions)
    one, other = (
        mdtraj.compute_dihedrals(mdtraj.Trajectory(x.positions_nm, alanine.topology), torsion)
        for x in (found, constrained)
    )
    assert np.abs(np.angle(np.exp(1j * (one - other)))).max() < 1e-3


def test_frames_of_openmms_constraints(alanine) -> None:
    """Of a System with constraints=HBonds: refused nowhere, and the rest stays as it was."""
    made = AlanineDipeptideVacuum(constraints=app.HBonds)
    integrator = openmm.LangevinMiddleIntegrator(300, 5, 0.002)
    context = openmm.Context(
        made.system, integrator, openmm.Platform.getPlatformByName("Reference")
    )
    context.setPositions(made.positions)
    context.applyConstraints(1e-6)
    frames = []
    for _ in range(40):
        integrator.step(25)
        state = context.getState(getPositions=True)
        frames.append(state.getPositions(asNumpy=True).value_in_unit(unit.nanometer))
    constrained = Frames((), np.array(frames, np.float32), None, 300.0)
    assert list(with_free_bonds(constrained, alanine, 300.0, 0).constrained) == hydrogens(alanine)


def test_free_frames_stay_as_they_are(alanine, smoke_frames) -> None:
    assert with_free_bonds(smoke_frames, alanine, 300.0, 0) is smoke_frames


def test_one_constrained_file_of_two_counts(alanine, smoke_frames) -> None:
    bonds = hydrogens(alanine)
    half = held(smoke_frames, alanine, bonds).positions_nm
    both = np.concatenate([smoke_frames.positions_nm, half])
    mixed = replace(smoke_frames, positions_nm=both)
    assert list(with_free_bonds(mixed, alanine, 300.0, 0).constrained) == bonds


def test_rigid_angles_are_refused(alanine, smoke_frames) -> None:
    positions = np.repeat(smoke_frames.positions_nm[:1], 30, axis=0)
    rigid = replace(smoke_frames, positions_nm=positions)
    words = r"36 of 36 angles do not vary \(first ACE1-H1-.*--set data.path=null"
    with pytest.raises(UserInputError, match=words):
        with_free_bonds(rigid, alanine, 300.0, 0)


def test_without_a_term_nothing_is_drawn(alanine, smoke_frames) -> None:
    system = openmm.XmlSerializer.deserialize(alanine.system_xml)
    for index in reversed(range(system.getNumForces())):
        if isinstance(system.getForce(index), openmm.HarmonicBondForce):
            system.removeForce(index)
    bare = replace(alanine, system_xml=openmm.XmlSerializer.serialize(system))
    constrained = held(smoke_frames, alanine, hydrogens(alanine))
    with pytest.raises(UserInputError, match="no harmonic term to draw its length from"):
        with_free_bonds(constrained, bare, 300.0, 0)


@pytest.fixture
def constrained_run(alanine, smoke_frames, smoke_config, in_tmp):
    frames = held(smoke_frames, alanine, hydrogens(alanine))
    mdtraj.Trajectory(frames.positions_nm, alanine.topology).save("constrained.h5")
    raw = smoke_config.model_dump(mode="json")
    raw["data"] |= {"path": "constrained.h5"}
    raw["training"] |= {"steps": 20, "evaluate_every": 10, "energy_batch_size": 32}
    raw["report"] |= {"samples": 200, "reference": None}
    config: Config = validate_config(raw, "test")
    return train(config, in_tmp / "run", device="cpu")


def test_run_and_report_leave_these_bonds_out(constrained_run, alanine) -> None:
    run = constrained_run
    assert run.info()["data"]["constrained_bonds"] == 12
    result = collect_run(run)
    assert result.data_log_prob is None
    labels = result.marginals["bond"].labels
    assert len(labels) == 9
    assert not any(name.startswith("H") for label in labels for name in label.split()[0].split("–"))
    metrics = compute_metrics(result)
    assert metrics["constrained_bonds"] == "all bonds to hydrogen"
    assert any(
        "The MD had constrained bonds (all bonds to hydrogen)" in w for w in warnings(metrics)
    )


def test_all_bonds_left_out(constrained_run) -> None:
    result = collect_run(constrained_run)
    every = tuple(
        sorted((min(a.index, b.index), max(a.index, b.index))) for a, b in result.topology.bonds
    )
    none = replace(result, constrained_bonds=tuple(tuple(p) for p in every))
    assert none.marginals["bond"].labels == []
    assert np.isnan(compute_metrics(none)["bond_tv_mean"])
