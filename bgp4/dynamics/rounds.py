"""Stacks of replicas, from start to end of one process: rounds of dynamics, exchanges, frames.

What a process has so far is kept in two files, from which another goes on: the frames, appended as
they come, and the state, which says how many of them count.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bgp4.dynamics.replicas import DynamicsSettings, Replicas
from bgp4.errors import UserInputError
from bgp4.storage.files import atomic_write_bytes
from bgp4.units import kt_in_kjmol

__all__ = ["Job", "Kept", "Result", "exchange", "run_stacks"]

Result = tuple[NDArray[np.float32], NDArray[np.float64]]


@dataclass(frozen=True)
class Job:
    """What one process does.

    Attributes:
        engine: Name in `bgp4.dynamics.replicas.ENGINES`.
        dynamics: Of its replicas.
        frames: To record, of each stack and recorded temperature.
        equilibration_frames: To leave out before.
        steps_per_frame: Between exchanges.
        recorded: Temperatures, from the first on.
        kept: Where it keeps what it has, if anywhere.
        checkpoint_s: How much time may be lost.
    """

    engine: str
    dynamics: DynamicsSettings
    frames: int
    equilibration_frames: int
    steps_per_frame: int
    recorded: int = 1
    kept: Kept | None = None
    checkpoint_s: float = 60.0


@dataclass
class Course:
    """How far the stacks have come.

    Attributes:
        round_: The next one; those before 0 equilibrate.
        frames: (stacks, frames, recorded temperatures, atoms, 3), nm, each centred.
        rng: Of the exchanges.
        counts: Exchanges tried and accepted of each neighbouring pair, (2, temperatures - 1).
    """

    round_: int
    frames: NDArray[np.float32]
    rng: np.random.Generator
    counts: NDArray[np.float64]

    @classmethod
    def of(cls, job: Job) -> Course:
        """Before the first round."""
        dynamics = job.dynamics
        stacks, *shape = dynamics.starts_nm.shape
        frames = np.empty((stacks, job.frames, job.recorded, *shape), np.float32)
        rng = np.random.default_rng(dynamics.seed)
        counts = np.zeros((2, max(len(dynamics.temperatures_k) - 1, 0)))
        return cls(-job.equilibration_frames, frames, rng, counts)


@dataclass(frozen=True)
class Kept:
    """The two files of a process.

    Attributes:
        state_path: Replicas, random numbers and counts, written whole.
        frames_path: Round after round (stacks, recorded temperatures, atoms, 3) of float32; more
            than the state tells of is of no account.
    """

    state_path: Path
    frames_path: Path

    @classmethod
    def in_folder(cls, folder: Path, process: int) -> Kept:
        """Those of a process."""
        return cls(folder / f"state_{process}.safetensors", folder / f"frames_{process}.f32")

    def save(self, course: Course, replicas: Replicas, since: int) -> None:
        """Frames from round `since` on, then the state."""
        from safetensors.numpy import save

        new = course.frames[:, max(since, 0) : max(course.round_, 0)].swapaxes(0, 1)
        with open(os.open(self.frames_path, os.O_RDWR | os.O_CREAT, 0o666), "r+b") as file:
            file.seek(max(since, 0) * course.frames[:, 0].nbytes)
            file.write(np.ascontiguousarray(new).tobytes())
            file.flush()
            os.fsync(file.fileno())
        arrays = {
            f"replicas.{name}": np.ascontiguousarray(a) for name, a in replicas.state().items()
        }
        numbers = {"round": course.round_, "rng": course.rng.bit_generator.state}
        metadata = {"numbers": json.dumps(numbers)}
        content = save({**arrays, "counts": course.counts}, metadata=metadata)
        atomic_write_bytes(self.state_path, content)

    def restore(self, course: Course, replicas: Replicas) -> None:
        """Go on from what was saved, if anything was.

        Raises:
            UserInputError: If the files are damaged.
        """
        if not self.state_path.is_file():
            return
        try:
            arrays, numbers = self._read()
            course.round_ = numbers["round"]
            course.rng.bit_generator.state = numbers["rng"]
            course.counts[:] = arrays.pop("counts")
            self._read_frames(course)
            replicas.restore({k.removeprefix("replicas."): v for k, v in arrays.items()})
        except Exception as error:
            reason = " ".join(str(error).split())[:200]
            raise UserInputError(
                f"{self.state_path.parent}: cannot resume from it ({reason}); remove the folder "
                "and start without --resume"
            ) from error

    def _read(self) -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
        from safetensors import safe_open

        with safe_open(str(self.state_path), framework="np") as file:
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            return arrays, json.loads(file.metadata()["numbers"])

    def _read_frames(self, course: Course) -> None:
        n = max(course.round_, 0)
        if n:
            size = course.frames[:, :n].size
            flat = np.fromfile(self.frames_path, np.float32, size)
            by_round = flat.reshape(n, *course.frames[:, 0].shape)
            course.frames[:, :n] = by_round.swapaxes(0, 1)


def run_stacks(
    replicas: Replicas,
    job: Job,
    progress: Callable[[int], None] = lambda rounds: None,
    stopping: Callable[[], bool] = lambda: False,
) -> Result | None:
    """Equilibrate and record, on from what the job keeps, which is saved as it comes.

    Args:
        progress: Called with rounds done, those of before included.
        stopping: Asked after each round whether to save and leave it at that.

    Returns:
        Frames, (stacks, frames, recorded temperatures, atoms, 3) float32 in nm, each centred, and
        the exchange acceptance of each neighbouring pair; None if stopped.

    Raises:
        ValueError: If an energy is not finite.
    """
    course = Course.of(job)
    if job.kept is not None:
        job.kept.restore(course, replicas)
    saved, saved_s = course.round_, time.monotonic()
    while course.round_ < job.frames:
        _round(replicas, job, course)
        stop, last = stopping(), course.round_ == job.frames
        late = time.monotonic() - saved_s >= job.checkpoint_s
        if job.kept is not None and (late or stop or last):
            job.kept.save(course, replicas, saved)
            saved, saved_s = course.round_, time.monotonic()
        if course.round_ % 20 == 0 or last:
            progress(course.round_ + job.equilibration_frames)
        if stop and not last:
            return None
    tried, accepted = course.counts
    return course.frames, accepted / np.maximum(tried, 1)


def _round(replicas: Replicas, job: Job, course: Course) -> None:
    """Dynamics, a frame once equilibrated, and the exchange of every second pair."""
    ladder = np.array(job.dynamics.temperatures_k)
    replicas.run(job.steps_per_frame)
    energies = replicas.energies_kjmol()
    if not np.isfinite(energies).all():
        raise ValueError(
            f"the energy is not finite after {course.round_ + job.equilibration_frames} frames: "
            "shorten simulate.timestep_fs"
        )
    if course.round_ >= 0:
        for i in range(job.recorded):
            positions = replicas.positions_nm(i)
            centred = positions - positions.mean(axis=1, keepdims=True)
            course.frames[:, course.round_, i] = centred
    low = np.arange(course.round_ % 2, len(ladder) - 1, 2)
    source, swapped = exchange(energies, ladder, low, course.rng)
    replicas.permute(source)
    course.counts[0, low] += len(energies)
    course.counts[1, low] += swapped.sum(axis=0)
    course.round_ += 1


def exchange(
    energies_kjmol: NDArray[np.float64],  # (stacks, temperatures)
    temperatures_k: NDArray[np.float64],  # (temperatures,)
    low: NDArray[np.int64],  # (pairs,), the colder of each pair that may swap
    rng: np.random.Generator,
) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Metropolis exchange of neighbouring temperatures.

    Accepted with probability min(1, exp[(β_i - β_j)(E_i - E_j)]) (Sugita, Okamoto, Chem. Phys.
    Lett. 314, 141 (1999)).

    Returns:
        For each stack and temperature, which replica goes on there, (stacks, temperatures); and
        which pairs were swapped, (stacks, pairs).
    """
    beta = np.array([1 / kt_in_kjmol(t) for t in temperatures_k])
    gain = (beta[low] - beta[low + 1]) * (energies_kjmol[:, low] - energies_kjmol[:, low + 1])
    swapped = np.log(rng.random(gain.shape)) < gain
    source = np.tile(np.arange(len(beta)), (len(energies_kjmol), 1))
    source[:, low] += swapped
    source[:, low + 1] -= swapped
    return source, swapped
