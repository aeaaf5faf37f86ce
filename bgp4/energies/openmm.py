"""Energies and forces from OpenMM: one worker process per core, each with one thread.

The processes are started by `spawn`, make their Context themselves and end with their pipe: on
`close`, at the end of a `with` block, at interpreter exit, and when the parent dies.
"""

from __future__ import annotations

import weakref

import numpy as np
from numpy.typing import NDArray

from bgp4.energies.base import Energy, Evaluation
from bgp4.energies.pool import WorkerPool, available_cores
from bgp4.molecule.molecule import Molecule
from bgp4.parallel.processes import stop_children

__all__ = ["OpenMMEnergy", "available_cores"]


class OpenMMEnergy(Energy):
    """Reduced energy u(x) = E(x) / kT of a molecule, differentiable once through the forces.

    A worker that fails is replaced (see `bgp4.energies.pool`); `n_replaced_workers` counts them.

    Args:
        molecule: Whose System to evaluate.
        temperature_k: Temperature of kT, in K.
        platform: OpenMM platform name.
        workers: Processes; by default one per available core.
        timeout_s: Without an answer for so long, a worker is taken for hung.

    Raises:
        UserInputError: If a worker can't make its Context (an unknown platform, say).
    """

    def __init__(
        self,
        molecule: Molecule,
        temperature_k: float,
        platform: str = "CPU",
        workers: int | None = None,
        timeout_s: float = 60.0,
    ) -> None:
        super().__init__(molecule.n_atoms, temperature_k)
        count = workers or available_cores()
        self._pool = WorkerPool(molecule.system_xml, platform, count, timeout_s)
        self._finalizer = weakref.finalize(self, stop_children, self._pool.children)

    @property
    def n_workers(self) -> int:
        return len(self._pool.children)

    def close(self) -> None:
        """End the worker processes; safe to call twice."""
        self._finalizer()

    def _evaluate(self, positions: NDArray[np.float64]) -> Evaluation:
        if not self._finalizer.alive:
            raise RuntimeError("this OpenMMEnergy is closed")
        replaced = self._pool.n_replaced
        try:
            return self._pool.evaluate(positions)
        except BaseException:
            self.close()  # answers left in a pipe would be taken for the next batch's
            raise
        finally:
            self.n_replaced_workers += self._pool.n_replaced - replaced
