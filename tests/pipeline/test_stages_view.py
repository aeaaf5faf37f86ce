"""The terminal's screen of `bgp4 run`: every stage on it, and how it leaves the terminal."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from rich.console import Console

from bgp4.parallel.progress import followed
from bgp4.parallel.screen import Bar, drawn
from bgp4.pipeline.folder import EnsembleFolder
from bgp4.pipeline.view import StagesView, drawn_stages
from tests.pipeline.test_run import CONFIG
from tests.terminals import ESCAPE, in_terminal, left_as_it_was


@pytest.fixture
def folder(in_tmp) -> EnsembleFolder:
    """One whose training is next."""
    Path("my").mkdir()
    made = EnsembleFolder.open(Path("my"), "my.pdb")
    status = made.status
    status.temperature_k, status.hours = 300.0, 0.5
    status.plan_s = {"simulate": 20.0, "train": 600.0, "reference": 120.0}
    status.wall_s, status.wall_s_by_stage = 31.0, {"propose": 1.0, "plan": 2.0, "simulate": 28.0}
    status.results = {"simulate": "my/my_1000k.h5: 20000 frames at 1000 K"}
    return made


def text(folder: EnsembleFolder, width: int = 100) -> str:
    console = Console(record=True, width=width, file=io.StringIO())
    console.print(StagesView(folder).frame(None))
    return console.export_text()


def test_rows(folder) -> None:
    with folder.stage("train"):
        lines = text(folder).splitlines()
    assert lines[0].strip() == "my.pdb, 300 K, 10,000 effective samples asked for"
    rows = {line[2:11].strip(): line for line in lines[1:-1]}
    assert list(rows) == [
        *("propose", "plan", "simulate", "train", "sample", "reference", "judge", "report")
    ]
    assert rows["simulate"].split()[:4] == ["✓", "simulate", "28", "s"]
    assert "20000 frames" in rows["simulate"]
    assert rows["train"].split()[0] == "▸"
    assert "of about 10 min" in rows["train"]
    assert rows["reference"].split() == ["reference", "about", "2", "min"]
    assert lines[-1].strip() == "31 s so far, about 12 min left, budget 30 min"


def test_time_left_follows_the_pace(folder, monkeypatch) -> None:
    """Half of a stage in 50 s leaves as much again, whatever the plan said."""
    now = 1000.0
    monkeypatch.setattr("time.monotonic", lambda: now)
    with folder.stage("train"):
        for done in (0, 100, 550):
            now += 50.0
            folder.heard("training", done, 1000, "")
        assert folder.status.planned_left_s == pytest.approx(120.0 + 50.0)
    assert folder.status.wall_s == pytest.approx(31.0 + 150.0)


def test_work_is_drawn_below_its_stage(folder) -> None:
    console = Console(record=True, force_terminal=True, width=100, file=io.StringIO())
    with (
        drawn_stages(folder, console),
        followed(folder.heard),
        folder.stage("train"),
        drawn(Bar("training", 10)) as report,
    ):
        report(4, "ESS 12.3%")
    shown = console.export_text()
    last = shown[shown.rindex("ESS 12.3%") - 100 :]
    assert "4/10" in last
    assert last.index("ESS 12.3%") < last.index("reference")


def test_in_a_terminal(in_tmp) -> None:
    Path("small.yaml").write_text(CONFIG)
    code, shown, same = in_terminal(
        in_tmp, "run", "small.yaml", "--effective", "20", "--hours", "0.002"
    )
    plain = ESCAPE.sub("", shown)
    assert code == 0, plain
    assert same
    assert left_as_it_was(shown)
    end = plain[plain.rindex("small.yaml, 600 K") :]
    for stage in ("plan", "simulate", "train", "sample", "reference", "judge", "report"):
        assert f"✓ {stage}" in end
    assert end.index("✓ report") < end.index("verdict: ")
    assert "[train]" not in plain, "what a stage left is said once"


def test_ctrl_c(in_tmp) -> None:
    Path("small.yaml").write_text(CONFIG.replace("steps: 40", "steps: 100000"))
    code, shown, same = in_terminal(
        in_tmp, "run", "small.yaml", "--hours", "10", stop_after="held-out"
    )
    assert code == 130
    assert same
    assert left_as_it_was(shown)
    assert "the same command" in ESCAPE.sub("", shown)
