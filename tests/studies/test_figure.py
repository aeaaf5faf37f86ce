"""What `bgp4 reproduce` writes, when it works again, and what it refuses."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path

import matplotlib.image
import pytest

from bgp4 import __version__
from bgp4.errors import UserInputError
from bgp4.studies.paper import fig2, fig3, fig4, fig5, fig10, figure
from bgp4.studies.paper.figure import Check, reproduce, verdict
from bgp4.studies.paper.mnist import FILES


def test_a_figure_is_written_and_not_made_twice(tmp_path: Path) -> None:
    (line,) = reproduce(["fig9"], tmp_path)
    assert line.startswith("fig9: holds")
    folder = tmp_path / "fig9"
    assert sorted(f.name for f in folder.iterdir()) == ["fig9.png", "fig9.svg", "result.json"]
    result = json.loads((folder / "result.json").read_text())
    assert result["verdict"] == "holds"
    assert result["numbers"]["parameters"] == {"RNVP": 735_050, "P4Inv": 744_050}
    assert {"claim", "checks", "settings", "versions", "sentence"} <= result.keys()
    assert matplotlib.image.imread(folder / "fig9.png").shape[0] > 100
    assert "<svg" in (folder / "fig9.svg").read_text()
    before = (folder / "fig9.png").stat().st_mtime_ns
    assert list(reproduce(["fig9"], tmp_path)) == [line]
    assert (folder / "fig9.png").stat().st_mtime_ns == before


def test_other_settings_another_version_or_a_damaged_result_make_it_anew(tmp_path: Path) -> None:
    list(reproduce(["fig9"], tmp_path))
    path = tmp_path / "fig9" / "result.json"
    good = json.loads(path.read_text())
    changes = ({"settings": {}}, {"versions": {**good["versions"], "bgp4": "0.0.1"}})
    for text in ("{", *(json.dumps({**good, **change, "verdict": "fails"}) for change in changes)):
        path.write_text(text)
        (line,) = reproduce(["fig9"], tmp_path)
        assert line.startswith("fig9: holds")
        made = json.loads(path.read_text())
        assert (made["settings"], made["versions"]) == (good["settings"], good["versions"])


@pytest.mark.parametrize("names", [["fig11"], ["fig1", "figure 2"], []])
def test_unknown_names_are_refused_before_anything_is_made(
    names: list[str], tmp_path: Path
) -> None:
    with pytest.raises(UserInputError, match="fig1 to fig10 or all"):
        list(reproduce(names, tmp_path / "out"))
    assert not (tmp_path / "out").exists()


def test_a_missing_data_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserInputError, match="no such folder"):
        list(reproduce(["fig10"], tmp_path / "out", mnist=tmp_path / "nowhere"))


@pytest.fixture
def nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """MNIST is not there, and figures are made in no time; their names, in the order of making."""
    made: list[str] = []

    def make(name: str, *_: object) -> str:
        made.append(name)
        return f"{name}: holds"

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(figure, "_make", make)
    return made


def test_all_without_mnist_are_the_other_nine(nowhere: list[str], tmp_path: Path) -> None:
    first, *verdicts, last = reproduce(["all"], tmp_path)
    assert first.startswith("fig10 is left out: MNIST: ")
    assert "--data DIR" in first
    assert "--download" in first
    assert verdicts == [f"fig{i}: holds" for i in range(1, 10)]
    assert last == f"9 of 10 figures are in {tmp_path}"


def test_all_with_mnist_are_ten(nowhere: list[str], tmp_path: Path) -> None:
    for name in FILES:
        (tmp_path / name).touch()
    *verdicts, last = reproduce(["all"], tmp_path, mnist=tmp_path)
    assert verdicts == [f"fig{i}: holds" for i in range(1, 11)]
    assert last == f"10 of 10 figures are in {tmp_path}"


def test_a_figure_10_that_is_there_needs_no_mnist(nowhere: list[str], tmp_path: Path) -> None:
    (tmp_path / "fig10").mkdir()
    done = {"settings": figure._plain(asdict(fig10.FULL)), "versions": {"bgp4": __version__}}
    (tmp_path / "fig10" / "result.json").write_text(json.dumps(done))
    assert len(list(reproduce(["all"], tmp_path))) == 11
    assert nowhere[-1] == "fig10"


@pytest.mark.parametrize("names", [["fig10"], ["fig9", "fig10"], ["all", "fig10"]])
def test_what_needs_mnist_by_name_is_refused_before_anything_is_made(
    names: list[str], nowhere: list[str], tmp_path: Path
) -> None:
    with pytest.raises(UserInputError, match=f"missing {FILES[0]}.*--download"):
        list(reproduce(names, tmp_path))
    assert nowhere == []


def test_so_is_a_folder_that_was_named_and_lacks_it(nowhere: list[str], tmp_path: Path) -> None:
    with pytest.raises(UserInputError, match=f"{tmp_path}: missing {FILES[0]}"):
        list(reproduce(["all"], tmp_path, mnist=tmp_path))
    assert nowhere == []


SHORTER = {
    "fig2": replace(fig2.QUICK, sizes=(8, 16, 32), rounds=1, budget_s=1.0),
    "fig3": replace(fig3.QUICK, iterations=250),
    "fig4": replace(fig4.QUICK, fit=replace(fig4.QUICK.fit, iterations=400)),
    "fig5": replace(fig5.QUICK, fit=replace(fig5.QUICK.fit, iterations=300)),
}
"""Settings that make a figure as well; what it then says is of no interest here."""


@pytest.mark.parametrize("name", ["fig1", "fig2", "fig3", "fig4", "fig5", "fig7"])
def test_figures_are_made(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if name in SHORTER:
        monkeypatch.setattr(f"bgp4.studies.paper.{name}.QUICK", SHORTER[name])
    assert_made(name, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("name", SHORTER)
def test_quick_figures(name: str, tmp_path: Path) -> None:
    assert_made(name, tmp_path)


def assert_made(name: str, tmp_path: Path) -> None:
    list(reproduce([name], tmp_path, quick=True))
    result = json.loads((tmp_path / name / "result.json").read_text())
    assert result["verdict"] in ("holds", "partly", "fails")
    assert len(result["checks"]) >= 2


def test_verdict() -> None:
    good, bad = Check("a", 1, True), Check("b", 2, False)
    assert verdict([good, good]) == "holds"
    assert verdict([bad]) == "fails"
    assert verdict([good, bad]) == "partly"
