"""Triton's kernels: that they compile for a GPU, without one, and energies interpreted on a CPU.

`tests/flows/test_spline.py` has those of splines, `tests/energies/test_force_fields.py` each force.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from bgp4.energies.batched import BatchedEnergy, energies_and_forces, in_place
from bgp4.energies.forcefield import read_force_field
from bgp4.molecule.molecule import Molecule
from bgp4.studies.bench.energy import IN_GBN2
from bgp4.studies.bench.peptides import alanine_peptide
from tests.interpreter import interpret_triton

COMPILED = Path(__file__).with_name("compile_triton.py")


def test_all_kernels_compile_for_a_gpu() -> None:
    """In a process that does not interpret them."""
    pytest.importorskip("triton")
    done = subprocess.run([sys.executable, str(COMPILED)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    assert len(done.stdout.splitlines()) > 40


@pytest.fixture(scope="module")
def charmm() -> Molecule:
    """Urey-Bradley terms, impropers, torsion maps and necks."""
    return alanine_peptide(2, IN_GBN2["CHARMM36, GBn2"])


@pytest.mark.parametrize("name", ["alanine", "charmm"])
def test_energies_are_those_of_the_cpu(name: str, request, monkeypatch) -> None:
    interpret_triton(monkeypatch)
    molecule: Molecule = request.getfixturevalue(name)
    terms = read_force_field(molecule.system_xml)
    noise = np.random.default_rng(0).normal(0, 0.01, (4, molecule.n_atoms, 3))
    positions = molecule.positions_nm + 3.0 + noise
    for dtype, energy_off, force_off in (
        *((torch.float64, 1e-9, 1e-7), (torch.float32, 2e-3, 0.1)),
    ):
        energy, forces = energies_and_forces(terms, dtype)(positions)
        made = in_place(terms, dtype, torch.device("cpu"))(torch.as_tensor(positions))
        assert {part.dtype for part in made} == {torch.float64}
        np.testing.assert_allclose(made[0].numpy(), energy, rtol=0, atol=energy_off)
        np.testing.assert_allclose(made[1].numpy(), forces, rtol=1e-5, atol=force_off)


def test_batches_of_any_size(alanine, monkeypatch) -> None:
    """None, and more than indices of 32 bits can tell apart."""
    interpret_triton(monkeypatch)
    terms = read_force_field(alanine.system_xml)
    evaluate = in_place(terms, torch.float64, torch.device("cpu"))
    x = torch.as_tensor(alanine.positions_nm).repeat(3, 1, 1)
    assert [tuple(part.shape) for part in evaluate(x[:0])] == [(0,), (0, alanine.n_atoms, 3)]
    whole = evaluate(x)
    monkeypatch.setattr(evaluate, "most", 2)
    for part, expected in zip(evaluate(x), whole, strict=True):
        assert (part == expected).all()


def test_what_clashes_spoils_its_own_energy_alone(alanine, monkeypatch) -> None:
    interpret_triton(monkeypatch)
    positions = np.repeat(alanine.positions_nm[None], 3, 0)
    positions[1, 0] = positions[1, 15]
    energy = BatchedEnergy(alanine, 300.0, torch.float32)
    energy._in_place = in_place(read_force_field(alanine.system_xml), torch.float32, energy.device)
    with np.errstate(all="ignore"):
        kt, gradient = energy.reduced(torch.as_tensor(positions))
    assert energy.n_rejected == 1
    assert kt[0] == kt[2] < 0
    assert (gradient[1] == 0).all()
    assert gradient.isfinite().all()
