"""From the `model` section of a config to the flow."""

from __future__ import annotations

from collections.abc import Callable

import torch
from nflows.transforms import CompositeTransform, Transform
from nflows.transforms.permutations import Permutation
from torch import Tensor

from bgp4.config import Config, ModelConfig
from bgp4.coordinates import InternalCoordinates, Standardise
from bgp4.flows.baselines import LULinear
from bgp4.flows.coupling import (
    AffineCoupling,
    CircularSplineCoupling,
    MarginalSpline,
    RealNVPCoupling,
    SplineCoupling,
)
from bgp4.flows.distances import Distances
from bgp4.flows.generator import BoltzmannGenerator
from bgp4.flows.neighbours import Neighbours, neighbours_within
from bgp4.flows.side_by_side import SideBySide
from bgp4.flows.torsions_first import TorsionsFirst
from bgp4.p4 import P4InvLinear, permutation_state

__all__ = ["build_generator", "build_transform"]

Rng = torch.Generator


def build_generator(
    config: Config, coordinates: InternalCoordinates, standardise: Standardise
) -> BoltzmannGenerator:
    """The untrained generator of a run; its weights follow from the config's seed."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(config.seed)  # the host's alone: no GPU's is touched
        transform = build_transform(
            config.model,
            standardise.n_linear,
            standardise.n_circular,
            config.seed,
            _neighbours(config.model, coordinates, standardise),
            _distances(config.model, coordinates, standardise),
        )
    return BoltzmannGenerator(
        coordinates,
        standardise,
        transform.to(getattr(torch, config.model.precision)),
    )


def build_transform(
    model: ModelConfig,
    n_linear: int,
    n_circular: int,
    seed: int,
    neighbours: Neighbours | None = None,
    distances: Distances | None = None,
) -> TorsionsFirst:
    """The flow's transform of `n_linear` standardised and `n_circular` circular variables.

    `forward` goes data to latent. Permutations, masks and P4's start are drawn from `seed`;
    weights are torch's, so seed torch as well.

    Args:
        neighbours: Of the linear variables, which are coupled and mixed within clusters then.
        distances: What linear variables see of the circular ones, beside cosines and sines.
    """
    rng = torch.Generator().manual_seed(seed)
    n_context = 2 * n_circular + (distances.units if distances else 0)
    linear = _linear_blocks(model, n_linear, n_context, rng, neighbours)
    return TorsionsFirst(linear, _torsion_blocks(model, n_circular, rng), n_circular, distances)


def _neighbours(
    model: ModelConfig, coordinates: InternalCoordinates, standardise: Standardise
) -> Neighbours | None:
    if model.reach is None or not standardise.n_linear:
        return None
    columns = standardise.order[: standardise.n_linear].tolist()
    return neighbours_within(coordinates.zmatrix, columns, model.reach)


def _distances(
    model: ModelConfig, coordinates: InternalCoordinates, standardise: Standardise
) -> Distances | None:
    if model.distances is None or not standardise.n_linear or not standardise.n_circular:
        return None
    return Distances(coordinates, standardise, model.distances)


def _linear_blocks(
    model: ModelConfig,
    features: int,
    context_features: int,
    rng: Rng,
    neighbours: Neighbours | None,
) -> Transform:
    """RealNVP blocks: twice a coupling and a mixing layer (the paper's figure 9)."""
    sizes = neighbours.sizes if neighbours else [features]
    mask = torch.cat([_first_half(size) for size in sizes])
    layers: list[Transform] = [Permutation(neighbours.order)] if neighbours else []
    for _ in range(model.blocks):
        if model.coupling == "hybrid":
            layers.append(MarginalSpline(features, model.bins))
        for _ in range(2):
            layers.append(_linear_coupling(model, mask, context_features, neighbours))
            layers.append(_mixing(model, sizes, rng))
    return CompositeTransform(layers)


def _mixing(model: ModelConfig, sizes: list[int], rng: Rng) -> Transform:
    made = [_MIXING[model.mixing](model, size, rng) for size in sizes]
    return made[0] if len(made) == 1 else SideBySide(made, sizes)


def _torsion_blocks(model: ModelConfig, features: int, rng: Rng) -> Transform:
    """Circular couplings on alternating random halves; one torsion alone has no other half."""
    layers: list[Transform] = []
    for _ in range(model.torsion_blocks if features else 0):
        half = _first_half(features)[torch.randperm(features, generator=rng)]
        for mask in (half, 1 - half):
            if mask.any():
                layers.append(CircularSplineCoupling(mask, model.hidden, model.bins))
    return CompositeTransform(layers)


def _linear_coupling(
    model: ModelConfig, mask: Tensor, context_features: int, neighbours: Neighbours | None
) -> Transform:
    hidden = model.local_hidden if neighbours else model.hidden
    if model.coupling == "spline":
        return SplineCoupling(mask, hidden, context_features, neighbours, model.bins)
    coupling = RealNVPCoupling if model.coupling == "realnvp" else AffineCoupling
    return coupling(mask, hidden, context_features, neighbours)


def _first_half(features: int) -> Tensor:
    """1 for the first half (rounded down, but at least one), which a coupling transforms."""
    mask = torch.zeros(features, dtype=torch.long)
    mask[: max(features // 2, 1)] = 1
    return mask


def _permutation(kind: str, features: int, rng: Rng) -> Tensor:
    """A random one, or the swap, which moves the second half to the front."""
    if kind == "permutation":
        return torch.randperm(features, generator=rng)
    return torch.arange(features).roll(-(features // 2))


def _fixed(model: ModelConfig, features: int, rng: Rng) -> Transform:
    return Permutation(_permutation(model.mixing, features, rng))


def _p4inv(model: ModelConfig, features: int, rng: Rng) -> Transform:
    state = permutation_state(_permutation(model.mixing_start, features, rng).tolist())
    return P4InvLinear(features, state, generator=rng)


def _lu(model: ModelConfig, features: int, rng: Rng) -> Transform:
    start = Permutation(_permutation(model.mixing_start, features, rng))
    return CompositeTransform([start, LULinear(features)])


_MIXING: dict[str, Callable[[ModelConfig, int, Rng], Transform]] = {
    "p4inv": _p4inv,
    "lu": _lu,
    "permutation": _fixed,
    "swap": _fixed,
}
