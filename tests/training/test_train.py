"""A run from start to end: skipped steps, stops, resuming to the bit, damaged checkpoints."""

from __future__ import annotations

import csv
import json
import math
import os
import signal
from collections.abc import Callable
from pathlib import Path

import mdtraj
import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file
from torch import Tensor

from bgp4.config import Config, StateConfig, SystemConfig
from bgp4.data.frames import split_blocks
from bgp4.errors import RunError, UserInputError
from bgp4.flows.generator import Conformations
from bgp4.molecule.molecule import load_molecule
from bgp4.molecule.states import states, states_of_bonds
from bgp4.report.collect import collect_run
from bgp4.training.checkpoint import _read, _write, read_best
from bgp4.training.history import COLUMNS, state_column
from bgp4.training.monitor import StateMonitor
from bgp4.training.run import RunFolder
from bgp4.training.train import train
from bgp4.training.trainer import MAX_SKIPPED_IN_A_ROW, Trainer

PHI = "φ ALA2 > 0"


def history(run: RunFolder) -> list[dict[str, str]]:
    with run.history_path.open(newline="") as file:
        return [{k: v for k, v in row.items() if k != "wall_s"} for row in csv.DictReader(file)]


def with_training(config: Config, **changes: object) -> Config:
    return config.model_copy(update={"training": config.training.model_copy(update=changes)})


@pytest.fixture
def trainer(smoke_config, begun_trainer) -> Callable[..., Trainer]:
    """Makes trainers that are ready to step."""
    return lambda **changes: begun_trainer(with_training(smoke_config, **changes))


def test_what_a_run_leaves(smoke_run, smoke_config, alanine) -> None:
    names = {p.name for p in smoke_run.path.iterdir()}
    assert names == {
        *("config.yaml", "molecule.json", "run.json", "history.csv", "checkpoint.safetensors")
    }
    assert smoke_run.config() == smoke_config
    with smoke_run.history_path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    watched = [state_column(s.label) for s in states(alanine.topology, smoke_config)]
    assert list(rows[0]) == [*COLUMNS, *watched]
    assert state_column(PHI) in watched
    assert [int(row["step"]) for row in rows] == [5, 10, 15, 20]
    assert [row["phase"] for row in rows] == ["ml", "ml", "kl", "kl"]
    assert all(math.isfinite(float(row["heldout_log_likelihood"])) for row in rows)
    assert [row["kl"] == "" for row in rows] == [True, True, False, False]
    assert [int(row["energy_evaluations"]) for row in rows] == [0, 0, 160, 320]
    assert [int(row["p4_merges"]) for row in rows] == [4, 10, 14, 20], "two layers, every 2 steps"
    info = smoke_run.info()
    weight = smoke_config.training.energy_weight
    best = max(
        rows[2:],
        key=lambda row: (
            (1 - weight) * float(row["heldout_log_likelihood"]) - weight * float(row["kl"])
        ),
    )
    assert info["best_step"] == int(best["step"])
    assert info["log_likelihood_heldout"] == float(best["heldout_log_likelihood"])
    assert info["n_energy_evaluations"] == 320
    assert info["data"]["frames"] == 1000
    assert set(info["wall_time_s"]) == {"train_ml", "train_kl"}


def test_the_likelihood_of_the_best_weights_is_the_one_it_reports(
    smoke_run, smoke_config, smoke_frames
) -> None:
    from bgp4.sampling.generate import load_trained

    split = split_blocks(1000, smoke_config.data.heldout_fraction, smoke_config.seed)
    model = load_trained(smoke_run).model
    with torch.no_grad():
        heldout = torch.as_tensor(smoke_frames.positions_nm[split.heldout])
        mean = model.log_prob_xyz(heldout).mean().item()
    assert mean == pytest.approx(smoke_run.info()["log_likelihood_heldout"], abs=1e-3)


def test_training_raises_the_heldout_likelihood(trainer) -> None:
    made = trainer(steps=60, evaluate_every=60, energy_fraction=0.0, learning_rate=5e-3)
    before = made.heldout_log_likelihood()
    made.fit()
    assert made.counters.best_log_likelihood > before + 0.5


def test_the_determinant_penalty_trains_too(trainer) -> None:
    made = trainer(steps=4, energy_fraction=0.0, det_penalty=0.1)
    made.fit()
    assert made.counters.skipped_steps == 0


def test_a_step_that_is_not_finite_is_skipped_and_counted(trainer, monkeypatch) -> None:
    made = trainer(steps=5, energy_fraction=0.0, merge_every=100)
    real, seen = made.step, []

    def step(number: int) -> object:
        data = made.objective.x_train
        if number == 3:
            made.objective.x_train = torch.full_like(data, torch.nan)
        before = [p.detach().clone() for p in made.model.parameters()]
        result = real(number)
        after = made.model.parameters()
        seen.append(all(torch.equal(a, b) for a, b in zip(before, after, strict=True)))
        made.objective.x_train = data
        return result

    monkeypatch.setattr(made, "step", step)
    made.fit()
    assert seen == [False, False, True, False, False]
    assert made.run.info()["n_skipped_steps"] == 1
    (row,) = history(made.run)
    assert row["skipped_steps"] == "1"
    assert math.isfinite(float(row["loss"])), "the mean of the finite steps"


def test_many_such_steps_in_a_row_stop_the_run(trainer) -> None:
    made = trainer(steps=500, evaluate_every=1000)
    made.objective.x_train[:] = torch.nan
    with pytest.raises(RunError, match=r"50 steps in a row.*likelihood.*learning_rate"):
        made.fit()
    assert made.counters.skipped_steps == MAX_SKIPPED_IN_A_ROW == made.counters.step


@pytest.mark.parametrize("checkpoint_s", [60.0, 0.0])
@pytest.mark.parametrize("stop_at", [8, 18])
def test_resuming_is_exact(
    smoke_config, smoke_run, tmp_path, monkeypatch, stop_at, checkpoint_s
) -> None:
    """Stopped in either phase, between merges; from the last evaluation, or from the step before,
    with a row of history half-way."""
    real, config = Trainer.step, with_training(smoke_config, checkpoint_s=checkpoint_s)

    def interrupted(self: Trainer, step: int) -> object:
        if step == stop_at:
            raise KeyboardInterrupt
        return real(self, step)

    path = tmp_path / "run"
    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "step", interrupted)
        with pytest.raises(KeyboardInterrupt):
            train(config, path, device="cpu")
    assert saved_step(RunFolder(path)) == (stop_at - 1 if checkpoint_s == 0 else stop_at // 5 * 5)
    assert len(history(RunFolder(path))) == stop_at // 5
    resumed = train(config, path, resume=True, device="cpu")
    assert history(resumed) == history(smoke_run)
    same_tensors(resumed.checkpoint_path, smoke_run.checkpoint_path)
    ours, expected = resumed.info(), smoke_run.info()
    for varying in ("started", "wall_time_s", "core_hours", "sha256", "source"):
        assert ours.pop(varying) is not None
        expected.pop(varying)
    assert ours == expected


def run_in_parts(config: Config, path: Path, stop_at: int, monkeypatch) -> RunFolder:
    """Stopped before a step, and gone on with."""
    real = Trainer.step

    def interrupted(self: Trainer, step: int) -> object:
        if step == stop_at:
            raise KeyboardInterrupt
        return real(self, step)

    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "step", interrupted)
        with pytest.raises(KeyboardInterrupt):
            train(config, path, device="cpu")
    return train(config, path, resume=True, device="cpu")


@pytest.fixture
def learns_by_heart(monkeypatch) -> None:
    """Held-out frames become less likely from step 10 on."""
    real = Trainer.heldout_log_likelihood

    def falling(self: Trainer) -> float:
        step = self.counters.step
        return real(self) - 1000 * max(step - 10, 0) * (self.schedule.phase(step) == "ml")

    monkeypatch.setattr(Trainer, "heldout_log_likelihood", falling)


def test_likelihood_ends_when_it_gets_no_better(
    trainer, learns_by_heart, monkeypatch, caplog
) -> None:
    """Energies go on from its best model."""
    made = trainer(steps=60)
    real = made.step

    def step(number: int) -> object:
        if made.schedule.phase(number) == "kl" and made.schedule.phase(number - 1) == "ml":
            assert made.counters.best_step == 10
            assert all(torch.equal(v, made.best[k]) for k, v in made.model.state_dict().items())
            assert made.optimizer.tensors() == {}
        return real(number)

    monkeypatch.setattr(made, "step", step)
    with caplog.at_level("INFO", logger="bgp4"):
        made.fit()
    assert "likelihood ends: on held-out frames it was best at step 10" in caplog.text
    rows = [(row["step"], row["phase"]) for row in history(made.run)]
    assert rows[:5] == [(str(step), "ml") for step in (5, 10, 15, 20, 25)]
    assert rows[5] == ("30", "kl")


def test_a_rate_far_too_high_is_lowered(trainer, caplog) -> None:
    """From the rates of a run that diverges to those that hold."""
    made = trainer(steps=300, evaluate_every=20, energy_learning_rate=0.1, energy_fraction=0.9)
    made.fit()
    factor = made.counters.rate_factor
    assert made.counters.divergences >= 1
    assert factor == 0.5**made.counters.divergences
    assert made.run.info()["n_divergences"] == made.counters.divergences
    assert "the training diverges (" in caplog.text
    first, *_, last = (row for row in history(made.run) if row["phase"] == "kl")
    assert float(last["kl"]) < float(first["kl"]), "it learned all the same"
    assert float(last["learning_rate"]) == pytest.approx(made.rate(300))
    assert made.rate(300) <= made.schedule.rate(300) * factor


def test_a_rate_at_which_nothing_holds_is_refused(trainer) -> None:
    made = trainer(steps=300, evaluate_every=20, energy_learning_rate=10.0, energy_fraction=0.9)
    with pytest.raises(RunError, match=r"diverges at any learning rate.*energy_learning_rate"):
        made.fit()


@pytest.mark.parametrize("what", ["likelihood ended", "divergence"])
def test_what_it_learned_of_itself_is_resumed(
    smoke_config, tmp_path, monkeypatch, learns_by_heart, what: str
) -> None:
    """Stopped right after."""
    changes: dict[str, object] = {"steps": 60}
    if what == "divergence":
        changes = {"steps": 100, "energy_fraction": 0.9, "energy_learning_rate": 1.0}
    config = with_training(smoke_config, checkpoint_s=0.0, **changes)
    whole = train(config, tmp_path / "whole", device="cpu")
    real, stopped = Trainer.step, []

    def interrupted(self: Trainer, step: int) -> object:
        learned = self.counters.ended if "ended" in what else self.counters.divergences
        if learned and not stopped:
            stopped.append(step)
            raise KeyboardInterrupt
        return real(self, step)

    monkeypatch.setattr(Trainer, "step", interrupted)
    with pytest.raises(KeyboardInterrupt):
        train(config, tmp_path / "parts", device="cpu")
    resumed = train(config, tmp_path / "parts", resume=True, device="cpu")
    assert history(resumed) == history(whole)
    same_tensors(resumed.checkpoint_path, whole.checkpoint_path)


def saved_step(run: RunFolder) -> int:
    with safe_open(str(run.checkpoint_path), framework="pt") as file:
        return json.loads(file.metadata()["counters"])["step"]


def test_ctrl_c_saves_the_step_that_it_came_in(
    smoke_config, smoke_run, tmp_path, monkeypatch, caplog
) -> None:
    real = Trainer.step

    def interrupted(self: Trainer, step: int) -> object:
        if step == 13:
            os.kill(os.getpid(), signal.SIGINT)
        return real(self, step)

    path = tmp_path / "run"
    with monkeypatch.context() as patch, caplog.at_level("INFO", logger="bgp4"):
        patch.setattr(Trainer, "step", interrupted)
        with pytest.raises(KeyboardInterrupt):
            train(smoke_config, path, device="cpu")
    assert saved_step(RunFolder(path)) == 13
    assert "stopped after step 13; continue with --resume" in caplog.text
    resumed = train(smoke_config, path, resume=True, device="cpu")
    assert history(resumed) == history(smoke_run)
    same_tensors(resumed.checkpoint_path, smoke_run.checkpoint_path)


def same_tensors(a: Path, b: Path) -> None:
    first, second = load_file(a), load_file(b)
    assert first.keys() == second.keys()
    assert {k.split(".")[0] for k in first} == {"model", "best", "optimizer", "generator"}
    assert all(torch.equal(first[k], second[k]) for k in first)


def test_rows_after_the_checkpoint_are_made_again(trainer, smoke_run) -> None:
    made = trainer()
    for step in range(1, 6):
        made.step(step)
    made.checkpoint()
    for step in (5, 10):
        made.history.append({**dict.fromkeys(COLUMNS, math.nan), "step": step})
    made.start(resume=True)
    assert [row["step"] for row in history(made.run)] == ["5"]


@pytest.mark.parametrize("size", [0, 7, 1000, -100])
def test_a_truncated_checkpoint(smoke_config, smoke_run, tmp_path, size: int) -> None:
    run = copy_of(smoke_run, tmp_path)
    content = run.checkpoint_path.read_bytes()
    run.checkpoint_path.write_bytes(content[:size])
    with pytest.raises(UserInputError, match=r"checkpoint.safetensors: not a readable checkpoint"):
        train(smoke_config, run.path, resume=True, device="cpu")


def test_the_checkpoint_of_another_model(smoke_config, smoke_run, tmp_path) -> None:
    run = copy_of(smoke_run, tmp_path)
    model = smoke_config.model.model_copy(update={"hidden": (17,)})
    other = smoke_config.model_copy(update={"model": model})
    with pytest.raises(UserInputError, match="belongs to another model") as caught:
        train(other, run.path, resume=True, device="cpu")
    assert "\n" not in str(caught.value)


def test_the_checkpoint_of_an_earlier_version(smoke_config, smoke_run, tmp_path) -> None:
    """It had one Adam, whose moments went by numbers; sampling reads the model alone."""
    run = copy_of(smoke_run, tmp_path)
    tensors, counters = _read(run.checkpoint_path)
    numbered = {
        f"optimizer.{i}.exp_avg" if key.startswith("optimizer.") else key: value
        for i, (key, value) in enumerate(tensors.items())
    }
    _write(run.checkpoint_path, numbered, counters)
    with pytest.raises(
        UserInputError, match=r"earlier version.*start a new run with --run"
    ) as caught:
        train(smoke_config, run.path, resume=True, device="cpu")
    assert "\n" not in str(caught.value)
    assert read_best(run.checkpoint_path).keys() == read_best(smoke_run.checkpoint_path).keys()


def test_the_moments_of_both_optimizers_are_kept(smoke_run) -> None:
    kept = load_file(smoke_run.checkpoint_path)
    moments = {key.rpartition(".")[2] for key in kept if key.startswith("optimizer.")}
    assert moments == {"momentum_buffer", "exp_avg", "exp_avg_sq", "step"}


def test_a_merge_resets_the_moments_of_v_alone(trainer) -> None:
    made = trainer(energy_fraction=0.0, merge_every=5)
    for step in range(1, 6):
        made.step(step)
        found = {
            letter: [
                bool(value.any())
                for key, value in made.optimizer.tensors().items()
                if key.endswith((f".{letter}.exp_avg", f".{letter}.exp_avg_sq"))
            ]
            for letter in "uv"
        }
        assert len(found["u"]) == len(found["v"]) == 4
        assert all(found["u"])
        if step > 1:  # u starts at 0, and v has no gradient there
            assert found["v"] == 4 * [step < 5]
    assert any(v.any() for k, v in made.optimizer.tensors().items() if "momentum" in k)


def copy_of(run: RunFolder, folder: Path) -> RunFolder:
    copied = RunFolder(folder / "copy")
    copied.path.mkdir()
    for file in (run.config_path, run.checkpoint_path, run.history_path, run.path / "run.json"):
        (copied.path / file.name).write_bytes(file.read_bytes())
    return copied


def test_resuming_a_finished_run_changes_nothing(smoke_config, smoke_run, tmp_path) -> None:
    run = train(smoke_config, copy_of(smoke_run, tmp_path).path, resume=True, device="cpu")
    assert history(run) == history(smoke_run)
    same_tensors(run.checkpoint_path, smoke_run.checkpoint_path)
    json.loads((run.path / "run.json").read_text())


def test_a_data_temperature_that_is_not_the_runs_is_said(smoke_config, tmp_path, caplog) -> None:
    colder = smoke_config.model_copy(update={"temperature_k": 900.0})
    with caplog.at_level("WARNING", logger="bgp4"):
        train(with_training(colder, steps=1, energy_fraction=0.0), tmp_path / "run", device="cpu")
    assert "the flow stays at 1000 K" in caplog.text
    data = smoke_config.data.model_copy(update={"temperature_k": 950.0})
    with caplog.at_level("WARNING", logger="bgp4"):
        train(
            with_training(colder.model_copy(update={"data": data}), steps=2),
            tmp_path / "another",
            device="cpu",
        )
    assert "was simulated at 1000 K, but config key data.temperature_k says 950 K" in caplog.text


def test_data_of_another_temperature_are_walked_away_from(smoke_config, tmp_path, caplog) -> None:
    config = smoke_config.model_copy(update={"temperature_k": 500.0})
    with caplog.at_level("INFO", logger="bgp4"):
        run = train(config, tmp_path / "run", device="cpu")
    assert "from the frames' 1000 K to 500 K" in caplog.text
    assert not [r for r in caplog.records if r.levelname == "WARNING"]
    rows = history(run)
    assert [row["phase"] for row in rows] == ["ml", "ml", "anneal", "anneal", "kl"]
    kelvin = [float(row["temperature_k"]) for row in rows]
    np.testing.assert_allclose(kelvin, [1000, 1000, 1000 * 0.5 ** (5 / 6), 500, 500])
    assert [row["heldout_log_likelihood"] == "" for row in rows] == [False] * 2 + [True] * 3
    assert run.info()["log_likelihood_heldout"] is None
    assert run.info()["n_energy_evaluations"] == 320
    base_std = load_file(run.checkpoint_path)["best.base_std"].item()
    assert base_std == pytest.approx(math.sqrt(0.5))


@pytest.fixture(scope="module")
def from_energies(smoke_config, tmp_path_factory) -> RunFolder:
    """A run without MD frames."""
    return train(without_data(smoke_config), tmp_path_factory.mktemp("start") / "run", device="cpu")


def without_data(config: Config) -> Config:
    data = config.data.model_copy(update={"path": None, "temperature_k": 1000.0})
    return config.model_copy(update={"data": data})


def test_a_run_from_energies_alone(from_energies) -> None:
    rows, info = history(from_energies), from_energies.info()
    assert [row["phase"] for row in rows] == ["ml", "ml", "kl", "kl"]
    assert {row["heldout_log_likelihood"] for row in rows} == {""}
    assert info["log_likelihood_heldout"] is None
    assert info["data"] == {"source": "energies alone", "begun_at_k": 1000.0}
    assert info["n_circular"] == 5
    start = int(rows[0]["energy_evaluations"])
    assert 300 < start < 2000
    assert [int(row["energy_evaluations"]) - start for row in rows] == [0, 0, 160, 320]
    assert info["n_energy_evaluations"] == start + 320
    assert info["best_step"] in (15, 20)


@pytest.mark.parametrize("stop_at", [3, 18])
def test_resuming_it_is_exact(
    smoke_config, from_energies, tmp_path, monkeypatch, caplog, stop_at
) -> None:
    """Stopped before the first evaluation, or in the second phase; and nothing is warned of."""
    config, path, real = without_data(smoke_config), tmp_path / "run", Trainer.step

    def interrupted(self: Trainer, step: int) -> object:
        if step == stop_at:
            raise KeyboardInterrupt
        return real(self, step)

    with caplog.at_level("WARNING", logger="bgp4"):
        with monkeypatch.context() as patch:
            patch.setattr(Trainer, "step", interrupted)
            with pytest.raises(KeyboardInterrupt):
                train(config, path, device="cpu")
        resumed = train(config, path, resume=True, device="cpu")
    assert not caplog.text
    assert history(resumed) == history(from_energies)
    same_tensors(resumed.checkpoint_path, from_energies.checkpoint_path)


def test_it_is_judged_by_the_reports_reference(from_energies, tmp_path) -> None:
    run = copy_of(from_energies, tmp_path)
    with pytest.raises(UserInputError, match=r"name them in report\.reference"):
        collect_run(run)
    assert not run.samples_path.exists(), "it is said before any are drawn"
    text = run.config_path.read_text().replace("reference: null", "reference: ala2_smoke.h5")
    run.config_path.write_text(text)
    result = collect_run(run)
    assert len(result.data_positions_nm) == 1000
    assert np.isfinite(result.data_log_prob).all()


@pytest.fixture(scope="module")
def by_phi(alanine, smoke_frames) -> Callable[[float], Conformations]:
    """Makes 400 frames with a given share of φ > 0."""
    positions = smoke_frames.positions_nm
    _, phi = mdtraj.compute_phi(mdtraj.Trajectory(positions, alanine.topology))
    positive, negative = np.flatnonzero(phi[:, 0] > 0), np.flatnonzero(phi[:, 0] <= 0)

    def make(share: float) -> Conformations:
        n = round(400 * share)
        chosen = positions[np.r_[np.resize(positive, n), np.resize(negative, 400 - n)]]
        return conformations(torch.as_tensor(chosen))

    return make


def conformations(positions: Tensor) -> Conformations:
    n = len(positions)
    zeros = torch.zeros(n).double()
    return Conformations(positions, zeros, zeros == 0, zeros)


@pytest.fixture(scope="module")
def monitor(alanine, smoke_frames) -> StateMonitor:
    """Of φ alone."""
    phi = [state for state in states_of_bonds(alanine.topology) if state.label == PHI]
    return StateMonitor(phi, alanine.topology, smoke_frames.positions_nm)


@pytest.mark.parametrize(
    ("share", "warns"), [(0.0, True), (0.12, False), (0.15, False), (0.6, True)]
)
def test_a_state_is_watched(monitor, by_phi, caplog, share: float, warns: bool) -> None:
    assert monitor.data_shares == pytest.approx([0.12], abs=0.03)
    with caplog.at_level("WARNING", logger="bgp4"):
        found = monitor.shares(monitor.count([by_phi(share)]))
    assert found == pytest.approx({PHI: share}, abs=1e-6)
    assert (f"{PHI}: " in caplog.text) == warns


def test_the_monitor_looks_at_valid_samples_alone(monitor, by_phi) -> None:
    half = by_phi(0.5)
    valid = torch.arange(400) < 200  # the positive ones
    assert monitor.shares(monitor.count([half._replace(possible=valid)])) == {PHI: 1}
    nothing = [[half._replace(possible=valid & False)], []]
    assert all(math.isnan(monitor.shares(monitor.count(none))[PHI]) for none in nothing)


def test_a_molecule_without_states() -> None:
    toluene = load_molecule(SystemConfig(testsystem="TolueneVacuum"))
    positions = np.repeat(toluene.positions_nm[None].astype(np.float32), 3, axis=0)
    monitor = StateMonitor([], toluene.topology, positions)
    assert monitor.shares(monitor.count([conformations(torch.as_tensor(positions))])) == {}


def test_a_state_of_no_atom_is_refused_before_anything_is_written(in_tmp, smoke_config) -> None:
    added = StateConfig(name="bridge", distance=("ACE1-C", "XYZ"), range=(0.0, 1.0))
    with pytest.raises(UserInputError, match=r"states\.0: expected atoms such as ACE1-H1"):
        train(smoke_config.model_copy(update={"states": (added,)}), in_tmp / "run")
    assert not list(in_tmp.iterdir())
