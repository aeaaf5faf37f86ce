"""Batched energies: the whole batch in one call, checked against OpenMM before use."""

from __future__ import annotations

import logging
from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from bgp4.energies.base import Energy, Evaluation
from bgp4.energies.forcefield import read_force_field
from bgp4.energies.potential import Potential
from bgp4.energies.tables import kernel_tables
from bgp4.energies.terms import ForceField, UnsupportedForce
from bgp4.energies.worker import evaluate_with, make_context
from bgp4.kernels.energies import Kernel, load_kernel
from bgp4.kernels.gpu import runs_triton
from bgp4.kernels.transfer import sent
from bgp4.molecule.molecule import Molecule
from bgp4.parallel.ranks import CPU
from bgp4.statistics.samples import REJECTED_ENERGY_KT
from bgp4.units import kjmol_to_kt

__all__ = ["BatchedEnergy", "check_against_openmm", "energies_and_forces", "in_place", "on_tensors"]

ENERGY_TOLERANCE_KJMOL = 1e-3
FORCE_TOLERANCE_KJMOL_NM = 1e-2

NOT_FINITE = "energy or forces are not finite"

Array = NDArray[np.float64]
Function = Callable[[Array], tuple[Array, Array]]
InPlace = Callable[[Tensor], tuple[Tensor, Tensor]]

log = logging.getLogger(__name__)


class BatchedEnergy(Energy):
    """A molecule's force field, without OpenMM.

    Args:
        molecule: Whose System to evaluate.
        temperature_k: Temperature of kT, in K.
        dtype: Of the arithmetic; float32 is off by about 2e-4 kJ/mol, enough for training.
        device: Where it is computed: by C++ on a CPU, elsewhere without leaving the device.

    Raises:
        UnsupportedForce: If the System has a term that only OpenMM can evaluate.
    """

    def __init__(
        self,
        molecule: Molecule,
        temperature_k: float,
        dtype: torch.dtype = torch.float64,
        device: torch.device = CPU,
    ) -> None:
        self._kelvin = torch.zeros((), dtype=torch.float64, device=device)
        self._rejected, self._unsettled = torch.zeros((), dtype=torch.int64, device=device), 0
        super().__init__(molecule.n_atoms, temperature_k)
        self.dtype, self.device = dtype, device
        terms = read_force_field(molecule.system_xml)
        self._in_place: InPlace | None = None
        if device.type == "cpu":
            self._function = energies_and_forces(terms, dtype)
        else:
            self._in_place = in_place(terms, dtype, device)
            self._function = self._by_way_of_the_device

    def _evaluate(self, positions: Array) -> Evaluation:
        energy, forces = self._function(positions)
        bad = ~(np.isfinite(energy) & np.isfinite(forces).all(axis=(1, 2)))
        energy[bad], forces[bad] = np.nan, 0.0
        return Evaluation(energy, forces, {int(i): NOT_FINITE for i in np.flatnonzero(bad)})

    def reduced(self, positions_nm: Tensor) -> tuple[Tensor, Tensor]:
        if self._in_place is None or positions_nm.device.type != self.device.type:
            return super().reduced(positions_nm)
        parts = self._in_place(positions_nm)
        energy, forces = (kjmol_to_kt(t.to(positions_nm), self._kelvin) for t in parts)
        good = energy.isfinite() & forces.isfinite().all(2).all(1)
        self.n_evaluations += len(good)
        self._unsettled += len(good)
        self._rejected.add_((~good).sum())
        energy = torch.where(good, energy, REJECTED_ENERGY_KT)
        return energy, torch.where(good[:, None, None], -forces, 0.0)

    def _tell_temperature(self, kelvin: float) -> None:
        self._kelvin.fill_(kelvin)

    def _settle(self) -> None:
        if not self._unsettled:
            return
        bad = int(self._rejected)
        if bad:
            log.warning("rejected %d of %d conformations (%s)", bad, self._unsettled, NOT_FINITE)
        self._n_rejected += bad
        self._unsettled = 0
        self._rejected.zero_()

    def _by_way_of_the_device(self, positions: Array) -> tuple[Array, Array]:
        assert self._in_place is not None
        parts = self._in_place(sent(torch.as_tensor(positions), self.device))
        energy, forces = (part.cpu().numpy() for part in parts)
        return energy, forces


def in_place(terms: ForceField, dtype: torch.dtype, device: torch.device) -> InPlace:
    """What maps positions of a device, (batch, atoms, 3), in nm, to energies and forces there, in
    kJ/mol and kJ/mol/nm, float64.

    Triton's kernels on a GPU, or torch where there is no Triton.
    """
    if not runs_triton(device):
        return Potential(terms, dtype).to(device).energies_and_forces
    from bgp4.kernels.energies_triton import DeviceKernel

    return DeviceKernel(kernel_tables(terms), terms.n_atoms, dtype, device)


def on_tensors(terms: ForceField, dtype: torch.dtype, device: torch.device) -> InPlace:
    """The same for any device, a CPU included."""
    if device.type != "cpu":
        return in_place(terms, dtype, device)
    evaluate = energies_and_forces(terms, dtype)

    def by_numpy(positions_nm: Tensor) -> tuple[Tensor, Tensor]:
        energy, forces = evaluate(positions_nm.numpy())
        return torch.as_tensor(energy), torch.as_tensor(forces)

    return by_numpy


def energies_and_forces(terms: ForceField, dtype: torch.dtype) -> Function:
    """What maps positions, (batch, atoms, 3), in nm, to energies and forces, kJ/mol and kJ/mol/nm.

    The compiled kernel, or torch where there is no C++ compiler.
    """
    library = load_kernel()
    if library is None:
        return Potential(terms, dtype).evaluate
    return Kernel(library, kernel_tables(terms), terms.n_atoms, dtype)


def check_against_openmm(
    molecule: Molecule,
    positions_nm: NDArray[np.floating],  # (frames, atoms, 3)
    device: torch.device = CPU,
) -> None:
    """Compare float64 batched energies and forces with OpenMM's Reference platform.

    The code that is compared is that of the device, on it.

    Raises:
        UnsupportedForce: If they differ by more than 1e-3 kJ/mol or 1e-2 kJ/mol/nm, or can't be
            computed.
    """
    batched = BatchedEnergy(molecule, 300.0, device=device).evaluate(positions_nm)
    context = make_context(molecule.system_xml, "Reference")
    energy, forces, _ = evaluate_with(context, np.asarray(positions_nm, np.float64))
    off_energy = float(np.abs(batched.energy_kjmol - energy).max())
    off_force = float(np.abs(batched.forces_kjmol_nm - forces).max())
    if not (off_energy <= ENERGY_TOLERANCE_KJMOL and off_force <= FORCE_TOLERANCE_KJMOL_NM):
        raise UnsupportedForce(
            f"this System: batched energies differ from OpenMM's by {off_energy:.2g} kJ/mol, "
            f"forces by {off_force:.2g} kJ/mol/nm"
        )
