"""`bgp4 run`: every stage, with settings of seconds; interrupted, gone on with, refused."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from bgp4.cli.run import verdict_lines
from bgp4.errors import RunError, UserInputError
from bgp4.pipeline import run as stages
from bgp4.pipeline.request import RunRequest
from bgp4.pipeline.run import run_ensemble
from bgp4.studies.bench.ensemble import bench_ensemble
from bgp4.training.run import RunFolder

CONFIG = """\
system: AlanineDipeptideVacuum
temperature_k: 600
data:
  path: small_1000k.h5
  temperature_k: 1000
simulate:
  frames: 400
  stacks: 2
  steps_per_frame: 20
  equilibration_frames: 30
  processes: 1
  temperatures_k: [600, 800, 1000]
model: {blocks: 1, torsion_blocks: 1, hidden: [16], bins: 4}
training:
  steps: 40
  batch_size: 64
  energy_batch_size: 32
  evaluate_every: 5
energies: {workers: 1}
report: {samples: 200, bins: 16, bootstrap: 10}
"""


@pytest.fixture
def config(in_tmp) -> str:
    Path("small.yaml").write_text(CONFIG)
    return "small.yaml"


def request(config: str, **changes: object) -> RunRequest:
    values = {"folder": Path("small"), "effective": 50, "hours": 1.0, "quiet": True}
    return RunRequest(config, None, **(values | changes))


def status() -> dict:
    return json.loads(Path("small/status.json").read_text())


def test_from_a_config_to_a_verdict(config, monkeypatch) -> None:
    """One round is enough for 50 effective samples of at most 1,000, or there are more."""
    monkeypatch.setattr(stages, "SAFE", 0.0)  # no time for another training
    monkeypatch.setattr(stages, "REFINE_S", 1e9)
    lines: list[str] = []
    found = run_ensemble(request(config), lines.append)
    assert Path("small_1000k.h5").is_file()
    assert Path("small/small_600k.h5").is_file()
    assert Path("small/train/samples.h5").is_file()
    assert Path(str(found.report)).is_file()
    assert [line.split("]")[0] for line in lines] == [
        f"[{name}"
        for name in ("plan", "simulate", "train", "sample", "reference", "judge", "report")
    ]
    written = status()
    assert written["stage"] == "done"
    assert written["verdict"] in ("converged", "usable", "not to be trusted")
    assert bool(written["reasons"]) == (written["verdict"] != "converged")
    assert written["wall_s"] == pytest.approx(sum(written["wall_s_by_stage"].values()), abs=1)
    assert written["ensemble"] == "small/train/samples.h5"
    shown = "\n".join(verdict_lines(found, Path("small")))
    assert f"verdict: {written['verdict']}" in shown

    again = run_ensemble(request(config), lambda line: pytest.fail(line))
    assert again == found

    bench = bench_ensemble(Path("small"), n=200, seconds=0.2)
    by_method = {row["method"]: row["seconds"] for row in bench["results"]}
    assert set(by_method) == {"tempering_openmm", "tempering_batched", "flow"}
    assert by_method["flow"] > bench["settings"]["training_s"] > 0


def test_ctrl_c_and_on(config, monkeypatch) -> None:
    """The second call takes up what is there, and trains on from the checkpoint."""
    monkeypatch.setattr(stages, "SAFE", 0.0)
    monkeypatch.setattr(stages, "REFINE_S", 1e9)
    train_run, calls = stages.train_run, []

    def interrupted(made, path, resume, device, start):
        calls.append(resume)
        if len(calls) > 1:
            return train_run(made, path, resume, device, start)
        from bgp4.training.trainer import Trainer

        step = Trainer.step

        def stop(self, number):
            if number == 20:
                self.checkpoint()
                raise KeyboardInterrupt
            return step(self, number)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Trainer, "step", stop)
            return train_run(made, path, resume, device, start)

    monkeypatch.setattr(stages, "train_run", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run_ensemble(request(config), lambda line: None)
    assert status()["stage"] == "train"
    assert status()["stopped"] == "interrupted"
    assert status()["verdict"] is None
    spent = status()["wall_s"]
    run_ensemble(request(config), lambda line: None)
    assert calls == [False, True]
    assert status()["stage"] == "done"
    assert status()["stopped"] is None
    assert status()["wall_s"] > spent


def test_it_trains_on_and_refines(config, monkeypatch) -> None:
    """A flow of 40 steps has no ESS of 1; the second training begins with the first one's flow."""
    monkeypatch.setattr(stages, "MOST_PER_EFFECTIVE", 1)
    monkeypatch.setattr(stages, "LEAST_STEPS", 1)
    monkeypatch.setattr("bgp4.pipeline.deciding.GAIN", 1e9)
    found = run_ensemble(request(config, effective=600), lambda line: None)
    assert [Path(one["run"]).name for one in found.rounds] == ["train", "train_2"]
    begun = RunFolder(Path("small/train_2")).info()["begun_with"]
    assert begun["run"] == "small/train"
    assert str(Path(found.ensemble).parent) in found.results["sample"], "that of the ensemble"
    assert Path("small/train_2/refined.h5").is_file()
    page = Path(str(found.report)).read_text(encoding="utf-8")
    assert "<title>bgp4 report: small" in page, "the folder's name, not its training's"
    assert found.verdict is not None


def test_a_second_training_that_fails_costs_nothing(config, monkeypatch) -> None:
    monkeypatch.setattr(stages, "MOST_PER_EFFECTIVE", 1)
    monkeypatch.setattr(stages, "LEAST_STEPS", 1)
    train_run = stages.train_run

    def failing(made, path, resume, device, start):
        if start is not None:
            raise RunError("step 7: it diverges")
        return train_run(made, path, resume, device, start)

    monkeypatch.setattr(stages, "train_run", failing)
    lines: list[str] = []
    found = run_ensemble(request(config, effective=600), lines.append)
    assert found.ensemble == "small/train/samples.h5"
    assert "[train] small/train_2: step 7: it diverges; the flow before it stands" in lines


def test_md_alone(config, monkeypatch) -> None:
    """A later call that asks for more goes on.

    Of trans peptide bonds: with `any`, stacks start on both sides, and none crosses.
    """
    Path(config).write_text(CONFIG.replace("data:\n", "data:\n  peptide_bonds: trans\n"))
    monkeypatch.setattr("bgp4.pipeline.reference.FIRST_SHARE", 2.0)
    lines: list[str] = []
    found = run_ensemble(request(config, method="md", effective=2), lines.append)
    assert lines[0].startswith("[plan] MD until it is worth 2 independent frames; budget 60 min")
    assert found.planned_left_s is None
    assert found.ensemble == "small/small_md_600k.h5"
    assert not Path("small/train").exists()
    assert found.report is None
    before, first = found.n_samples, found.effective_samples
    assert "nan" not in "\n".join(verdict_lines(found, Path("small")))
    asked = round(1.2 * first) + 1
    more = run_ensemble(request(config, method="md", effective=asked), lambda line: None)
    assert more.n_samples > before
    assert "φ ALA2 > 0" in [row["label"] for row in found.states]
    assert found.verdict in ("converged", "usable", "not to be trusted")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["small.yaml", "--hours", "0"], "--hours: expected a number above 0"),
        (["small.yaml", "--method", "magic"], "--method: expected flow or md"),
        (["small.yaml", "--temperature", "1"], "--temperature: expected 50 to 1000 K, found 1"),
        (["ala2"], "run ala2: a bundled model is trained already"),
        (["small.yaml", "-o", "taken"], "-o taken: expected a new folder"),
        (["none.yaml"], "no such file: none.yaml"),
        ([], "expected a file, a test system or --smiles"),
    ],
)
def test_wrong_input(config, arguments, words) -> None:
    Path("taken").mkdir()
    Path("taken/notes.txt").touch()
    command = [sys.executable, "-m", "bgp4", "run", *arguments]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ended.returncode == 2
    assert words in ended.stderr
    assert len(ended.stderr.splitlines()) == 1
    assert {path.name for path in Path().iterdir()} == {"small.yaml", "taken"}


@pytest.mark.parametrize(
    ("written", "words"),
    [
        ('{"source": "other.pdb"}', r"it is of other\.pdb"),
        ('{"source": "small.yaml", "begun_in": "/elsewhere"}', "it was begun in /elsewhere"),
        ('{"source": "small.yaml", "temperature": 1}', "not a status of this version"),
        ("null", "not a status of this version"),
        ("{", "not a status of this version"),
    ],
)
def test_a_folder_that_is_not_to_be_gone_on_with(config, written, words) -> None:
    Path("small").mkdir()
    Path("small/status.json").write_text(written)
    with pytest.raises(UserInputError, match=words):
        run_ensemble(request(config), lambda line: None)


def test_another_temperature_than_that_of_a_finished_folder(config) -> None:
    Path("small").mkdir()
    done = {
        "source": "./small.yaml",
        "stage": "done",
        "temperature_k": 600.0,
        "ensemble": "small.yaml",
    }
    done |= {"hours": 1.0, "effective_asked": 50, "ensemble": "small.yaml"}
    Path("small/status.json").write_text(json.dumps(done))
    assert run_ensemble(request(config), lambda line: None).ensemble == "small.yaml"
    assert run_ensemble(request(config, temperature_k=600.0), lambda line: None).stage == "done"
    Path("small/train").mkdir()
    with pytest.raises(UserInputError, match="--temperature 310: small is at 600 K"):
        run_ensemble(request(config, temperature_k=310.0), lambda line: None)
