"""Commands in processes of their own that are killed, and what must hold at any moment."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from bgp4.config import load_config
from bgp4.report.figures import FIGURES
from bgp4.sampling.files import read_samples
from bgp4.training.checkpoint import read_best
from bgp4.training.history import COLUMNS
from tests.processes import members

PATIENCE_S = 10.0


def environment() -> dict[str, str]:
    """That of the tests, with the package's folder on the path."""
    package = Path(__file__).parents[2]
    inherited = os.environ.get("PYTHONPATH")
    path = os.pathsep.join(filter(None, [str(package), inherited]))
    return {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"}


@dataclass
class Outcome:
    """How a process ended: its exit code, or None if it was killed; what it said."""

    code: int | None
    err: str


def start(*args: str, cwd: Path) -> subprocess.Popen[str]:
    """A command of bgp4 in a process group of its own."""
    return subprocess.Popen(
        [sys.executable, "-m", "bgp4", *args],
        cwd=cwd,
        env=environment(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        preexec_fn=_hear_interrupts,
    )


def _hear_interrupts() -> None:
    """Also where the tests themselves run in the background, whose SIGINT shells have ignored."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def run(*args: str, cwd: Path, kill_after_s: float | None = None) -> Outcome:
    """A command to its end, or to SIGKILL; none of its processes is left."""
    with start(*args, cwd=cwd) as process:
        try:
            _, err = process.communicate(timeout=kill_after_s)
            code: int | None = process.returncode
        except subprocess.TimeoutExpired:
            process.kill()
            _, err = process.communicate()
            code = None
        left = remaining(process.pid)
    assert not left, f"processes {left} have outlived {args}"
    return Outcome(code, err)


def remaining(group: int) -> list[int]:
    """Processes of a group that are there after some time to end."""
    end = time.monotonic() + PATIENCE_S
    while (left := members(group)) and time.monotonic() < end:
        time.sleep(0.02)
    return left


def interrupt(process: subprocess.Popen[str]) -> tuple[int, str]:
    """Ctrl-C, as a terminal sends it: to the whole group. Exit code, and what was said."""
    os.killpg(process.pid, signal.SIGINT)
    _, err = process.communicate(timeout=30)
    assert not remaining(process.pid)
    return process.returncode, err


def check_whole(folder: Path) -> None:
    """Every file that has its name can be read to its end."""
    for path in folder.rglob("*"):
        hidden = any(part.startswith(".") for part in path.relative_to(folder).parts)
        if path.is_file() and not hidden:
            check_file(path)


def check_file(path: Path) -> None:
    """One of the files that bgp4 writes."""
    if path.suffix == ".yaml":
        load_config(str(path))
    elif path.suffix == ".json":
        json.loads(path.read_text())
    elif path.suffix == ".safetensors":
        assert read_best(path)
    elif path.name == "history.csv":
        head, *rows = csv.reader(path.read_text().splitlines())
        assert tuple(head[: len(COLUMNS)]) == COLUMNS
        assert {len(row) for row in rows} <= {len(head)}
    elif path.suffix == ".html":
        assert path.read_text().rstrip().endswith("</html>")
    elif path.suffix == ".png":
        assert path.stem in {figure.name for figure in FIGURES}
        assert path.read_bytes().endswith(b"IEND\xaeB`\x82")
    elif path.suffix == ".svg":
        assert path.stem in {figure.name for figure in FIGURES}
        assert path.read_text(encoding="utf-8").rstrip().endswith("</svg>")
    elif path.name.startswith("samples"):
        assert len(read_samples(path).log_prob)
    else:
        assert path.suffix == ".h5", f"unexpected file {path}"
