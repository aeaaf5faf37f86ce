"""The Bent identity, an elementwise map with which stacks of linear layers become flows."""

from __future__ import annotations

import torch
from nflows.transforms import Transform
from torch import Tensor

__all__ = ["BentIdentity"]


class BentIdentity(Transform):
    r"""y = x + (s - 1) / 2 with s = sqrt(x^2 + 1); its slope 1 + x / 2s lies in (1/2, 3/2).

    The inverse solves 3 x^2 - 4 c x + c^2 - 1 = 0 with c = 2 y + 1 on the branch through the
    origin, x = (2 c - sqrt(c^2 + 3)) / 3.

    >>> BentIdentity().inverse(BentIdentity()(torch.tensor([[-3.0, 0.0, 0.5]]))[0])[0]
    tensor([[-3.0000,  0.0000,  0.5000]])
    """

    def forward(
        self,
        inputs: Tensor,  # (batch, features)
        context: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        root = torch.hypot(inputs, inputs.new_ones(()))
        return torch.add(inputs - 0.5, root, alpha=0.5), (0.5 * inputs / root).log1p().sum(1)

    def inverse(
        self,
        inputs: Tensor,  # (batch, features)
        context: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        c = 2 * inputs + 1
        root = torch.hypot(c, c.new_tensor(3).sqrt())
        return (2 * c - root) / 3, ((4 - 2 * c / root) / 3).log().sum(1)
