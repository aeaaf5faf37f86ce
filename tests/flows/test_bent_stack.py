"""A stack of P4Inv layers and Bent identities, all at once and layer by layer."""

from __future__ import annotations

import pytest
import torch
from nflows.transforms import CompositeTransform
from torch import Generator, Tensor

from bgp4.flows.bent_stack import BentStack
from bgp4.p4 import P4InvLinear, P4Schedule, merge_step

ways = pytest.mark.parametrize("through_inverse", [False, True])
depths = pytest.mark.parametrize("n_layers", [1, 2, 7])


def stack(n_layers: int, through_inverse: bool, n: int = 3) -> BentStack:
    """With a perturbation in each layer, merged once."""
    generator = Generator().manual_seed(0)
    layers = [P4InvLinear(n, generator=generator, dtype=torch.float64) for _ in range(n_layers)]
    made = BentStack(layers, through_inverse)
    for step in range(1, 3):
        for p in made.parameters():
            p.data += 0.3 * torch.randn(p.shape, generator=generator, dtype=p.dtype)
        merge_step(made, None, step, P4Schedule(merge_every=2, logabsdet_bounds=None), generator)
    for layer in layers:
        layer.u.data += 0.3 * torch.randn(n, generator=generator, dtype=torch.float64)
    return made


def points(n: int = 3) -> Tensor:
    return torch.randn(11, n, generator=Generator().manual_seed(1), dtype=torch.float64)


@ways
@depths
def test_all_at_once_is_layer_by_layer(n_layers: int, through_inverse: bool) -> None:
    flow, x = stack(n_layers, through_inverse), points()
    torch.testing.assert_close(flow(x), CompositeTransform.forward(flow, x))
    back, logabsdet = flow.inverse(flow(x)[0])
    torch.testing.assert_close(back, x)
    torch.testing.assert_close(logabsdet, -flow(x)[1])


@ways
@depths
def test_its_gradients_are_those_of_the_layers(n_layers: int, through_inverse: bool) -> None:
    flow, x = stack(n_layers, through_inverse), points().requires_grad_()
    of = [x, *flow.parameters()]
    generator = Generator().manual_seed(2)
    gz = torch.randn(x.shape, generator=generator, dtype=x.dtype)
    gl = torch.randn(len(x), generator=generator, dtype=x.dtype)
    at_once, by_layer = (
        torch.autograd.grad((z * gz).sum() + (logabsdet * gl).sum(), of)
        for z, logabsdet in (flow(x), CompositeTransform.forward(flow, x))
    )
    torch.testing.assert_close(at_once, by_layer)
