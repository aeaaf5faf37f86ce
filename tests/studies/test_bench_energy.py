"""The energy and simulation benchmarks: every method runs, on the molecules that they name."""

from __future__ import annotations

from contextlib import ExitStack

import numpy as np
import pytest
import torch

from bgp4.energies.batched import check_against_openmm
from bgp4.studies.bench.energy import IN_GBN2, _main_methods, bench_energy
from bgp4.studies.bench.machine import describe_machine, in_words
from bgp4.studies.bench.peptides import FF96, alanine_peptide
from bgp4.studies.bench.simulation import bench_simulation

CHARMM = IN_GBN2["CHARMM36, GBn2"]


def test_every_method_runs() -> None:
    made = bench_energy(seconds=0.01, rounds=1, batches=(4, 8), residues=(2,))
    main = {row["method"]: (row["atoms"], row["batch"]) for row in made["results"]}
    assert {"openmm_single", "openmm_pool", "batched", "batched_float64", "torch"} <= main.keys()
    assert set(main.values()) == {(22, 4)}
    scaling = {(row["method"], row["atoms"], row["batch"]) for row in made["scaling"]}
    assert {("batched_float64", 22, 8), ("openmm_pool", 32, 4), ("batched", 32, 4)} <= scaling
    assert all(row["evaluations_per_s"] > 0 for row in made["results"] + made["scaling"])
    rates = {row["method"]: row["evaluations_per_s"] for row in made["results"]}
    (ratios,) = (r for r in made["ratios"] if (r["atoms"], r["batch"]) == (22, 4))
    assert ratios["batched/openmm_pool"] == rates["batched"] / rates["openmm_pool"]
    assert len(made["ratios"]) == 5
    gbn2 = [r for r in made["ratios"] if "GBn2" in r["force_field"]]
    assert [(r["force_field"], r["atoms"], r["batch"]) for r in gbn2] == [
        ("ff19SB, GBn2", 32, 4),
        ("CHARMM36, GBn2", 32, 4),
    ]
    assert all(r["batched/openmm_pool"] > 0 for r in gbn2)


def test_the_machine_is_named_with_its_peaks() -> None:
    machine = describe_machine()
    assert machine["cpu"].strip() not in ("", "unknown")
    speeds = [*machine["product_gflops"].values(), machine["copy_gb_per_s"]]
    assert all(speed > 0 for speed in speeds)
    line = in_words(machine)
    assert "\n" not in line
    assert line.startswith(machine["cpu"])
    assert all(f"{speed:.0f}" in line for speed in machine["product_gflops"].values())


def test_both_engines_simulate() -> None:
    made = bench_simulation(seconds=0.02, rounds=1)
    ways = [(row["engine"], row["constraints"]) for row in made["results"]]
    kinds = (None, "HBonds", "AllBonds")
    assert ways == [("openmm", None), *(("batched", kind) for kind in kinds)]
    assert all(row["replica_steps_per_s"] > 0 for row in made["results"])
    rates = dict(zip(ways, (row["replica_steps_per_s"] for row in made["results"]), strict=True))
    hbonds, all_bonds = made["ratios"]
    steps = rates["batched", "HBonds"] / rates["batched", None]
    assert hbonds["steps"] == steps
    assert hbonds["simulated time"] == 2 * steps
    assert all_bonds["constraints"] == "AllBonds"


@pytest.mark.parametrize(
    ("residues", "force_field"), [(1, FF96), (3, FF96), (5, FF96), (2, CHARMM)]
)
def test_peptides_are_sound_molecules(residues: int, force_field: tuple[str, ...]) -> None:
    """No atoms on top of each other, bonds of their length, and energies as OpenMM has them."""
    molecule = alanine_peptide(residues, force_field)
    assert molecule.n_atoms == 12 + 10 * residues
    x = molecule.positions_nm
    distance = np.linalg.norm(x[:, None] - x, axis=-1)
    bonded = np.array([[a.index, b.index] for a, b in molecule.topology.bonds])
    assert len(bonded) == molecule.n_atoms - 1
    assert (distance[tuple(bonded.T)] < 0.16).all()
    assert distance[np.triu_indices(len(x), 1)].min() > 0.09
    check_against_openmm(molecule, x + np.random.default_rng(0).normal(0, 0.002, (3, len(x), 3)))


def test_a_device_is_measured_as_well(alanine) -> None:
    with ExitStack() as stack:
        methods = _main_methods(alanine, stack, torch.device("meta"))
        assert {"gpu", "gpu_float64"} <= methods.keys()
        for name in ("gpu", "gpu_float64"):
            assert methods[name](np.zeros((2, 22, 3))) is None
