"""Energies and forces per second: one OpenMM worker, the pool, the batched energy, bgflow."""

from __future__ import annotations

import importlib.util
import time
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from bgp4.config import SystemConfig
from bgp4.energies.base import Energy
from bgp4.energies.batched import BatchedEnergy
from bgp4.energies.openmm import OpenMMEnergy, available_cores
from bgp4.system import Molecule, load_molecule

__all__ = ["bench_energy"]

TEMPERATURE_K = 300.0
BATCH = 512


def bench_energy(seconds: float = 2.0, rounds: int = 5) -> dict[str, Any]:
    """Alanine dipeptide in OBC1, batches of 512 with forces, methods in turn `rounds` times.

    Returns:
        {"results": [{"method", "evaluations_per_s", ...}], "settings": {...}}; the median over
        rounds, with the slowest and the fastest.
    """
    molecule = load_molecule(SystemConfig(testsystem="AlanineDipeptideImplicit"))
    positions = _conformations(molecule)
    rates: dict[str, list[float]] = {}
    with ExitStack() as stack:
        methods = _methods(molecule, stack)
        for _ in range(rounds):
            for name, evaluate in methods.items():
                rates.setdefault(name, []).append(_rate(evaluate, positions, seconds / rounds))
    results = [
        {
            "method": name,
            "evaluations_per_s": float(np.median(values)),
            "min_per_s": min(values),
            "max_per_s": max(values),
        }
        for name, values in rates.items()
    ]
    settings = {
        "batch": BATCH,
        "rounds": rounds,
        "cores": available_cores(),
        "torch_threads": torch.get_num_threads(),
        "skipped": {} if _has_bgflow() else {"bgflow": "not importable"},
    }
    return {"results": results, "settings": settings}


Evaluate = Callable[[NDArray[np.float64]], Any]


def _methods(molecule: Molecule, stack: ExitStack) -> dict[str, Evaluate]:
    """Method names to functions of positions; what they hold is closed with the stack."""

    def opened(energy: Energy) -> Evaluate:
        return stack.enter_context(energy).evaluate

    float32 = torch.float32
    methods = {
        "openmm_single": opened(OpenMMEnergy(molecule, TEMPERATURE_K, workers=1)),
        "openmm_pool": opened(OpenMMEnergy(molecule, TEMPERATURE_K)),
        "batched": opened(BatchedEnergy(molecule, TEMPERATURE_K, float32)),
        "batched_float64": opened(BatchedEnergy(molecule, TEMPERATURE_K)),
        "batched_eager": opened(BatchedEnergy(molecule, TEMPERATURE_K, float32)),
    }
    if _has_bgflow():
        methods["bgflow"] = _bgflow(molecule)
    return methods


def _conformations(molecule: Molecule) -> NDArray[np.float64]:
    """The start positions with 0.002 nm of noise: arithmetic does not depend on the values."""
    rng = np.random.default_rng(0)
    return molecule.positions_nm + rng.normal(0, 0.002, (BATCH, molecule.n_atoms, 3))


def _rate(evaluate: Evaluate, positions: NDArray[np.float64], seconds: float) -> float:
    evaluate(positions)
    done, start = 0, time.perf_counter()
    while time.perf_counter() - start < seconds:
        evaluate(positions)
        done += len(positions)
    return done / (time.perf_counter() - start)


def _has_bgflow() -> bool:
    return importlib.util.find_spec("bgflow") is not None


def _bgflow(molecule: Molecule) -> Evaluate:
    """bgflow's OpenMM bridge; its last version needs np.infty, which NumPy 2 has not."""
    vars(np).setdefault("infty", np.inf)
    import openmm
    from bgflow import OpenMMBridge, OpenMMEnergy

    system = openmm.XmlSerializer.deserialize(molecule.system_xml)
    integrator = openmm.LangevinIntegrator(TEMPERATURE_K, 1, 0.001)
    bridge = OpenMMBridge(system, integrator, platform_name="CPU", n_workers=available_cores())
    energy = OpenMMEnergy(bridge=bridge)

    def evaluate(positions: NDArray[np.float64]) -> None:
        x = torch.as_tensor(positions).flatten(1).requires_grad_()
        energy.energy(x).sum().backward()

    return evaluate
