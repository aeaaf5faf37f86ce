"""The contract of P4InvLinear: value, inverse, determinant, gradients, state."""

import copy
import math
from collections.abc import Iterator
from itertools import product

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from nflows.transforms import CompositeTransform, InverseTransform  # type: ignore[import-untyped]
from torch import Tensor
from torch.autograd.functional import jacobian

from bgp4.kernels import p4 as kernel
from bgp4.kernels.p4 import load_kernel
from bgp4.p4 import P4InvLinear, matrix_state, permutation_state
from bgp4.p4.autograd import P4Forward, P4Inverse, p4_forward, p4_inverse
from tests.for_each import for_each

DIRECTIONS = ["forward", "inverse"]
sizes = st.integers(1, 10)
seeds = st.integers(0, 10**6)


@pytest.fixture(autouse=True, scope="module", params=["kernel", "torch"])
def engine(request: pytest.FixtureRequest) -> Iterator[str]:
    """Every test runs with the compiled operators and without."""
    if request.param == "kernel" and load_kernel() is None:
        pytest.skip("no C++ compiler")
    with pytest.MonkeyPatch.context() as patch:
        if request.param == "torch":
            patch.setattr(kernel, "load_kernel", lambda: None)
        yield request.param


def inputs(batch: int, n: int, seed: int = 1, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(batch, n, generator=torch.Generator().manual_seed(seed), dtype=dtype)


@settings(max_examples=40)
@given(n=sizes, seed=seeds, batch=st.integers(0, 5))
def test_round_trip(random_layer, n: int, seed: int, batch: int) -> None:
    layer, x = random_layer(n, seed), inputs(batch, n, seed)
    z, forward = layer(x)
    back, inverse = layer.inverse(z)
    assert forward.shape == inverse.shape == (batch,)
    torch.testing.assert_close(back, x, rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(inverse, -forward)


@settings(max_examples=20)
@given(n=sizes, seed=seeds, direction=st.sampled_from(DIRECTIONS))
def test_logabsdet_is_that_of_the_jacobian(random_layer, n: int, seed: int, direction: str) -> None:
    layer, x = random_layer(n, seed), inputs(1, n, seed)
    transform = getattr(layer, direction)
    J = jacobian(lambda x: transform(x)[0], x)[0, :, 0]
    torch.testing.assert_close(transform(x)[1][0], torch.linalg.slogdet(J)[1])


def test_matrices_and_determinant(random_layer) -> None:
    layer = random_layer(6)
    W = layer.A + torch.outer(layer.u, layer.v)
    sign, logabsdet = torch.linalg.slogdet(W)
    torch.testing.assert_close(layer.weight(), W)
    torch.testing.assert_close(layer.weight_inverse(), W.inverse())
    torch.testing.assert_close(layer.weight_inverse_and_logabsdet()[1], logabsdet)
    torch.testing.assert_close(layer.logabsdet(), logabsdet)
    torch.testing.assert_close(layer.sign(), sign)
    assert layer.residual() < 1e-12


@pytest.mark.parametrize("function", [p4_forward, p4_inverse])
@pytest.mark.parametrize("n", [1, 4])
def test_gradients(random_layer, function, n: int) -> None:
    layer = random_layer(n)
    x = inputs(3, n).requires_grad_()
    arguments = (x, layer.u, layer.v, layer.bias, layer.A, layer.A_inv, layer.A_logabsdet)
    assert torch.autograd.gradcheck(function, arguments)
    assert torch.autograd.gradgradcheck(function, arguments)


@pytest.mark.parametrize("direction", DIRECTIONS)
@pytest.mark.parametrize("used", [0, 1])
def test_gradients_when_one_output_is_unused(random_layer, direction: str, used: int) -> None:
    layer, x = random_layer(4), inputs(3, 4)
    parameters = list(layer.parameters())
    out = getattr(layer, direction)(x)[used].square().sum()
    W, b = layer.weight(), layer.bias
    value = x @ W.T + b if direction == "forward" else (x - b) @ W.inverse().T
    expected = (value, W.det().abs().log().expand(3))[used].square().sum()
    for g, e in zip(
        torch.autograd.grad(out, parameters),
        torch.autograd.grad(expected, parameters, materialize_grads=True),
        strict=True,
    ):
        torch.testing.assert_close(g, e)


@pytest.mark.parametrize("direction", DIRECTIONS)
def test_second_derivatives_where_the_input_depends_on_the_layer(
    random_layer, direction: str
) -> None:
    layer = random_layer(4)
    x = inputs(3, 4) * layer.u
    W, b = layer.weight(), layer.bias
    value = x @ W.T + b if direction == "forward" else (x - b) @ W.inverse().T
    logabsdet = W.det().abs().log() * (1 if direction == "forward" else -1)
    found = []
    for y, log in (getattr(layer, direction)(x), (value, logabsdet.expand(3))):
        out = y.pow(3).sum() + log.pow(2).sum()
        first = torch.autograd.grad(out, (layer.u, layer.v, b), create_graph=True)
        out = sum(g.square().sum() for g in first)
        found.append(torch.autograd.grad(out, (layer.u, layer.v, b), retain_graph=True))
    for ours, expected in zip(*found, strict=True):
        torch.testing.assert_close(ours, expected)


@pytest.mark.parametrize("direction", DIRECTIONS)
def test_a_singular_matrix_is_not_finite_and_no_error(direction: str) -> None:
    layer = P4InvLinear(3)
    layer.u.data.copy_(torch.eye(3)[0])
    layer.v.data.copy_(-torch.eye(3)[0])
    value, logabsdet = getattr(layer, direction)(torch.ones(2, 3))
    assert (logabsdet == (-torch.inf if direction == "forward" else torch.inf)).all()
    (value.sum() + logabsdet.sum()).backward()
    assert not layer.u.grad.isfinite().all()


def test_a_batch_is_its_rows(random_layer) -> None:
    layer, x = random_layer(5), inputs(4, 5)
    for transform in (layer, layer.inverse):
        rows = [transform(row[None]) for row in x]
        value, logabsdet = transform(x)
        torch.testing.assert_close(value, torch.cat([r[0] for r in rows]))
        torch.testing.assert_close(logabsdet, torch.cat([r[1] for r in rows]))


@settings(max_examples=30)
@given(n=sizes, seed=seeds)
def test_a_merge_leaves_the_function_unchanged(random_layer, n: int, seed: int) -> None:
    layer, x = random_layer(n, seed), inputs(3, n, seed)
    before = *layer(x), *layer.inverse(x), layer.sign()
    layer.merge(torch.Generator().manual_seed(seed))
    assert layer.merges == 1
    assert not layer.u.any()
    for b, a in zip(before, (*layer(x), *layer.inverse(x), layer.sign()), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("n", [1, 5, 70])
def test_a_merge_probes_its_inverse_with_the_new_v(
    random_layer, engine: str, n: int, dtype: torch.dtype
) -> None:
    layer = random_layer(n, dtype=dtype)
    layer.A_inv += 1e-2 * torch.randn(n, n, dtype=dtype)  # so that rounding is small against it
    estimate = layer.merge(torch.Generator().manual_seed(n))
    expected = (layer.A @ (layer.A_inv @ layer.v) - layer.v).norm()
    assert estimate == pytest.approx(expected.item(), rel=1e-3)


def test_v_comes_from_the_generator() -> None:
    def drawn(seed: int) -> Tensor:
        generator = torch.Generator().manual_seed(seed)
        layer = P4InvLinear(50, generator=generator)
        first = layer.v.clone()
        layer.merge(generator)
        return torch.cat([first, layer.v]).detach()

    torch.testing.assert_close(drawn(3), drawn(3))
    assert not torch.equal(drawn(3), drawn(4))
    assert 0.7 < drawn(3).std() < 1.3


def test_looking_changes_nothing(random_layer) -> None:
    layer, x = random_layer(5), inputs(3, 5)
    before = copy.deepcopy(layer.state_dict())
    version = [t._version for t in layer.state_dict().values()]
    repr(layer)
    layer.eval()(x)
    layer.train().inverse(x)[0].sum().backward()
    layer.state_dict(), layer.weight(), layer.weight_inverse(), layer.perturbation()
    for name, value in layer.state_dict().items():
        assert torch.equal(value, before[name]), name
    assert version == [t._version for t in layer.state_dict().values()]


def test_eval_and_train_agree_and_nothing_is_stale(random_layer) -> None:
    layer, x = random_layer(5), inputs(3, 5)
    layer.use_cache(True)
    layer.eval()
    layer(x), layer.inverse(x)
    layer.u.data.mul_(2)
    layer.merge()
    layer.u.data.add_(0.1)
    torch.testing.assert_close(layer(x)[0], x @ layer.weight().T + layer.bias)
    torch.testing.assert_close(layer.inverse(layer(x)[0])[0], x)
    torch.testing.assert_close(layer(x), layer.train()(x))


def test_state_dict_restores_a_layer_in_mid_cycle(random_layer) -> None:
    layer, other, x = random_layer(6), random_layer(6, seed=9), inputs(3, 6)
    layer.merge()
    layer.u.data.add_(0.1)
    other.load_state_dict(layer.state_dict())
    assert other.merges == 1
    for transform in ("forward", "inverse"):
        for a, b in zip(getattr(layer, transform)(x), getattr(other, transform)(x), strict=True):
            assert torch.equal(a, b)


def test_casting_keeps_the_determinant_in_float64() -> None:
    layer = P4InvLinear(3, matrix_state(2 * torch.eye(3, dtype=torch.float64))).float()
    assert layer.A.dtype == layer.u.dtype == torch.float32
    assert layer.A_logabsdet.dtype == torch.float64
    assert layer.A_logabsdet.item() == pytest.approx(3 * math.log(2), abs=1e-14)
    assert layer(torch.ones(2, 3))[1].dtype == torch.float32
    assert copy.deepcopy(layer).double().A_logabsdet.dtype == torch.float64


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_both_precisions(random_layer, dtype: torch.dtype) -> None:
    layer, x = random_layer(20, dtype=dtype), inputs(8, 20, dtype=dtype)
    z, logabsdet = layer(x)
    assert z.dtype == logabsdet.dtype == dtype
    tol = 100 * torch.finfo(dtype).eps
    torch.testing.assert_close(layer.inverse(z)[0], x, rtol=tol, atol=tol)


def test_repr_is_readable() -> None:
    layer = P4InvLinear(3, matrix_state(2 * torch.eye(3)))
    assert repr(layer) == "P4InvLinear(features=3, merges=0, log|det|=2.08)"


def test_a_state_of_another_size_is_refused() -> None:
    with pytest.raises(ValueError, match="4 features"):
        P4InvLinear(4, permutation_state([1, 0]))


def test_a_failed_merge_changes_nothing() -> None:
    layer = P4InvLinear(2)
    layer.u.data.copy_(torch.tensor([1.0, 0.0]))
    layer.v.data.copy_(torch.tensor([-1.0, 0.0]))
    before = copy.deepcopy(layer.state_dict())
    with pytest.raises(ValueError, match="must be invertible"):
        layer.merge()
    for name, value in layer.state_dict().items():
        assert torch.equal(value, before[name]), name


def test_a_merge_between_forward_and_backward_is_noticed(random_layer) -> None:
    layer = random_layer(4)
    loss = layer(inputs(2, 4).requires_grad_())[0].sum()
    layer.merge()
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()


def test_drop_in_for_nflows(random_layer) -> None:
    first, second = random_layer(4, 1), random_layer(4, 2)
    flow, x = CompositeTransform([first, InverseTransform(second)]), inputs(3, 4)
    z, logabsdet = flow(x)
    expected = first.logabsdet() - second.logabsdet()
    torch.testing.assert_close(logabsdet, expected.expand(3))
    torch.testing.assert_close(flow.inverse(z)[0], x)
    (z.square().sum() - logabsdet.sum()).backward()
    assert all(p.grad is not None for p in flow.parameters())


@for_each(
    ("shape", "dtype"),
    product([(0, 3), (1, 1), (7, 5), (33, 70), (300, 70)], [torch.float32, torch.float64]),
)
def test_the_kernel_does_what_torch_does(
    random_layer, engine: str, shape: tuple[int, int], dtype: torch.dtype
) -> None:
    """Up to rounding: values, log-determinants and all gradients, for any strides."""
    batch, n = shape
    if engine == "torch":
        pytest.skip("compares both")
    layer, (x, gradient) = random_layer(n, dtype=dtype), inputs(2, n * batch, dtype=dtype)
    x, gradient = x.view(n, batch).T.requires_grad_(), gradient.view(n, batch).T
    weight = gradient[:, :1].expand(batch, 3)[:, 1]
    buffers = layer.A, layer.A_inv.T.contiguous().T, layer.A_logabsdet
    arguments = (x, layer.u, layer.v, layer.bias)
    tol = 100 * torch.finfo(dtype).eps
    for ours, theirs in ((p4_forward, P4Forward.apply), (p4_inverse, P4Inverse.apply)):
        results = [function(*arguments, *buffers) for function in (ours, theirs)]
        grads = [torch.autograd.grad(r, arguments, (gradient, weight)) for r in results]
        for a, b in zip(results[0] + grads[0], results[1] + grads[1], strict=True):
            assert (a.shape, a.dtype) == (b.shape, b.dtype)
            torch.testing.assert_close(a, b, rtol=tol, atol=tol * max(1, batch))


def test_an_input_without_gradient(random_layer) -> None:
    layer, x = random_layer(4), inputs(3, 4)
    for transform in (layer, layer.inverse):
        (transform(x)[0].sum() + transform(x)[1].sum()).backward()
    assert all(p.grad.isfinite().all() for p in layer.parameters())


@pytest.mark.parametrize("shape", [(3,), (2, 5), (2, 1), (2, 3, 4)])
def test_inputs_of_another_shape_are_refused(random_layer, shape: tuple[int, ...]) -> None:
    for transform in (random_layer(4), random_layer(4).inverse):
        with pytest.raises((RuntimeError, IndexError)):
            transform(torch.ones(shape, dtype=torch.float64))


def test_other_dtypes_run_in_torch(random_layer) -> None:
    layer = random_layer(4, dtype=torch.bfloat16)
    z, logabsdet = layer(torch.ones(2, 4, dtype=torch.bfloat16))
    assert z.dtype == logabsdet.dtype == torch.bfloat16
