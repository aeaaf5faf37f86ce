"""The rows of a run, in its CSV file and in TensorBoard."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from bgp4.cli.train import train_command
from bgp4.training.history import COLUMNS, History


def row(step: int, ess: float = 0.5) -> dict[str, object]:
    return {**dict.fromkeys(COLUMNS, 1.0), "step": step, "phase": "kl", "ess": ess}


def scalars(folder: Path) -> dict[str, list[tuple[int, float]]]:
    """What TensorBoard shows of a folder: steps and values by name."""
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    events = accumulator.EventAccumulator(str(folder))
    events.Reload()
    return {
        name: [(event.step, event.value) for event in events.Scalars(name)]
        for name in events.Tags()["scalars"]
    }


def test_the_same_rows_in_tensorboard(tmp_path) -> None:
    history = History(tmp_path / "history.csv", tmp_path / "tensorboard")
    history.begin()
    history.append(row(5))
    history.append(row(10, ess=math.nan))
    assert history.last["step"] == 10
    shown = scalars(tmp_path / "tensorboard")
    assert shown["ess"] == [(5, 0.5)], "at once, and what is not finite is left out"
    assert shown["loss"] == [(5, 1.0), (10, 1.0)]
    assert set(shown) == set(COLUMNS) - {"step", "phase"}
    history.close()


def test_what_is_made_again_after_a_stop_is_shown_once(tmp_path) -> None:
    first = History(tmp_path / "history.csv", tmp_path / "tensorboard")
    first.begin()
    for step in (5, 10, 15):
        first.append(row(step))
    first.close()
    again = History(tmp_path / "history.csv", tmp_path / "tensorboard")
    again.drop_after(10)
    again.append(row(15, ess=0.25))
    again.close()
    assert scalars(tmp_path / "tensorboard")["ess"] == [(5, 0.5), (10, 0.5), (15, 0.25)]
    assert len((tmp_path / "history.csv").read_text().splitlines()) == 4


def test_a_training_with_and_without(in_tmp) -> None:
    """A resumed run may begin with it."""
    pytest.importorskip("tensorboard")
    sets = ["training.steps=10"]
    train_command("ala2_smoke.yaml", Path("run"), False, "cpu", sets)
    assert not Path("run/tensorboard").exists()
    sets.append("training.tensorboard=true")
    train_command("ala2_smoke.yaml", Path("run"), True, "cpu", sets)
    train_command("ala2_smoke.yaml", Path("new"), False, "cpu", sets)
    shown = scalars(Path("new/tensorboard"))
    assert [step for step, _ in shown["loss"]] == [5, 10]
