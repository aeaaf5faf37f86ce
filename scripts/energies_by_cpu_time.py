"""Energies per second of CPU time, for docs/results.md: batched on one thread, and OpenMM's.

`bgp4 bench energy` goes by the clock on the wall, which on a busy machine measures other work.
Here all methods run in this process, in turn, and its CPU time counts; the best of all rounds.
"""

import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from bgp4.energies.batched import energies_and_forces
from bgp4.energies.forcefield import read_force_field
from bgp4.energies.worker import evaluate_with, make_context
from bgp4.molecule.molecule import Molecule
from bgp4.studies.bench.energy import IN_GBN2, OBC2
from bgp4.studies.bench.machine import describe_machine, in_words
from bgp4.studies.bench.peptides import FF96, alanine_peptide

ROUNDS = 30
RESIDUES = 3
BATCHES = {"OpenMM": 32, "batched, float32": 512, "batched, float64": 512}


def rates(molecule: Molecule) -> dict[str, float]:
    """Evaluations per second of CPU time by method."""
    context = make_context(molecule.system_xml, "CPU")
    terms = read_force_field(molecule.system_xml)
    methods: dict[str, Callable[[Any], Any]] = {
        "OpenMM": lambda positions: evaluate_with(context, positions),
        "batched, float32": energies_and_forces(terms, torch.float32),
        "batched, float64": energies_and_forces(terms, torch.float64),
    }
    best = dict.fromkeys(methods, 0.0)
    for _ in range(ROUNDS):
        for name, evaluate in methods.items():
            noise = np.random.default_rng(0).normal(0, 0.002, (BATCHES[name], molecule.n_atoms, 3))
            positions = molecule.positions_nm + noise
            start = time.process_time()
            evaluate(positions)
            best[name] = max(best[name], len(positions) / (time.process_time() - start))
    return best


def main() -> None:
    torch.set_num_threads(1)
    print(in_words(describe_machine()))
    print("| force field | atoms | method | per second of CPU time | against OpenMM |")
    print("| --- | --- | --- | --- | --- |")
    for force_field, xml in ({OBC2: FF96} | IN_GBN2).items():
        molecule = alanine_peptide(RESIDUES, xml)
        found = rates(molecule)
        for name, rate in found.items():
            ratio = f"{rate / found['OpenMM']:.1f}"
            print(f"| {force_field} | {molecule.n_atoms} | {name} | {rate:,.0f} | {ratio} |")


if __name__ == "__main__":
    main()
