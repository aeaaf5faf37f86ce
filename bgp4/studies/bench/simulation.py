"""Steps of molecular dynamics per second: the batched engine and OpenMM, a process on each core.

Constrained bonds cost steps, and allow longer ones.
"""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from multiprocessing.connection import Connection
from typing import Any, Literal, NamedTuple

import numpy as np
import torch

from bgp4.config import SystemConfig
from bgp4.dynamics.replicas import ENGINES, DynamicsSettings, Replicas
from bgp4.energies.openmm import available_cores
from bgp4.molecule.molecule import Molecule, load_molecule
from bgp4.parallel.ranks import CPU
from bgp4.studies.bench.timing import per_second

__all__ = ["Way", "alanine_dipeptide", "bench_simulation"]

Constrained = Literal["HBonds", "AllBonds"] | None
Work = list[tuple[str, DynamicsSettings]]

REPLICAS = {"openmm": 1, "batched": 256, "gpu": 16384}
"""In each process; OpenMM integrates one after the other, so that more do not help it."""

STEPS = {"openmm": 200, "batched": 5, "gpu": 50}
"""In each call, some 50 ms or less."""

TIMESTEP_FS: dict[Constrained, float] = {None: 1.0, "HBonds": 2.0, "AllBonds": 2.0}
"""By what is constrained."""


class Way(NamedTuple):
    """An engine, and the bonds that it constrains."""

    engine: str
    constraints: Constrained


def alanine_dipeptide() -> dict[Way, Molecule]:
    """In OBC1; with constraints in the batched engine alone."""
    ways = (Way("openmm", None), *(Way("batched", held) for held in TIMESTEP_FS))
    name = "AlanineDipeptideImplicit"
    return {
        way: load_molecule(SystemConfig(testsystem=name, constraints=way.constraints))
        for way in ways
    }


def bench_simulation(
    seconds: float = 5.0,
    rounds: int = 5,
    molecules: Mapping[Way, Molecule] | None = None,
    device: torch.device = CPU,
) -> dict[str, Any]:
    """Langevin dynamics, all ways in turn `rounds` times.

    Args:
        seconds: For each way, over all rounds.
        rounds: How often they take turns.
        molecules: What each way simulates; alanine dipeptide by default.
        device: A GPU is measured as well, as the engine `gpu`: batched, in one process.

    Returns:
        {"results": [{"engine", "constraints", "timestep_fs", "replicas", "replica_steps_per_s",
        ...}], "ratios": [...], "settings": {...}}; the median over rounds, summed over processes,
        with the slowest and the fastest.
    """
    molecules = molecules or alanine_dipeptide()
    cores = available_cores()
    processes = dict.fromkeys(molecules, cores)
    if device.type != "cpu":
        gpu = Way("gpu", None)
        molecules, processes[gpu] = {**molecules, gpu: next(iter(molecules.values()))}, 1
    team = _team([(way.engine, _settings(molecules[way], way, device)) for way in molecules], cores)
    rates: dict[Way, list[float]] = {way: [] for way in molecules}
    for _ in range(rounds):
        for place, way in enumerate(rates):
            for pipe in team[: processes[way]]:
                pipe.send((place, seconds / rounds))
            rates[way].append(sum(pipe.recv() for pipe in team[: processes[way]]))
    for pipe in team:
        pipe.close()
    results = [
        {
            **way._asdict(),
            "timestep_fs": TIMESTEP_FS[way.constraints],
            "replicas": REPLICAS[way.engine] * processes[way],
            "replica_steps_per_s": float(np.median(values)),
            "min_per_s": min(values),
            "max_per_s": max(values),
        }
        for way, values in rates.items()
    ]
    settings = {"rounds": rounds, "cores": cores}
    return {"results": results, "ratios": _ratios(results), "settings": settings}


def _ratios(results: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Of each way with constraints: steps, and simulated time, over its engine's without."""
    free = {row["engine"]: row for row in results if row["constraints"] is None}
    found = []
    for row in results:
        if row["constraints"] is not None:
            of = free[row["engine"]]
            steps = row["replica_steps_per_s"] / of["replica_steps_per_s"]
            found.append(
                {
                    "engine": row["engine"],
                    "constraints": row["constraints"],
                    "steps": steps,
                    "simulated time": steps * row["timestep_fs"] / of["timestep_fs"],
                }
            )
    return found


def _settings(molecule: Molecule, way: Way, device: torch.device) -> DynamicsSettings:
    return DynamicsSettings(
        molecule.system_xml,
        molecule.positions_nm,
        temperatures_k=(300.0,),
        stacks=REPLICAS[way.engine],
        timestep_fs=TIMESTEP_FS[way.constraints],
        friction_per_ps=1.0,
        platform="CPU",
        seed=0,
        device=str(device) if way.engine == "gpu" else "cpu",
    )


def _team(work: Work, cores: int) -> list[Connection]:
    """A process on each core, behind a pipe."""
    context = multiprocessing.get_context("spawn")
    team = []
    for core in range(cores):
        ours, theirs = context.Pipe()
        context.Process(target=_serve, args=(theirs, work, core), daemon=True).start()
        theirs.close()
        team.append(ours)
    return team


def _serve(pipe: Connection, work: Work, core: int) -> None:
    """Answer a place in `work` and seconds with replica steps per second, on one core."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {sorted(os.sched_getaffinity(0))[core]})
    made: dict[int, Replicas] = {}
    while True:
        try:
            place, seconds = pipe.recv()
        except EOFError:
            return
        engine, settings = work[place]
        if place not in made:
            kind = ENGINES["batched" if engine == "gpu" else engine]
            made[place] = kind(replace(settings, seed=core))
            made[place].run(STEPS[engine])
        run = partial(made[place].run, STEPS[engine])
        pipe.send(per_second(run, STEPS[engine] * settings.stacks, seconds))
