"""A run that begins with another's flow: what it takes, where it starts, and how it goes on."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from bgp4.config import Config, SystemConfig, validate_config
from bgp4.errors import UserInputError
from bgp4.molecule.molecule import load_molecule
from bgp4.sampling.generate import load_trained
from bgp4.storage.files import sha256
from bgp4.training.begin import train_run
from bgp4.training.checkpoint import read_best, read_counters
from bgp4.training.run import RunFolder
from bgp4.training.schedule import OldFlow, Schedule
from bgp4.training.stored import begin_with
from bgp4.training.train import train
from bgp4.training.trainer import Trainer


def changed(config: Config, **sections: object) -> Config:
    """With other keys: those of a section, or a whole one."""
    raw = config.model_dump(mode="json")
    for name, value in sections.items():
        raw[name] = raw[name] | value if isinstance(value, dict) else value
    return validate_config(raw, "test")


@pytest.fixture(scope="module")
def ala2() -> RunFolder:
    return RunFolder.find(Path("ala2"))


@pytest.fixture(scope="module")
def next_config(smoke_config) -> Config:
    """Another force field and temperature, and no frames of it."""
    return changed(
        smoke_config,
        seed=8,
        system={"implicit_solvent": None, "testsystem": "AlanineDipeptideVacuum"},
        temperature_k=900.0,
        data={"path": None, "temperature_k": 1000.0},
        training={"steps": 10},
    )


@pytest.fixture(scope="module")
def begun(next_config, smoke_run, tmp_path_factory) -> RunFolder:
    path = tmp_path_factory.mktemp("begun") / "run"
    return train_run(next_config, path, False, "cpu", smoke_run.path)


def rows(run: RunFolder) -> list[dict[str, str]]:
    with run.history_path.open(newline="") as file:
        return [{k: v for k, v in row.items() if k != "wall_s"} for row in csv.DictReader(file)]


def test_energies_go_from_its_temperature(begun, smoke_run, next_config) -> None:
    assert [row["phase"] for row in rows(begun)] == ["anneal", "anneal", "kl"]
    kelvin = [float(row["temperature_k"]) for row in rows(begun)]
    np.testing.assert_allclose(kelvin, [1000 * 0.9 ** (5 / 6), 900.0, 900.0])
    path = Schedule.of(next_config, None, OldFlow("run", "", 1000.0, 1000.0))
    assert path.lengths == {"ml": 0, "anneal": 6, "kl": 4}
    expected = 1000 * 0.9 ** (np.arange(1, 7) / 6)
    np.testing.assert_allclose([path.temperature_k(step) for step in range(1, 7)], expected)
    assert path.temperature_k(10) == 900.0
    info = begun.info()
    assert info["begun_with"] == {
        "run": str(smoke_run.path),
        "sha256": sha256(smoke_run.checkpoint_path),
        "temperature_k": 1000.0,
        "base_k": 1000.0,
    }
    assert info["n_energy_evaluations"] > 320


def test_the_standardisation_is_the_old_flows(begun, smoke_run) -> None:
    old, new = read_best(smoke_run.checkpoint_path), read_best(begun.checkpoint_path)
    for name in ("centre", "scale", "circular"):
        torch.testing.assert_close(new[f"standardise.{name}"], old[f"standardise.{name}"])
    assert float(new["base_std"]) == pytest.approx(0.9**0.5)
    assert begun.molecule().zmatrix == smoke_run.molecule().zmatrix
    load_trained(begun)


def test_it_begins_with_the_very_flow(next_config, smoke_run, tmp_path, monkeypatch) -> None:
    """Whatever the new seed: its masks and permutations are the old ones."""
    monkeypatch.setattr(Trainer, "fit", lambda self: None)
    new = load_trained(train_run(next_config, tmp_path / "run", False, "cpu", smoke_run.path)).model
    old = load_trained(smoke_run).model
    latent = old.draw_latent(20, torch.Generator().manual_seed(0))
    with torch.no_grad():
        for ours, theirs in zip(new.from_latent(latent), old.from_latent(latent), strict=True):
            torch.testing.assert_close(ours, theirs, rtol=0, atol=0, equal_nan=True)


def test_a_flow_that_was_cooled_has_the_base_it_ended_with(ala2) -> None:
    """Learned at 1000 K and cooled to 300 K: there the base has the width sqrt(0.3)."""
    config, molecule = ala2.config(), ala2.molecule()
    model, _, old = begin_with(ala2, config, molecule)
    assert (old.run, old.temperature_k) == ("ala2", 300.0)
    assert old.base_k == pytest.approx(1000.0)
    width = (300 / Schedule.of(config, 300.0, old).base_k) ** 0.5
    assert width == pytest.approx(float(model.base_std))


@pytest.mark.parametrize("stop_at", [3, 8])
def test_resuming_is_exact(
    next_config, begun, smoke_run, tmp_path, monkeypatch, stop_at: int
) -> None:
    real = Trainer.step

    def interrupted(self: Trainer, step: int) -> object:
        if step == stop_at:
            raise KeyboardInterrupt
        return real(self, step)

    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "step", interrupted)
        with pytest.raises(KeyboardInterrupt):
            train_run(next_config, tmp_path / "run", False, "cpu", smoke_run.path)
    resumed = train_run(next_config, tmp_path / "run", True, "cpu")
    assert rows(resumed) == rows(begun)
    ours, theirs = (load_file(run.checkpoint_path) for run in (resumed, begun))
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)
    assert resumed.info()["begun_with"] == begun.info()["begun_with"]
    assert read_counters(resumed.checkpoint_path).old == read_counters(begun.checkpoint_path).old


def test_nothing_stays_of_a_start_that_failed(
    smoke_config, next_config, smoke_run, tmp_path, monkeypatch
) -> None:
    """Before its first checkpoint; then the folder is taken for a run without another's flow."""
    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "start", lambda self, resume: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            train_run(next_config, tmp_path / "run", False, "cpu", smoke_run.path)
    plain = train(changed(smoke_config, training={"steps": 2}), tmp_path / "run", device="cpu")
    assert "begun_with" not in plain.info()


def refused(words: str, config: Config, start: Path, path: Path, resume: bool = False) -> None:
    with pytest.raises(UserInputError, match=words):
        train_run(config, path, resume, "cpu", start)
    assert not path.exists()


def test_another_kind_of_flow_is_refused(next_config, smoke_run, tmp_path) -> None:
    run, start = tmp_path / "run", smoke_run.path
    for key, value, words in (
        ("hidden", [32], r"model.hidden is \[32\], expected \[16\], as in that run"),
        ("mixing", "lu", "model.mixing is 'lu', expected 'p4inv'"),
        ("torsions", "circle", "model.torsions is 'circle', expected 'auto'"),
    ):
        refused(f"--from .*{words}", changed(next_config, model={key: value}), start, run)
    likely = changed(
        next_config, temperature_k=1000.0, training={"energy_fraction": 0.0}, data={"path": "x.h5"}
    )
    refused("--from .*training.energy_fraction is 0, expected more", likely, start, run)
    refused("--from: it does not go with --resume", next_config, start, run, resume=True)
    refused("not a run folder or a bundled model", next_config, tmp_path / "none", run)


def test_another_molecule_is_refused(next_config, smoke_run, tmp_path) -> None:
    run, start = tmp_path / "run", smoke_run.path
    other = {"testsystem": "TolueneVacuum"}
    refused(
        "--from .*expected the 22 atoms of that run, found 15",
        *(changed(next_config, system=other), start, run),
    )
    held = changed(next_config, system={"constraints": "HBonds"})
    refused("--from .*holds no bond, found all bonds to hydrogen", held, start, run)
    molecule = load_molecule(SystemConfig(testsystem="AlanineDipeptideVacuum"))
    table = [list(row) for row in molecule.zmatrix.table()]
    table[-1], table[-2] = table[-2], table[-1]
    own = changed(next_config, system={"zmatrix": table})
    refused("--from .*system.zmatrix is not that run's", own, start, run)
