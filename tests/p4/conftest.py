"""Shared pieces of the P4 tests."""

from collections.abc import Callable

import pytest
import torch

from bgp4.p4 import P4InvLinear, matrix_state


@pytest.fixture
def generator() -> torch.Generator:
    return torch.Generator().manual_seed(7)


@pytest.fixture(scope="session")
def random_layer() -> Callable[..., P4InvLinear]:
    """Makes layers with a well-conditioned matrix and, unless clean, a random perturbation."""

    def make(
        n: int,
        seed: int = 0,
        dtype: torch.dtype = torch.float64,
        clean: bool = False,
    ) -> P4InvLinear:
        generator = torch.Generator().manual_seed(seed)
        draw = torch.randn(n + 2, n, generator=generator, dtype=torch.float64)
        A = 2 * torch.eye(n, dtype=torch.float64) + 0.3 * draw[:n] / n**0.5
        layer = P4InvLinear(n, matrix_state(A.to(dtype)), generator)
        layer.bias.data.copy_(draw[n])
        layer.u.data.copy_(0 * draw[0] if clean else 0.3 * draw[n + 1] / n**0.5)
        return layer

    return make
