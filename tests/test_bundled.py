"""Bundled models: made by the script, found by name, sampled and reported from anywhere."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import yaml
from safetensors.torch import load_file

from bgp4.cli.report import report_command
from bgp4.cli.sample import sample_command
from bgp4.cli.train import train_command
from bgp4.errors import UserInputError
from bgp4.sampling.draw import draw_samples
from bgp4.sampling.files import read_attributes, read_samples
from bgp4.sampling.request import SampleRequest
from bgp4.storage import bundled
from bgp4.training.run import RunFolder
from tests.conftest import script_module

CHECKOUT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def script() -> ModuleType:
    return script_module("bundle_model")


@pytest.fixture(scope="module")
def run(smoke_run, tmp_path_factory) -> RunFolder:
    """A trained run with a report."""
    path = tmp_path_factory.mktemp("bundled") / "run"
    shutil.copytree(smoke_run.path, path)
    (path / "report").mkdir()
    (path / "report" / "metrics.json").write_text("{}")
    (path / "samples.h5").write_text("not part of the model")
    return RunFolder(path)


@pytest.fixture(scope="module")
def made(script, run, tmp_path_factory) -> Path:
    """The models' folder, with `tiny` in it."""
    folder = tmp_path_factory.mktemp("models")
    script.main([str(run.path), "tiny", str(folder)])
    return folder


@pytest.fixture
def models(made, in_tmp, monkeypatch) -> Path:
    """The same, bundled, seen from an empty working directory."""
    monkeypatch.setenv("PYTHONWARNINGS", "ignore")
    real = bundled._bundled
    monkeypatch.setattr(bundled, "_bundled", lambda k: made if k == "data/models" else real(k))
    return made


def contents(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_it_holds_what_sampling_and_reports_need(made, run) -> None:
    files = {path.name for path in made.rglob("*")}
    assert files == {
        *("tiny", "config.yaml", "molecule.json", "checkpoint.safetensors"),
        *("history.csv", "run.json", "metrics.json"),
    }
    kept = load_file(made / "tiny" / "checkpoint.safetensors")
    best = {k: v for k, v in load_file(run.checkpoint_path).items() if k.startswith("best.")}
    assert kept.keys() == best.keys()
    assert all((kept[key] == value).all() for key, value in best.items())


def test_it_says_nothing_of_the_machine(made, run) -> None:
    info = json.loads((made / "tiny" / "run.json").read_text())
    assert Path(run.info()["data"]["path"][0]).is_absolute()
    assert info["data"]["path"] == ["ala2_smoke.h5"]
    for content in contents(made).values():
        assert str(CHECKOUT).encode() not in content


def test_its_samples_are_the_runs(models, run) -> None:
    draw_samples(run, Path("run.h5"), SampleRequest(30, seed=2))
    draw_samples(RunFolder.find(Path("tiny")), Path("model.h5"), SampleRequest(30, seed=2))
    for ours, expected in zip(*map(read_samples, (Path("model.h5"), Path("run.h5"))), strict=True):
        np.testing.assert_array_equal(ours, expected)
    assert read_attributes(Path("model.h5"))["run"] == "tiny"


@pytest.mark.parametrize(("name", "least"), [("ala2", 0.9), ("ala4", 0.3), ("ala6", 0.01)])
def test_what_comes_along_is_trained(in_tmp, name: str, least: float) -> None:
    """The least ESS leaves room for a heavy sample, which tetra-alanine has in some draws."""
    drawn = draw_samples(RunFolder.find(Path(name)), Path("s.h5"), SampleRequest(1000, seed=1))
    assert drawn.ess > least


def test_sampling_by_name_leaves_the_model_as_it_is(models, in_tmp, capsys) -> None:
    before = contents(models)
    sample_command(Path("tiny"), Path("s.pdb"), SampleRequest(20, device="cpu"))
    sample_command(Path("tiny"), None, SampleRequest(20, device="cpu"))
    assert "wrote samples.h5 (20 conformations" in capsys.readouterr().out
    assert {p.name for p in in_tmp.iterdir()} == {"s.pdb", "s.weights.csv", "samples.h5"}
    assert contents(models) == before


def test_a_path_comes_before_a_name(models, in_tmp, run) -> None:
    (in_tmp / "tiny").mkdir()
    with pytest.raises(UserInputError, match="tiny: not a run folder with a checkpoint"):
        RunFolder.find(Path("tiny"))
    (in_tmp / "tiny").rmdir()
    shutil.copytree(run.path, in_tmp / "tiny")
    assert RunFolder.find(Path("tiny")).path == Path("tiny")
    assert not RunFolder.find(Path("tiny")).is_bundled


@pytest.mark.parametrize("name", ["ala3", "README.md", "../models/tiny", "."])
def test_unknown_names(models, in_tmp, name: str) -> None:
    with pytest.raises(UserInputError, match="not a run folder") as refused:
        sample_command(Path(name), None, SampleRequest(20, device="cpu"))
    assert "\n" not in str(refused.value)
    assert name == "." or "bundled model (bundled: tiny)" in str(refused.value)
    assert not list(in_tmp.iterdir())


def test_where_none_is_bundled(in_tmp, monkeypatch) -> None:
    monkeypatch.setattr(bundled, "models_folder", lambda: in_tmp / "nowhere")
    with pytest.raises(UserInputError, match=r"bundled: none"):
        RunFolder.find(Path("tiny"))


def test_a_report_goes_where_o_says(models, in_tmp, capsys, monkeypatch) -> None:
    monkeypatch.setattr("bgp4.report.report.png_bytes", lambda figure: b"\x89PNG")
    before = contents(models)
    with pytest.raises(UserInputError, match=r"report tiny: .*-o"):
        report_command([Path("tiny")], None)
    assert not list(in_tmp.iterdir())
    report_command([Path("tiny")], Path("out"))
    assert "wrote out/index.html" in capsys.readouterr().out
    metrics = json.loads((in_tmp / "out" / "metrics.json").read_text())
    assert metrics["n_samples"] == 200 == len(read_samples(Path("out/samples_tiny.h5")).energy_kt)
    assert metrics["n_energy_evaluations"] > 0
    assert (in_tmp / "out" / "training.png").is_file()
    assert contents(models) == before


def test_no_training_goes_on_from_it(models) -> None:
    before = contents(models)
    with pytest.raises(UserInputError, match="cannot resume: it holds only a trained model"):
        train_command("ala2_smoke.yaml", models / "tiny", True, "cpu", [])
    assert contents(models) == before


REFUSED = {
    "another file's data": ({"data": {"path": "data/my.h5"}}, "data.path"),
    "a molecule of files": (
        {"system": {"pdb": "mine/my.pdb", "forcefield": ["amber14-all.xml"]}},
        "my.pdb",
    ),
    "double precision": ({"model": {"precision": "float64"}}, "model.precision"),
}


@pytest.mark.parametrize(("sections", "words"), REFUSED.values(), ids=REFUSED.keys())
def test_what_is_no_model_for_everywhere(script, run, tmp_path, sections, words) -> None:
    copy = RunFolder(tmp_path / "run")
    shutil.copytree(run.path, copy.path)
    config = yaml.safe_load(copy.config_path.read_text())
    copy.config_path.write_text(yaml.safe_dump(config | sections))
    with pytest.raises(SystemExit, match=words):
        script.main([str(copy.path), "tiny", str(tmp_path / "models")])
    assert not (tmp_path / "models").exists()


def test_a_large_model_or_one_that_is_there(script, run, tmp_path, made, monkeypatch) -> None:
    before = contents(made)
    with pytest.raises(SystemExit, match="tiny: exists"):
        script.main([str(run.path), "tiny", str(made)])
    monkeypatch.setattr(script, "MAX_BYTES", 1000)
    with pytest.raises(SystemExit, match=r"MB, more than 0\.001"):
        script.main([str(run.path), "tiny", str(tmp_path)])
    assert not list(tmp_path.iterdir())
    assert contents(made) == before


def test_the_wheel_takes_the_models_along() -> None:
    import tomllib

    settings = tomllib.loads((CHECKOUT / "pyproject.toml").read_text())
    included = settings["tool"]["hatch"]["build"]["targets"]["wheel"]["force-include"]
    assert included["data/models"] == "bgp4/_bundled/data/models"
    assert (CHECKOUT / "data" / "models").is_dir()
