"""OpenMM's workers die, hang, go mad, lose their parent; simulation processes die."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import faulty
import numpy as np
import pytest
import torch
from crash import environment, interrupt, remaining, run, start

from bgp4.energies import pool
from bgp4.energies.openmm import OpenMMEnergy
from bgp4.errors import RunError
from bgp4.statistics.samples import REJECTED_ENERGY_KT
from bgp4.training.run import RunFolder
from tests.processes import children

SMOKE = ("--config", "ala2_smoke.yaml")
OPENMM = ("--set", "energies.method=openmm")


@pytest.fixture(scope="module")
def once(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("faults") / "once"


@pytest.fixture(scope="module")
def energy(alanine, once) -> Iterator[OpenMMEnergy]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pool, "serve_energies", faulty.serve)
        patch.setenv(faulty.ONCE, str(once))
        with OpenMMEnergy(alanine, 1000.0, "Reference", workers=2, timeout_s=3.0) as energy:
            yield energy


@pytest.fixture
def positions(smoke_frames) -> np.ndarray:
    return smoke_frames.positions_nm[::100].astype(np.float64)


@pytest.mark.parametrize(
    ("fault", "words"),
    [(faulty.DIES_ONCE, "died (SIGKILL)"), (faulty.HANGS_ONCE, "gave no answer in 3 s")],
)
def test_a_worker_that_dies_or_hangs_is_replaced(
    energy, once, positions, caplog, fault: float, words: str
) -> None:
    """What it was working on is done again: nothing is lost, nothing is rejected."""
    once.touch()
    replaced, rejected = energy.n_replaced_workers, energy.n_rejected
    expected = energy.evaluate(positions)
    positions[1, 0, 0] = fault
    with caplog.at_level("WARNING", logger="bgp4"):
        result = energy.evaluate(positions)
    others = np.arange(len(positions)) != 1
    np.testing.assert_array_equal(result.energy_kjmol[others], expected.energy_kjmol[others])
    assert np.isfinite(result.energy_kjmol[1])
    assert energy.n_replaced_workers - replaced == 1
    assert energy.n_rejected == rejected
    (record,) = caplog.records
    assert "OpenMM worker 0 (process " in record.message
    assert f"{words}; its 5 conformations are done again" in record.message


@pytest.mark.parametrize("fault", [faulty.DIES, faulty.GOES_MAD])
def test_what_takes_a_worker_with_it_is_rejected(energy, positions, caplog, fault) -> None:
    """That conformation alone: counted, named, of weight zero."""
    expected = energy.evaluate(positions).energy_kjmol
    replaced, rejected = energy.n_replaced_workers, energy.n_rejected
    positions[7, 0, 0] = fault
    with caplog.at_level("WARNING", logger="bgp4"):
        u = energy(torch.as_tensor(positions))
    others = np.arange(len(positions)) != 7
    healthy = energy.evaluate(positions[others])
    np.testing.assert_array_equal(healthy.energy_kjmol, expected[others])
    assert u[7] == REJECTED_ENERGY_KT
    assert (u[torch.as_tensor(others)] < 1e4).all()
    assert energy.n_rejected - rejected == 1
    assert energy.n_replaced_workers - replaced == pool.MAX_FAILURES + 1
    assert "rejected 1 of 10 conformations (first: index 7: the OpenMM worker" in caplog.text


def test_workers_that_die_of_anything_end_the_run(alanine, positions, monkeypatch) -> None:
    monkeypatch.setattr(pool, "serve_energies", faulty.serve_and_die)
    monkeypatch.setattr(pool, "MAX_FAILURES_IN_A_ROW", 2)
    with (
        OpenMMEnergy(alanine, 1000.0, "Reference", workers=1) as energy,
        pytest.raises(RunError, match="2 times in a row; the last ended with exit code 3"),
    ):
        energy.evaluate(positions)


SCRIPT = """
import sys, time
from types import SimpleNamespace
import numpy as np
from bgp4.energies.openmm import OpenMMEnergy
molecule = SimpleNamespace(n_atoms=22, system_xml=open("system.xml").read())
energy = OpenMMEnergy(molecule, 300.0, "Reference", workers=1)
print(energy.evaluate(np.load("positions.npy")).energy_kjmol[0], flush=True)
"""


@pytest.fixture
def folder(tmp_path, alanine, positions) -> Path:
    """Of a script: what it reads."""
    (tmp_path / "system.xml").write_text(alanine.system_xml)
    np.save(tmp_path / "positions.npy", positions)
    return tmp_path


def python(*args: str, cwd: Path, stdin: str = "") -> tuple[int, str, str]:
    with subprocess.Popen(
        [sys.executable, *args],
        cwd=cwd,
        env=environment(),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        out, err = process.communicate(stdin, timeout=120)
        assert not remaining(process.pid)
    return process.returncode, out, err


@pytest.mark.parametrize("main", ["-", pytest.param("script.py", marks=pytest.mark.slow)])
def test_in_a_notebook_or_a_script(folder, positions, energy, main: str) -> None:
    """Whose `__main__` is no file, or has no guard; and nobody closes the energy."""
    (folder / "script.py").write_text(SCRIPT)
    code, out, err = python(main, cwd=folder, stdin=SCRIPT)
    assert code == 0, err
    assert float(out) == pytest.approx(energy.evaluate(positions).energy_kjmol[0])


def test_no_orphans_of_a_killed_parent_whose_worker_hangs(folder, positions, tmp_path) -> None:
    (tmp_path / "once").touch()
    positions[0, 0, 0] = faulty.HANGS_ONCE
    np.save(folder / "positions.npy", positions)
    patched = (
        f"import sys; sys.path.append({str(Path(faulty.__file__).parent)!r})\n"
        "import faulty, bgp4.energies.pool as pool\npool.serve_energies = faulty.serve\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", patched + SCRIPT],
        cwd=folder,
        env={**environment(), faulty.ONCE: str(tmp_path / "once")},
        start_new_session=True,
    ) as process:
        end = time.monotonic() + 60
        while (tmp_path / "once").exists() and time.monotonic() < end:
            time.sleep(0.05)
        assert children(process.pid)
        process.kill()
    assert not remaining(process.pid)


def test_a_simulation_process_that_dies(tmp_path) -> None:
    """One line, exit code 1; and what it had is gone on from."""
    options = ("-o", "made.h5", "--engine", "batched", "--set", "simulate.checkpoint_s=0")
    command = ("simulate", *SMOKE, *options, "--set", "simulate.frames=100000")
    kept = tmp_path / ".made.h5.simulation" / "state_0.safetensors"
    with start(*command, cwd=tmp_path) as process:
        wait_for(kept, process)
        victim = next(pid for pid in children(process.pid) if is_simulation(pid))
        os.kill(victim, signal.SIGKILL)
        _, err = process.communicate(timeout=60)
    assert process.returncode == 1
    last = err.splitlines()[-1]
    assert last.startswith(
        "bgp4: error: a simulation process died (SIGKILL); its progress is saved"
    )
    assert "Traceback" not in err
    with start(*command, "--resume", cwd=tmp_path) as process:
        before = kept.stat().st_mtime_ns
        while kept.stat().st_mtime_ns == before and process.poll() is None:
            time.sleep(0.02)
        code, err = interrupt(process)
    assert code == 130
    assert err.splitlines()[-2:] == ["stopped; continue with --resume", "bgp4: interrupted"]
    assert "Traceback" not in err


def wait_for(path: Path, process: subprocess.Popen[str]) -> None:
    end = time.monotonic() + 60
    while not path.exists() and process.poll() is None and time.monotonic() < end:
        time.sleep(0.02)
    assert path.exists(), process.communicate()


def is_simulation(pid: int) -> bool:
    """Of several that spawn has started, the one that computes the most."""
    spawned = b"spawn_main" in Path(f"/proc/{pid}/cmdline").read_bytes()
    return spawned and not energy_worker(pid)


def energy_worker(pid: int) -> bool:
    """The first child is the energies' worker, which waits until there are frames."""
    stat = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return stat[0] == "S"


@pytest.mark.slow
def test_thirty_workers_killed_while_training(tmp_path) -> None:
    """The run that lost them is the run that did not, and says how many it lost."""
    sets = ("--set", "training.steps=4000", "--set", "training.evaluate_every=100", *OPENMM)
    command = ("train", *SMOKE, "--run")
    assert run(*command, "whole", *sets, cwd=tmp_path).code == 0
    rng, killed = random.Random(5), 0
    with start(*command, "run", *sets, cwd=tmp_path) as process:
        while process.poll() is None:
            time.sleep(rng.uniform(0.5, 2.0))
            workers = [pid for pid in children(process.pid) if spawned(pid)]
            if killed < 30 and workers and (tmp_path / "run").exists():
                os.kill(rng.choice(workers), signal.SIGKILL)
                killed += 1
        _, err = process.communicate()
    assert process.returncode == 0, err
    assert not remaining(process.pid)
    runs = [RunFolder(tmp_path / name) for name in ("run", "whole")]
    rows = [
        [line.split(",")[:-1] for line in run.history_path.read_text().splitlines()] for run in runs
    ]
    assert rows[0] == rows[1]
    counted = runs[0].info()["n_replaced_workers"]
    print(f"\n{killed} workers killed, {counted} replaced, the same history")
    assert killed > 20
    assert 0 < counted <= killed


def spawned(pid: int) -> bool:
    try:
        return b"spawn_main" in Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return False


@pytest.mark.slow
def test_under_torchrun(tmp_path) -> None:
    """Each process has its workers; all of them end."""
    command = ("train", *SMOKE, "--run", "run", "--device", "cpu", *OPENMM)
    launched = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m", "--")
    code, _, err = python(*launched, "bgp4", *command, cwd=tmp_path)
    assert code == 0, err
    assert RunFolder(tmp_path / "run").info()["training_energy"] == "OpenMMEnergy"
