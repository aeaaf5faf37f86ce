"""Numbers that are not finite, worn inverses, extreme weights: named, repaired, survived."""

from __future__ import annotations

import copy
import math
import re
import sys
from collections.abc import Callable

import mdtraj
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from bgp4.cli.main import main
from bgp4.config import Config
from bgp4.errors import RunError
from bgp4.p4 import P4InvLinear, P4Report, p4_layers
from bgp4.statistics.samples import REJECTED_ENERGY_KT
from bgp4.statistics.weights import (
    effective_sample_size,
    effective_sample_size_clipped,
    normalised_weights,
    weighted_mean,
)
from bgp4.training.diagnosis import coordinate_names, diagnose
from bgp4.training.step import StepResult
from bgp4.training.trainer import Trainer
from bgp4.training.window import Window


@pytest.fixture
def trainer(smoke_config: Config, begun_trainer) -> Callable[..., Trainer]:
    def make(**changes: object) -> Trainer:
        training = smoke_config.training.model_copy(update={"steps": 200, **changes})
        return begun_trainer(smoke_config.model_copy(update={"training": training}))

    return make


def reason(trainer: Trainer) -> str:
    with pytest.raises(RunError, match="not finite in 50 steps in a row") as caught:
        trainer.fit()
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_names_of_coordinates(trainer) -> None:
    """Each is what mdtraj computes from the atoms that it names."""
    made = trainer()
    model, topology = made.model, made.molecule.topology
    names = coordinate_names(model, topology)
    assert len(names) == len(set(names)) == 60
    trajectory = mdtraj.Trajectory(made.frames.positions_nm[:5], topology)
    index = {str(atom): atom.index for atom in topology.atoms}
    compute = {
        "bond": mdtraj.compute_distances,
        "angle": mdtraj.compute_angles,
        "torsion": mdtraj.compute_dihedrals,
    }
    q, _ = model.coordinates(torch.as_tensor(trajectory.xyz).double().flatten(1))
    for name, column in zip(names, model.standardise.order.tolist(), strict=True):
        kind, _, atoms = name.partition(" ")
        expected = compute[kind](trajectory, [[index[atom] for atom in atoms.split(", ")]])
        off = np.abs(q[:, column].numpy() - expected[:, 0])
        assert np.minimum(off, 2 * np.pi - off).max() < 1e-4, name


def test_a_coordinate_of_the_data(trainer) -> None:
    made = trainer(energy_fraction=0.0)
    made.objective.x_train[::2, 3] = torch.nan
    name = coordinate_names(made.model, made.molecule.topology)[3]
    why = reason(made)
    assert f"the likelihood (nan: of 450 of 900 frames, {name} is not finite)" in why
    assert why.endswith("start again with a lower training.learning_rate")


def test_a_coordinate_of_the_samples(trainer) -> None:
    made = trainer()
    wide = made.model.standardise.order.tolist().index(5)
    result = StepResult(math.nan, 1.0, math.nan, math.nan, math.nan, True, None, None, P4Report())
    made.model.standardise.scale[5] = math.nan
    found = diagnose(made.model, made.molecule.topology, made.objective.x_train, result, ["energy"])
    assert found == "the flow itself is not, in standardise.scale"
    made.model.standardise.scale[5] = 1.0
    layer = next(m for m in made.model.modules() if isinstance(m, P4InvLinear))
    with torch.no_grad():
        layer.bias[wide] = 3e38
    found = diagnose(made.model, made.molecule.topology, made.objective.x_train, result, ["energy"])
    assert re.fullmatch(r"the energy \(nan: of 4096 of 4096 samples, .* is .* off\)", found)


def test_a_flow_that_has_gone_too_far(trainer) -> None:
    """The frames are as they should be, and there is no better model to go back to."""
    made = trainer(energy_fraction=0.0)
    name, layer = next(
        (name, m) for name, m in made.model.named_modules() if isinstance(m, P4InvLinear)
    )
    with torch.no_grad():
        layer.bias.fill_(3e38)
    made.best = copy.deepcopy(made.model.state_dict())
    assert f"of 900 of 900 frames, with values up to 3e+38 in {name}.bias" in reason(made)


def test_the_energy_term(trainer, monkeypatch) -> None:
    from bgp4.training import objective

    real = objective.kl_loss

    def broken(*arguments: object) -> object:
        made = real(*arguments)
        return made._replace(loss=made.loss * math.nan)

    monkeypatch.setattr(objective, "kl_loss", broken)
    why = reason(trainer(energy_fraction=1.0))
    assert ": the energy (nan); " in why
    assert why.endswith("training.energy_learning_rate")


def test_a_tensor_whose_gradient_is_not_finite(trainer) -> None:
    made = trainer(energy_fraction=0.0)
    name, parameter = next(iter(made.model.named_parameters()))
    parameter.register_hook(lambda gradient: gradient * torch.nan)
    assert f"the gradient of {name} (likelihood being finite)" in reason(made)


def test_a_buffer_that_is_not_finite(trainer) -> None:
    made = trainer(energy_fraction=0.0)
    layer = p4_layers(made.model)[0]
    layer.A_inv.fill_(torch.nan)
    made.best = copy.deepcopy(made.model.state_dict())
    assert re.search(r"the flow itself is not, in transform\S*\.A_inv;", reason(made))


def test_a_flow_that_has_a_better_model_goes_back_to_it(trainer) -> None:
    made = trainer(energy_fraction=0.0)
    p4_layers(made.model)[0].A_inv.fill_(torch.nan)
    made.fit()
    assert made.counters.divergences == 1
    assert all(tensor.isfinite().all() for tensor in made.model.state_dict().values())


def test_the_command_says_it_in_one_line(monkeypatch, capsys) -> None:
    def fail(*_: object) -> None:
        raise RunError("loss not finite")

    monkeypatch.setattr("bgp4.cli.train.train_command", fail)
    monkeypatch.setattr(sys, "argv", ["bgp4", "train", "--config", "x"])
    with pytest.raises(SystemExit) as stopped:
        main()
    assert stopped.value.code == 1
    assert capsys.readouterr().err == "bgp4: error: loss not finite\n"


def test_a_worn_inverse_is_seen_and_repaired_at_the_next_merge(trainer) -> None:
    """p4_residual is ||A A_inv - I||, but for the probe's chance."""
    made = trainer(steps=10, evaluate_every=5, energy_fraction=0.0)
    layer = p4_layers(made.model)[0]
    generator = torch.Generator().manual_seed(0)
    layer.A_inv.add_(3e-3 * torch.randn(layer.A_inv.shape, generator=generator))
    residual = layer.residual().item()
    made.fit()
    assert made.counters.skipped_steps == 0
    rows = made.run.history_path.read_text().splitlines()
    column = rows[0].split(",").index("p4_residual")
    seen, after = (float(row.split(",")[column]) for row in rows[1:])
    assert residual / 3 < seen < 3 * residual
    assert after < 1e-4
    assert layer.residual() < 1e-4


def test_a_matrix_that_can_not_be_inverted_ends_the_run(trainer) -> None:
    made = trainer(steps=10, energy_fraction=0.0)
    layer = p4_layers(made.model)[0]
    with torch.no_grad():
        layer.A[3] = math.nan
    with pytest.raises(RunError, match=r"step 2: a P4 layer's matrix has become singular, or"):
        made.fit()


def a_step(log_weight: torch.Tensor) -> StepResult:
    return StepResult(1.0, math.nan, 2.0, 3.0, math.nan, False, log_weight, None, P4Report())


def test_the_ess_of_steps(smoke_frames, alanine) -> None:
    from bgp4.training.monitor import StateMonitor

    window = Window(StateMonitor([], alanine.topology, smoke_frames.positions_nm))
    rejected = torch.full((4,), -REJECTED_ENERGY_KT)
    window.add(a_step(rejected))
    assert window.ess() == 0, "not 1, though all weights are equal"
    window.add(a_step(torch.tensor([7.0, 7.0, -1e30, -REJECTED_ENERGY_KT])))
    assert window.ess() == pytest.approx(2 / 8)
    again = Window(window.monitor)
    again.restore(window.tensors())
    assert again.ess() == window.ess()
    assert again.mean("kl") == 2
    assert math.isnan(again.mean("nll"))
    assert len(again) == 2


@given(arrays(np.float64, st.integers(2, 20), elements=st.floats(-1.7e308, 1.7e308)))
def test_weights_of_any_size(log_weight: np.ndarray) -> None:
    with np.errstate(over="ignore"):  # differences beyond the largest double are weights of zero
        weight = normalised_weights(log_weight)
        raw, clipped = (
            f(log_weight) for f in (effective_sample_size, effective_sample_size_clipped)
        )
        mean = weighted_mean(np.ones(len(log_weight)), log_weight)
    assert weight.sum() == pytest.approx(1)
    assert weight[log_weight.argmax()] == weight.max()
    n = len(log_weight)
    assert 1 / n * (1 - 1e-9) <= raw <= clipped * (1 + 1e-9) <= 1 + 1e-8
    assert mean == pytest.approx(1)
