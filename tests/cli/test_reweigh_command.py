"""`bgp4 reweigh` and `bgp4 train --from` from outside: what they say, leave and refuse."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from bgp4.cli.main import main
from bgp4.sampling.files import read_samples


@pytest.fixture
def call(
    in_tmp: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., tuple[int, str, str]]:
    """The command's entry point; gives exit code, stdout and stderr."""
    monkeypatch.setenv("PYTHONWARNINGS", "ignore")

    def run(*args: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["bgp4", *map(str, args)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as stopped:
            main()
        return int(stopped.value.code or 0), *capsys.readouterr()

    return run


def test_what_it_says_and_leaves(call, in_tmp) -> None:
    (in_tmp / "mine.py").write_text(
        "def spring(x, elements):\n"
        "    assert elements[0] == 'H'\n"
        "    return 1e-3 * ((x - x.mean(axis=1, keepdims=True)) ** 2).sum(axis=(1, 2)) - 1e5\n"
    )
    code, _, said = call("reweigh", "ala2", "--energy", "mine.py:spring", "-n", 100)
    assert code == 2, "a spring to the centre has nothing of the molecule"
    assert "--energy mine.py:spring: the model does not overlap with this energy: ESS" in said
    assert {path.name for path in in_tmp.iterdir()} == {"mine.py"}
    warm = ("reweigh", "ala2", "--temperature", 310, "-n", 100, "--seed", 5)
    code, out, _ = call(*warm, "-o", "s.nc", "--colvar", "C")
    assert code == 0
    found = re.fullmatch(
        r"wrote s.nc and s.weights.csv and C \(100 conformations, ESS ([\d.]+)%, clipped "
        r"([\d.]+)%; before, by the run's energy, ([\d.]+)%; overlap of the two energies "
        r"([\d.]+)%; 0 rejected\)\n",
        out,
    )
    assert found is not None
    new, clipped, before, _ = map(float, found.groups())
    assert 80 < new <= clipped < before < 100
    weights = np.exp(np.genfromtxt("s.weights.csv", delimiter=",", names=True)["log_weight"])
    assert 100 * weights.sum() ** 2 / (100 * (weights**2).sum()) == pytest.approx(new, abs=0.01)


def test_equal_weights_of_a_file_of_samples(call) -> None:
    assert call("sample", "ala2", "-n", 60, "-o", "s.h5")[0] == 0
    options = ("--samples", "s.h5", "--resample", 25)
    code, out, _ = call("reweigh", "ala2", *options)
    assert code == 0
    assert out.startswith("wrote reweighed.h5 (25 conformations of equal weight, ESS 9")
    assert (read_samples(Path("reweighed.h5")).log_weight == 0).all()
    code, _, said = call("reweigh", "ala2", *options, "-n", 5)
    assert code == 2
    assert "-n: it does not go with --samples" in said


def test_other_files_are_not_lost(call, in_tmp) -> None:
    for name, options in {
        "md.h5": ("-o", "md.h5"),
        "COLVAR": ("--colvar", "COLVAR"),
    }.items():
        (in_tmp / name).write_text("of another program")
        for command in (("sample", "ala2"), ("reweigh", "ala2", "--temperature", 310)):
            code, _, said = call(*command, "-n", 30, *options)
            assert code == 2
            assert f"{options[0]} {name}: the file exists" in said
            assert (in_tmp / name).read_text() == "of another program"


def test_training_from_a_bundled_model(call, caplog) -> None:
    short = ("--set", "training.steps=2", "--set", "training.energy_batch_size=32")
    with caplog.at_level("INFO", logger="bgp4"):
        code, out, _ = call("train", "--config", "ala2.yaml", "--from", "ala2", *short)
    assert code == 0
    assert out.startswith("wrote runs/ala2")
    assert "from the flow of ala2 to 300 K by energies" in caplog.text
    code, _, said = call("train", "--config", "ala2.yaml", "--from", "ala2", *short, "--resume")
    assert code == 2
    assert "--from: it does not go with --resume" in said
