"""What runs in an energy worker process: one OpenMM Context on one thread.

Imported by spawned processes, so it imports numpy at the top and OpenMM only when it runs.
"""

from __future__ import annotations

import os
from multiprocessing.connection import Connection
from typing import Any

import numpy as np

from bgp4.parallel.processes import end_with_parent

__all__ = ["evaluate_with", "make_context", "serve_energies"]

Answer = tuple[np.ndarray, np.ndarray, dict[int, str]]


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
        raise ValueError(f"unknown OpenMM platform {platform!r}; available: {', '.join(known)}")
    chosen = openmm.Platform.getPlatformByName(platform)
    properties = {"Threads": "1"} if "Threads" in chosen.getPropertyNames() else {}
    if integrator is None:
        integrator = openmm.VerletIntegrator(0.001)
    return openmm.Context(
        openmm.XmlSerializer.deserialize(system_xml), integrator, chosen, properties
    )


def serve_energies(
    pipe: Connection,
    system_xml: str,
    platform: str,
    core: int | None = None,
    known: np.ndarray | None = None,
) -> None:
    """Answer batches of positions with energies and forces until the pipe closes.

    A request is positions in nm, (batch, atoms, 3); an answer is energies in kJ/mol (batch,),
    forces in kJ/mol/nm (batch, atoms, 3) and a dict of conformation index to what OpenMM said of
    those it rejected, whose energy is NaN and forces zero. Where the Context is no longer to be
    trusted (see `Witness`; `known` is a conformation that has an energy), the answer is a text that
    says so.

    OpenMM hands each evaluation to a thread of its own and sleeps meanwhile; on one core the two
    take turns without waking another.
    """
    end_with_parent()
    if core is not None:
        os.sched_setaffinity(0, {core})
    try:
        context = make_context(system_xml, platform)
    except Exception as error:
        pipe.send(error)
        return
    pipe.send(None)
    witness = Witness(known)
    while True:
        try:
            positions = pipe.recv()
            answer = evaluate_with(context, positions)
            pipe.send(answer if witness.agrees(context, positions, answer) else Witness.DENIAL)
        except (EOFError, BrokenPipeError):  # who asked is gone
            return


class Witness:
    """A conformation whose energy is known, by which a Context is judged that finds others' NaN.

    NaN of a clash is the conformation's fault; NaN of the witness as well is the Context's.
    """

    DENIAL = "finds NaN where it found an energy before"

    def __init__(self, conformation: np.ndarray | None = None) -> None:
        self.conformation = conformation

    def agrees(self, context: Any, positions: np.ndarray, answer: Answer) -> bool:
        """Whether the answer can be believed; the first that has an energy is the witness."""
        energies, _, rejected = answer
        if self.conformation is None and len(rejected) < len(energies):
            self.conformation = positions[int(np.isfinite(energies).argmax())].copy()
        if not rejected or self.conformation is None:
            return True
        again, _, _ = evaluate_with(context, self.conformation[None])
        return bool(np.isfinite(again[0]))


def evaluate_with(context: Any, positions: np.ndarray) -> Answer:
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
