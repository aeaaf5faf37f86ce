"""MD as on a GPU, but on the CPU: the energies that are computed in place move the same atoms."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from bgp4.dynamics.replicas import BatchedReplicas, DynamicsSettings
from bgp4.dynamics.rigid import TorchRigidBonds
from bgp4.dynamics.simulate import _jobs
from bgp4.energies import batched
from bgp4.molecule.molecule import load_molecule
from tests.interpreter import interpret_triton


@pytest.fixture(scope="module")
def settings(alanine) -> DynamicsSettings:
    at = (alanine.system_xml, alanine.positions_nm, (300.0, 400.0))
    return DynamicsSettings(
        *at, stacks=2, timestep_fs=1.0, friction_per_ps=1.0, platform="CPU", seed=3
    )


def moved(settings: DynamicsSettings, steps: int) -> dict[str, np.ndarray[Any, Any]]:
    replicas = BatchedReplicas(settings)
    replicas.run(steps)
    replicas.permute(np.array([[1, 0], [0, 1]]))
    state = replicas.state()
    assert replicas.energies_kjmol().shape == (2, 2)
    assert (replicas.positions_nm(1) == state["x"][1::2]).all()
    again = BatchedReplicas(settings)
    again.restore(state)
    again.run(1)
    return state | {"energies": again.energies_kjmol()}


@pytest.mark.parametrize("engine", ["torch", "triton"])
def test_energies_in_place_move_the_same_atoms(settings, monkeypatch, engine: str) -> None:
    if engine == "triton":
        interpret_triton(monkeypatch)
    expected = moved(settings, 3)
    monkeypatch.setattr(batched, "on_tensors", batched.in_place)
    for name, values in moved(settings, 3).items():
        np.testing.assert_allclose(values, expected[name], rtol=1e-4, atol=1e-4, err_msg=name)


def test_constrained_bonds_are_held_by_torch(smoke_config, monkeypatch) -> None:
    system = smoke_config.system.model_copy(update={"constraints": "HBonds"})
    molecule = load_molecule(system)
    at = (molecule.system_xml, molecule.positions_nm, (300.0,))
    monkeypatch.setattr("bgp4.dynamics.rigid.load_kernel", lambda: None)
    replicas = BatchedReplicas(DynamicsSettings(*at, 2, 1.0, 1.0, "CPU", 3))
    assert isinstance(replicas.rigid, TorchRigidBonds)
    replicas.run(3)
    pairs = molecule.constraints.pairs
    bonds = replicas.positions_nm(0)[:, pairs]
    lengths = np.linalg.norm(bonds[:, :, 0] - bonds[:, :, 1], axis=-1)
    np.testing.assert_allclose(lengths, np.tile(molecule.constraints.lengths_nm, (2, 1)), rtol=1e-7)


def test_a_gpu_has_all_stacks_in_one_process(smoke_config, alanine) -> None:
    changed = {"stacks": 5, "processes": 2}
    config = smoke_config.model_copy(
        update={"simulate": smoke_config.simulate.model_copy(update=changed)}
    )
    found = {
        device: [
            (job.dynamics.stacks, job.dynamics.device)
            for job in _jobs(config, alanine, (300.0,), "batched", None, device)
        ]
        for device in ("cpu", "cuda")
    }
    assert found == {"cpu": [(3, "cpu"), (2, "cpu")], "cuda": [(5, "cuda")]}


def test_a_device_that_is_not_there(settings) -> None:
    if torch.cuda.is_available():
        pytest.skip("there is one")
    with pytest.raises((RuntimeError, AssertionError)):
        BatchedReplicas(replace(settings, device="cuda"))
