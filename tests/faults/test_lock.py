"""One writer at a time: refused in one line, and never stuck."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest
from crash import environment, remaining, start
from safetensors.torch import load_file

from bgp4.cli.report import report_command
from bgp4.cli.sample import sample_command
from bgp4.cli.simulate import simulate_command
from bgp4.cli.train import train_command
from bgp4.errors import UserInputError
from bgp4.sampling.request import SampleRequest
from bgp4.storage.lock import LOCK, locked_folder, locked_output
from bgp4.training.run import RunFolder

SMOKE = "ala2_smoke.yaml"
HOLD = """
import sys, time
from pathlib import Path
from bgp4.storage.lock import locked_folder
with locked_folder(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(1000)
"""


def test_a_lock_ends_with_its_process(tmp_path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path)],
        env=environment(),
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout.readline() == "held\n"
        with (
            pytest.raises(UserInputError, match=rf"another bgp4 \(process {process.pid}\) is writ"),
            locked_folder(tmp_path),
        ):
            pytest.fail("not reached")
        process.kill()
    assert (tmp_path / LOCK).exists()
    with locked_folder(tmp_path):
        assert (tmp_path / LOCK).exists()
    assert not (tmp_path / LOCK).exists()


def test_a_lock_that_its_holder_removes_meanwhile(tmp_path, monkeypatch) -> None:
    """The file that was opened is then no longer the one that others open."""
    from bgp4.storage import lock

    real, opened = lock._opened, []

    def open_and_lose(path: Path, what: str):
        file = real(path, what)
        if not opened:
            path.unlink()
        opened.append(file)
        return file

    monkeypatch.setattr(lock, "_opened", open_and_lose)
    with locked_folder(tmp_path):
        assert len(opened) == 2
        assert opened[0].closed
        assert (tmp_path / LOCK).exists()


def test_where_nothing_can_be_written(tmp_path) -> None:
    with (
        pytest.raises(UserInputError, match=r"s\.h5: cannot be written: No such file"),
        locked_output(tmp_path / "nowhere" / "s.h5"),
    ):
        pytest.fail("not reached")


def sample(run: Path, output: Path | None) -> None:
    sample_command(run, output, SampleRequest(20, device="cpu"))


def test_nobody_else_writes_into_a_run_that_trains(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    run = RunFolder(Path("run"))
    long = ("training.steps=1000000",)
    command = ("train", "--config", SMOKE, "--run", "run", "--set", *long)
    with start(*command, cwd=tmp_path) as process:
        while not run.checkpoint_path.exists() and process.poll() is None:
            time.sleep(0.05)
        others = {
            "train": lambda: train_command(SMOKE, run.path, True, "cpu", long),
            "sample": lambda: sample(run.path, None),
            "report": lambda: report_command([run.path], None),
        }
        for name, other in others.items():
            with pytest.raises(UserInputError, match="another bgp4") as caught:
                other()
            assert "\n" not in str(caught.value), name
        with pytest.raises(UserInputError, match="the run folder exists"):
            train_command(SMOKE, run.path, False, "cpu", long)
        sample(run.path, Path("elsewhere.h5"))
        process.kill()
    assert not remaining(process.pid)
    assert (run.path / LOCK).exists()
    sample(run.path, None)
    assert {path.name for path in run.path.iterdir()} == {
        *("config.yaml", "molecule.json", "run.json", "history.csv"),
        *("checkpoint.safetensors", "samples.h5"),
    }


def test_two_simulations_into_one_file(tmp_path) -> None:
    output = tmp_path / "made.h5"
    with locked_output(output), pytest.raises(UserInputError, match=r"made\.h5: another bgp4"):
        simulate_command(SMOKE, output, False, [])
    assert list(tmp_path.iterdir()) == []


def test_a_run_that_never_came_to_its_first_checkpoint(smoke_config, alanine, tmp_path) -> None:
    """Nothing can be lost of it, so it is begun anew; a folder of anything else is kept."""
    path = tmp_path / "run"
    RunFolder.create(path, smoke_config, alanine)
    (path / ".part.checkpoint.safetensors").touch()
    train_command(SMOKE, path, False, "cpu", ["training.steps=1", "training.energy_fraction=0"])
    assert {p.name for p in path.iterdir()} == {
        *("config.yaml", "molecule.json", "run.json", "history.csv", "checkpoint.safetensors")
    }
    assert load_file(path / "checkpoint.safetensors")
    (tmp_path / "other").mkdir()
    for name in (None, "config.yaml", "notes.txt"):
        if name is not None:
            (tmp_path / "other" / name).touch()
        if name != "config.yaml":
            with pytest.raises(UserInputError, match="the run folder exists"):
                RunFolder.refuse_existing(tmp_path / "other")


def test_simulations_that_can_not_go_on(tmp_path) -> None:
    output = tmp_path / "made.h5"
    with pytest.raises(UserInputError, match="no interrupted simulation is there"):
        simulate_command(SMOKE, output, True, [])
    begun = tmp_path / ".made.h5.simulation"
    begun.mkdir()
    (begun / "config.yaml").write_text("system: AlanineDipeptideImplicit\ntemperature_k: 900\n")
    with pytest.raises(UserInputError, match=r"temperature_k was 900\.0 and is now 1000\.0"):
        simulate_command(SMOKE, output, True, [])
    (begun / "state_0.safetensors").touch()
    with pytest.raises(UserInputError, match=r"an interrupted simulation is there.*--resume"):
        simulate_command(SMOKE, output, False, [])


def test_a_simulation_that_is_complete_is_gone_on_with(tmp_path, capsys) -> None:
    """One that was killed with its trajectory written and its work folder not yet removed."""
    output, left = tmp_path / "made.h5", tmp_path / ".made.h5.simulation"
    simulate_command(SMOKE, output, False, [])
    content = output.read_bytes()
    left.mkdir()
    (left / "state_0.safetensors").touch()
    simulate_command(SMOKE, output, True, [])
    assert capsys.readouterr().out.endswith("made.h5 is complete\n")
    assert list(tmp_path.iterdir()) == [output]
    assert output.read_bytes() == content
    with pytest.raises(UserInputError, match="seed was 1 and is now 2"):
        simulate_command(SMOKE, output, True, ["seed=2"])
    output.write_text("something else")
    with pytest.raises(UserInputError, match=r"made\.h5: not a simulation of bgp4"):
        simulate_command(SMOKE, output, True, [])
