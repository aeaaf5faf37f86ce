"""Energies of OpenMM's Reference platform, in this process: slow, in float64, the same anywhere."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from bgp4.energies.base import Energy, Evaluation
from bgp4.energies.worker import evaluate_with, make_context

__all__ = ["ReferenceEnergy", "torsions_alone"]


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
