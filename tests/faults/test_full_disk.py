"""A full disk and a folder that takes no files: one line, exit 2, nothing half-written."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from bgp4.cli.main import main
from bgp4.sampling.files import FORMATS

resource = pytest.importorskip("resource")
SMOKE = ("--config", "ala2_smoke.yaml")

COMMANDS = {
    "sample .h5": (8, ("sample", "ala2", "-n", "300", "-o", "s.h5")),
    "sample .dcd": (8, ("sample", "ala2", "-n", "300", "-o", "s.dcd")),
    "sample .xtc": (8, ("sample", "ala2", "-n", "300", "-o", "s.xtc")),
    "sample .nc": (8, ("sample", "ala2", "-n", "300", "-o", "s.nc")),
    "sample .cif": (8, ("sample", "ala2", "-n", "300", "-o", "s.cif")),
    "sample .pdb": (8, ("sample", "ala2", "-n", "300", "-o", "s.pdb")),
    "simulate": (4, ("simulate", *SMOKE, "-o", "d.h5")),
    "train": (30, ("train", *SMOKE, "--run", "run")),
    "train, at once": (0, ("train", *SMOKE, "--run", "run")),
    "init": (0, ("init", "AlanineDipeptideVacuum", "-o", "my.yaml")),
}


@contextmanager
def files_up_to(kilobytes: int) -> Iterator[None]:
    """No larger file can be written by this process and its children, as on a disk that is full."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    heard = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1024 * kilobytes, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, heard)


@pytest.fixture
def refusal(
    in_tmp: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., str]:
    """Runs a command that can't write; gives the one line that it must end with, beside exit 2."""
    monkeypatch.setenv("PYTHONWARNINGS", "ignore")
    monkeypatch.setattr(sys, "dont_write_bytecode", True)

    def run(command: tuple[str, ...]) -> str:
        monkeypatch.setattr(sys, "argv", ["bgp4", *command])
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            main()
        said = capsys.readouterr().err
        assert ended.value.code == 2, said
        assert "Traceback" not in said
        (line,) = [line for line in said.splitlines() if line.startswith("bgp4: error: ")]
        return line

    return run


@pytest.mark.parametrize(("kilobytes", "command"), COMMANDS.values(), ids=COMMANDS.keys())
def test_a_full_disk(kilobytes: int, command: tuple[str, ...], in_tmp: Path, refusal) -> None:
    with files_up_to(kilobytes):
        line = refusal(command)
    assert "cannot be written" in line
    left = {path.name for path in in_tmp.rglob("*") if path.is_file() and path.stat().st_size}
    assert not left & {"s.weights.csv", "d.h5", "my.yaml", *(f"s{suffix}" for suffix in FORMATS)}
    assert "checkpoint.safetensors" not in left


@pytest.mark.skipif(not Path("/proc/self").is_dir(), reason="no folder that takes no files")
def test_a_folder_that_takes_no_files(refusal) -> None:
    sample = ("sample", "ala2", "-n", "20", "-o", "/proc/s.h5")
    for command in (sample, ("init", "AlanineDipeptideVacuum", "-o", "/proc/a.yaml")):
        assert "/proc/" in refusal(command)
