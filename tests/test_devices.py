"""What a GPU asks for, tested without one: all on its device, few calls, next to no waiting.

The device is torch's `meta`, which has shapes and no values: what mixes it with the CPU fails, and
so does what looks at a value.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from functools import partial

import numpy as np
import pytest
import torch
from torch import Tensor

from bgp4.config import Config, SystemConfig, load_config
from bgp4.coordinates import fit_standardise, internal_coordinates
from bgp4.energies.batched import BatchedEnergy, in_place
from bgp4.energies.forcefield import read_force_field
from bgp4.energies.potential import Potential
from bgp4.flows.build import build_generator
from bgp4.flows.generator import BoltzmannGenerator
from bgp4.flows.linear import Linear
from bgp4.flows.spline import linear_tail_knots, spline_forward, spline_inverse
from bgp4.kernels.p4 import kernel_for
from bgp4.kernels.transfer import numbers, sent
from bgp4.molecule.molecule import Molecule, load_molecule
from bgp4.p4 import P4InvLinear
from bgp4.p4.rank_one import perturbation
from bgp4.training.checkpoint import Counters
from bgp4.training.generators import Generators
from bgp4.training.objective import Objective
from bgp4.training.step import train_step
from bgp4.training.trainer import Trainer
from tests.for_each import for_each
from tests.interpreter import interpret_triton
from tests.launches import OneDevice, Recorded, counted, stray_tensors, without_kernels

META = torch.device("meta")
ML, ANNEAL, ENERGY = 1, 800, 1600
"""Steps of the default run: likelihood alone, energies on the way to 300 K, and there."""


@pytest.fixture(scope="module")
def default_run() -> Config:
    """The default run's flow and schedule, in small batches: they change no number of calls."""
    sizes = ("training.batch_size=16", "training.energy_batch_size=16")
    return load_config("ala2.yaml", sizes)


@pytest.fixture
def trainer(default_run, begun_trainer) -> Trainer:
    return begun_trainer(default_run)


def a_generator(config: Config, molecule: Molecule) -> BoltzmannGenerator:
    coordinates = internal_coordinates(molecule.zmatrix, molecule.constraints)
    rng = np.random.default_rng(0)
    shape = (16, 3 * molecule.n_atoms)
    positions = molecule.positions_nm.reshape(1, -1) + rng.normal(0, 1e-3, shape)
    q, _ = coordinates(torch.as_tensor(positions))
    made = fit_standardise(
        *(q, molecule.n_atoms - 3, config.model.torsions),
        bends=coordinates.bends.tolist(),
        folds=coordinates.folds.tolist(),
        fixed=coordinates.fixed,
    )
    return build_generator(config, coordinates, made)


MODELS = {
    "hybrid": {},
    "realnvp": {"coupling": "realnvp"},
    "affine, lu": {"coupling": "affine", "mixing": "lu"},
    "spline, permutation": {"coupling": "spline", "mixing": "permutation"},
    "distances": {"distances": 8},
    "all cut": {"torsions": "cut", "mixing": "swap"},
}
MOLECULES = {
    "free": {"testsystem": "AlanineDipeptideImplicit"},
    "constrained": {"testsystem": "AlanineDipeptideImplicit", "constraints": "HBonds"},
}


@for_each("model", MODELS)
@for_each("system", MOLECULES)
def test_no_module_holds_a_tensor_that_stays_behind(default_run, model: str, system: str) -> None:
    molecule = load_molecule(SystemConfig.model_validate(MOLECULES[system]))
    changed = default_run.model.model_validate({**default_run.model.model_dump(), **MODELS[model]})
    config = default_run.model_copy(update={"model": changed})
    generator = a_generator(config, molecule)
    assert list(stray_tensors(generator)) == []
    assert list(stray_tensors(Potential(read_force_field(molecule.system_xml)))) == []
    moved = copy.deepcopy(generator).to(META)
    positions = torch.empty(3, molecule.n_atoms, 3, device=META)
    with OneDevice():
        assert moved.log_prob_xyz(positions).device == META
        made = moved.generate(3, torch.Generator().manual_seed(0))
        assert {part.device for part in made} == {META}
        assert made.valid.device == META


def test_coordinates_are_in_no_checkpoint(trainer) -> None:
    names = trainer.model.state_dict()
    assert {name for name in names if not name.startswith("transform.")} == {
        *("base_std", "standardise.centre", "standardise.scale", "standardise.circular")
    }


def on_meta(trainer: Trainer) -> Objective:
    trainer.objective.model.to(META)
    trainer.objective.x_train = trainer.objective.x_train.to(META)
    trainer.objective.energy = BatchedEnergy(
        trainer.molecule, trainer.config.temperature_k, torch.float32, META
    )
    return trainer.objective


@pytest.mark.parametrize("step", [ML, ENERGY])
def test_losses_and_gradients_stay_on_the_device(trainer, step: int) -> None:
    objective = on_meta(trainer)
    with OneDevice():
        losses = objective.losses(step, trainer.generators)
        losses.loss.backward()
    gradients = [p.grad for p in objective.model.parameters() if p.grad is not None]
    assert {g.device for g in gradients} == {META}
    assert (losses.energy is not None) == (step == ENERGY)


def compute_in_place(trainer: Trainer) -> None:
    """Energies as on a GPU, but on the CPU."""
    terms = read_force_field(trainer.molecule.system_xml)
    trainer.energy._in_place = in_place(terms, torch.float32, trainer.energy.device)


@pytest.mark.parametrize(
    ("step", "launches", "by_triton", "reads"),
    [(ML, 3400, 1500, 1), (ENERGY + 1, 7300, 3400, 1), (ENERGY, 7400, 3500, 3)],
    ids=["likelihood", "energies", "energies and merges"],
)
@pytest.mark.parametrize("engine", ["torch", "triton"])
def test_a_step_is_so_many_calls_and_one_look(
    trainer, monkeypatch, engine: str, step: int, launches: int, by_triton: int, reads: int
) -> None:
    """The look tells whether the gradient is finite; merges look at factors, and at residuals."""
    if engine == "triton":
        interpret_triton(monkeypatch)
    compute_in_place(trainer)
    stack_all(monkeypatch)
    trainer.step(ML)  # whose optimizer has no moments yet
    with counted() as counts:
        result = train_step(trainer.objective, trainer.optimizer, step, 1e-3, trainer.generators)
    assert result.p4.merged == (12 if step == ENERGY else 0)
    assert +counts.waits == {"tolist": reads}
    most = by_triton if engine == "triton" else launches
    assert counts.launched.total() <= most, counts.launched.most_common(40)


@pytest.mark.parametrize("step", [ML, ANNEAL])
def test_steps_of_a_phase_are_the_same_but_for_tensors(trainer, monkeypatch, step: int) -> None:
    """So that a CUDA graph of one is one of all, at whatever temperature."""
    compute_in_place(trainer)
    without_kernels(monkeypatch)
    trainer.objective.losses(step, trainer.generators)  # what is made once
    kelvin, made = set(), []
    for number in (step, step + 1):
        batch = trainer.objective.draw(number, trainer.generators)
        kelvin.add(trainer.energy.temperature_k)
        trainer.optimizer.zero_grad()
        with Recorded() as record:
            trainer.objective.losses_of(batch).loss.backward()
        made.append(record.operations)
    assert len(kelvin) == (1 if step == ML else 2)
    assert made[0] == made[1]


def stack_all(patch: pytest.MonkeyPatch) -> None:
    """Muon's matrices together, as on a GPU."""

    def by_shape(weights: list[Tensor]) -> list[list[Tensor]]:
        shapes = dict.fromkeys(w.shape for w in weights)
        return [[w for w in weights if w.shape == shape] for shape in shapes]

    patch.setattr("bgp4.training.optimizer._stacked_together", by_shape)


def test_a_device_takes_the_cpus_steps(default_run, begun_trainer, monkeypatch) -> None:
    """The way of a GPU, on the CPU, against the C++ kernels: the same losses, the same model."""
    double = default_run.model.model_copy(update={"precision": "float64"})
    trainer = begun_trainer(default_run.model_copy(update={"model": double}))
    trainer.energy = trainer.objective.energy = BatchedEnergy(trainer.molecule, 300.0)
    at_start = copy.deepcopy(trainer.model.state_dict())
    results = [trainer.step(step) for step in (ML, 10, ENERGY)]
    expected = copy.deepcopy(trainer.model.state_dict())

    trainer.best = at_start
    trainer._take_best()
    trainer.counters, trainer.generators = Counters(), Generators.from_seed(default_run.seed)
    terms = read_force_field(trainer.molecule.system_xml)
    trainer.energy._in_place = in_place(terms, torch.float64, trainer.energy.device)
    stack_all(monkeypatch)
    without_kernels(monkeypatch)
    for step, result in zip((ML, 10, ENERGY), results, strict=True):
        again = trainer.step(step)
        for name in ("loss", "gradient_norm", "ess"):
            value = getattr(result, name)
            assert getattr(again, name) == pytest.approx(value, rel=1e-6, nan_ok=True), name
        assert again.p4.merged == result.p4.merged
    torch.testing.assert_close(trainer.model.state_dict(), expected, rtol=1e-5, atol=1e-5)


LAYERS: dict[str, Callable[[Tensor, Tensor], object]] = {
    "p4 forward": lambda x, like: P4InvLinear(4, device=like.device)(x),
    "p4 inverse": lambda x, like: P4InvLinear(4, device=like.device).inverse(x),
    "p4 perturbation": lambda x, like: perturbation(like.new_ones(4, 4), x[0], x[0]),
    "linear": lambda x, like: Linear(4, 4).to(like.device)(x),
    "spline": lambda x, like: spline_forward(x, linear_tail_knots(like.new_ones(2, 4, 25), 5.0)),
    "inverse spline": lambda x, like: spline_inverse(
        x, linear_tail_knots(like.new_ones(2, 4, 25), 5.0)
    ),
}


@for_each("layer", LAYERS)
def test_a_cpu_tensor_for_a_layer_on_a_device_is_refused(layer: str) -> None:
    """The C++ kernels would read whatever lies at the device's address."""
    call = partial(LAYERS[layer], torch.ones(2, 4))
    call(torch.ones(()))
    with pytest.raises((RuntimeError, NotImplementedError)):
        call(torch.ones((), device=META))


def test_products_with_a_device_are_torchs() -> None:
    assert kernel_for(torch.ones(2), torch.ones(2, device=META)) is None


def test_numbers_take_one_look() -> None:
    with counted() as counts:
        found = numbers({"loss": torch.tensor(0.5, requires_grad=True), "n": torch.tensor(3)})
    assert found == {"loss": 0.5, "n": 3.0}
    assert counts.waits == {"tolist": 1}
    assert numbers({}) == {}
    assert sent(torch.ones(2), META).device == META
