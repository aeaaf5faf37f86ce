"""Linear layers of conditioners: torch's, by another library."""

from itertools import product

import torch

from bgp4.flows.linear import Linear
from tests.for_each import for_each


@for_each(
    ("shape", "dtype"),
    product([(0, 4, 3), (5, 4, 3), (256, 96, 50), (300, 128, 160)], [torch.float32, torch.float64]),
)
def test_values_and_gradients_are_those_of_torch(
    shape: tuple[int, int, int], dtype: torch.dtype
) -> None:
    batch, n_in, n_out = shape
    torch.manual_seed(0)
    layer = Linear(n_in, n_out, dtype=dtype)
    x = torch.randn(n_in, batch, dtype=dtype).T.requires_grad_()
    gradient = torch.randn(n_out, batch, dtype=dtype).T
    inputs = x, layer.weight, layer.bias
    made = [f(x) for f in (layer, super(Linear, layer).forward)]
    grads = [torch.autograd.grad(y, inputs, gradient) for y in made]
    tol = 1e-4 if dtype == torch.float32 else 1e-12
    for ours, theirs in zip((made[0], *grads[0]), (made[1], *grads[1]), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=tol, atol=tol)


def test_second_derivatives_and_inputs_without_gradient() -> None:
    torch.manual_seed(0)
    layer, x = Linear(128, 160), torch.randn(300, 128)
    made = []
    for forward in (layer, super(Linear, layer).forward):
        (first,) = torch.autograd.grad(forward(x).square().sum(), layer.weight, create_graph=True)
        made.append(torch.autograd.grad(first.square().sum(), layer.weight)[0])
    torch.testing.assert_close(*made, rtol=1e-3, atol=1e-3 * made[1].abs().max().item())
