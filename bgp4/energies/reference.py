"""Energies of OpenMM in this process, for few conformations.

Those of the Reference platform are slow, in float64, and the same anywhere.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from bgp4.energies.base import Energy, Evaluation
from bgp4.energies.worker import evaluate_with, make_context
from bgp4.errors import UserInputError
from bgp4.molecule.molecule import Molecule

__all__ = ["ReferenceEnergy", "Relaxed", "relaxed", "torsions_alone"]

GRADIENT_KJMOL_NM = 10.0
"""Root mean square of the forces at what is called relaxed: a few kJ/mol above a minimum, which
takes six times as long to find in 150 atoms."""


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


class Relaxed(NamedTuple):
    """Energy of a molecule's positions and of relaxed ones, which are (atoms, 3), nm."""

    start_kjmol: float
    relaxed_kjmol: float
    positions_nm: NDArray[np.float64]


def relaxed(molecule: Molecule) -> Relaxed:
    """Go down from the molecule's positions, on the CPU platform, in single precision.

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
    state = context.getState(getEnergy=True, getPositions=True)
    positions_nm = np.asarray(state.getPositions(asNumpy=True)._value, np.float64)
    return Relaxed(at_start, state.getPotentialEnergy()._value, positions_nm)
