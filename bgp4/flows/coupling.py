"""Coupling layers: nflows' couplings with this project's transforms and conditioners.

One part of the variables is transformed; what transforms it is computed from the other part and
from a context that the flow holds fixed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

import torch
from nflows.transforms import Transform
from nflows.transforms.coupling import CouplingTransform
from torch import Tensor, nn

from bgp4.coordinates.standardise import wrap
from bgp4.flows.linear import Linear
from bgp4.flows.neighbours import Neighbours
from bgp4.flows.spline import (
    Knots,
    circular_knots,
    linear_tail_knots,
    n_parameters,
    spline_forward,
    spline_inverse,
)

__all__ = [
    "AffineCoupling",
    "CircularSplineCoupling",
    "Conditioner",
    "LocalConditioner",
    "MarginalSpline",
    "RealNVPCoupling",
    "SplineCoupling",
]

SPLINE_BOUND = 5.0
"""Beyond this many standard deviations, splines go on as straight lines."""


_Result = tuple[Tensor, Tensor]


class Conditioner(nn.Module):
    """A perceptron from the untouched variables (and the context) to the coupling's parameters.

    Angles enter by their cosine and sine. The last layer starts at zero, so that every coupling
    starts as the identity. Where nothing is untouched, a constant takes its place.
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        hidden: Sequence[int],
        context_features: int = 0,
        circular: bool = False,
    ) -> None:
        super().__init__()
        self.circular = circular
        n_features = in_features * (2 if circular else 1) + context_features
        widths = [max(n_features, 1), *hidden]
        layers: list[nn.Module] = []
        for n_in, n_out in pairwise(widths):
            layers += [Linear(n_in, n_out), nn.SiLU()]
        last = Linear(widths[-1], out_features)
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)
        self.network = nn.Sequential(*layers, last)

    def hidden_weights(self) -> list[Tensor]:
        """The matrices, (out, in), of all layers but the last."""
        layers = [layer for layer in self.network if isinstance(layer, nn.Linear)]
        return [layer.weight for layer in layers[:-1]]

    def forward(self, inputs: Tensor, context: Tensor | None = None) -> Tensor:
        features = [inputs.cos(), inputs.sin()] if self.circular else [inputs]
        if context is not None:
            features.append(context)
        known = torch.cat(features, dim=1)
        if not known.shape[1]:
            known = known.new_ones(len(known), 1)
        parameters: Tensor = self.network(known)
        return parameters


class LocalConditioner(nn.Module):
    """A conditioner for each cluster of variables, which sees its neighbourhood and the context.

    Args:
        seen: Of each cluster, which of the untouched variables.
        conditioners: Of each cluster; their parameters follow one another.
    """

    def __init__(self, seen: Sequence[Tensor], conditioners: Sequence[nn.Module]) -> None:
        super().__init__()
        self.conditioners = nn.ModuleList(conditioners)
        for i, columns in enumerate(seen):
            self.register_buffer(f"_seen_{i}", columns, persistent=False)

    def forward(self, inputs: Tensor, context: Tensor | None = None) -> Tensor:
        buffers: dict[str, Any] = self._buffers
        parts = [
            conditioner(inputs.index_select(1, buffers[f"_seen_{i}"]), context)
            for i, conditioner in enumerate(self.conditioners)
        ]
        return torch.cat(parts, dim=1)


class ScaleAndShift(nn.Module):
    """Two `Conditioner`s, and one learned bound: log-scales tanh(a(x)) e^α and shifts t(x).

    Returns them in turn for each feature, (batch, 2 features).
    """

    def __init__(self, in_features: int, features: int, hidden: Sequence[int], n_context: int):
        super().__init__()
        self.scale = Conditioner(in_features, features, hidden, n_context)
        self.shift = Conditioner(in_features, features, hidden, n_context)
        self.log_bound = nn.Parameter(torch.zeros(()))

    def forward(self, inputs: Tensor, context: Tensor | None = None) -> Tensor:
        log_scale = self.scale(inputs, context).tanh() * self.log_bound.exp()
        return torch.stack([log_scale, self.shift(inputs, context)], dim=-1).flatten(1)


class _Coupling(CouplingTransform):
    """nflows' coupling with a `Conditioner`, or one for each cluster of `neighbours`; `mask` is 1
    where a variable is transformed.
    """

    parameters_per_feature: int
    circular = False
    _order: Tensor
    _inverse_order: Tensor

    def __init__(
        self,
        mask: Tensor,
        hidden: Sequence[int],
        context_features: int = 0,
        neighbours: Neighbours | None = None,
    ) -> None:
        def net(n_in: int, n_out: int) -> nn.Module:
            if neighbours is None:
                return self._conditioner(n_in, n_out, hidden, context_features)
            moved = [int(part.sum()) for part in mask.split(neighbours.sizes)]
            seen = [near.nonzero().flatten() for near in neighbours.near[mask == 0].T]
            per_feature = n_out // sum(moved)
            return LocalConditioner(
                seen,
                [
                    self._conditioner(len(columns), n * per_feature, hidden, context_features)
                    for columns, n in zip(seen, moved, strict=True)
                ],
            )

        super().__init__(mask, net)
        self._arrange()

    def _arrange(self) -> None:
        """Transformed variables first, then the others."""
        order = torch.cat([self.transform_features, self.identity_features])
        self.register_buffer("_order", order, persistent=False)
        self.register_buffer("_inverse_order", order.argsort(), persistent=False)
        self._in_order = order.tolist() == list(range(self.features))

    def _load_from_state_dict(self, *args: Any, **kwargs: Any) -> None:
        """The mask is in the state, and the order follows from it."""
        super()._load_from_state_dict(*args, **kwargs)
        self._arrange()

    def _conditioner(
        self, n_in: int, n_out: int, hidden: Sequence[int], context_features: int
    ) -> nn.Module:
        return Conditioner(n_in, n_out, hidden, context_features, self.circular)

    def forward(
        self,
        inputs: Tensor,  # (batch, features)
        context: Tensor | None = None,
    ) -> _Result:
        return self._couple(inputs, context, self._coupling_transform_forward)

    def inverse(
        self,
        inputs: Tensor,  # (batch, features)
        context: Tensor | None = None,
    ) -> _Result:
        return self._couple(inputs, context, self._coupling_transform_inverse)

    def _couple(
        self, inputs: Tensor, context: Tensor | None, transform: Callable[..., _Result]
    ) -> _Result:
        """As nflows does, by views of the inputs where the transformed ones come first."""
        sizes = [self.num_transform_features, self.num_identity_features]
        if not self._in_order:
            inputs = inputs.index_select(1, self._order)
        transformed, kept = inputs.split(sizes, dim=1)
        made, logabsdet = transform(transformed, self.transform_net(kept, context))
        outputs = torch.cat([made, kept], dim=1)
        if not self._in_order:
            outputs = outputs.index_select(1, self._inverse_order)
        return outputs, logabsdet

    def _transform_dim_multiplier(self) -> int:
        return self.parameters_per_feature

    def _per_feature(self, parameters: Tensor) -> Tensor:
        return parameters.view(len(parameters), -1, self.parameters_per_feature)


class AffineCoupling(_Coupling):
    """RealNVP: y = x exp(s) + t (Dinh et al., arXiv 1605.08803), with |s| bounded by 3."""

    parameters_per_feature = 2

    def _coupling_transform_forward(self, inputs: Tensor, transform_params: Tensor) -> _Result:
        log_scale, shift = self._scale_and_shift(transform_params)
        return inputs * log_scale.exp() + shift, log_scale.sum(1)

    def _coupling_transform_inverse(self, inputs: Tensor, transform_params: Tensor) -> _Result:
        log_scale, shift = self._scale_and_shift(transform_params)
        return (inputs - shift) * (-log_scale).exp(), -log_scale.sum(1)

    def _scale_and_shift(self, parameters: Tensor) -> tuple[Tensor, Tensor]:
        log_scale, shift = self._per_feature(parameters).unbind(-1)
        return 3 * torch.tanh(log_scale / 3), shift


class RealNVPCoupling(AffineCoupling):
    """The same with a network for the scales and one for the shifts, and a learned bound.

    Its sizes are those of the P4Inv paper's flow: with 25 blocks of two couplings of 60 features
    and hidden widths 60, 60 it has 735,050 parameters.
    """

    def _conditioner(
        self, n_in: int, n_out: int, hidden: Sequence[int], context_features: int
    ) -> nn.Module:
        return ScaleAndShift(n_in, n_out // 2, hidden, context_features)

    def _scale_and_shift(self, parameters: Tensor) -> tuple[Tensor, Tensor]:
        log_scale, shift = self._per_feature(parameters).unbind(-1)
        return log_scale, shift


class SplineCoupling(_Coupling):
    """An affine map, then a rational-quadratic spline on [-5, 5] with linear tails."""

    def __init__(
        self,
        mask: Tensor,
        hidden: Sequence[int],
        context_features: int = 0,
        neighbours: Neighbours | None = None,
        bins: int = 8,
    ) -> None:
        self.parameters_per_feature = 2 + n_parameters(bins, circular=False)
        super().__init__(mask, hidden, context_features, neighbours)

    def _coupling_transform_forward(self, inputs: Tensor, transform_params: Tensor) -> _Result:
        knots, log_scale, shift = self._unpack(transform_params)
        y, logabsdet = spline_forward(inputs * log_scale.exp() + shift, knots)
        return y, (logabsdet + log_scale).sum(1)

    def _coupling_transform_inverse(self, inputs: Tensor, transform_params: Tensor) -> _Result:
        knots, log_scale, shift = self._unpack(transform_params)
        x, logabsdet = spline_inverse(inputs, knots)
        return (x - shift) * (-log_scale).exp(), (logabsdet - log_scale).sum(1)

    def _unpack(self, parameters: Tensor) -> tuple[Knots, Tensor, Tensor]:
        p = self._per_feature(parameters)
        log_scale = 3 * torch.tanh(p[..., 0] / 3)
        return linear_tail_knots(p[..., 2:], SPLINE_BOUND), log_scale, p[..., 1]


class CircularSplineCoupling(_Coupling):
    """A rotation of the circle, then a rational-quadratic spline from the circle to itself."""

    circular = True

    def __init__(self, mask: Tensor, hidden: Sequence[int], bins: int = 8) -> None:
        self.parameters_per_feature = 1 + n_parameters(bins, circular=True)
        super().__init__(mask, hidden)

    def _coupling_transform_forward(self, inputs: Tensor, transform_params: Tensor) -> _Result:
        p = self._per_feature(transform_params)
        y, logabsdet = spline_forward(wrap(inputs + p[..., 0]), circular_knots(p[..., 1:]))
        return y, logabsdet.sum(1)

    def _coupling_transform_inverse(self, inputs: Tensor, transform_params: Tensor) -> _Result:
        p = self._per_feature(transform_params)
        x, logabsdet = spline_inverse(wrap(inputs), circular_knots(p[..., 1:]))
        return wrap(x - p[..., 0]), logabsdet.sum(1)


class MarginalSpline(Transform):
    """A rational-quadratic spline of each variable by itself, with parameters of its own.

    It takes the skewness out of the marginals, which affine couplings can't.
    """

    def __init__(self, features: int, bins: int) -> None:
        super().__init__()
        self.unnormalised = nn.Parameter(torch.zeros(features, n_parameters(bins, circular=False)))

    def forward(
        self,
        inputs: Tensor,  # (batch, features)
        context: Tensor | None = None,
    ) -> _Result:
        y, logabsdet = spline_forward(inputs, self._knots())
        return y, logabsdet.sum(1)

    def inverse(
        self,
        inputs: Tensor,  # (batch, features)
        context: Tensor | None = None,
    ) -> _Result:
        x, logabsdet = spline_inverse(inputs, self._knots())
        return x, logabsdet.sum(1)

    def _knots(self) -> Knots:
        return linear_tail_knots(self.unnormalised, SPLINE_BOUND)
