"""A constrained System from training to report: energies, weights and densities in one ensemble."""

from __future__ import annotations

from pathlib import Path

import mdtraj
import numpy as np
import openmm
import pytest
import torch
from openmm import app
from openmmtools.testsystems import AlanineDipeptideVacuum
from scipy import stats

import bgp4
from bgp4.cli.initialise import init_command
from bgp4.config import Config, load_config, validate_config
from bgp4.dynamics.simulate import simulate, write_trajectory
from bgp4.energies.batched import BatchedEnergy
from bgp4.energies.reference import ReferenceEnergy
from bgp4.errors import UserInputError
from bgp4.molecule.molecule import Molecule, load_molecule
from bgp4.pipeline.request import MoleculeRequest
from bgp4.report.collect import collect_run
from bgp4.report.metrics import compute_metrics
from bgp4.report.warnings import warnings
from bgp4.sampling.draw import draw_samples
from bgp4.sampling.files import read_samples
from bgp4.sampling.moves import MolecularDynamics
from bgp4.sampling.request import SampleRequest
from bgp4.storage.bundled import find_data
from bgp4.training.run import RunFolder
from bgp4.training.train import train

KT = 8.31446261815324e-3 * 1000


def smoke(**changes: object) -> Config:
    raw = load_config("ala2_smoke.yaml").model_dump(mode="json")
    raw["system"] |= {"constraints": "HBonds"}
    raw["data"] |= {"path": "frames.h5"}
    raw["simulate"] |= {"frames": 150, "stacks": 30, "steps_per_frame": 40, "timestep_fs": 2}
    raw["simulate"] |= {"engine": "batched"}
    for section, values in changes.items():
        raw[section] |= values
    return validate_config(raw, "test")


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> RunFolder:
    """Trained on MD of its own."""
    folder = tmp_path_factory.mktemp("constrained")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        config = smoke(data={"path": str(folder / "frames.h5")})
        molecule = load_molecule(config.system)
        write_trajectory(folder / "frames.h5", simulate(config), molecule, config)
        return train(config, folder / "run", device="cpu")


@pytest.fixture(scope="module")
def molecule(run) -> Molecule:
    return run.molecule()


def lengths(positions_nm: np.ndarray, molecule: Molecule) -> np.ndarray:
    i, j = molecule.constraints.pairs.T
    return np.linalg.norm(positions_nm[:, i] - positions_nm[:, j], axis=-1)


def test_the_flow_has_no_constrained_bonds(run) -> None:
    info = run.info()
    assert info["n_linear"] + info["n_circular"] == 60 - 12
    assert info["n_constraints"] == 12
    assert info["data"]["constrained_bonds"] == 0


def test_samples_have_the_lengths_and_openmms_energies(run, molecule, tmp_path) -> None:
    drawn = draw_samples(run, tmp_path / "s.h5", SampleRequest(60, check_energies=True))
    assert drawn.energy_difference_kt < 1e-3
    samples = read_samples(tmp_path / "s.h5")
    found = lengths(samples.positions_nm, molecule)
    np.testing.assert_allclose(
        found, np.broadcast_to(molecule.constraints.lengths_nm, found.shape), rtol=1e-5
    )
    plain = ReferenceEnergy(molecule.system_xml, 22, 1000.0).evaluate(samples.positions_nm)
    np.testing.assert_allclose(samples.energy_kt, plain.energy_kjmol / KT, atol=1e-3)


def test_python_has_the_same_densities(run, molecule) -> None:
    """Of the samples' own positions, up to their float32; beside the manifold there is none."""
    model = bgp4.load(run.path, device="cpu")
    samples = model.sample(50, seed=2)
    inside = samples.energy_kt < 1e5
    found = model.log_prob(samples.positions_nm)
    np.testing.assert_allclose(found[inside], samples.log_prob[inside], atol=0.02)
    x = torch.as_tensor(samples.positions_nm).double().requires_grad_()
    assert model.log_prob(x).sum().requires_grad
    with pytest.raises(UserInputError, match=r"constrained bond ACE1-\w+-ACE1-\w+ is .*0\.1090"):
        model.log_prob(1.05 * samples.positions_nm)


def test_a_report_compares_no_constrained_bond(run) -> None:
    result = collect_run(run)
    assert len(result.marginals["bond"].labels) == 9
    assert result.data_log_prob is not None
    metrics = compute_metrics(result)
    assert metrics["system_constraints"] == "all bonds to hydrogen"
    assert metrics["constrained_bonds"] is None
    assert not metrics["lengths_set"]
    (words,) = (words for words in warnings(metrics) if "constrain" in words)
    assert words.endswith(
        "(all bonds to hydrogen): their lengths are the same in all samples, and are not compared."
    )


def test_a_report_says_when_md_had_free_bonds(in_tmp) -> None:
    config = smoke(data={"path": "ala2_smoke.h5"})
    result = collect_run(train(config, in_tmp / "run", device="cpu"))
    assert result.data_log_prob is None
    metrics = compute_metrics(result)
    assert any("The MD did not constrain them" in words for words in warnings(metrics))


def test_training_from_energies_alone(in_tmp) -> None:
    config = smoke(
        system={"testsystem": "AlanineDipeptideVacuum"},
        data={"path": None, "temperature_k": 1200},
        training={"steps": 6},
    )
    assert train(config, in_tmp / "run", device="cpu").info()["n_energy_evaluations"] > 0


def test_init_of_a_constrained_system(in_tmp, capsys) -> None:
    """Described, and with a time step of 2 fs; `system.xml` keeps its own constraints."""
    made = AlanineDipeptideVacuum(constraints=app.HBonds)
    Path("s.xml").write_text(openmm.XmlSerializer.serialize(made.system))
    with Path("a.pdb").open("w") as file:
        app.PDBFile.writeFile(made.topology, made.positions, file)
    init_command(MoleculeRequest("a.pdb", xml=Path("s.xml")), Path("a.yaml"))
    assert "constrained, at the System's lengths: all bonds to hydrogen" in capsys.readouterr().out
    config = load_config("a.yaml")
    assert config.simulate.timestep_fs == 2
    assert len(load_molecule(config.system).constraints) == 12


@pytest.mark.parametrize(("source", "held"), [("ala4.pdb", 22), ("AlanineDipeptideVacuum", 12)])
def test_init_constrains_bonds_to_hydrogen(in_tmp, source, held) -> None:
    if (bundled := find_data(source)) is not None:
        Path(source).write_bytes(bundled.read_bytes())
    init_command(MoleculeRequest(source, constraints="HBonds"), Path("a.yaml"))
    config = load_config("a.yaml")
    assert config.system.constraints == "HBonds"
    assert config.simulate.timestep_fs == 2
    assert len(load_molecule(config.system).constraints) == held


def test_init_constrains_all_bonds_where_no_ring_is_flat(in_tmp) -> None:
    source = "AlanineDipeptideVacuum"
    init_command(MoleculeRequest(source, constraints="AllBonds"), Path("a.yaml"))
    assert len(load_molecule(load_config("a.yaml").system).constraints) == 21
    Path("phe.pdb").write_bytes(find_data("phe.pdb").read_bytes())
    with pytest.raises(UserInputError, match=r"set system\.constraints to HBonds"):
        init_command(MoleculeRequest("phe.pdb", constraints="AllBonds"), Path("b.yaml"))
    assert not Path("b.yaml").exists()


def test_init_refuses_other_constraints() -> None:
    with pytest.raises(
        UserInputError, match=r"--constraints: expected HBonds or AllBonds, found H"
    ):
        MoleculeRequest("my.pdb", constraints="HAngles")
    with pytest.raises(UserInputError, match=r"--constraints does not go with --xml: .* its own"):
        MoleculeRequest("my.pdb", xml=Path("s.xml"), constraints="HBonds")


def test_refined_samples_have_the_lengths(run, molecule, tmp_path) -> None:
    request = SampleRequest(128, refine=True, device="cpu")
    assert draw_samples(run, tmp_path / "refined.h5", request).chain.move_acceptance > 0.5
    samples = read_samples(tmp_path / "refined.h5")
    found = lengths(samples.positions_nm, molecule)
    np.testing.assert_allclose(found, [molecule.constraints.lengths_nm] * 128, rtol=1e-5)


def test_the_md_of_refined_samples_leaves_constrained_md_as_it_is(molecule) -> None:
    """Energies, and an angle between constrained bonds, from its frames on."""
    md = smoke(simulate={"frames": 1000, "stacks": 100, "equilibration_frames": 10})
    frames = simulate(md)
    begin = frames.positions_nm.astype(np.float64)
    move = MolecularDynamics(
        BatchedEnergy(molecule, 1000.0), molecule.constraints, np.random.default_rng(3)
    )
    move.timestep_ps = 0.002
    x, energy_kt = begin, frames.energy_kjmol / KT
    for _ in range(15):
        moved, there, there_kt = move(x, energy_kt)
        assert moved.mean() > 0.5
        x = np.where(moved[:, None, None], there, x)
        energy_kt = np.where(moved, there_kt, energy_kt)
    assert stats.ks_2samp(energy_kt, frames.energy_kjmol / KT).pvalue > 1e-3
    hch = [[0, 1, 2]]  # H-C-H of the acetyl's methyl
    found, expected = (
        mdtraj.compute_angles(mdtraj.Trajectory(at, molecule.topology), hch)[:, 0]
        for at in (x, begin)
    )
    assert stats.ks_2samp(found, expected).pvalue > 1e-3
    assert abs(np.corrcoef(found, expected)[0, 1]) < 0.2
