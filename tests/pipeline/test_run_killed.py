"""SIGKILL in each stage of `bgp4 run`; the same command then goes on to the same samples."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from bgp4.sampling.files import read_samples
from tests.pipeline.test_run import CONFIG

COMMAND = (
    sys.executable,
    "-m",
    "bgp4",
    "run",
    "small.yaml",
    "--effective",
    "60",
    "--hours",
    "0.01",
)
STATUS = Path("small/status.json")
PATIENCE_S = 240.0


def killed_in(stage: str) -> None:
    """Begin, and kill every process of it as soon as it says that it is there."""
    process = subprocess.Popen(COMMAND, start_new_session=True, stderr=subprocess.DEVNULL)
    end = time.monotonic() + PATIENCE_S
    while process.poll() is None and time.monotonic() < end:
        if STATUS.is_file() and json.loads(STATUS.read_text())["stage"] == stage:
            os.killpg(process.pid, signal.SIGKILL)
            break
        time.sleep(0.01)
    assert process.wait() == -signal.SIGKILL, f"it never came to {stage}"


@pytest.mark.slow
@pytest.mark.parametrize("stage", ["simulate", "train", "sample", "reference", "judge", "report"])
def test_killed_and_on(in_tmp, stage) -> None:
    Path("small.yaml").write_text(CONFIG)
    killed_in(stage)
    ended = subprocess.run(COMMAND, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    status = json.loads(STATUS.read_text())
    assert status["stage"] == "done"
    assert status["verdict"] is not None
    assert Path(status["report"]).is_file()
    samples = read_samples(Path("small/train/samples.h5"))
    assert len(samples.energy_kt) >= 60
    assert not list(Path("small").glob("*.partial*"))
