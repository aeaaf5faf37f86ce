"""Transforms of some columns each."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from nflows.transforms import Transform
from torch import Tensor, nn

__all__ = ["SideBySide"]


class SideBySide(Transform):
    """The first transform for the first columns, the next for those that follow, and so on.

    Args:
        transforms: Without context.
        sizes: How many columns each has.
    """

    def __init__(self, transforms: Sequence[Transform], sizes: Sequence[int]) -> None:
        super().__init__()
        self.transforms = nn.ModuleList(transforms)
        self.sizes = list(sizes)

    def forward(
        self,
        inputs: Tensor,  # (batch, features)
        context: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        return self._each(inputs, [transform.forward for transform in self.transforms])

    def inverse(
        self,
        inputs: Tensor,  # (batch, features)
        context: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        return self._each(inputs, [transform.inverse for transform in self.transforms])

    def _each(
        self, inputs: Tensor, functions: Sequence[Callable[[Tensor], tuple[Tensor, Tensor]]]
    ) -> tuple[Tensor, Tensor]:
        parts = zip(functions, inputs.split(self.sizes, dim=1), strict=True)
        made, logabsdets = zip(*(function(part) for function, part in parts), strict=True)
        return torch.cat(made, dim=1), torch.stack(logabsdets).sum(0)
