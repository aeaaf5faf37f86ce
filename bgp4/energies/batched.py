"""Batched energies: the whole batch in one call, checked against OpenMM before use."""

from __future__ import annotations

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
from bgp4.molecule.molecule import Molecule
from bgp4.statistics.samples import REJECTED_ENERGY_KT
from bgp4.units import kjmol_to_kt

__all__ = ["BatchedEnergy", "check_against_openmm", "energies_and_forces"]

ENERGY_TOLERANCE_KJMOL = 1e-3
FORCE_TOLERANCE_KJMOL_NM = 1e-2

NOT_FINITE = "energy or forces are not finite"
CPU = torch.device("cpu")

Array = NDArray[np.float64]
Function = Callable[[Array], tuple[Array, Array]]


class BatchedEnergy(Energy):
    """A molecule's force field, without OpenMM.

    Args:
        molecule: Whose System to evaluate.
        temperature_k: Temperature of kT, in K.
        dtype: Of the arithmetic; float32 is off by about 2e-4 kJ/mol, enough for training.
        device: Where it is computed. Training on a GPU keeps its positions there.

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
        super().__init__(molecule.n_atoms, temperature_k)
        self.dtype = dtype
        terms = read_force_field(molecule.system_xml)
        on_cpu = device.type == "cpu"
        self._potential = None if on_cpu else Potential(terms, dtype).to(device)
        self._function = energies_and_forces(terms, dtype)

    def _evaluate(self, positions: Array) -> Evaluation:
        energy, forces = self._function(positions)
        bad = ~(np.isfinite(energy) & np.isfinite(forces).all(axis=(1, 2)))
        energy[bad], forces[bad] = np.nan, 0.0
        return Evaluation(energy, forces, {int(i): NOT_FINITE for i in np.flatnonzero(bad)})

    def reduced(self, positions_nm: Tensor) -> tuple[Tensor, Tensor]:
        if self._potential is None:
            return super().reduced(positions_nm)
        return self._reduced_in_place(positions_nm, self._potential)

    def _reduced_in_place(
        self, positions_nm: Tensor, potential: Potential
    ) -> tuple[Tensor, Tensor]:
        """`reduced` without a copy of the positions on the CPU."""
        parts = potential.energies_and_forces(positions_nm)
        energy, forces = (kjmol_to_kt(t.to(positions_nm), self.temperature_k) for t in parts)
        good = energy.isfinite() & forces.isfinite().all(2).all(1)
        bad = (~good).nonzero().flatten().tolist()
        self._count(len(good), dict.fromkeys(bad, NOT_FINITE))
        energy = torch.where(good, energy, REJECTED_ENERGY_KT)
        return energy, torch.where(good[:, None, None], -forces, 0.0)


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
