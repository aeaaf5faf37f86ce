"""Energies of OpenMM in this process, for few conformations.

Those of the Reference platform are slow, in float64, and the same anywhere.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from bgp4.energies.base import Energy, Evaluation
from bgp4.energies.worker import evaluate_with, make_context
from bgp4.errors import UserInputError
from bgp4.molecule.molecule import Molecule

__all__ = ["ReferenceEnergy", "start_and_minimum_kjmol", "torsions_alone"]

GRADIENT_KJMOL_NM = 2.0
"""Root mean square of the forces at what is called a minimum."""


class ReferenceEnergy(Energy):
    """For the few conformations from which more depends than from a training's many.

    Args:
        system_xml: The serialised System.
        n_atoms: Its atoms.
        temperature_k: Temperature of kT, in K.
    """

    def __init__(self, system_xml: str, n_atoms: int, temperature_k: float) -> None:
        super().__init__(n_atoms, temperature_k)
        self._context = make_context(system_xml, "Reference")

    def _evaluate(self, positions: NDArray[np.float64]) -> Evaluation:
        return Evaluation(*evaluate_with(self._context, positions))


def torsions_alone(system_xml: str) -> str:
    """The System with no other forces than those that OpenMM calls torsions."""
    import openmm

    system = openmm.XmlSerializer.deserialize(system_xml)
    for index in reversed(range(system.getNumForces())):
        if "Torsion" not in type(system.getForce(index)).__name__:
            system.removeForce(index)
    return str(openmm.XmlSerializer.serialize(system))


def start_and_minimum_kjmol(molecule: Molecule) -> tuple[float, float]:
    """Energy of the molecule's positions, and of the minimum next to them, kJ/mol.

    Both are of the CPU platform, in single precision.

    Raises:
        UserInputError: If there is no minimum near the positions.
    """
    import openmm

    context = make_context(molecule.system_xml, "CPU")
    context.setPositions(molecule.positions_nm)
    try:
        at_start = context.getState(getEnergy=True).getPotentialEnergy()._value
        openmm.LocalEnergyMinimizer.minimize(context, tolerance=GRADIENT_KJMOL_NM)
    except openmm.OpenMMException as error:
        raise UserInputError(
            f"{molecule.name}: no minimum of the energy near its positions ({error}); look for "
            "atoms that lie on each other"
        ) from error
    return at_start, context.getState(getEnergy=True).getPotentialEnergy()._value
