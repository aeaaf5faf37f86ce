"""Figure 1: what an optimizer moves in an ordinary layer and in a P4Inv layer."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import nn

from bgp4.p4 import P4InvLinear
from bgp4.parallel.progress import Report
from bgp4.report.style import new_figure, run_colour, styled
from bgp4.studies.paper.boxes import arrow, blank, box
from bgp4.studies.paper.figure import Check, Outcome

CLAIM = (
    "P4 trains perturbations of the parameters that preserve a property of the network, here "
    "invertibility with a known inverse and determinant."
)


@dataclass(frozen=True)
class Settings:
    n: int = 60
    batch: int = 16
    seed: int = 0


FULL = Settings()
QUICK = Settings()


def run(settings: Settings, report: Report, folder: Path) -> Outcome:
    """One perturbation merged: what the layer computes must not change, and must be exact."""
    generator = torch.Generator().manual_seed(settings.seed)
    layer = P4InvLinear(settings.n, generator=generator, dtype=torch.float64)
    shape = (settings.batch, settings.n)
    x = torch.randn(shape, generator=generator, dtype=torch.float64)
    with torch.no_grad():
        layer.u.normal_(std=0.1, generator=generator)
        y, logabsdet = layer(x)
        layer.merge(generator)
        y_merged, logabsdet_merged = layer(x)
        back, _ = layer.inverse(y_merged)
        exact = torch.linalg.slogdet(layer.weight()).logabsdet
    numbers = {
        "change_of_y": float((y_merged - y).abs().max()),
        "change_of_logabsdet": float((logabsdet_merged - logabsdet).abs().max()),
        "round_trip": float((back - x).abs().max()),
        "logabsdet_error": float((logabsdet_merged - exact).abs().max()),
    }
    checks = tuple(
        Check(f"{what.replace('_', ' ')} in float64, at most 1e-10", value, value <= 1e-10)
        for what, value in numbers.items()
    )
    report(100, "")
    return Outcome(checks, numbers, draw(layer))


@styled
def draw(layer: P4InvLinear) -> Figure:
    figure, axes = new_figure(1, 2, 10.5, 4.2)
    _draw_layer(axes[0, 0], "ordinary training", nn.Linear(layer.features, layer.features))
    _draw_layer(axes[0, 1], "P4 training", layer)
    return figure


def _draw_layer(ax: Axes, title: str, layer: nn.Module) -> None:
    """x → layer → y, the parameters that the optimizer moves, and the buffers that it doesn't."""
    blank(ax, 12, 8)
    box(ax, 6, 6, 6.4, 1.4, repr(layer).replace(", ", ",\n", 1), run_colour(0))
    arrow(ax, (0.8, 6), (2.75, 6))
    arrow(ax, (9.25, 6), (11.2, 6))
    ax.text(0.5, 6, "x", ha="center", va="center")
    ax.text(11.5, 6, "y", ha="center", va="center")
    moved = "\n".join(f"{name} {tuple(p.shape)}" for name, p in layer.named_parameters())
    box(ax, 3, 3.2, 4.6, 1.9, f"parameters\n{moved}", run_colour(1))
    arrow(ax, (3, 4.2), (4.4, 5.25))
    box(ax, 3, 0.8, 4.6, 0.9, "optimizer: ∂loss/∂parameters", run_colour(5))
    arrow(ax, (3, 1.28), (3, 2.2))
    kept = "\n".join(
        f"{name} {tuple(b.shape)}" for name, b in layer.named_buffers() if name != "merges"
    )
    if kept:
        box(ax, 9.3, 3.2, 4.6, 2.3, f"kept beside them\n{kept}", run_colour(2))
        arrow(ax, (9.3, 4.4), (7.8, 5.25))
        arrow(ax, (5.35, 2.8), (6.95, 2.8))
        arrow(ax, (7.4, 1.35), (6.3, 2.7))
        ax.text(8.4, 0.8, "merge, every N steps:\nA ← A + u vᵀ, u ← 0", ha="center", fontsize=7.5)
    ax.set_title(title)
