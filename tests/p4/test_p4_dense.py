"""Dense layers trained by rank-one updates."""

import pytest
import torch
from torch import nn

from bgp4.p4 import P4Dense, P4Schedule, merge_step


@pytest.mark.parametrize("shape", [(3,), (2, 3), (4, 2, 3)])
def test_value(shape: tuple[int, ...]) -> None:
    layer = P4Dense(3, 5, dtype=torch.float64)
    layer.u.data.normal_()
    x = torch.randn(shape, dtype=torch.float64)
    torch.testing.assert_close(layer(x), x @ layer.weight().T + layer.bias)


def test_a_merge_leaves_the_function_unchanged(generator: torch.Generator) -> None:
    layer = P4Dense(3, 5, dtype=torch.float64)
    layer.u.data.normal_()
    x = torch.randn(7, 3, dtype=torch.float64)
    before = layer(x)
    assert merge_step(layer, None, 10, generator=generator).merged == 1
    assert not layer.u.any()
    torch.testing.assert_close(layer(x), before)


def test_only_u_v_and_bias_train() -> None:
    layer = P4Dense(784, 10)
    assert {name for name, _ in layer.named_parameters()} == {"u", "v", "bias"}
    assert sum(p.numel() for p in layer.parameters()) == 784 + 10 + 10


def test_an_mlp_learns_by_sgd(generator: torch.Generator) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(P4Dense(2, 32, generator), nn.Tanh(), P4Dense(32, 2, generator))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    for step in range(1, 2001):
        x = torch.randn(64, 2, generator=generator)
        label = (x.prod(-1) > 0).long()
        loss = nn.functional.cross_entropy(model(x), label)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        merge_step(model, optimizer, step, P4Schedule(merge_every=1), generator)
    assert loss < 0.3
