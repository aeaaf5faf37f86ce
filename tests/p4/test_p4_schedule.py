"""Merging in training: when, when not, and what it keeps."""

import copy
import itertools
from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

import pytest
import torch
from nflows.transforms import InverseTransform  # type: ignore[import-untyped]
from torch import Tensor, nn

from bgp4.kernels import p4 as kernel
from bgp4.kernels.p4 import load_kernel
from bgp4.p4 import (
    P4Dense,
    P4InvLinear,
    P4Report,
    P4Schedule,
    determinant_penalty,
    matrix_state,
    merge_step,
    p4_layers,
)

EVERY_STEP = P4Schedule(merge_every=1)


@pytest.fixture(params=["one by one", "together"], autouse=True)
def _way(request: pytest.FixtureRequest) -> Iterator[None]:
    """On a CPU layers merge one by one in C++; where there is no such kernel, all together."""
    if request.param == "one by one" and load_kernel() is None:
        pytest.skip("no C++ compiler")
    with pytest.MonkeyPatch.context() as patch:
        if request.param == "together":
            patch.setattr(kernel, "load_kernel", lambda: None)
        yield


def a_mixed_lot(random_layer) -> nn.Sequential:
    """One that must not merge, one that is not finite, one with a worn inverse, and two more."""
    layers = [random_layer(4, seed=seed) for seed in range(5)]
    layers[1].u.data.copy_(-layers[1].A @ layers[1].v.data / layers[1].v.data.square().sum())
    layers[2].u.data[1] = torch.nan
    layers[3].A_inv.mul_(1.01)
    return nn.Sequential(*layers)


def test_together_is_one_by_one(random_layer) -> None:
    made = []
    for way in (None, load_kernel()):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(kernel, "load_kernel", lambda way=way: way)
            model, generator = a_mixed_lot(random_layer), torch.Generator().manual_seed(1)
            optimizer = torch.optim.Adam(model.parameters())
            rules = P4Schedule(merge_every=1, refine_every=2)
            reports = [merge_step(model, optimizer, n, rules, generator) for n in (1, 2)]
            made.append((reports, model.state_dict()))
    (reports, state), (expected, expected_state) = made
    for ours, theirs in zip(map(asdict, reports), map(asdict, expected), strict=True):
        residual = theirs.pop("worst_residual")
        assert ours.pop("worst_residual") == pytest.approx(residual, rel=1e-6, abs=1e-12)
        assert ours == theirs
    torch.testing.assert_close(state, expected_state, rtol=1e-9, atol=1e-9)
    assert reports[0].rejected.total() == reports[0].nonfinite == reports[0].recomputed == 1


def set_perturbation(layer: P4InvLinear, u: float, v: float) -> None:
    layer.u.data.zero_()[0] = u
    layer.v.data.zero_()[0] = v


def regress(
    model: nn.Module,
    target: Tensor,  # (n, n)
    optimizer: torch.optim.Optimizer,
    steps: range,
    schedule: P4Schedule,
    generator: torch.Generator,
) -> tuple[float, P4Report]:
    """Minimises E|model(x) - T x|^2 and returns the last loss and what the merges did."""
    report = P4Report()
    for step in steps:
        x = torch.randn(64, len(target), generator=generator, dtype=target.dtype)
        y = model(x)
        loss = ((y[0] if isinstance(y, tuple) else y) - x @ target.T).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        report += merge_step(model, optimizer, step, schedule, generator)
    return loss.item(), report


def positive_definite(n: int, generator: torch.Generator) -> Tensor:
    Q = torch.linalg.qr(torch.randn(n, n, generator=generator, dtype=torch.float64))[0]
    return Q * torch.linspace(0.5, 2, n, dtype=torch.float64) @ Q.T


def test_merges_are_due_every_n_steps(random_layer) -> None:
    model = nn.Sequential(random_layer(4), InverseTransform(random_layer(4)))
    assert len(p4_layers(model)) == 2
    merged = [merge_step(model, None, step).merged for step in range(1, 31)]
    assert merged == [2 * (step % 10 == 0) for step in range(1, 31)]


def test_refinement_is_due_every_m_merges(random_layer) -> None:
    layer = random_layer(4)
    schedule = P4Schedule(merge_every=1, refine_every=5)
    refined = [merge_step(layer, None, step, schedule).refined for step in range(1, 21)]
    assert refined == [step % 5 == 0 for step in range(1, 21)]


@pytest.mark.parametrize(
    ("u", "v", "reason"),
    [
        (1.0, -1.0, "factor"),
        (1.0, -1.001, "factor"),
        (1.0, -1 + 1e-3, "factor"),
        (1.0, -0.95, "logabsdet"),
        (1.0, -1.05, "logabsdet"),
        (1e4, 1e4, "logabsdet"),
        (1e30, 1e30, "factor"),
    ],
)
def test_bad_merges_are_rejected_and_train_on(u: float, v: float, reason: str) -> None:
    layer = P4InvLinear(3)
    set_perturbation(layer, u, v)
    before = copy.deepcopy(layer.state_dict())
    report = merge_step(layer, None, 10)
    assert (report.merged, report.rejected) == (0, {reason: 1})
    for name, value in layer.state_dict().items():
        assert torch.equal(value, before[name]), name


def test_bounds_can_be_left_and_grow_with_size() -> None:
    layer = P4InvLinear(3)
    set_perturbation(layer, 1.0, -0.95)
    assert merge_step(layer, None, 1, P4Schedule(1, logabsdet_bounds=None)).merged == 1
    assert P4Schedule().bounds(60) == (-2.5, 15.5)
    assert P4Schedule().bounds(640) == (-25, 155)


def test_a_layer_beyond_the_bounds_may_come_back() -> None:
    layer = P4InvLinear(2, matrix_state(1e-3 * torch.eye(2)))
    set_perturbation(layer, 1e-3, -0.1)
    assert merge_step(layer, None, 10).rejected == {"logabsdet": 1}
    set_perturbation(layer, 1e-3, 0.1)
    assert merge_step(layer, None, 10).merged == 1


def test_the_sign_may_change() -> None:
    layer = P4InvLinear(3)
    for i in range(3):
        layer.u.data.copy_(torch.eye(3)[i])
        layer.v.data.copy_(-2 * torch.eye(3)[i])
        assert merge_step(layer, None, 1, EVERY_STEP).merged == 1
        assert layer.A_sign == (-1) ** (i + 1)
    torch.testing.assert_close(layer.weight(), -torch.eye(3))


@pytest.mark.parametrize("name", ["u", "v"])
@pytest.mark.parametrize("bad", [torch.nan, torch.inf])
@pytest.mark.parametrize("kind", [P4InvLinear, P4Dense])
def test_nonfinite_perturbations_are_counted_and_reset(name: str, bad: float, kind) -> None:
    layer = P4InvLinear(4) if kind is P4InvLinear else P4Dense(4, 4)
    optimizer = torch.optim.Adam(layer.parameters())
    A = layer.A.clone()
    for parameter in layer.parameters():
        parameter.grad = torch.full_like(parameter, torch.nan)
    optimizer.step()
    layer.u.data.zero_()
    getattr(layer, name).data[1] = bad
    report = merge_step(layer, optimizer, 1, EVERY_STEP)
    assert (report.nonfinite, report.merged) == (1, 0)
    assert torch.equal(layer.A, A)
    assert not layer.u.any()
    assert layer.v.isfinite().all()
    assert layer.u not in optimizer.state
    assert layer.v not in optimizer.state


@pytest.mark.parametrize("kind", [torch.optim.Adam, torch.optim.AdamW])
def test_adam_forgets_v_and_keeps_u(random_layer, generator: torch.Generator, kind) -> None:
    layer = random_layer(4)
    optimizer = kind(layer.parameters(), lr=1e-3, amsgrad=True)
    regress(layer, layer.A, optimizer, range(1, 6), P4Schedule(100), generator)
    kept = copy.deepcopy(optimizer.state[layer.u])
    assert optimizer.state[layer.v]["exp_avg"].any()
    assert merge_step(layer, optimizer, 1, EVERY_STEP).merged == 1
    assert not any(value.any() for value in optimizer.state[layer.v].values())
    for key, value in optimizer.state[layer.u].items():
        assert torch.equal(value, kept[key])
        assert value.any()


@pytest.mark.parametrize("momentum", [0, 0.9])
def test_other_optimizers_are_left_alone(
    random_layer, generator: torch.Generator, momentum: float
) -> None:
    layer = random_layer(4)
    optimizer = torch.optim.SGD(layer.parameters(), lr=1e-3, momentum=momentum)
    regress(layer, layer.A, optimizer, range(1, 6), P4Schedule(100), generator)
    before = copy.deepcopy(optimizer.state_dict())
    assert merge_step(layer, optimizer, 1, EVERY_STEP).merged == 1
    torch.testing.assert_close(optimizer.state_dict(), before)


@pytest.mark.parametrize("damage", [1e-3, 1e9])
def test_a_worn_inverse_is_recomputed_with_its_determinant(random_layer, damage: float) -> None:
    layer = random_layer(8)
    layer.merge()
    layer.A_inv[0, 0] += damage
    layer.A_logabsdet += 0.1
    report = merge_step(layer, None, 1, EVERY_STEP)
    assert (report.merged, report.refined, report.recomputed) == (1, 0, 1)
    assert report.worst_residual > 1e-5
    assert layer.residual() < 1e-12
    torch.testing.assert_close(layer.logabsdet(), torch.linalg.slogdet(layer.weight())[1])


def test_without_tolerance_nothing_is_recomputed(random_layer) -> None:
    layer = random_layer(8)
    layer.merge()
    layer.A_inv[0, 0] = 1e3
    assert merge_step(layer, None, 1, P4Schedule(1, residual_tolerance=torch.inf)).recomputed == 0


@pytest.mark.parametrize("order", [2, 7])
def test_a_due_refinement_repairs_the_inverse(random_layer, order: int) -> None:
    layer = random_layer(8)
    layer.A_inv += 1e-10
    schedule = P4Schedule(merge_every=1, refine_every=1, refine_order=order)
    assert merge_step(layer, None, 1, schedule).refined == 1
    assert layer.residual() < 1e-14


def test_reports_add_up() -> None:
    a = P4Report(merged=1, worst_residual=0.1) + P4Report(nonfinite=2, worst_residual=0.3)
    assert (a.merged, a.nonfinite, a.worst_residual) == (1, 2, 0.3)


@pytest.mark.parametrize("bad", [{"merge_every": 0}, {"refine_every": -1}, {"refine_order": 3}])
def test_a_schedule_refuses_nonsense(bad: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(bad))):
        P4Schedule(**bad)


def test_penalty() -> None:
    layer = P4InvLinear(2)
    set_perturbation(layer, 1.0, -1 + torch.e**-3)
    loss = determinant_penalty(layer)
    assert loss.item() == pytest.approx(0.1 * 2 * 1, rel=1e-3)
    loss.backward()
    assert layer.u.grad is not None
    assert layer.u.grad[0] > 0
    assert determinant_penalty(nn.Linear(2, 2)) == 0
    assert determinant_penalty(P4InvLinear(2)) == 0


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_inverse_stays_exact_over_ten_thousand_merges(
    dtype: torch.dtype, generator: torch.Generator
) -> None:
    """A walk between random targets, a merge a step; residuals stay near rounding error."""
    n = 16
    layer = P4InvLinear(n, generator=generator, dtype=dtype)
    report, worst = P4Report(), 0.0
    target = torch.zeros(n, n, dtype=dtype)
    for step in range(1, 10_001):
        if step % 500 == 1:
            target = positive_definite(n, generator).to(dtype)
        with torch.no_grad():
            layer.u.copy_(0.05 * (target - layer.A) @ layer.v)
        report += merge_step(layer, None, step, EVERY_STEP, generator)
        worst = max(worst, layer.residual().item())
    assert report.merged > 9_900
    assert report.recomputed == report.nonfinite == 0
    eps = torch.finfo(dtype).eps
    assert worst < EVERY_STEP.tolerance(layer)
    assert report.worst_residual < 1e4 * eps
    assert layer.logabsdet().item() == pytest.approx(
        torch.linalg.slogdet(layer.weight().double())[1].item(), abs=1e4 * eps
    )


def steps_to_learn(
    model: nn.Module,
    target: Tensor,  # (n, n)
    generator: torch.Generator,
) -> int:
    optimizer = torch.optim.SGD(model.parameters(), lr=0.03)
    schedule = P4Schedule(merge_every=1, logabsdet_bounds=None)
    for step in range(1, 5001):
        loss, _ = regress(model, target, optimizer, range(step, step + 1), schedule, generator)
        if loss < 1e-3:
            return step
    pytest.fail(f"loss {loss:g} after {step} steps")


def test_learns_a_positive_definite_matrix_like_the_matrix_itself(
    generator: torch.Generator,
) -> None:
    n = 32
    target = positive_definite(n, generator)
    direct = nn.Linear(n, n, dtype=torch.float64)
    nn.init.eye_(direct.weight)
    p4 = P4InvLinear(n, generator=generator, dtype=torch.float64)
    inverse = InverseTransform(P4InvLinear(n, generator=generator, dtype=torch.float64))
    baseline = steps_to_learn(direct, target, generator)
    assert steps_to_learn(p4, target, generator) < 1.2 * baseline
    assert steps_to_learn(inverse, target, generator) < 2 * baseline


def test_learns_minus_identity_across_a_singular_matrix(generator: torch.Generator) -> None:
    layer = P4InvLinear(3, generator=generator, dtype=torch.float64)
    target = -torch.eye(3, dtype=torch.float64)
    optimizer = torch.optim.SGD(layer.parameters(), lr=0.03)
    loss, report = regress(layer, target, optimizer, range(1, 801), EVERY_STEP, generator)
    assert loss < 1e-8
    assert report.merged > report.rejected.total() > 0
    assert layer.sign() == -1
    assert layer.logabsdet().item() == pytest.approx(0, abs=1e-3)
    assert layer.residual() < 1e-10


def test_training_continues_exactly_from_a_checkpoint(generator: torch.Generator) -> None:
    target, schedule = positive_definite(5, generator), P4Schedule(merge_every=7, refine_every=2)

    def fresh() -> tuple[P4InvLinear, torch.optim.Optimizer]:
        layer = P4InvLinear(5, dtype=torch.float64)
        return layer, torch.optim.Adam(layer.parameters(), lr=1e-2)

    layer, optimizer = fresh()
    regress(layer, target, optimizer, range(1, 26), schedule, generator)
    saved = copy.deepcopy((layer.state_dict(), optimizer.state_dict(), generator.get_state()))
    again, optimizer_again = fresh()
    again.load_state_dict(saved[0])
    optimizer_again.load_state_dict(saved[1])
    generator_again = torch.Generator()
    generator_again.set_state(saved[2])
    rest = range(26, 61)
    first = regress(layer, target, optimizer, rest, schedule, generator)
    second = regress(again, target, optimizer_again, rest, schedule, generator_again)
    assert first == second
    for a, b in itertools.zip_longest(layer.state_dict().values(), again.state_dict().values()):
        assert torch.equal(a, b)
