"""Time and memory of a million samples and of a million training frames: load.py FOLDER [N].

Prints a row of a table for each command: what it did, seconds, rate, peak resident memory.
"""

import resource
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
from mdtraj.formats import HDF5TrajectoryFile

from bgp4.storage.bundled import find_data

SHORT = ("training.steps=20", "training.batch_size=64", "training.energy_batch_size=64")


def measured(what: str, count: int, *command: str, cwd: Path) -> None:
    """One command in a process of its own, of which the kernel keeps the peak."""
    code = (
        "import resource, subprocess, sys; done = subprocess.run(sys.argv[1:]).returncode; "
        "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss, done)"
    )
    started = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-c", code, sys.executable, "-m", "bgp4", *command],
        cwd=cwd,
        capture_output=True,
        text=True,
    )
    seconds = time.perf_counter() - started
    kilobytes, code_found = done.stdout.split()[-2:]
    if code_found != "0":
        raise SystemExit(f"{what} failed: {done.stderr[-500:]}")
    print(
        f"| {what} | {seconds:.0f} | {count / seconds:,.0f} | {int(kilobytes) / 1e6:.2f} |",
        flush=True,
    )


def write_frames(path: Path, count: int) -> None:
    """The frames that come along, over and over, each time with other noise of 1e-4 nm."""
    rng = np.random.default_rng(0)
    with HDF5TrajectoryFile(str(find_data("ala2_1000k.h5"))) as file:
        frames, topology = file.read().coordinates, file.topology
    with HDF5TrajectoryFile(str(path), "w") as file:
        file.topology = topology
        for start in range(0, count, len(frames)):
            some = frames[: count - start]
            file.write(some + rng.normal(0, 1e-4, some.shape).astype(np.float32))


def main(folder: Path, count: int) -> None:
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    folder.mkdir(parents=True, exist_ok=True)
    print("| command | s | per s | peak GB |\n|---|---|---|---|", flush=True)
    for suffix in ("h5", "dcd"):
        out = f"samples.{suffix}"
        measured(
            f"`sample ala2 -o {out}`",
            count,
            "sample",
            "ala2",
            "-n",
            str(count),
            "-o",
            out,
            cwd=folder,
        )
    write_frames(folder / "frames.h5", count)
    sets = [word for key in ("data.path=frames.h5", *SHORT) for word in ("--set", key)]
    measured(
        "`train`, 20 steps",
        count,
        "train",
        "--config",
        "ala2_smoke.yaml",
        "--run",
        "run",
        *sets,
        cwd=folder,
    )


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 1_000_000)
