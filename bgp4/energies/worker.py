"""What runs in an energy worker process: one OpenMM Context on one thread.

Imported by spawned processes, so it imports numpy at the top and OpenMM only when it runs.
"""

from __future__ import annotations

import signal
from multiprocessing.connection import Connection
from typing import Any

import numpy as np

__all__ = ["evaluate_with", "make_context", "serve_energies"]


def make_context(system_xml: str, platform: str, integrator: Any = None) -> Any:
    """An OpenMM Context of a serialised System, on one thread.

    Raises:
        ValueError: If the platform is unknown, naming those that are there.
    """
    import openmm

    known = [
        openmm.Platform.getPlatform(i).getName() for i in range(openmm.Platform.getNumPlatforms())
    ]
    if platform not in known:
        raise ValueError(f"unknown OpenMM platform {platform!r}; here are: {', '.join(known)}")
    chosen = openmm.Platform.getPlatformByName(platform)
    properties = {"Threads": "1"} if "Threads" in chosen.getPropertyNames() else {}
    if integrator is None:
        integrator = openmm.VerletIntegrator(0.001)
    return openmm.Context(
        openmm.XmlSerializer.deserialize(system_xml), integrator, chosen, properties
    )


def serve_energies(pipe: Connection, system_xml: str, platform: str) -> None:
    """Answer batches of positions with energies and forces until the pipe closes.

    A request is positions in nm, (batch, atoms, 3); an answer is energies in kJ/mol (batch,),
    forces in kJ/mol/nm (batch, atoms, 3) and a dict of conformation index to what OpenMM said of
    those it rejected, whose energy is NaN and forces zero.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        context = make_context(system_xml, platform)
    except Exception as error:
        pipe.send(error)
        return
    pipe.send(None)
    while True:
        try:
            positions = pipe.recv()
            if positions is None:
                return
            pipe.send(evaluate_with(context, positions))
        except (EOFError, BrokenPipeError):  # who asked is gone
            return


def evaluate_with(
    context: Any, positions: np.ndarray
) -> tuple[np.ndarray, np.ndarray, dict[int, str]]:
    """Energies, forces and rejections as `serve_energies` answers them, one after the other."""
    import openmm

    energies = np.full(len(positions), np.nan)
    forces = np.zeros_like(positions)
    rejected: dict[int, str] = {}
    for i, conformation in enumerate(positions):
        if not np.isfinite(conformation).all():
            rejected[i] = "a coordinate is not finite"
            continue
        try:
            context.setPositions(conformation)
            state = context.getState(energy=True, forces=True)
        except openmm.OpenMMException as error:
            rejected[i] = str(error)
            continue
        energy = state.getPotentialEnergy()._value
        force = state.getForces(asNumpy=True)._value
        if np.isfinite(energy) and np.isfinite(force).all():
            energies[i], forces[i] = energy, force
        else:
            rejected[i] = "energy or forces are not finite"
    return energies, forces, rejected
