"""Transforms of some columns each."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

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
        parts = zip(self.transforms, inputs.split(self.sizes, dim=1), strict=True)
        return _together(transform(part) for transform, part in parts)

    def inverse(
        self,
        inputs: Tensor,  # (batch, features)
        context: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        parts = zip(self.transforms, inputs.split(self.sizes, dim=1), strict=True)
        return _together(transform.inverse(part) for transform, part in parts)  # type: ignore[operator]


def _together(results: Iterable[tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor]:
    values, logabsdets = zip(*results, strict=True)
    return torch.cat(values, dim=1), torch.stack(logabsdets).sum(0)
