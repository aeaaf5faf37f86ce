"""`bgp4 analyse` and `bgp4 compare` from outside."""

from __future__ import annotations

import csv
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from bgp4.cli.main import main
from bgp4.training.run import RunFolder

Call = Callable[..., tuple[int, str, str]]


@pytest.fixture
def call(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Call:
    def run(*args: str) -> tuple[int, str, str]:
        monkeypatch.setattr("sys.argv", ["bgp4", *args])
        with pytest.raises(SystemExit) as ended:
            main()
        said = capsys.readouterr()
        return int(ended.value.code or 0), said.out, said.err

    return run


@pytest.fixture
def run(smoke_run: RunFolder, in_tmp: Path) -> Path:
    """A copy of the trained run, to write into."""
    shutil.copytree(smoke_run.path, in_tmp / "run")
    return in_tmp / "run"


def test_it_answers_all_at_once(run: Path, call: Call) -> None:
    Path("m.csv").write_text("name,value,error,unit\n3J(HN-HA) ALA2,7.2,0.3,Hz\n")
    questions = ("--fes", "phi ALA2, psi ALA2", "--fes", "rg", "--average", "end-to-end")
    more = ("--j-couplings", "--noe", "--free-energy", "--experiment", "m.csv", "-n", "400")
    code, out, err = call("analyse", str(run), *questions, *more)
    assert code == 0, err
    for words in ("F = -kT ln Z", "S / k", "Z in nm^60", "3J(HN-CB) ALA2, Hz", "χ² of 1"):
        assert words in out
    written = {path.name for path in (run / "analysis").iterdir()}
    surfaces = {
        f"fes_{n}.{e}" for n in ("phi_ALA2-psi_ALA2", "rg") for e in ("png", "svg", "csv", "dat")
    }
    others = {"averages.csv", "experiment.csv", "experiment.png", "experiment.svg"}
    assert written == surfaces | others | {"free_energy.csv"}
    assert (run / "samples.h5").is_file()
    with (run / "analysis" / "averages.csv").open() as file:
        rows = {row["name"]: row for row in csv.DictReader(file)}
    assert float(rows["end-to-end"]["value"]) == pytest.approx(0.65, abs=0.2)
    assert float(rows["end-to-end"]["md_error"]) > 0


def test_units_and_own_columns(run: Path, call: Call) -> None:
    assert call("sample", str(run), "-n", "300")[0] == 0
    values = np.linspace(0, 1, 300)
    Path("own.csv").write_text("mine\n" + "\n".join(f"{v:.6f}" for v in values) + "\n")
    energies, kelvin = {}, RunFolder(run).config().temperature_k
    for unit in ("kT", "kJ/mol"):
        code, _, err = call(
            "analyse", str(run), "--free-energy", "--fes", "mine", "--cv", "own.csv", "--unit", unit
        )
        assert code == 0, err
        with (run / "analysis" / "free_energy.csv").open() as file:
            (first, *_) = csv.DictReader(file)
        assert first["unit"] == unit
        energies[unit] = float(first["value"])
    assert energies["kJ/mol"] == pytest.approx(0.0083144626 * kelvin * energies["kT"])
    assert (run / "analysis" / "fes_mine.csv").is_file()


def test_conformers_are_listed_and_written(run: Path, call: Call) -> None:
    for options, way in ((("--least", "5"), "wells of torsions"), (("--rmsd", "0.2"), "RMSD")):
        code, out, err = call("analyse", str(run), "--conformers", *options, "-n", "300")
        assert code == 0, err
        assert f"conformers by {way}" in out
        written = {path.name for path in (run / "analysis").iterdir()}
        assert {"conformers.csv", "conformers.pdb"} <= written
        assert "conformers.sdf" in written or "pip install" in out
        with (run / "analysis" / "conformers.csv").open() as file:
            rows = list(csv.DictReader(file))
        assert sum(float(row["population"]) for row in rows) == pytest.approx(1, abs=1e-5)
        assert sum(float(row["md_population"]) for row in rows) == pytest.approx(1, abs=1e-5)


def test_a_run_and_itself_differ_by_nothing(run: Path, call: Call) -> None:
    code, out, err = call("compare", str(run), str(run), "-n", "300")
    assert code == 0, err
    assert "run minus run" in out
    assert "0.00 ± " in out or "0.0 ± " in out or "0.000 ± " in out


def test_wrong_questions_leave_nothing(run: Path, call: Call) -> None:
    assert call("sample", str(run), "-n", "100")[0] == 0
    for args, words in (
        ((), "expected a question"),
        (("--fes", "phi ALA9"), "did you mean 'phi ALA2'"),
        (("--average", "phi ALA2"), "the mean of a torsion says nothing"),
        (("--unit", "J", "--noe"), "--unit J: expected kT"),
        (("--samples", "none.h5", "--noe"), "none.h5: no such file"),
        (("--temperature", "-3", "--noe"), "expected K above 0"),
        (("--experiment", "none.csv"), "none.csv: no such file"),
        (("--noe", "--temperature", "5"), "does not overlap"),
        (("--noe", "--rmsd", "0.1"), "--rmsd: expected with --conformers"),
        (("--conformers", "--least", "200"), "--least 200: expected percent"),
        (("--conformers", "--rmsd", "0"), "--rmsd 0: expected nm above 0"),
    ):
        code, _, err = call("analyse", str(run), *args)
        assert code == 2, args
        assert words in err
        assert not (run / "analysis").exists()
    shutil.copy(run / "samples.h5", "unbiased.h5")
    code, _, err = call("sample", str(run), "-n", "50", "--unbiased", "-o", "chain.h5")
    assert code == 0, err
    code, _, err = call("analyse", str(run), "--samples", "chain.h5", "--free-energy")
    assert code == 2
    assert "states of a chain" in err
