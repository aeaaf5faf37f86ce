"""scripts/gpu_check.sh, rehearsed on a CPU: each stage has a result, in time or not."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

SCRIPT = Path(__file__).parents[1] / "scripts" / "gpu_check.sh"


def rehearsed(out: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [str(SCRIPT), "--device", "cpu", "--quick", "--out", str(out), *arguments]
    environment = {**os.environ, "PYTHON": sys.executable}
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)


def test_a_rehearsal_writes_a_result_for_each_stage(tmp_path: Path) -> None:
    done = rehearsed(tmp_path, "machine", "p4")
    assert done.returncode == 0, done.stderr
    found = json.loads((tmp_path / "gpu_check.json").read_text())
    assert {name: result["verdict"] for name, result in found.items()} == {
        **{"machine": "done", "p4": "right"}
    }
    table = (tmp_path / "gpu_check.md").read_text().splitlines()
    assert [line.split("|")[1].strip() for line in table[2:]] == ["machine", "p4"]


def test_what_there_is_no_time_for_is_said(tmp_path: Path) -> None:
    done = rehearsed(tmp_path, "--budget", "1", "machine")
    assert done.returncode == 0, done.stderr
    found = json.loads((tmp_path / "gpu_check.json").read_text())
    assert found["machine"]["verdict"] == "no time left"


def test_unknown_stages_are_refused(tmp_path: Path) -> None:
    done = rehearsed(tmp_path, "nonsense")
    assert done.returncode == 2
    assert "nonsense" in done.stderr
