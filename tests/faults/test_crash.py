"""SIGKILL at random moments of every command: nothing half-written, and the same result after all.

The moments come from a recorded seed. A few of them are in every test run; thirty of each command,
by `pytest -m slow tests/faults/test_crash.py -s`, which prints what it did.
"""

from __future__ import annotations

import csv
import json
import random
import shutil
import sys
import time
from abc import ABC, abstractmethod
from pathlib import Path

import h5py
import numpy as np
import pytest
from crash import check_whole, run
from safetensors.torch import load_file

from bgp4.cli.main import main
from bgp4.training.run import RunFolder

SEED = 4
STARTUP_S = 2.5
"""Of a process, until it begins to work."""

SMOKE = ("--config", "ala2_smoke.yaml")


def sets(*overrides: str) -> tuple[str, ...]:
    return tuple(part for override in overrides for part in ("--set", override))


class Command(ABC):
    """One that is killed: how it begins, how it goes on, and what it must have made in the end.

    Args:
        folder: Where it works.
        scale: How much more it has to do than the least.
    """

    def __init__(self, folder: Path, scale: int, smoke_run: RunFolder) -> None:
        self.folder, self.scale, self.smoke_run = folder, scale, smoke_run.path
        self.restart()

    def restart(self) -> None:
        """An empty folder."""
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir(parents=True)

    def written(self) -> dict[Path, int]:
        """When each file was last written, but for locks."""
        files = (path for path in self.folder.rglob("*") if not path.name.endswith("lock"))
        return {path: path.stat().st_mtime_ns for path in files if path.is_file()}

    @abstractmethod
    def arguments(self) -> tuple[str, ...]:
        """To begin, or to go on with what is there."""

    @abstractmethod
    def result(self) -> object:
        """What must be the same whether it was killed or not."""


class Train(Command):
    """With a checkpoint after each step, so that many a moment is in the middle of one."""

    options = sets("training.checkpoint_s=0")

    def arguments(self) -> tuple[str, ...]:
        begun = (self.folder / "run" / "checkpoint.safetensors").is_file()
        steps = sets(f"training.steps={100 * self.scale}")
        return ("train", *SMOKE, "--run", "run", *self.options, *steps, *["--resume"] * begun)

    def result(self) -> object:
        run = RunFolder(self.folder / "run")
        names = {path.name for path in run.path.iterdir()}
        assert names == {
            *("config.yaml", "molecule.json", "run.json", "history.csv", "checkpoint.safetensors")
        }
        with run.history_path.open() as file:
            rows = [{k: v for k, v in row.items() if k != "wall_s"} for row in csv.DictReader(file)]
        tensors = {k: v.tolist() for k, v in load_file(run.checkpoint_path).items()}
        info = {k: v for k, v in run.info().items() if k not in VARYING}
        return rows, tensors, info


VARYING = ("started", "wall_time_s", "core_hours", "source")


class TrainByClock(Train):
    """With OpenMM's workers and few checkpoints, by the clock alone."""

    options = sets(
        *("training.checkpoint_s=0.2", "training.evaluate_every=50"),
        "energies.method=openmm",
    )


class Sample(Command):
    """Into the run's folder, whose sidecar-less file it is."""

    name = "run/samples.h5"

    def restart(self) -> None:
        super().restart()
        shutil.copytree(self.smoke_run, self.folder / "run")

    def arguments(self) -> tuple[str, ...]:
        return ("sample", "run", "-n", str(20_000 * self.scale))

    def result(self) -> object:
        with h5py.File(self.folder / self.name) as file:
            return [np.asarray(file[key]).tobytes() for key in ("coordinates", "bgp4/log_weight")]


class Report(Sample):
    """Samples and the report from them."""

    def arguments(self) -> tuple[str, ...]:
        return ("report", "run")

    def result(self) -> object:
        metrics = json.loads((self.folder / "run/report/metrics.json").read_text())
        return super().result(), {k: v for k, v in metrics.items() if "wall_time" not in k}


class Simulate(Command):
    """The engine of its own, parallel tempering by two processes."""

    options = sets(
        *("simulate.stacks=4", "simulate.processes=2", "simulate.checkpoint_s=0.05"),
        "simulate.temperatures_k=[1000, 1100]",
    )
    engine, frames = "batched", 4000

    def arguments(self) -> tuple[str, ...]:
        signs = (".made.h5.simulation/config.yaml", "made.h5")
        begun = any((self.folder / sign).is_file() for sign in signs)
        engine = ("--engine", self.engine)
        options = (*self.options, *sets(f"simulate.frames={self.frames * self.scale}"), *engine)
        return ("simulate", *SMOKE, "-o", "made.h5", *options, *["--resume"] * begun)

    def result(self) -> object:
        assert {path.name for path in self.folder.iterdir()} == {"made.h5"}
        with h5py.File(self.folder / "made.h5") as file:
            keys = ("coordinates", "potentialEnergy", "time", "temperature")
            acceptance = file["bgp4"].attrs["exchange_acceptance"].tolist()
            return [np.asarray(file[key]).tobytes() for key in keys], acceptance


class SimulateByOpenMM(Simulate):
    """OpenMM's Contexts on the Reference platform."""

    engine, frames = "openmm", 80


def survive(command: Command, kills: int) -> None:
    """Kill it so often, at moments spread over the time it takes, and compare what it makes."""
    seconds = STARTUP_S + complete(command)
    expected = command.result()
    command.restart()
    rng, killed, at_work, runs = random.Random(SEED), 0, 0, 1
    while killed < kills:
        moment, before = rng.uniform(0.1, 1.0) * seconds, command.written()
        outcome = run(*command.arguments(), cwd=command.folder, kill_after_s=moment)
        check_whole(command.folder)
        if outcome.code is None:
            killed += 1
            at_work += command.written() != before
        else:
            assert outcome.code == 0, outcome.err
            assert command.result() == expected
            command.restart()
            runs += 1
    complete(command)
    assert command.result() == expected
    name = type(command).__name__
    print(f"\n{name}: {killed} kills survived ({at_work} while it wrote), {runs} runs the same")


def complete(command: Command) -> float:
    """Run it to its end in this process, which is quicker; seconds."""
    started = time.monotonic()
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(command.folder)
        patch.setattr(sys, "argv", ["bgp4", *command.arguments()])
        patch.setenv("PYTHONWARNINGS", "ignore")
        with pytest.raises(SystemExit) as ended:
            main()
    assert not ended.value.code
    return time.monotonic() - started


COMMANDS = {c.__name__: c for c in (Train, Simulate, Sample, Report)}
VARIANTS = {c.__name__: c for c in (TrainByClock, SimulateByOpenMM)}


@pytest.mark.parametrize("name", COMMANDS)
def test_a_few_kills(name: str, smoke_run, tmp_path) -> None:
    survive(COMMANDS[name](tmp_path / "work", 1, smoke_run), 4 if name == "Train" else 2)


@pytest.mark.slow
@pytest.mark.parametrize("name", COMMANDS | VARIANTS)
def test_thirty_kills(name: str, smoke_run, tmp_path) -> None:
    survive((COMMANDS | VARIANTS)[name](tmp_path / "work", 4, smoke_run), 30)
