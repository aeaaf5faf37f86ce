"""Flows in the plane, trained by maximum likelihood: what figures 6 and 8 compare."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import cache
from itertools import chain, product
from typing import Literal

import numpy as np
import torch
from nflows.transforms import CompositeTransform, Transform
from numpy.typing import NDArray
from torch import Generator, Tensor

from bgp4.flows.bent_stack import BentStack
from bgp4.flows.coupling import RealNVPCoupling
from bgp4.p4 import P4InvLinear, P4Report, P4Schedule, merge_step
from bgp4.parallel.progress import Report
from bgp4.report.style import Grid
from bgp4.studies.paper.densities import DENSITIES, EXTENT

__all__ = [
    "FLOWS",
    "PAPER_DENSITIES",
    "QUICK_PLANE",
    "Fits",
    "Kind",
    "Planar",
    "PlanarFit",
    "Plane",
    "Runs",
    "divergences",
    "draw_densities",
    "entropy",
    "fit_densities",
    "fit_planar",
    "log_likelihoods",
    "log_prob",
    "n_parameters",
    "planar_numbers",
    "sample",
]

Kind = Literal["RNVP", "P4Inv", "inverse P4Inv"]


@dataclass(frozen=True)
class Planar:
    """The flows and how they are trained, the same for every density and seed.

    Attributes:
        p4_layers: P4Inv layers, of six parameters each.
        couplings: RealNVP couplings, by turns of the one and of the other variable.
        hidden: Width of their networks' hidden layer.
        steps: Of Adam, on a fresh batch each.
        batch: Points a batch.
        learning_rate: RealNVP's at the start; it falls to zero along a cosine.
        p4_learning_rate: The same for P4Inv.
        gradient_clip: Norm that a gradient may have.
        merge_every: N, steps between P4Inv's merges.
        held_out: Points, never trained on, whose log-likelihood is reported.
    """

    p4_layers: int = 150
    couplings: int = 8
    hidden: int = 18
    steps: int = 2000
    batch: int = 256
    learning_rate: float = 0.03
    p4_learning_rate: float = 0.02
    gradient_clip: float = 3.0
    merge_every: int = 25
    held_out: int = 20_000


@dataclass(frozen=True)
class Plane:
    """What is trained on what: every density and seed alike."""

    densities: tuple[str, ...]
    planar: Planar
    seeds: tuple[int, ...]


@dataclass(frozen=True)
class PlanarFit:
    """A trained flow.

    Attributes:
        transform: From data to latent.
        log_likelihood: Mean over the held-out points, in nats.
        divergence: KL(data || flow), the mean log-likelihood below the density's own, in nats.
        merges: What P4Inv's merges did.
    """

    transform: Transform
    log_likelihood: float
    divergence: float
    merges: P4Report


def p4_stack(planar: Planar, generator: Generator) -> Transform:
    """P4Inv layers with a Bent identity or its inverse, by turns, in between."""
    return BentStack(_p4_layers(planar, generator))


def inverse_p4_stack(planar: Planar, generator: Generator) -> Transform:
    """The same, each layer taking data to latent by its inverse."""
    return BentStack(_p4_layers(planar, generator), through_inverse=True)


def _p4_layers(planar: Planar, generator: Generator) -> list[P4InvLinear]:
    return [P4InvLinear(2, generator=generator) for _ in range(planar.p4_layers)]


def realnvp(planar: Planar, generator: Generator) -> Transform:
    """RealNVP couplings that transform the one variable and the other by turns."""
    with torch.random.fork_rng():
        torch.manual_seed(int(torch.randint(2**31, (), generator=generator)))
        masks = (torch.tensor([(i + 1) % 2, i % 2]) for i in range(planar.couplings))
        return CompositeTransform([RealNVPCoupling(mask, [planar.hidden]) for mask in masks])


FLOWS: dict[Kind, Callable[[Planar, Generator], Transform]] = {
    "RNVP": realnvp,
    "P4Inv": p4_stack,
    "inverse P4Inv": inverse_p4_stack,
}


def n_parameters(kind: Kind, planar: Planar) -> int:
    """What Adam trains."""
    return sum(p.numel() for p in FLOWS[kind](planar, Generator()).parameters())


def log_prob(
    transform: Transform,
    points: Tensor,  # (n, 2)
) -> Tensor:
    """log p of each point under the flow to N(0, I), (n,)."""
    z, logabsdet = transform(points)
    log_p: Tensor = logabsdet - 0.5 * z.square().sum(1) - LOG_2PI
    return log_p


def sample(transform: Transform, n: int, generator: Generator) -> Tensor:
    """Points from the flow, (n, 2)."""
    with torch.no_grad():
        x: Tensor = transform.inverse(torch.randn(n, 2, generator=generator))[0]
    return x


@cache
def fit_planar(kind: Kind, density: str, planar: Planar, seed: int) -> PlanarFit:
    """Train a flow on fresh points of a density.

    Figures 6 and 8 share the fits that they have in common, where one process makes both.
    """
    draw = DENSITIES[density].draw
    generator = Generator().manual_seed(seed)
    transform = FLOWS[kind](planar, generator)
    rate = planar.learning_rate if kind == "RNVP" else planar.p4_learning_rate
    optimizer = torch.optim.Adam(transform.parameters(), rate, fused=True)
    decay = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, planar.steps)
    schedule = P4Schedule(merge_every=planar.merge_every)
    merges = P4Report()
    for step in range(1, planar.steps + 1):
        loss = -log_prob(transform, draw(planar.batch, generator)).mean()
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(transform.parameters(), planar.gradient_clip)
        optimizer.step()
        decay.step()
        merges += merge_step(transform, optimizer, step, schedule, generator)
    held_out = held_out_points(density, planar)
    with torch.no_grad():
        log_q = log_prob(transform, held_out)
    divergence = (DENSITIES[density].log_prob(held_out) - log_q).mean().item()
    return PlanarFit(transform, log_q.mean().item(), divergence, merges)


def held_out_points(density: str, planar: Planar) -> Tensor:
    """The same for every flow, (held_out, 2)."""
    return DENSITIES[density].draw(planar.held_out, Generator().manual_seed(HELD_OUT_SEED))


def entropy(density: str, planar: Planar) -> float:
    """Of a density, by its held-out points, in nats."""
    return -DENSITIES[density].log_prob(held_out_points(density, planar)).mean().item()


PAPER_DENSITIES = ("checkerboard", "moons", "pinwheel", "rings")

QUICK_PLANE = Plane(
    densities=("moons",),
    planar=Planar(p4_layers=26, couplings=4, hidden=6, steps=100),
    seeds=(0, 1),
)

Runs = dict[str, list[PlanarFit]]
"""By density and seed."""

Fits = dict[Kind, Runs]
"""By flow."""


def fit_densities(kinds: Sequence[Kind], plane: Plane, report: Report) -> Fits:
    """Each kind of flow on each density from each seed; progress in percent."""
    fits: Fits = {kind: {name: [] for name in plane.densities} for kind in kinds}
    cases = list(product(plane.densities, kinds, plane.seeds))
    for i, (name, kind, seed) in enumerate(cases):
        report(100 * i // len(cases), f"{name}, {kind}, seed {seed}")
        fits[kind][name].append(fit_planar(kind, name, plane.planar, seed))
    return fits


def log_likelihoods(runs: Sequence[PlanarFit]) -> NDArray[np.float64]:
    """Held-out, of each seed, (seeds,)."""
    return np.array([fit.log_likelihood for fit in runs])


def divergences(runs: Sequence[PlanarFit]) -> NDArray[np.float64]:
    """KL(data || flow) of each seed, (seeds,)."""
    return np.array([fit.divergence for fit in runs])


def planar_numbers(fits: Fits, planar: Planar) -> dict[str, object]:
    """Entropies, each flow's parameters, log-likelihoods, divergences, and its merges' fate."""
    densities = next(iter(fits.values()))
    return {"entropy": {name: entropy(name, planar) for name in densities}} | {
        kind: {
            "parameters": n_parameters(kind, planar),
            "log_likelihood": _over_seeds(runs, log_likelihoods),
            "divergence": _over_seeds(runs, divergences),
            "merges": asdict(sum((fit.merges for fit in chain(*runs.values())), P4Report())),
        }
        for kind, runs in fits.items()
    }


def _over_seeds(
    runs: Runs, measure: Callable[[Sequence[PlanarFit]], NDArray[np.float64]]
) -> dict[str, object]:
    """A measure's mean, standard deviation and values, by density."""
    return {
        name: {"mean": values.mean(), "std": values.std(ddof=1), "seeds": values}
        for name, values in zip(runs, map(measure, runs.values()), strict=True)
    }


def draw_densities(
    axes: Grid,  # (densities, 1 + flows)
    fits: Fits,
) -> None:
    """A row for each density: data, and samples from each flow's first seed."""
    for row, name in zip(axes, next(iter(fits.values())), strict=True):
        columns = {name: DENSITIES[name].draw(DRAWN, Generator().manual_seed(0))}
        for kind, runs in fits.items():
            first = runs[name][0]
            title = f"{kind}, KL {first.divergence:.2f}"
            columns[title] = sample(first.transform, DRAWN, Generator().manual_seed(0))
        for ax, (title, points) in zip(row, columns.items(), strict=True):
            x, y = points.T.numpy()
            ax.hist2d(x, y, bins=150, range=[(-EXTENT, EXTENT)] * 2, cmap="magma", rasterized=True)
            ax.set(title=title, aspect="equal")
            ax.set_axis_off()


DRAWN = 100_000
"""Points in each picture."""

HELD_OUT_SEED = 2**31 - 1
"""No run's own seed: every flow is judged on the same points."""

LOG_2PI = math.log(2 * math.pi)
