"""Energies and forces per second: OpenMM's pool, the batched energy, torch, bgflow."""

from __future__ import annotations

import importlib
import itertools
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from bgp4.config import SystemConfig
from bgp4.energies.batched import BatchedEnergy
from bgp4.energies.forcefield import read_force_field
from bgp4.energies.openmm import OpenMMEnergy, available_cores
from bgp4.energies.potential import Potential
from bgp4.molecule.molecule import Molecule, load_molecule
from bgp4.parallel.hardware import wait_for
from bgp4.parallel.ranks import CPU
from bgp4.studies.bench.peptides import alanine_peptide
from bgp4.studies.bench.timing import per_second

__all__ = ["bench_energy"]

TEMPERATURE_K = 300.0
BATCHES = (512, 64, 4096)
RESIDUES = (3, 5)
OBC1, OBC2 = "ff96, OBC1", "ff96, OBC2"
IN_GBN2 = {
    "ff19SB, GBn2": ("amber19-all.xml", "implicit/gbn2.xml"),
    "CHARMM36, GBn2": ("charmm36.xml", "implicit/gbn2.xml"),
}


def bench_energy(
    seconds: float = 2.0,
    rounds: int = 5,
    batches: Sequence[int] = BATCHES,
    residues: Sequence[int] = RESIDUES,
    device: torch.device = CPU,
) -> dict[str, Any]:
    """Energies and forces of alanine dipeptide in OBC1, and of longer peptides in OBC2 and GBn2.

    Every method for the first batch size, the pool and the batched ones for the other batch sizes
    and for longer peptides; methods in turn, `rounds` times.

    Args:
        seconds: For each method, in all rounds.
        rounds: How often each method has its turn.
        batches: Conformations in a call; the first is that of the longer peptides.
        residues: Alanines in the peptides in OBC2; the first also in each of `IN_GBN2`.
        device: A GPU is measured as well (`gpu`, `gpu_float64`), on positions that it has already.

    Returns:
        {"results": [{"method", "force_field", "atoms", "batch", "evaluations_per_s", ...}],
        "scaling": [the same for other batches and molecules], "ratios", "settings": {...}}; the
        median over rounds, with the slowest and the fastest; ratios are over the pool's median of
        the same molecule and batch.
    """
    dipeptide = load_molecule(SystemConfig(testsystem="AlanineDipeptideImplicit"))
    first, *others = batches
    main = partial(_main_methods, device=device)
    results = _measure(
        dipeptide, OBC1, [first], partial(_all_methods, device=device), seconds, rounds
    )
    scaling = _measure(dipeptide, OBC1, others, main, seconds, rounds)
    peptides = [(OBC2, alanine_peptide(n)) for n in residues]
    peptides += [(name, alanine_peptide(residues[0], xml)) for name, xml in IN_GBN2.items()]
    for name, peptide in peptides:
        scaling += _measure(peptide, name, [first], main, seconds, rounds)
    settings = {
        "rounds": rounds,
        "cores": available_cores(),
        "torch_threads": torch.get_num_threads(),
        "skipped": {} if _has_bgflow() else {"bgflow": "not importable"},
    }
    ratios = _over_the_pool([*results, *scaling])
    return {"results": results, "scaling": scaling, "ratios": ratios, "settings": settings}


def _over_the_pool(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    found: dict[tuple[str, int, int], dict[str, float]] = {}
    for r in rows:
        of = r["force_field"], r["atoms"], r["batch"]
        found.setdefault(of, {})[r["method"]] = r["evaluations_per_s"]
    return [
        {"force_field": force_field, "atoms": atoms, "batch": batch}
        | {
            f"{name}/openmm_pool": rate / rates["openmm_pool"]
            for name, rate in rates.items()
            if name != "openmm_pool"
        }
        for (force_field, atoms, batch), rates in found.items()
    ]


Evaluate = Callable[[NDArray[np.float64]], Any]
Methods = Callable[[Molecule, ExitStack], dict[str, Evaluate]]


def _measure(
    molecule: Molecule,
    force_field: str,
    batches: Sequence[int],
    methods: Methods,
    seconds: float,
    rounds: int,
) -> list[dict[str, Any]]:
    rates: dict[tuple[str, int], list[float]] = {}
    with ExitStack() as stack:
        opened = methods(molecule, stack)
        for _ in range(rounds):
            for batch in batches:
                positions = _conformations(molecule, batch)
                for name, evaluate in opened.items():
                    rate = _rate(evaluate, positions, seconds / rounds)
                    rates.setdefault((name, batch), []).append(rate)
    return [
        {
            "method": name,
            "force_field": force_field,
            "atoms": molecule.n_atoms,
            "batch": batch,
            "evaluations_per_s": float(np.median(values)),
            "min_per_s": min(values),
            "max_per_s": max(values),
        }
        for (name, batch), values in rates.items()
    ]


def _main_methods(
    molecule: Molecule, stack: ExitStack, device: torch.device
) -> dict[str, Evaluate]:
    """Method names to functions of positions; what they hold is closed with the stack."""
    energies = {
        "openmm_pool": OpenMMEnergy(molecule, TEMPERATURE_K),
        "batched": BatchedEnergy(molecule, TEMPERATURE_K, torch.float32),
        "batched_float64": BatchedEnergy(molecule, TEMPERATURE_K),
    }
    methods: dict[str, Evaluate] = {
        name: stack.enter_context(energy).evaluate for name, energy in energies.items()
    }
    if device.type != "cpu":
        for name, dtype in (("gpu", torch.float32), ("gpu_float64", torch.float64)):
            methods[name] = _OnDevice(BatchedEnergy(molecule, TEMPERATURE_K, dtype, device))
    return methods


class _OnDevice:
    """An energy of positions that lie on its device, waited for."""

    def __init__(self, energy: BatchedEnergy) -> None:
        self._energy = energy
        self._sent: tuple[NDArray[np.float64], Tensor] | None = None

    def __call__(self, positions: NDArray[np.float64]) -> None:
        if self._sent is None or self._sent[0] is not positions:
            self._sent = positions, torch.as_tensor(positions).to(self._energy.device)
        self._energy.reduced(self._sent[1])
        wait_for(self._energy.device)


def _all_methods(molecule: Molecule, stack: ExitStack, device: torch.device) -> dict[str, Evaluate]:
    methods = _main_methods(molecule, stack, device)
    single = stack.enter_context(OpenMMEnergy(molecule, TEMPERATURE_K, workers=1))
    methods["openmm_single"] = single.evaluate
    terms = read_force_field(molecule.system_xml)
    methods["torch"] = Potential(terms, torch.float32).evaluate
    if _has_bgflow():
        methods["bgflow"] = _bgflow(molecule)
    return methods


def _conformations(molecule: Molecule, batch: int) -> NDArray[np.float64]:
    """The start positions with 0.002 nm of noise: arithmetic does not depend on the values."""
    rng = np.random.default_rng(0)
    return molecule.positions_nm + rng.normal(0, 0.002, (batch, molecule.n_atoms, 3))


def _rate(evaluate: Evaluate, positions: NDArray[np.float64], seconds: float) -> float:
    evaluate(positions)
    return per_second(lambda: evaluate(positions), len(positions), seconds)


def _has_bgflow() -> bool:
    """Whether it can be imported; its last version needs np.infty, which NumPy 2 has not."""
    vars(np).setdefault("infty", np.inf)
    try:
        importlib.import_module("bgflow")
    except ImportError:
        return False
    return True


def _bgflow(molecule: Molecule) -> Evaluate:
    """bgflow's OpenMM bridge, on as many processes as there are cores."""
    import openmm
    from bgflow import OpenMMBridge, OpenMMEnergy

    system = openmm.XmlSerializer.deserialize(molecule.system_xml)
    integrator = openmm.LangevinIntegrator(TEMPERATURE_K, 1, 0.001)
    bridge = OpenMMBridge(system, integrator, platform_name="CPU", n_workers=available_cores())
    energy, calls = OpenMMEnergy(bridge=bridge), itertools.count()

    def evaluate(positions: NDArray[np.float64]) -> None:
        moved = positions + 1e-3 * next(calls)  # it remembers the last batch by what it prints
        x = torch.as_tensor(moved).flatten(1).requires_grad_()
        energy.energy(x).sum().backward()

    return evaluate
