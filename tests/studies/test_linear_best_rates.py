"""scripts/linear_best_rates.py: the rate that it finds is the one that theory knows."""

from __future__ import annotations

import importlib.util
import math
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import pytest

from bgp4.studies.paper.linear_maps import rotation

SCRIPT = Path(__file__).parents[2] / "scripts" / "linear_best_rates.py"


@pytest.fixture(scope="module")
def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("linear_best_rates", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_best_rate_of_the_matrix_itself(script: ModuleType) -> None:
    """With b samples of x ~ N(0, I_n), a step of rate r multiplies E |A - T|^2 by
    1 - 2 r + r^2 (n + b + 1) / b, which is least at r = b / (n + b + 1).
    """
    n = 48
    fit = replace(script.METHODS["matrix itself"], batch=32, tolerance=1e-12)
    rate, iterations = script.best_rate({seed: rotation(n, seed) for seed in (0, 1)}, fit)
    assert abs(math.log(rate * (n + 32 + 1) / 32)) < math.log(2.1)
    assert max(iterations) < 200


def test_a_rate_that_diverges_takes_for_ever(script: ModuleType) -> None:
    fit = replace(script.METHODS["matrix itself"], learning_rate=10.0)
    assert script.iterations(rotation(4, 1), fit, 1) == math.inf


def test_quick_table(
    script: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["linear_best_rates.py", "--quick", "--seeds", "1"])
    monkeypatch.setattr(script, "METHODS", {"matrix itself": script.METHODS["matrix itself"]})
    script.main()
    rows = capsys.readouterr().out.splitlines()[2:]
    assert len(rows) == 3
    assert all("inf" not in row for row in rows)
