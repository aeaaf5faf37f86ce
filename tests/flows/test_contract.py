"""The contract of a transform, asked of every transform by one registry."""

from __future__ import annotations

import copy
from collections.abc import Callable
from itertools import count, product
from typing import get_args

import numpy as np
import pytest
import torch
from nflows.transforms import InverseTransform, Transform
from torch import Tensor, nn
from torch.autograd.functional import jacobian

from bgp4.config import ModelConfig, load_config
from bgp4.coordinates import Standardise
from bgp4.flows.baselines import LULinear
from bgp4.flows.bent import BentIdentity
from bgp4.flows.build import build_transform
from bgp4.flows.coupling import (
    AffineCoupling,
    CircularSplineCoupling,
    MarginalSpline,
    RealNVPCoupling,
    SplineCoupling,
)
from bgp4.flows.neighbours import Neighbours
from bgp4.flows.torsions_first import TorsionsFirst
from bgp4.p4 import P4InvLinear, P4Schedule, matrix_state, merge_step, p4_layers

pytestmark = pytest.mark.filterwarnings("ignore:Initializing zero-element tensors")

BATCH = 5
MASK = torch.tensor([1, 0, 1, 0, 0])


class Case:
    """A transform of `n_linear` variables and then `n_circular` angles, with its context."""

    def __init__(
        self,
        make: Callable[[], Transform],
        n_linear: int = 5,
        n_circular: int = 0,
        n_context: int = 0,
    ) -> None:
        self.make, self.n_linear, self.n_circular = make, n_linear, n_circular
        self.n_context = n_context

    def transform(self) -> Transform:
        """In float64, with every parameter moved off its start: the first draw that is moderate.

        Some put P4Inv next to a singular matrix, or one spline's tail after another: a map that
        stretches its input a million times has that much fewer digits on every processor.
        """
        made = (self._drawn(seed) for seed in count(3))
        return next(transform for transform in made if self._is_moderate(transform))

    def _drawn(self, seed: int) -> Transform:
        torch.manual_seed(seed)
        made = self.make().double()
        with torch.no_grad():
            for parameter in made.parameters():
                parameter += 0.2 * torch.randn_like(parameter)
        return made

    @torch.no_grad()
    def _is_moderate(self, transform: Transform) -> bool:
        x, context = self.inputs(), self.context()
        both = (transform(x, context), transform.inverse(x, context))
        return all(y.abs().max() < 50 and log.abs().max() < 6 for y, log in both)

    def inputs(self, batch: int = BATCH) -> Tensor:
        rng = np.random.default_rng(5)
        linear = rng.normal(0, 1.5, (batch, self.n_linear))
        angles = rng.uniform(-np.pi, np.pi, (batch, self.n_circular))
        return torch.as_tensor(np.hstack([linear, angles]))

    def context(self, batch: int = BATCH) -> Tensor | None:
        if not self.n_context:
            return None
        return torch.as_tensor(np.random.default_rng(6).normal(size=(batch, self.n_context)))


def dirty_p4() -> Transform:
    """P4Inv in mid-cycle: merged before, and with a perturbation that is not merged yet."""
    layer = P4InvLinear(5, matrix_state(2 * torch.eye(5).double() + 0.3 * torch.randn(5, 5)))
    with torch.no_grad():
        layer.u += 0.1
    merge_step(layer, None, 10, P4Schedule(merge_every=10))
    assert layer.merges == 1
    return layer


def torsions_first() -> Transform:
    context = 2 * 3
    linear = SplineCoupling(torch.tensor([1, 0, 1, 0]), [8], context, bins=4)
    return TorsionsFirst(linear, CircularSplineCoupling(torch.tensor([1, 0, 1]), [8], 4), 3)


def with_features() -> Transform:
    features = nn.Sequential(nn.Linear(3, 2), nn.SiLU())
    linear = AffineCoupling(torch.tensor([1, 0, 1, 0]), [8], 2 * 3 + 2)
    circular = CircularSplineCoupling(torch.tensor([1, 0, 1]), [8], 4)
    return TorsionsFirst(linear, circular, 3, features)


def standardise() -> Transform:
    """Its x has the circles last; its q here has them last as well."""
    scale = torch.tensor([0.5, 2.0, 0.3, 1.0, 1.0])
    circular = torch.tensor([False, False, False, True, True])
    return Standardise(torch.tensor([0.1, 1.5, 0.2, 3.0, -3.0]), scale, circular, 2)


def flow(mixing: str, coupling: str, n_linear: int, n_circular: int) -> Transform:
    model = ModelConfig(
        mixing=mixing, coupling=coupling, blocks=2, torsion_blocks=2, hidden=(8,), bins=4
    )
    return build_transform(model, n_linear, n_circular, seed=1)


def local_flow(mixing: str, coupling: str) -> Transform:
    """Three clusters in a row, of which each sees the next, and one has a single variable."""
    small = {"blocks": 2, "torsion_blocks": 2, "hidden": (8,), "local_hidden": (8,), "bins": 4}
    model = ModelConfig(mixing=mixing, coupling=coupling, **small)
    near = torch.tensor([[1, 1, 0]] * 3 + [[1, 1, 1]] * 3 + [[0, 1, 1]]).bool()
    clusters = Neighbours(torch.tensor([2, 5, 0, 6, 1, 3, 4]), [3, 3, 1], near)
    return build_transform(model, 7, 2, 1, clusters)


CASES: dict[str, Case] = {
    "p4inv/dirty": Case(dirty_p4),
    "bent": Case(BentIdentity),
    "bent/inverse": Case(lambda: InverseTransform(BentIdentity())),
    "lu": Case(lambda: LULinear(5)),
    "affine": Case(lambda: AffineCoupling(MASK, [8])),
    "affine/context": Case(lambda: AffineCoupling(MASK, [8], 4), n_context=4),
    "realnvp/context": Case(lambda: RealNVPCoupling(MASK, [8], 4), n_context=4),
    "spline": Case(lambda: SplineCoupling(MASK, [8], bins=4)),
    "spline/context": Case(lambda: SplineCoupling(MASK, [8], 4, bins=4), n_context=4),
    "marginal spline": Case(lambda: MarginalSpline(5, 4)),
    "circular": Case(lambda: CircularSplineCoupling(MASK, [8], 4), 0, 5),
    "torsions first": Case(torsions_first, 4, 3),
    "torsions first/features": Case(with_features, 4, 3),
    "standardise": Case(standardise, 3, 2),
}
for _mixing, _coupling, _circles in product(
    *(get_args(ModelConfig.model_fields[name].annotation) for name in ("mixing", "coupling")),
    [0, 1, 3],
):
    CASES[f"flow/{_mixing}/{_coupling}/{_circles} circles"] = Case(
        lambda m=_mixing, c=_coupling, k=_circles: flow(m, c, 5, k), 5, _circles
    )
for _mixing, _coupling in product(
    *(get_args(ModelConfig.model_fields[name].annotation) for name in ("mixing", "coupling"))
):
    CASES[f"flow/{_mixing}/{_coupling}/local"] = Case(
        lambda m=_mixing, c=_coupling: local_flow(m, c), 7, 2
    )

cases = pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())


def differences(a: Tensor, b: Tensor, n_circular: int) -> Tensor:  # (batch,)
    """Largest difference of each row; angles are compared on the circle."""
    d = a - b
    if n_circular:
        start = a.shape[1] - n_circular
        d = torch.cat([d[:, :start], torch.atan2(d[:, start:].sin(), d[:, start:].cos())], dim=1)
    return d.abs().amax(1)


def difference(a: Tensor, b: Tensor, n_circular: int) -> Tensor:
    """That of all rows."""
    return differences(a, b, n_circular).max()


@cases
def test_round_trip_both_ways(case: Case) -> None:
    transform, x, context = case.transform(), case.inputs(), case.context()
    z, forward = transform(x, context)
    back, inverse = transform.inverse(z, context)
    assert forward.shape == inverse.shape == (BATCH,)
    assert difference(back, x, case.n_circular) < 1e-8
    torch.testing.assert_close(inverse, -forward, rtol=0, atol=1e-8)
    y, inverse = transform.inverse(x, context)
    again, forward = transform(y, context)
    assert difference(again, x, case.n_circular) < 1e-8
    torch.testing.assert_close(inverse, -forward, rtol=0, atol=1e-8)


@cases
@pytest.mark.parametrize("direction", ["forward", "inverse"])
def test_logabsdet_is_that_of_the_jacobian(case: Case, direction: str) -> None:
    transform, x, context = case.transform(), case.inputs(), case.context()
    function = getattr(transform, direction)
    _, logabsdet = function(x, context)
    for i in range(BATCH):
        given = None if context is None else context[i : i + 1]
        J = jacobian(lambda row, given=given: function(row[None], given)[0][0], x[i])
        torch.testing.assert_close(logabsdet[i], torch.linalg.slogdet(J)[1], rtol=0, atol=1e-8)


@cases
def test_a_batch_is_its_rows(case: Case) -> None:
    transform, x, context = case.transform(), case.inputs(), case.context()
    whole = transform(x, context)
    given = [None] * BATCH if context is None else context.split(1)
    rows = [transform(row, c) for row, c in zip(x.split(1), given, strict=True)]
    for part, values in zip(whole, zip(*rows, strict=True), strict=True):
        torch.testing.assert_close(part, torch.cat(values), rtol=0, atol=1e-10)


@cases
def test_state_dict_restores_the_map(case: Case) -> None:
    transform, x, context = case.transform(), case.inputs(), case.context()
    other = case.make().double()
    other.load_state_dict(copy.deepcopy(transform.state_dict()))
    for value, expected in zip(other(x, context), transform(x, context), strict=True):
        assert torch.equal(value, expected)


ROUNDING = torch.finfo(torch.float32).eps / 2
ROUNDINGS = 64
"""How many may add up in a row: 16 at most were found, ten thousand with bfloat16's products."""


def rounded(given: Tensor, generator: torch.Generator) -> Tensor:
    """Each element moved by as much as float32's rounding may move it."""
    draw = 2 * torch.rand(given.shape, generator=generator, dtype=given.dtype) - 1
    return given * (1 + ROUNDING * draw)


def distances(case: Case, a: tuple[Tensor, Tensor], b: tuple[Tensor, Tensor]) -> Tensor:
    """Of each row, the largest difference of values and of logabsdet, (batch,)."""
    return torch.maximum(differences(a[0], b[0], case.n_circular), (a[1] - b[1]).abs())


def sensitivity(case: Case, transform: Transform, direction: str, draws: int = 16) -> Tensor:
    """How far each row moves as inputs and parameters are rounded, (batch,)."""
    generator = torch.Generator().manual_seed(0)
    x, context = case.inputs(), case.context()
    exact = getattr(transform, direction)(x, context)
    moved = ROUNDING * (1 + exact[0].abs().amax(1))
    for _ in range(draws):
        other = copy.deepcopy(transform)
        with torch.no_grad():
            for parameter in other.parameters():
                parameter.copy_(rounded(parameter, generator))
        given = None if context is None else rounded(context, generator)
        found = getattr(other, direction)(rounded(x, generator), given)
        moved = torch.maximum(moved, distances(case, found, exact))
    return moved


@cases
@pytest.mark.parametrize("direction", ["forward", "inverse"])
def test_float32_is_as_exact_as_its_rounding(case: Case, direction: str) -> None:
    """Row by row, against what float64 makes of inputs and parameters that are rounded."""
    transform, x, context = case.transform(), case.inputs(), case.context()
    single = copy.deepcopy(transform).float()
    exact = getattr(transform, direction)(x, context)
    found = getattr(single, direction)(x.float(), None if context is None else context.float())
    assert found[0].dtype == torch.float32
    off = distances(case, (found[0].double(), found[1].double()), exact)
    assert (off < ROUNDINGS * sensitivity(case, transform, direction)).all()


@cases
def test_looking_changes_nothing(case: Case) -> None:
    transform, x, context = case.transform(), case.inputs(), case.context()
    before = copy.deepcopy(transform.state_dict())
    expected, _ = transform(x, context)
    repr(transform)
    with torch.no_grad():
        value, _ = transform.eval()(x, context)
        transform.inverse(x, context)
    assert torch.equal(value, expected)
    assert all(torch.equal(before[k], v) for k, v in transform.state_dict().items())


@cases
def test_torch_func_differentiates_as_autograd_does(case: Case) -> None:
    transform, x, context = case.transform(), case.inputs()[0], case.context()
    context = None if context is None else context[:1]
    for direction in (transform.forward, transform.inverse):

        def row(x: Tensor, d: Callable = direction) -> Tensor:
            value, logabsdet = d(x[None], context)
            return torch.cat([value[0], logabsdet])

        torch.testing.assert_close(torch.func.jacrev(row)(x), jacobian(row, x))


@pytest.mark.parametrize("mixing", ["p4inv", "lu", "permutation", "swap"])
def test_a_flow_starts_as_a_map_of_volume_one(mixing: str) -> None:
    """Couplings start as the identity, mixing layers as permutations."""
    torch.manual_seed(0)
    made = flow(mixing, "spline", 6, 3).double()
    x = CASES["flow/lu/spline/3 circles"].inputs()
    x = torch.cat([x[:, :1], x], dim=1)
    z, logabsdet = made(x)
    torch.testing.assert_close(logabsdet, torch.zeros(BATCH).double(), rtol=0, atol=1e-5)
    assert difference(z[:, 6:], x[:, 6:], 3) < 1e-6
    if mixing != "lu":
        sorted_z, sorted_x = z[:, :6].sort(1).values, x[:, :6].sort(1).values
        torch.testing.assert_close(sorted_z, sorted_x, rtol=0, atol=1e-5)


@pytest.mark.parametrize("start", ["permutation", "swap"])
@pytest.mark.parametrize("mixing", ["p4inv", "lu"])
def test_what_mixing_starts_as(mixing: str, start: str) -> None:
    """The halves trade places before the second coupling, or random variables do."""
    model = ModelConfig.model_validate(
        {"mixing": mixing, "mixing_start": start, "coupling": "affine", "blocks": 3, "hidden": (4,)}
    )
    layers = list(build_transform(model, 10, 0, seed=2).linear._transforms)
    one = torch.eye(10)
    made = [(layer(one)[0] > 0.5).float().argmax(1).tolist() for layer in layers[1::2]]
    swap = [5, 6, 7, 8, 9, 0, 1, 2, 3, 4]
    assert len(made) == 6
    assert all(sorted(order) == list(range(10)) for order in made)
    if start == "swap":
        assert made == 6 * [swap]
    else:
        assert len({tuple(order) for order in made}) == 6
        assert swap not in made


@pytest.mark.parametrize("mixing", get_args(ModelConfig.model_fields["mixing"].annotation))
def test_a_state_brings_its_permutations_and_masks_along(mixing: str) -> None:
    """Whatever the seed of the flow that takes it, and whatever its mixing began as."""
    x = CASES["flow/lu/spline/3 circles"].inputs()
    models = [
        ModelConfig.model_validate(
            {"mixing": mixing, "mixing_start": start, "blocks": 2, "hidden": (8,), "bins": 4}
        )
        for start in ("swap", "permutation")
    ]
    trained, other = (
        build_transform(model, 5, 3, seed).double() for seed, model in enumerate(models)
    )
    with torch.no_grad():
        for parameter in trained.parameters():
            parameter += 0.2 * torch.randn_like(parameter)
    other.load_state_dict(trained.state_dict())
    for direction in ("forward", "inverse"):
        for value, expected in zip(
            getattr(other, direction)(x), getattr(trained, direction)(x), strict=True
        ):
            assert torch.equal(value, expected)


def test_the_kinds_of_mixing_differ_in_the_mixing_alone() -> None:
    counts = {
        mixing: sum(p.numel() for p in flow(mixing, "spline", 6, 3).parameters())
        for mixing in ("p4inv", "swap", "permutation")
    }
    assert counts["p4inv"] == counts["swap"] + 4 * 3 * 6
    assert counts["swap"] == counts["permutation"]


@pytest.mark.parametrize("direction", ["forward", "inverse"])
def test_the_default_flow_compiles_whole(direction: str) -> None:
    made = build_transform(ModelConfig(blocks=1, torsion_blocks=1), 6, n_circular=4, seed=0)
    function, x = getattr(made, direction), torch.randn(BATCH, 10)
    compiled = torch.compile(function, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(x), function(x), rtol=1e-4, atol=1e-5)


def test_every_variable_is_transformed() -> None:
    transform = CASES["flow/swap/spline/3 circles"].transform()
    x = CASES["flow/swap/spline/3 circles"].inputs(1)
    J = jacobian(lambda row: transform(row[None])[0][0], x[0])
    assert (J.abs().sum(0) > 0).all()
    assert isinstance(transform, nn.Module)
    assert ((transform(x)[0].sort().values - x.sort().values).abs() > 1e-9).any()


def test_the_parameter_counts_of_the_paper() -> None:
    """735,050 in the couplings and 9,000 in P4Inv (its text on alanine dipeptide)."""
    model = load_config("ala2_paper.yaml").model
    transform = build_transform(model, 60, 0, seed=0)
    linear = [p for m in p4_layers(transform) for p in m.parameters()]
    everything = sum(p.numel() for p in transform.parameters())
    assert sum(p.numel() for p in linear) == 9_000
    assert everything - 9_000 == 735_050
