"""Energies and forces from OpenMM: one worker process per core, each with one thread.

The processes are started by `spawn`, make their Context themselves and end with their pipe: on
`close`, at the end of a `with` block, at interpreter exit, and when the parent dies.
"""

from __future__ import annotations

import multiprocessing
import os
import weakref
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from bgp4.energies.base import Energy, Evaluation
from bgp4.energies.worker import serve_energies
from bgp4.errors import UserInputError
from bgp4.system import Molecule

__all__ = ["OpenMMEnergy", "available_cores"]


def available_cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class OpenMMEnergy(Energy):
    """Reduced energy u(x) = E(x) / kT of a molecule, differentiable once through the forces.

    Args:
        molecule: Whose System to evaluate.
        temperature_k: Temperature of kT, in K.
        platform: OpenMM platform name.
        workers: Processes; by default one per available core.

    Raises:
        UserInputError: If a worker can't make its Context (an unknown platform, say).
    """

    def __init__(
        self,
        molecule: Molecule,
        temperature_k: float,
        platform: str = "CPU",
        workers: int | None = None,
    ) -> None:
        super().__init__(molecule.n_atoms, temperature_k)
        self._workers = _start(molecule.system_xml, platform, workers or available_cores())
        self._finalizer = weakref.finalize(self, _stop, self._workers)

    @property
    def n_workers(self) -> int:
        return len(self._workers)

    def close(self) -> None:
        """End the worker processes; safe to call twice."""
        self._finalizer()

    def _evaluate(self, positions: NDArray[np.float64]) -> Evaluation:
        if not self._finalizer.alive:
            raise RuntimeError("this OpenMMEnergy is closed")
        parts = np.array_split(positions, len(self._workers))
        try:
            for worker, part in zip(self._workers, parts, strict=True):
                worker.pipe.send(part)
            answers = [worker.pipe.recv() for worker in self._workers]
        except (EOFError, OSError) as error:
            self.close()
            raise RuntimeError("an OpenMM worker process died") from error
        except BaseException:
            self.close()  # answers left in a pipe would be taken for the next batch's
            raise
        return _join(answers, parts)


class _Worker(NamedTuple):
    process: Any
    pipe: Any


def _start(system_xml: str, platform: str, workers: int) -> list[_Worker]:
    context = multiprocessing.get_context("spawn")
    started: list[_Worker] = []
    try:
        for core in _cores(workers):
            ours, theirs = context.Pipe()
            process = context.Process(
                target=serve_energies, args=(theirs, system_xml, platform, core), daemon=True
            )
            process.start()
            theirs.close()
            started.append(_Worker(process, ours))
        for worker in started:
            error = worker.pipe.recv()
            if error is not None:
                raise UserInputError(f"config key energies.platform: {error}")
    except BaseException:
        _stop(started)
        raise
    return started


def _cores(workers: int) -> list[int] | list[None]:
    """Each worker's core where there is one for each, else none in particular."""
    if hasattr(os, "sched_getaffinity") and workers == available_cores():
        return sorted(os.sched_getaffinity(0))
    return [None] * workers


def _stop(workers: list[_Worker]) -> None:
    for worker in workers:
        worker.pipe.close()
    for worker in workers:
        worker.process.join(timeout=5)
        if worker.process.is_alive():
            worker.process.kill()
            worker.process.join()


def _join(answers: list[Any], parts: list[NDArray[np.float64]]) -> Evaluation:
    energies, forces, rejected = zip(*answers, strict=True)
    starts = np.cumsum([0] + [len(part) for part in parts[:-1]])
    return Evaluation(
        np.concatenate(energies),
        np.concatenate(forces),
        {
            int(s) + i: why
            for s, part in zip(starts, rejected, strict=True)
            for i, why in part.items()
        },
    )
