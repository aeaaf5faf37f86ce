"""A full disk and a folder that takes no files: one line, exit 2, nothing half-written."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.test_cli import environment

pytest.importorskip("resource")
SMOKE = ("--config", "ala2_smoke.yaml")

COMMANDS = {
    "sample .h5": (8, ("sample", "ala2", "-n", "300", "-o", "s.h5")),
    "sample .dcd": (8, ("sample", "ala2", "-n", "300", "-o", "s.dcd")),
    "sample .xtc": (8, ("sample", "ala2", "-n", "300", "-o", "s.xtc")),
    "sample .pdb": (8, ("sample", "ala2", "-n", "300", "-o", "s.pdb")),
    "simulate": (4, ("simulate", *SMOKE, "-o", "d.h5")),
    "train": (30, ("train", *SMOKE, "--run", "run")),
    "train, at once": (0, ("train", *SMOKE, "--run", "run")),
    "init": (0, ("init", "AlanineDipeptideVacuum", "-o", "my.yaml")),
}


def limited(kilobytes: int, command: tuple[str, ...], cwd: Path) -> subprocess.CompletedProcess:
    """A command that can write no file larger than so much, as on a disk with no more left."""

    def limit() -> None:
        import resource

        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (1024 * kilobytes, 1024 * kilobytes))

    return subprocess.run(
        [sys.executable, "-B", "-m", "bgp4", *command],
        cwd=cwd,
        env=environment(),
        preexec_fn=limit,
        capture_output=True,
        text=True,
    )


@pytest.mark.parametrize(("kilobytes", "command"), COMMANDS.values(), ids=COMMANDS.keys())
def test_a_full_disk(kilobytes: int, command: tuple[str, ...], tmp_path) -> None:
    done = limited(kilobytes, command, tmp_path)
    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stderr
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("bgp4: error: ")]
    assert "cannot be written" in line
    left = {path.name for path in tmp_path.rglob("*") if path.is_file() and path.stat().st_size}
    assert not left & {"s.h5", "s.dcd", "s.xtc", "s.pdb", "s.weights.csv", "d.h5", "my.yaml"}
    assert "checkpoint.safetensors" not in left


@pytest.mark.skipif(not Path("/proc/self").is_dir(), reason="no folder that takes no files")
def test_a_folder_that_takes_no_files(tmp_path) -> None:
    sample = ("sample", "ala2", "-n", "20", "-o", "/proc/s.h5")
    for command in (sample, ("init", "AlanineDipeptideVacuum", "-o", "/proc/a.yaml")):
        done = limited(10**6, command, tmp_path)
        assert done.returncode == 2, done.stderr
        assert "Traceback" not in done.stderr
        assert "/proc/" in done.stderr
