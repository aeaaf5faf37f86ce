"""The order of the variables: torsions by themselves first, the rest given them."""

from __future__ import annotations

import torch
from nflows.transforms import Transform
from torch import Tensor, nn

__all__ = ["TorsionsFirst"]


class TorsionsFirst(Transform):
    """Circular variables by themselves, linear ones given the circular: p(t) p(y | t).

    Columns are the linear variables and then the circular ones; the linear transform sees the
    circular variables' cosines and sines as its context, and what else `features` make of them.
    """

    def __init__(
        self,
        linear: Transform,
        circular: Transform,
        n_circular: int,
        features: nn.Module | None = None,
    ) -> None:
        super().__init__()
        self.linear = linear
        self.circular = circular
        self.n_circular = n_circular
        self.features = features

    def forward(
        self,
        inputs: Tensor,  # (batch, features)
        context: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        y, t = self.split(inputs)
        z_y, logabsdet_y = self.linear(y, self.context(t))
        z_t, logabsdet_t = self.circular(t)
        return torch.cat([z_y, z_t], dim=1), logabsdet_y + logabsdet_t

    def inverse(
        self,
        inputs: Tensor,  # (batch, features)
        context: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        z_y, z_t = self.split(inputs)
        t, logabsdet_t = self.circular.inverse(z_t)
        y, logabsdet_y = self.linear.inverse(z_y, self.context(t))
        return torch.cat([y, t], dim=1), logabsdet_y + logabsdet_t

    def split(
        self,
        values: Tensor,  # (batch, features)
    ) -> tuple[Tensor, Tensor]:
        """Columns of linear and of circular variables."""
        cut = values.shape[1] - self.n_circular
        return values[:, :cut], values[:, cut:]

    def context(
        self,
        t: Tensor,  # (batch, n_circular)
    ) -> Tensor:  # (batch, 2 n_circular and the features)
        """What the linear transform sees of the circular variables."""
        seen = [t.cos(), t.sin()]
        if self.features is not None:
            seen.append(self.features(t))
        return torch.cat(seen, dim=1)
