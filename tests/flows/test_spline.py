"""Rational-quadratic splines: identity, monotony, the circle's closure, zuko's, extremes."""

from __future__ import annotations

import math
from itertools import product

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from torch import Tensor

from bgp4.flows import spline
from bgp4.flows.spline import (
    Knots,
    circular_knots,
    linear_tail_knots,
    n_parameters,
    spline_forward,
    spline_inverse,
)
from bgp4.kernels import spline as spline_kernel
from tests.for_each import for_each
from tests.interpreter import interpret_triton

BOUND = 5.0
BINS = 6
KINDS = {
    "line": (lambda p: linear_tail_knots(p, BOUND), n_parameters(BINS, circular=False), BOUND),
    "circle": (circular_knots, n_parameters(BINS, circular=True), math.pi),
}
kinds = pytest.mark.parametrize(("make", "n", "bound"), KINDS.values(), ids=KINDS)


@pytest.fixture(autouse=True, params=["kernel", "torch", "triton"])
def engine(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Every test runs by the compiled kernel, without it, and by Triton's, interpreted."""
    if request.param == "torch":
        monkeypatch.setattr(spline_kernel, "load_kernel", lambda: None)
    elif request.param == "triton":
        interpret_triton(monkeypatch)
    elif spline_kernel.load_kernel() is None:
        pytest.skip("no C++ compiler")
    name: str = request.param
    return name


def parameters(n: int, scale: float = 1.0, seed: int = 0) -> Tensor:
    return scale * torch.randn(n, generator=torch.Generator().manual_seed(seed)).double()


def grid(bound: float, n: int) -> Tensor:
    return torch.linspace(-bound, bound, n, dtype=torch.float64)


def on_grid(knots: Knots, x: Tensor) -> Knots:
    """One spline for all values."""
    return Knots(*(part.expand(len(x), -1) for part in knots))


@kinds
def test_zero_parameters_are_the_identity(make, n, bound) -> None:
    x = grid(bound, 101)
    knots = on_grid(make(torch.zeros(n).double()), x)
    for direction in (spline_forward, spline_inverse):
        y, logabsdet = direction(x, knots)
        torch.testing.assert_close(y, x, rtol=0, atol=1e-9)
        torch.testing.assert_close(logabsdet, torch.zeros_like(x), rtol=0, atol=1e-9)


@kinds
def test_monotonic_with_its_derivative(make, n, bound) -> None:
    knots, ends = make(parameters(n, 2)), grid(bound, 2)
    torch.testing.assert_close(spline_forward(ends, on_grid(knots, ends))[0], ends)
    x = grid(bound - 1e-9, 4000).requires_grad_()
    y, logabsdet = spline_forward(x, on_grid(knots, x))
    (slope,) = torch.autograd.grad(y.sum(), x)
    assert (y.diff() > 0).all()
    torch.testing.assert_close(logabsdet.exp(), slope, rtol=1e-8, atol=1e-8)


def test_the_line_goes_on_with_the_slopes_of_its_ends() -> None:
    knots = linear_tail_knots(parameters(KINDS["line"][1], 2), BOUND)
    inside = torch.tensor([-BOUND + 1e-9, BOUND - 1e-9]).double()
    _, log_slope = spline_forward(inside, on_grid(knots, inside))
    for distance in (1e-3, 1.0, 1e4):
        outside = torch.tensor([-BOUND - distance, BOUND + distance]).double()
        y, logabsdet = spline_forward(outside, on_grid(knots, outside))
        expected = (
            torch.tensor([-BOUND, BOUND]) + log_slope.exp() * torch.tensor([-1, 1]) * distance
        )
        torch.testing.assert_close(y, expected, rtol=1e-7, atol=1e-7)
        torch.testing.assert_close(logabsdet, log_slope, rtol=0, atol=1e-6)
        back, inverse = spline_inverse(y, on_grid(knots, y))
        torch.testing.assert_close(back, outside)
        torch.testing.assert_close(inverse, -logabsdet)


def test_the_circle_closes_with_its_derivative() -> None:
    """Another slope at -π than at π would be a step of the density."""
    knots, ends = circular_knots(parameters(3 * BINS, 2)), grid(math.pi, 2)
    y, logabsdet = spline_forward(ends, on_grid(knots, ends))
    torch.testing.assert_close(y, ends)
    torch.testing.assert_close(logabsdet[0], logabsdet[1])
    assert logabsdet[0].abs() > 1e-3


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@settings(max_examples=150, derandomize=True)
@given(data=st.data())
def test_extreme_parameters(dtype: torch.dtype, data: st.DataObject) -> None:
    """nflows' inverse asserts a positive discriminant, and fails where rounding makes it less."""
    make, n, bound = KINDS[data.draw(st.sampled_from(sorted(KINDS)))]
    draw = data.draw(arrays(np.float64, n, elements=st.floats(-60, 60, allow_subnormal=False)))
    at = data.draw(arrays(np.float64, 20, elements=st.floats(-1, 1, allow_subnormal=False)))
    y = (torch.as_tensor(at, dtype=dtype) * bound).clamp(-bound, bound)
    knots = on_grid(make(torch.as_tensor(draw, dtype=dtype)), y)
    x, logabsdet = spline_inverse(y, knots)
    assert torch.isfinite(x).all()
    assert torch.isfinite(logabsdet).all()
    assert (x.abs() <= bound * (1 + 1e-3)).all()
    again, forward = spline_forward(x, knots)
    assert torch.isfinite(forward).all()
    # slopes reach 2 / MIN_BIN and turn within a few ulps: digits are lost, but no sample
    torch.testing.assert_close(again, y, rtol=0, atol=0.1 if dtype == torch.float32 else 1e-7)
    if dtype == torch.float64:
        torch.testing.assert_close(forward, -logabsdet, rtol=0, atol=1e-4)


def test_gradients_are_finite_and_right(generator) -> None:
    p = parameters(3 * BINS, 2).requires_grad_()
    x = grid(3, 7).requires_grad_()
    for direction in (spline_forward, spline_inverse):
        torch.autograd.gradcheck(
            lambda p, x, d=direction: d(x, on_grid(circular_knots(p), x)), (p, x), atol=1e-5
        )


@kinds
@for_each(
    ("dtype", "shape", "shared"),
    product([torch.float32, torch.float64], [(0, 3), (1, 1), (5, 7), (40, 150)], [True, False]),
)
def test_the_kernel_does_what_torch_does(
    engine: str, make, n, bound, dtype: torch.dtype, shape: tuple[int, int], shared: bool
) -> None:
    """Values, log-slopes and all gradients, inside, outside and in any memory order."""
    if engine == "torch":
        pytest.skip("compares both")
    generator = torch.Generator().manual_seed(shape[1])
    p, *others = (
        torch.randn(*shape[::-1], *more, generator=generator, dtype=dtype).transpose(0, 1)
        for more in ((n,), (), (), ())
    )
    p = p[0] if shared and len(p) else p
    values = bound * others[0].tanh() if make is circular_knots else 3 * others[0]
    for ours, theirs in ((spline_forward, spline._forward), (spline_inverse, spline._inverse)):
        inputs = p.detach().requires_grad_(), values.detach().requires_grad_()
        results = [f(inputs[1], make(inputs[0])) for f in (ours, theirs)]
        grads = [torch.autograd.grad(r, inputs, others[1:]) for r in results]
        tol = 2e-3 if dtype == torch.float32 else 1e-9
        for a, b in zip(results[0] + grads[0], results[1] + grads[1], strict=True):
            assert (a.shape, a.dtype) == (b.shape, b.dtype)
            torch.testing.assert_close(a, b, rtol=tol, atol=tol)


@pytest.mark.parametrize(("values", "splines"), [((5, 4), (3,)), ((5,), (4,)), ((4, 5), (5, 4))])
def test_knots_of_other_values_are_refused(
    values: tuple[int, ...], splines: tuple[int, ...]
) -> None:
    knots = linear_tail_knots(torch.zeros(*splines, KINDS["line"][1]), BOUND)
    for direction in (spline_forward, spline_inverse):
        with pytest.raises((ValueError, RuntimeError, IndexError)):
            direction(torch.zeros(values), knots)


@kinds
def test_second_derivatives(make, n, bound) -> None:
    p, x = parameters(n).requires_grad_(), grid(0.9 * bound, 5).requires_grad_()
    for direction in (spline_forward, spline_inverse):
        torch.autograd.gradgradcheck(lambda p, x, d=direction: d(x, on_grid(make(p), x)), (p, x))


def test_a_value_that_is_no_number_spoils_its_own_spline_alone() -> None:
    p = parameters(4 * KINDS["line"][1]).view(4, -1).requires_grad_()
    x = torch.tensor([0.0, math.nan, math.inf, 1.0]).double().requires_grad_()
    for direction in (spline_forward, spline_inverse):
        made = direction(x, linear_tail_knots(p, BOUND))
        assert made[0].isfinite().tolist() == [True, False, False, True]
        gradients = torch.autograd.grad(made[0].sum() + made[1].sum(), (x, p))
        assert all(g[[0, 3]].isfinite().all() for g in gradients)
        assert gradients[0][1].isnan()


@kinds
def test_against_zuko(make, n, bound) -> None:
    """The same knots in zuko's parametrisation give the same spline."""
    transforms = pytest.importorskip("zuko.transforms")
    knots = make(parameters(n, 1.5))
    slopes = (
        torch.cat([knots.slopes, knots.slopes[:1]])
        if knots.slopes.shape[-1] < knots.x.shape[-1]
        else knots.slopes
    )
    log_widths, log_heights = knots.x.diff().log(), knots.y.diff().log()
    reference = transforms.MonotonicRQSTransform(
        log_widths, log_heights, slopes[1:-1].log(), bound=bound, slope=1e-300
    )
    reference.horizontal, reference.vertical = knots.x, knots.y
    reference.derivatives = slopes
    x = grid(bound - 1e-6, 500)
    expected, expected_logabsdet = reference.call_and_ladj(x)
    y, logabsdet = spline_forward(x, on_grid(knots, x))
    torch.testing.assert_close(y, expected, rtol=0, atol=1e-9)
    torch.testing.assert_close(logabsdet, expected_logabsdet, rtol=0, atol=1e-9)
    back, logabsdet = spline_inverse(expected, on_grid(knots, x))
    torch.testing.assert_close(back, x, rtol=0, atol=1e-8)
    torch.testing.assert_close(logabsdet, -expected_logabsdet, rtol=0, atol=1e-8)
