"""Standardisation of internal coordinates: zero mean and unit variance, or a centred circle."""

from __future__ import annotations

from collections.abc import Collection
from typing import Literal

import numpy as np
import torch
from nflows.transforms import Transform
from torch import Tensor

__all__ = ["Standardise", "fit_standardise", "wrap"]

TWO_PI = 2 * np.pi


class Standardise(Transform):
    """x = (q - centre) / scale; torsions are first wrapped to within π of their centre.

    Columns of x are the linear variables (bonds, angles, cut torsions) and then the circular
    ones, which keep unit scale and lie in [-π, π). Fixed columns of q are no columns of x.

    Args:
        centre: (features,), of each column of q.
        scale: (features,), one for circular torsions.
        circular: (features,), bool, the columns of q that stay circles.
        n_torsions: How many of q's last columns are torsions.
        fixed: (features,), bool, the columns of q that always have the value `centre`; none if
            None. Their scale is one.
    """

    centre: Tensor
    scale: Tensor
    circular: Tensor
    _order: Tensor
    _inverse_order: Tensor

    def __init__(
        self,
        centre: Tensor,
        scale: Tensor,
        circular: Tensor,
        n_torsions: int,
        fixed: Tensor | None = None,
    ) -> None:
        super().__init__()
        self.register_buffer("centre", centre)
        self.register_buffer("scale", scale)
        self.register_buffer("circular", circular)
        self.n_torsions = n_torsions
        self.n_circular = int(circular.sum())
        self.n_fixed = 0 if fixed is None else int(fixed.sum())
        kind = circular.to(torch.uint8)
        last = kind if fixed is None else kind + 2 * fixed.to(kind)
        order = last.sort(stable=True).indices
        kept = order[: len(order) - self.n_fixed]
        self.register_buffer("_order", kept, persistent=False)
        self.register_buffer("_inverse_order", order.argsort(), persistent=False)

    @property
    def features(self) -> int:
        """Columns of x."""
        return len(self._order)

    @property
    def order(self) -> Tensor:
        """(features of x,), the column of q that each column of x is."""
        return self._order

    @property
    def n_linear(self) -> int:
        return self.features - self.n_circular

    def forward(
        self,
        inputs: Tensor,  # (batch, features): q
        context: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:  # x (batch, features of x), (batch,)
        deviation = inputs - self.centre
        linear, torsions = self._torsions_last(deviation)
        x = torch.cat([linear, wrap(torsions)], dim=1) / self.scale
        return x[:, self._order], self._logabsdet(inputs)

    def inverse(
        self,
        inputs: Tensor,  # (batch, features of x): x
        context: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:  # q (batch, features), (batch,)
        q = self._in_order_of_q(inputs) * self.scale + self.centre
        linear, torsions = self._torsions_last(q)
        return torch.cat([linear, wrap(torsions)], dim=1), -self._logabsdet(inputs)

    def overshoot(
        self,
        x: Tensor,  # (batch, features of x)
    ) -> Tensor:  # (batch,), rad²
        """How far cut torsions lie beyond half a turn from their centres, squared and summed.

        Where it is not zero, x shares its conformation with another x, so its density is not the
        whole one.
        """
        _, deviation = self._torsions_last(self._in_order_of_q(x) * self.scale)
        return (deviation.abs() - np.pi * (1 + 1e-6)).clamp_min(0).square().sum(1)

    def _in_order_of_q(self, x: Tensor) -> Tensor:
        """With a column of zeros for each fixed one."""
        padded = torch.nn.functional.pad(x, (0, self.n_fixed)) if self.n_fixed else x
        return padded[:, self._inverse_order]

    def _torsions_last(self, values: Tensor) -> tuple[Tensor, Tensor]:
        start = len(self.centre) - self.n_torsions
        return values[:, :start], values[:, start:]

    def _logabsdet(self, inputs: Tensor) -> Tensor:
        return -self.scale.log().sum() * inputs.new_ones(len(inputs))


def wrap(angle: Tensor) -> Tensor:
    """The angle in [-π, π)."""
    return torch.remainder(angle + np.pi, TWO_PI) - np.pi


def fit_standardise(
    q: Tensor,  # (frames, features)
    n_torsions: int,
    torsions: Literal["circle", "cut", "auto"],
    bends: Collection[int] = (),
    folds: Collection[int] = (),
    fixed: Tensor | None = None,  # (features,), bool
) -> Standardise:
    """Standardise by the data's moments. Fixed columns have one value in all frames.

    A torsion that is not circular is cut inside the widest arc in which there are no data. `auto`
    cuts those that leave more than half of the circle empty: they are stiff, and linear for all
    purposes. Bends, which have no circle, are such whatever is asked for. Folds of a ring stay
    circles unless all are to be cut: they leave most of the circle empty, but have several modes.

    Args:
        bends: Columns among the torsions' that are bends.
        folds: Columns that are torsions of ears.
    """
    start = q.shape[1] - n_torsions
    circular = torch.zeros(q.shape[1], dtype=torch.bool)
    centre = q.mean(0)
    for column in range(start, q.shape[1]):
        centre[column], gap = _widest_gap(q[:, column])
        circle = torsions == "circle" or (torsions == "auto" and (gap < np.pi or column in folds))
        circular[column] = circle and column not in bends
        if not circular[column]:  # towards the mean, as far as the cut stays in the empty arc
            mean = wrap(q[:, column] - centre[column]).mean()
            centre[column] += mean.clamp(-0.45 * gap, 0.45 * gap)
    scale = torch.ones_like(centre)
    varies = ~circular
    if fixed is not None:
        centre[fixed], varies = q[0, fixed], varies & ~fixed
    for column in varies.nonzero().flatten().tolist():  # one at a time: frames are many
        deviation = q[:, column] - centre[column]
        deviation = wrap(deviation) if column >= start else deviation
        scale[column] = deviation.square().mean().sqrt()
    return Standardise(centre, scale, circular, n_torsions, fixed)


def _widest_gap(
    torsion: Tensor,  # (frames,), rad
) -> tuple[float, float]:
    """The angle opposite the middle of the widest empty arc, and that arc's width, in rad."""
    ordered = np.sort(torsion.detach().cpu().numpy())
    gaps = np.diff(ordered, append=ordered[0] + TWO_PI)
    widest = int(gaps.argmax())
    middle = ordered[widest] + gaps[widest] / 2
    return float((middle + TWO_PI) % TWO_PI - np.pi), float(gaps[widest])
