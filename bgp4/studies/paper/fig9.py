"""Figure 9: the network blocks on alanine dipeptide, with swaps and with P4Inv, from the models."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from nflows.transforms import CompositeTransform, Transform
from torch import nn

from bgp4.config import load_config
from bgp4.flows.build import build_transform
from bgp4.flows.coupling import RealNVPCoupling
from bgp4.p4 import P4InvLinear, p4_layers
from bgp4.parallel.progress import Report
from bgp4.report.style import new_figure, run_colour, styled
from bgp4.studies.paper.boxes import arrow, blank, box
from bgp4.studies.paper.figure import Check, Outcome

CLAIM = (
    "The alanine dipeptide flow has 735,050 parameters in its RealNVP couplings; P4Inv in place of "
    "the swaps adds 9,000."
)


@dataclass(frozen=True)
class Settings:
    config: str = "ala2_paper.yaml"
    features: int = 60


FULL = Settings()
QUICK = Settings()

COUPLINGS, LINEAR = 735_050, 9_000


def run(settings: Settings, report: Report, folder: Path) -> Outcome:
    models = {
        name: build_transform(
            load_config(settings.config, [f"model.mixing={mixing}"]).model, settings.features, 0, 0
        ).linear
        for name, mixing in {"RNVP": "swap", "P4Inv": "p4inv"}.items()
    }
    counts = {name: n_parameters(model) for name, model in models.items()}
    linear = sum(n_parameters(layer) for layer in p4_layers(models["P4Inv"]))
    checks = (
        Check(f"parameters of RNVP, {COUPLINGS}", counts["RNVP"], counts["RNVP"] == COUPLINGS),
        Check(f"parameters of the P4Inv layers, {LINEAR}", linear, linear == LINEAR),
    )
    report(100, "")
    return Outcome(checks, {"parameters": counts, "parameters_p4inv_layers": linear}, draw(models))


def n_parameters(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def describe(layer: Transform) -> tuple[str, str]:
    """A layer in words, and its colour."""
    count = f"{n_parameters(layer):,} parameters"
    if isinstance(layer, RealNVPCoupling):
        network = layer.transform_net.shift.network
        widths = [m.weight.shape for m in network if isinstance(m, nn.Linear)]
        shape = "→".join(str(w) for w in [widths[0][1], *(w[0] for w in widths)])
        return (
            f"RealNVP: y₁ = x₁, y₂ = x₂·exp s(x₁) + t(x₁)\ns, t: {shape} each; {count}",
            run_colour(0),
        )
    if isinstance(layer, P4InvLinear):
        n = layer.features
        return f"P4Inv: y = (A + u vᵀ) x + b\nA, A⁻¹ {n}×{n} kept; {count}", run_colour(1)
    return f"swap of the halves\n{count}", run_colour(2)


@styled
def draw(models: dict[str, CompositeTransform]) -> Figure:
    figure, axes = new_figure(1, len(models), 9.5, 4.8)
    for ax, (name, model) in zip(axes[0], models.items(), strict=True):
        _draw_block(ax, name, model)
    return figure


def _draw_block(ax: Axes, name: str, model: CompositeTransform) -> None:
    layers = list(model._transforms)
    block = layers[: 1 + _repeat(layers)]
    blank(ax, 10, 2 * len(block) + 3.2)
    y = 2.0 * len(block) + 2
    ax.text(5, y + 0.9, "x = (x₁, x₂)", ha="center", fontsize=9)
    for layer in block:
        arrow(ax, (5, y + 0.7), (5, y - 0.02))
        text, colour = describe(layer)
        box(ax, 5, y - 0.6, 9.4, 1.15, text, colour)
        y -= 2
    arrow(ax, (5, y + 0.75), (5, y + 0.1))
    ax.text(5, y - 0.35, "y = (y₁, y₂)", ha="center", fontsize=9)
    ax.set_title(
        f"{name}: {len(layers) // len(block)} such blocks, {n_parameters(model):,} parameters"
    )


def _repeat(layers: list[Transform]) -> int:
    """Index of the last layer of the first block: two couplings, each with a mixing layer."""
    return 3
