"""Steps of molecular dynamics per second: the batched engine and OpenMM, a process on each core."""

from __future__ import annotations

import multiprocessing
import os
from multiprocessing.connection import Connection
from typing import Any

import numpy as np

from bgp4.config import SystemConfig
from bgp4.dynamics.replicas import ENGINES, DynamicsSettings
from bgp4.energies.openmm import available_cores
from bgp4.molecule.molecule import Molecule, load_molecule
from bgp4.studies.bench.timing import per_second

__all__ = ["bench_simulation"]

REPLICAS = {"openmm": 1, "batched": 256}
"""In each process; OpenMM integrates one after the other, so that more do not help it."""

STEPS = {"openmm": 200, "batched": 5}
"""In each call, some 50 ms or less."""


def bench_simulation(
    seconds: float = 5.0, rounds: int = 5, molecule: Molecule | None = None
) -> dict[str, Any]:
    """Langevin dynamics at 1 fs, engines in turn `rounds` times.

    Args:
        seconds: For each engine, over all rounds.
        rounds: How often they take turns.
        molecule: Alanine dipeptide in OBC1 by default.

    Returns:
        {"results": [{"engine", "replicas", "replica_steps_per_s", ...}], "settings": {...}}; the
        median over rounds, summed over processes, with the slowest and the fastest.
    """
    if molecule is None:
        molecule = load_molecule(SystemConfig(testsystem="AlanineDipeptideImplicit"))
    context = multiprocessing.get_context("spawn")
    cores = available_cores()
    teams: dict[str, list[Connection]] = {}
    for engine in REPLICAS:
        for core in range(cores):
            ours, theirs = context.Pipe()
            settings = _settings(molecule, REPLICAS[engine], seed=core)
            context.Process(
                target=_serve, args=(theirs, engine, settings, core), daemon=True
            ).start()
            theirs.close()
            teams.setdefault(engine, []).append(ours)
    rates: dict[str, list[float]] = {}
    for _ in range(rounds):
        for engine, team in teams.items():
            for pipe in team:
                pipe.send(seconds / rounds)
            rates.setdefault(engine, []).append(sum(pipe.recv() for pipe in team))
    for team in teams.values():
        for pipe in team:
            pipe.close()
    results = [
        {
            "engine": engine,
            "replicas": REPLICAS[engine] * cores,
            "replica_steps_per_s": float(np.median(values)),
            "min_per_s": min(values),
            "max_per_s": max(values),
        }
        for engine, values in rates.items()
    ]
    return {"results": results, "settings": {"rounds": rounds, "cores": cores}}


def _settings(molecule: Molecule, replicas: int, seed: int) -> DynamicsSettings:
    return DynamicsSettings(
        molecule.system_xml,
        molecule.positions_nm,
        temperatures_k=(300.0,),
        stacks=replicas,
        timestep_fs=1.0,
        friction_per_ps=1.0,
        platform="CPU",
        seed=seed,
    )


def _serve(pipe: Connection, engine: str, settings: DynamicsSettings, core: int) -> None:
    """Answer seconds with replica steps per second, on one core, until the pipe closes."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {sorted(os.sched_getaffinity(0))[core]})
    replicas, steps = ENGINES[engine](settings), STEPS[engine]
    replicas.run(steps)
    while True:
        try:
            seconds = pipe.recv()
        except EOFError:
            return
        pipe.send(per_second(lambda: replicas.run(steps), steps * settings.stacks, seconds))
