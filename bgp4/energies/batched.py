"""Batched energies: the whole batch in one torch call, checked against OpenMM before use."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from bgp4.energies.base import REJECTED_ENERGY_KT, Energy, Evaluation
from bgp4.energies.forcefield import UnsupportedForce, read_force_field
from bgp4.energies.potential import Potential
from bgp4.energies.worker import evaluate_with, make_context
from bgp4.system import Molecule
from bgp4.units import kjmol_to_kt

__all__ = ["BatchedEnergy", "check_against_openmm", "compiled"]

log = logging.getLogger(__name__)

ENERGY_TOLERANCE_KJMOL = 1e-3
FORCE_TOLERANCE_KJMOL_NM = 1e-2

NOT_FINITE = "energy or forces are not finite"
CPU = torch.device("cpu")

Function = Callable[[Tensor], Tensor]


class BatchedEnergy(Energy):
    """A molecule's force field in torch.

    Args:
        molecule: Whose System to evaluate.
        temperature_k: Temperature of kT, in K.
        dtype: Of the arithmetic; float32 is off by about 2e-4 kJ/mol, enough for training.
        chunk: If given, the function is compiled for batches of this size, where a C++ compiler
            is there; it takes some 15 s and doubles the speed.
        device: Where it is computed. Training on a GPU keeps its positions there.

    Raises:
        UnsupportedForce: If the System has a term that only OpenMM can evaluate.
    """

    def __init__(
        self,
        molecule: Molecule,
        temperature_k: float,
        dtype: torch.dtype = torch.float64,
        chunk: int | None = None,
        device: torch.device = CPU,
    ) -> None:
        super().__init__(molecule.n_atoms, temperature_k)
        self.dtype = dtype
        self.chunk = chunk
        self.device = device
        potential = Potential(read_force_field(molecule.system_xml), dtype).to(device)
        self._potential: Function = compiled(potential) if chunk else potential

    def _evaluate(self, positions: NDArray[np.float64]) -> Evaluation:
        centred = positions - positions.mean(axis=1, keepdims=True)
        x = torch.as_tensor(centred.transpose(2, 1, 0)).to(self.device, self.dtype, copy=True)
        energy, gradient = (t.double().cpu().numpy() for t in self._in_chunks(x))
        forces = -gradient.transpose(2, 1, 0)
        bad = ~(np.isfinite(energy) & np.isfinite(forces).all(axis=(1, 2)))
        energy[bad], forces[bad] = np.nan, 0.0
        return Evaluation(energy, forces, {int(i): NOT_FINITE for i in np.flatnonzero(bad)})

    def reduced(self, positions_nm: Tensor) -> tuple[Tensor, Tensor]:
        if self.device.type == "cpu":
            return super().reduced(positions_nm)
        return self._reduced_in_place(positions_nm)

    def _reduced_in_place(self, positions_nm: Tensor) -> tuple[Tensor, Tensor]:
        """`reduced` without a copy of the positions on the CPU."""
        centred = positions_nm.double() - positions_nm.double().mean(1, keepdim=True)
        parts = self._in_chunks(centred.permute(2, 1, 0).to(self.dtype))
        energy, gradient = (kjmol_to_kt(t.to(positions_nm), self.temperature_k) for t in parts)
        gradient = gradient.permute(2, 1, 0)
        good = energy.isfinite() & gradient.isfinite().all(2).all(1)
        bad = (~good).nonzero().flatten().tolist()
        self._count(len(good), dict.fromkeys(bad, NOT_FINITE))
        energy = torch.where(good, energy, REJECTED_ENERGY_KT)
        return energy, torch.where(good[:, None, None], gradient, 0.0)

    def _in_chunks(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Energies (batch,) and gradients (3, atoms, batch) of positions (3, atoms, batch)."""
        size = self.chunk or max(x.shape[2], 1)
        parts = [self._energy_and_gradient(part, size) for part in x.split(size, dim=2)]
        energy, gradient = (torch.cat(p, dim=-1) for p in zip(*parts, strict=True))
        return energy, gradient

    def _energy_and_gradient(self, x: Tensor, size: int) -> tuple[Tensor, Tensor]:
        """Of (3, atoms, batch), padded to the size that the function was compiled for."""
        n = x.shape[2]
        padded = torch.cat([x, _repeat(x, size - n)], dim=2).contiguous().requires_grad_()
        with torch.enable_grad():
            energy = self._potential(padded)
            (gradient,) = torch.autograd.grad(energy.sum(), padded)
        return energy.detach()[:n], gradient[..., :n]


def check_against_openmm(
    molecule: Molecule,
    positions_nm: NDArray[np.floating],  # (frames, atoms, 3)
) -> None:
    """Compare float64 batched energies and forces with OpenMM's Reference platform.

    Raises:
        UnsupportedForce: If they differ by more than 1e-3 kJ/mol or 1e-2 kJ/mol/nm, or can't be
            computed.
    """
    batched = BatchedEnergy(molecule, 300.0).evaluate(positions_nm)
    context = make_context(molecule.system_xml, "Reference")
    energy, forces, _ = evaluate_with(context, np.asarray(positions_nm, np.float64))
    off_energy = float(np.abs(batched.energy_kjmol - energy).max())
    off_force = float(np.abs(batched.forces_kjmol_nm - forces).max())
    if not (off_energy <= ENERGY_TOLERANCE_KJMOL and off_force <= FORCE_TOLERANCE_KJMOL_NM):
        raise UnsupportedForce(
            f"this System: batched energies differ from OpenMM's by {off_energy:.2g} kJ/mol, "
            f"forces by {off_force:.2g} kJ/mol/nm"
        )


def compiled(potential: Potential) -> Function:
    """The potential through `torch.compile`, or as it is where there is no C++ compiler."""
    if shutil.which("g++") or shutil.which("clang++"):
        return torch.compile(potential, dynamic=False)
    log.warning("no C++ compiler (g++ or clang++): batched energies run uncompiled, at half speed")
    return potential


def _repeat(x: Tensor, n: int) -> Tensor:
    """The last conformation n times, to fill a batch up."""
    return x[..., -1:].expand(-1, -1, n)
