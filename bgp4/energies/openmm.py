"""Energies and forces from OpenMM: one worker process per core, each with one thread.

The processes are started by `spawn`, make their Context themselves and end with their pipe: on
`close`, at the end of a `with` block, at interpreter exit, and when the parent dies.
"""

from __future__ import annotations

import logging
import multiprocessing
import os
import weakref
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from bgp4.energies.worker import serve_energies
from bgp4.errors import UserInputError
from bgp4.system import Molecule
from bgp4.units import kjmol_to_kt, kt_in_kjmol

__all__ = ["REJECTED_ENERGY_KT", "Evaluation", "OpenMMEnergy", "available_cores"]

log = logging.getLogger(__name__)

REJECTED_ENERGY_KT = 1e6
"""Energy given to a conformation that OpenMM rejects: its Boltzmann weight is exactly zero."""


def available_cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class Evaluation(NamedTuple):
    """Energies of a batch.

    Attributes:
        energy_kjmol: (batch,), kJ/mol; NaN where rejected.
        forces_kjmol_nm: (batch, atoms, 3), kJ/mol/nm; zero where rejected.
        rejected: Index of each rejected conformation, and why.
    """

    energy_kjmol: NDArray[np.float64]
    forces_kjmol_nm: NDArray[np.float64]
    rejected: dict[int, str]


class OpenMMEnergy:
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
        self.temperature_k = temperature_k
        self.n_atoms = molecule.n_atoms
        self.n_evaluations = 0
        self.n_rejected = 0
        self._workers = _start(molecule.system_xml, platform, workers or available_cores())
        self._finalizer = weakref.finalize(self, _stop, self._workers)

    @property
    def n_workers(self) -> int:
        return len(self._workers)

    def __enter__(self) -> OpenMMEnergy:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End the worker processes; safe to call twice."""
        self._finalizer()

    def __call__(
        self,
        positions_nm: Tensor,  # (batch, atoms, 3)
    ) -> Tensor:  # (batch,)
        """Energies in kT; a rejected conformation has `REJECTED_ENERGY_KT` and no force."""
        energy_kt: Tensor = _ForceGradient.apply(positions_nm, self)
        return energy_kt

    def evaluate(self, positions_nm: NDArray[Any]) -> Evaluation:
        """Energies and forces of positions (batch, atoms, 3) in nm, counted."""
        positions = np.ascontiguousarray(positions_nm, dtype=np.float64)
        if positions.ndim != 3 or positions.shape[1:] != (self.n_atoms, 3):
            raise ValueError(
                f"expected positions (batch, {self.n_atoms}, 3), got {positions.shape}"
            )
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
        result = _join(answers, parts)
        self._count(result)
        return result

    def _count(self, result: Evaluation) -> None:
        self.n_evaluations += len(result.energy_kjmol)
        self.n_rejected += len(result.rejected)
        if result.rejected:
            index, reason = next(iter(result.rejected.items()))
            log.warning(
                "OpenMM rejected %d of %d conformations (first: index %d: %s)",
                len(result.rejected),
                len(result.energy_kjmol),
                index,
                reason,
            )


class _Worker(NamedTuple):
    process: Any
    pipe: Any


def _start(system_xml: str, platform: str, workers: int) -> list[_Worker]:
    context = multiprocessing.get_context("spawn")
    started: list[_Worker] = []
    try:
        for _ in range(workers):
            ours, theirs = context.Pipe()
            process = context.Process(
                target=serve_energies, args=(theirs, system_xml, platform), daemon=True
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


class _ForceGradient(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, positions_nm: Tensor, energy: OpenMMEnergy) -> Tensor:
        result = energy.evaluate(positions_nm.detach().cpu().numpy())
        energy_kt = kjmol_to_kt(result.energy_kjmol, energy.temperature_k)
        energy_kt = np.where(np.isnan(energy_kt), REJECTED_ENERGY_KT, energy_kt)
        gradient = -result.forces_kjmol_nm / kt_in_kjmol(energy.temperature_k)
        ctx.save_for_backward(torch.as_tensor(gradient).to(positions_nm))
        return torch.as_tensor(energy_kt).to(positions_nm)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad_output: Tensor) -> tuple[Tensor, None]:
        (gradient,) = ctx.saved_tensors
        return grad_output[:, None, None] * gradient, None
