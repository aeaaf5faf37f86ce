"""The contract of an energy: reduced energies of positions, differentiable through forces."""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from typing import Any, NamedTuple, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from bgp4.statistics.samples import REJECTED_ENERGY_KT
from bgp4.units import kjmol_to_kt, kt_in_kjmol

__all__ = ["Energy", "Evaluation"]

log = logging.getLogger(__name__)


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


class Energy(ABC):
    """Reduced energy u(x) = E(x) / kT of a molecule, differentiable once through the forces.

    What can't be evaluated is counted in `n_rejected` and named in the log; it has
    `REJECTED_ENERGY_KT` and no force. Use it in a `with` block, or close it.

    Attributes:
        temperature_k: Of kT, in K; it may change.
        n_rejected: To read it waits for a GPU, if energies are computed there.
    """

    def __init__(self, n_atoms: int, temperature_k: float) -> None:
        self.n_atoms = n_atoms
        self.temperature_k = temperature_k
        self.n_evaluations = 0
        self._n_rejected = 0
        self.n_replaced_workers = 0

    @property
    def temperature_k(self) -> float:
        return self._temperature_k

    @temperature_k.setter
    def temperature_k(self, kelvin: float) -> None:
        self._temperature_k = kelvin
        self._tell_temperature(kelvin)

    def _tell_temperature(self, kelvin: float) -> None:  # noqa: B027 - most have no device
        """To a device that computes energies."""

    @property
    def n_rejected(self) -> int:
        self._settle()
        return self._n_rejected

    @n_rejected.setter
    def n_rejected(self, value: int) -> None:
        self._settle()
        self._n_rejected = value

    def _settle(self) -> None:  # noqa: B027 - most energies know at once
        """Count what only a device knows of so far."""

    def __call__(
        self,
        positions_nm: Tensor,  # (batch, atoms, 3)
    ) -> Tensor:  # (batch,)
        """Energies in kT."""
        energy_kt: Tensor = _ForceGradient.apply(positions_nm, self)
        return energy_kt

    def evaluate(
        self,
        positions_nm: NDArray[Any],  # (batch, atoms, 3)
    ) -> Evaluation:
        """Energies and forces, counted.

        Raises:
            ValueError: If the shape is not (batch, atoms, 3).
        """
        positions = np.ascontiguousarray(positions_nm, dtype=np.float64)
        if positions.ndim != 3 or positions.shape[1:] != (self.n_atoms, 3):
            raise ValueError(
                f"expected positions (batch, {self.n_atoms}, 3), got {positions.shape}"
            )
        if not len(positions):
            return Evaluation(np.empty(0), positions, {})
        result = self._evaluate(positions)
        self._count(len(positions), result.rejected)
        return result

    def reduced(
        self,
        positions_nm: Tensor,  # (batch, atoms, 3)
    ) -> tuple[Tensor, Tensor]:  # (batch,), (batch, atoms, 3)
        """Energies in kT and their gradient in kT/nm, counted, where the positions are."""
        result = self.evaluate(positions_nm.cpu().numpy())
        energy_kt = kjmol_to_kt(result.energy_kjmol, self.temperature_k)
        energy_kt = np.where(np.isnan(energy_kt), REJECTED_ENERGY_KT, energy_kt)
        gradient = -result.forces_kjmol_nm / kt_in_kjmol(self.temperature_k)
        energy, slope = (torch.as_tensor(v).to(positions_nm) for v in (energy_kt, gradient))
        return energy, slope

    def _count(self, n: int, rejected: dict[int, str]) -> None:
        self.n_evaluations += n
        self._n_rejected += len(rejected)
        if rejected:
            index, reason = next(iter(rejected.items()))
            log.warning(
                "rejected %d of %d conformations (first: index %d: %s)",
                len(rejected),
                n,
                index,
                reason,
            )

    @abstractmethod
    def _evaluate(self, positions: NDArray[np.float64]) -> Evaluation: ...

    def close(self) -> None:  # noqa: B027 - most energies hold nothing
        """Give back what the energy holds; safe to call twice."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class _ForceGradient(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, positions_nm: Tensor, energy: Energy) -> Tensor:
        energy_kt, gradient = energy.reduced(positions_nm.detach())
        ctx.save_for_backward(gradient)
        return energy_kt

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad_output: Tensor) -> tuple[Tensor, None]:
        (gradient,) = ctx.saved_tensors
        return grad_output[:, None, None] * gradient, None
