"""Which parameters Muon and Adam move, how far, and what is left of them in a checkpoint."""

from __future__ import annotations

import re
from typing import get_args

import pytest
import torch
from torch import Tensor, nn

from bgp4.config import ModelConfig, OptimizerConfig
from bgp4.flows.build import build_transform
from bgp4.training.optimizer import Muon, TrainingOptimizer, hidden_matrices, orthogonalised

MUON = OptimizerConfig(hidden="muon")
HIDDEN = get_args(OptimizerConfig.model_fields["hidden"].annotation)
SHAPES = [(6, 6), (9, 4), (3, 8)]


def flow(coupling: str = "hybrid") -> nn.Module:
    torch.manual_seed(0)
    model = ModelConfig.model_validate(
        {"coupling": coupling, "blocks": 2, "torsion_blocks": 1, "hidden": (8, 7), "bins": 4}
    )
    return build_transform(model, 6, 3, seed=0)


def gradients(model: nn.Module, generator: torch.Generator) -> None:
    for parameter in model.parameters():
        parameter.grad = torch.randn(parameter.shape, generator=generator).to(parameter)


def values(model: nn.Module) -> dict[str, Tensor]:
    return {name: p.detach().clone() for name, p in model.named_parameters()}


@pytest.mark.parametrize("coupling", get_args(ModelConfig.model_fields["coupling"].annotation))
def test_the_hidden_matrices_are_the_conditioners_but_their_last_layers(coupling: str) -> None:
    """Of layers 0, 2 and 4 with two hidden widths; splines' and P4Inv's parameters are none."""
    model = flow(coupling)
    expected = {
        name
        for name, _ in model.named_parameters()
        if re.search(r"transform_net\..*\b[02]\.weight$", name)
    }
    names = {parameter: name for name, parameter in model.named_parameters()}
    found = [names[weight] for weight in hidden_matrices(model)]
    assert set(found) == expected
    assert len(found) == len(expected) == 2 * (8 if coupling == "realnvp" else 4) + 2 * 2
    assert all(weight.ndim == 2 for weight in hidden_matrices(model))


@pytest.mark.parametrize("shape", SHAPES)
def test_orthogonalised_takes_singular_values_through_the_quintic(
    shape: tuple[int, int], generator: torch.Generator
) -> None:
    matrix = 1e3 * torch.randn(shape, generator=generator, dtype=torch.float64)
    a, b, c = 3.0, -4.0, 1.5
    u, s, vt = torch.linalg.svd(matrix, full_matrices=False)
    s = s / s.square().sum().sqrt()
    for _ in range(3):
        s = a * s + b * s**3 + c * s**5
    torch.testing.assert_close(orthogonalised(matrix, (a, b, c), 3, 1e-7), (u * s) @ vt)
    assert not orthogonalised(0 * matrix, (a, b, c), 3, 1e-7).any()


@pytest.mark.parametrize("shape", [(160, 130), (130, 160), (144, 144)])
def test_large_matrices_are_orthogonalised_alike_by_either_library(
    shape: tuple[int, int], generator: torch.Generator
) -> None:
    """Of this size, oneDNN multiplies single precision where it is the faster one."""
    matrix = torch.randn(shape, generator=generator)
    of_single = orthogonalised(matrix, (3.4445, -4.775, 2.0315), 5, 1e-7)
    of_double = orthogonalised(matrix.double(), (3.4445, -4.775, 2.0315), 5, 1e-7)
    torch.testing.assert_close(of_single.double(), of_double, rtol=0, atol=1e-4)


def test_muon_is_torchs_but_for_the_precision(generator: torch.Generator) -> None:
    ours = [nn.Parameter(torch.randn(shape, generator=generator)) for shape in SHAPES]
    theirs = [nn.Parameter(p.detach().clone()) for p in ours]
    settings = {"weight_decay": 0.0, "momentum": 0.8, "adjust_lr_fn": "match_rms_adamw"}
    optimizers = [Muon(ours, momentum=0.8), torch.optim.Muon(theirs, **settings)]
    begun = [p.detach().clone() for p in ours]
    for step in range(4):
        for p, q in zip(ours, theirs, strict=True):
            p.grad = torch.randn(p.shape, generator=generator)
            q.grad = p.grad.clone()
        for optimizer in optimizers:
            optimizer.param_groups[0]["lr"] = 0.1 / (1 + step)
            optimizer.step()
    for p, q, start in zip(ours, theirs, begun, strict=True):
        assert (p - q).norm() < 0.02 * (q - start).norm()
        assert p.dtype == torch.float32


def test_both_follow_one_rate(generator: torch.Generator) -> None:
    """Adam's first step is the rate itself; Muon's, in the mean, a fifth of the rate times ten,
    its singular values being near 1."""
    model = flow()
    for rate in (1e-3, 1e-5):
        optimizer = TrainingOptimizer(model, MUON)
        before = values(model)
        gradients(model, generator)
        optimizer.set_rate(rate)
        optimizer.step()
        hidden = {id(weight) for weight in hidden_matrices(model)}
        for name, parameter in model.named_parameters():
            moved = (parameter.detach() - before[name]).square().mean().sqrt().item()
            if id(parameter) not in hidden:
                assert moved == pytest.approx(rate, rel=0.05), name
            else:
                assert 0.7 < moved / (10 * 0.2 * rate) < 1.3, name


@pytest.mark.parametrize("hidden", HIDDEN)
def test_each_parameter_is_moved_and_goes_on_as_if_never_stopped(
    hidden: str, generator: torch.Generator
) -> None:
    settings = OptimizerConfig.model_validate({"hidden": hidden})
    model, again = flow(), flow()
    optimizer = TrainingOptimizer(model, settings)
    before = values(model)
    for _ in range(3):
        gradients(model, generator)
        optimizer.step()
    assert not any(torch.equal(p, before[name]) for name, p in model.named_parameters())
    resumed = TrainingOptimizer(again, settings)
    again.load_state_dict(model.state_dict())
    resumed.restore({k: v.clone() for k, v in optimizer.tensors().items()})
    for _ in range(3):
        gradients(model, generator)
        for p, q in zip(model.parameters(), again.parameters(), strict=True):
            q.grad = p.grad
        optimizer.step()
        resumed.step()
    torch.testing.assert_close(values(again), values(model), rtol=0, atol=0)
    torch.testing.assert_close(resumed.tensors(), optimizer.tensors(), rtol=0, atol=0)


def test_its_state_goes_by_names(generator: torch.Generator) -> None:
    model = flow()
    optimizer = TrainingOptimizer(model, MUON)
    assert not optimizer.tensors()
    gradients(model, generator)
    optimizer.step()
    names = {parameter: name for name, parameter in model.named_parameters()}
    hidden = {names[weight] for weight in hidden_matrices(model)}
    expected = {f"{name}.momentum_buffer" for name in hidden}
    for name in names.values():
        if name not in hidden:
            expected |= {f"{name}.{key}" for key in ("step", "exp_avg", "exp_avg_sq")}
    assert optimizer.tensors().keys() == expected
    with pytest.raises(KeyError, match="'0'"):
        optimizer.restore({"0.exp_avg": torch.zeros(1)})
