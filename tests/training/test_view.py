"""The terminal's view of a training: what it says, and how it leaves the terminal."""

from __future__ import annotations

import io
import math
import os
import re
import subprocess
import sys
from itertools import chain
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from rich.console import Console

from bgp4.p4 import P4Report
from bgp4.parallel.screen import drawn
from bgp4.training.checkpoint import Counters
from bgp4.training.history import History
from bgp4.training.losses import batch_ess
from bgp4.training.schedule import Schedule
from bgp4.training.step import StepResult
from bgp4.training.view import BLOCKS, POINTS, Curve, TrainingView
from tests.terminals import ESCAPE, in_terminal, left_as_it_was

ANNEALED = Schedule({"ml": 10, "anneal": 20, "kl": 10}, 1000.0, 300.0, 1e-3, 1e-3)
STRAIGHT = Schedule({"ml": 10, "anneal": 0, "kl": 20}, 300.0, 300.0, 1e-3, 1e-3)


def result(loss: float, log_weight: torch.Tensor | None = None) -> StepResult:
    ess = math.nan if log_weight is None else float(batch_ess(log_weight))
    return StepResult(loss, loss, math.nan, 1.0, ess, False, log_weight, None, P4Report())


def recorded(width: int = 100) -> Console:
    """A terminal of this width, on which nothing is seen."""
    return Console(record=True, force_terminal=True, width=width, file=io.StringIO())


class Made:
    """A view with a clock that the test moves, and what it reads."""

    def __init__(self, schedule: Schedule, tmp_path: Path, step: int = 0, n: int = 0) -> None:
        self.now = 0.0
        self.energy = SimpleNamespace(n_evaluations=n)
        self.counters = Counters(step=step)
        self.history = History(tmp_path / "history.csv")
        self.view = TrainingView(
            schedule, self.counters, self.energy, self.history, clock=lambda: self.now
        )

    def steps(self, first: int, last: int, seconds: float = 1.0, evaluations: int = 0) -> None:
        for step in range(first, last + 1):
            self.now += seconds
            self.energy.n_evaluations += evaluations
            log_weight = torch.zeros(8) if evaluations else None
            self.view.add(step, result(100.0 - step, log_weight))

    def text(self, width: int = 100) -> str:
        console = recorded(width)
        console.print(self.view.render())
        return console.export_text()


@pytest.fixture
def made(tmp_path) -> Made:
    return Made(ANNEALED, tmp_path)


def test_before_the_first_step(made) -> None:
    text = made.text()
    assert "0/40  ETA -:--" in text
    assert "likelihood of frames, 1000 K" in text
    assert text.count("—") == 3, "loss, held-out log-likelihood, ESS"
    assert text.count("none yet") == 2, "merges, energies"


def test_each_phase(made) -> None:
    made.steps(1, 5, seconds=2.0)
    text = made.text()
    assert "5/40  ETA over 1:10" in text, "likelihood steps; those with energies take longer"
    assert "97.00 " in text, "the mean of the losses"
    made.steps(6, 20, seconds=3.0, evaluations=60)
    text = made.text()
    assert "20/40  ETA 1:00" in text
    assert re.search(r"energies, 5\d\d K on the way from 1000 to 300 K", text)
    assert "900, 20 per second" in text
    assert "held-out log-likelihood  no frames of this temperature" in text
    assert "ESS                      100.0%" in text
    made.steps(21, 40, evaluations=60)
    text = made.text()
    assert "40/40  done" in text
    assert "energies, 300 K" in text
    assert "on the way" not in text


def test_data_of_the_runs_temperature(tmp_path) -> None:
    made = Made(STRAIGHT, tmp_path)
    made.steps(1, 11, evaluations=1)
    assert "likelihood and energies, 300 K" in made.text()


def test_what_is_counted_and_evaluated(made) -> None:
    made.counters.p4_merges, made.counters.p4_rejected = 1499, 1
    made.counters.rejected_energies, made.energy.n_evaluations = 3, 12_345
    made.history.last = {"heldout_log_likelihood": 218.125}
    text = made.text()
    assert "99.9% of 1,500 accepted" in text
    assert "12,345, 3 rejected" in text
    assert "218.12" in text


@pytest.mark.parametrize("width", [20, 40, 80, 200])
def test_any_width(made, width) -> None:
    made.steps(1, 30, evaluations=60)
    lines = made.text(width).splitlines()
    assert len(lines) == 7
    assert all(len(line) <= width for line in lines)


def test_a_resumed_training_is_as_fast_as_its_own_steps(tmp_path) -> None:
    made = Made(ANNEALED, tmp_path, step=20, n=5000)
    made.steps(21, 24, seconds=0.5, evaluations=100)
    assert made.view.speeds() == (2.0, 200.0)
    assert "ETA 0:08" in made.text()


def test_curves() -> None:
    curve = Curve()
    assert curve.blocks() == ""
    for value in [float("nan"), *range(100)]:
        curve.add(float(value))
    assert curve.blocks(8) == BLOCKS
    assert curve.recent == pytest.approx(89.5)
    for value in range(10_000):
        curve.add(float(value))
    assert len(curve.values) < 2 * POINTS
    flat = Curve()
    flat.add(1.0)
    flat.add(1.0)
    assert flat.blocks() == BLOCKS[0] * 2


def test_ess_of_a_step() -> None:
    def ess(*log_weight: float) -> float:
        return result(0.0, torch.tensor(log_weight)).ess

    assert ess(0.0, 0.0, -1e6, -1e6) == pytest.approx(0.5)
    assert ess(700.0, 700.0) == pytest.approx(1.0)
    assert ess(-1e6, -1e6) == 0.0, "every sample was rejected"
    assert math.isnan(result(0.0).ess)


def test_messages_go_above_it(made) -> None:
    console = recorded()
    with drawn(made.view, console) as report:
        made.steps(1, 3)
        report(3, "")
        print("a warning of the training", file=sys.stderr)
        made.now += 1.0
        report(None, "checking 1/2")
    text = console.export_text()
    assert text.index("a warning of the training") < text.index("checking 1/2")


SMOKE = ("train", "--config", "ala2_smoke.yaml", "--run", "run")


def test_it_shows_in_a_terminal(tmp_path) -> None:
    code, shown, same = in_terminal(tmp_path, *SMOKE)
    plain = ESCAPE.sub("", shown)
    assert code == 0, plain
    for words in ("20/20  done", "likelihood and energies, 1000 K", "held-out log-likelihood"):
        assert words in plain
    assert "\x1b[" in shown
    assert same
    assert left_as_it_was(shown)
    assert plain.rstrip().splitlines()[-1].startswith("wrote run "), "below the view"


def test_ctrl_c_leaves_the_terminal_as_it_was(tmp_path) -> None:
    endless = ("--set", "training.steps=1000000")
    code, shown, same = in_terminal(tmp_path, *SMOKE, *endless, stop_after="ETA over ")
    assert code == 130
    assert same
    assert left_as_it_was(shown)
    assert ESCAPE.sub("", shown).rstrip().endswith("bgp4: interrupted")


def test_a_failure_leaves_the_terminal_as_it_was(tmp_path) -> None:
    """Steps that are not finite, one after the other."""
    wrong = [f"training.{rate}=1e30" for rate in ("learning_rate", "energy_learning_rate")]
    wrong = chain.from_iterable(("--set", key) for key in (*wrong, "training.steps=2000"))
    code, shown, same = in_terminal(tmp_path, *SMOKE, *wrong)
    assert code == 1
    assert same
    assert left_as_it_was(shown)
    assert "not finite" in shown


def test_elsewhere_there_are_plain_lines(tmp_path) -> None:
    package = str(Path(__file__).parents[2])
    env = {**os.environ, "PYTHONPATH": package, "FORCE_COLOR": "1"}
    command = [sys.executable, "-m", "bgp4", *SMOKE]
    done = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "\x1b" not in done.stdout + done.stderr
    assert "\r" not in done.stderr
    assert re.search(r"^training 20/20, ETA 0 s held-out log-likelihood .*, ESS", done.stderr, re.M)


def test_a_terminal_that_can_not_redraw_has_plain_lines(monkeypatch) -> None:
    from bgp4.parallel.screen import on_terminal

    monkeypatch.setattr(sys, "stderr", SimpleNamespace(isatty=lambda: True))
    monkeypatch.setenv("TERM", "xterm")
    assert on_terminal()
    monkeypatch.setenv("TERM", "dumb")
    assert not on_terminal()
