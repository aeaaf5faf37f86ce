"""Figure 10: MNIST by plain SGD, dense layers against dense layers with rank-one updates."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Generator, Tensor, nn

from bgp4.p4 import P4Dense
from bgp4.parallel.progress import Report
from bgp4.report.style import new_figure, run_colour, styled
from bgp4.studies.paper.figure import Check, Outcome
from bgp4.studies.paper.mnist import Digits, load_mnist
from bgp4.studies.paper.replicas import Curves, SGDSettings, fit_replicas

CLAIM = (
    "On MNIST with plain SGD, a perceptron trained by rank-one updates reaches nearly the loss "
    "and the test accuracy of a standard one, over ten replicas."
)


@dataclass(frozen=True)
class Settings:
    """Both networks train alike.

    Of rank-one updates, v v^T has mean I, but its scatter adds noise to every step, in proportion
    to the learning rate, and to that of each image's gradient: a large batch and small steps, for
    as many epochs as they take, keep it down.

    Attributes:
        hidden: Widths of the hidden layers.
        sgd: How they are trained.
        seeds: One for each replica.
        images: How many images are trained on; None: all 60,000.
        data: Folder with MNIST's IDX files.
    """

    hidden: tuple[int, ...]
    sgd: SGDSettings
    seeds: tuple[int, ...]
    images: int | None = None
    data: str | None = None


FULL = Settings((64,), SGDSettings(104, 256, 0.012, 1), seeds=tuple(range(10)))
QUICK = Settings((16,), SGDSettings(4, 16, 0.01, 1), seeds=(0, 1, 2), images=6_000)


def run(settings: Settings, report: Report, folder: Path) -> Outcome:
    train, test = load_mnist(settings.data)
    mean = train.images.mean(0)
    train = Digits(train.images[: settings.images] - mean, train.labels[: settings.images])
    test = test._replace(images=test.images - mean)
    curves = {}
    for i, (name, network) in enumerate(NETWORKS.items()):

        def told(epoch: int, i: int = i, name: str = name) -> None:
            share = (i + epoch / settings.sgd.epochs) / len(NETWORKS)
            report(int(100 * share), f"{name}, epoch {epoch}")

        make = partial(network, settings.hidden)
        curves[name] = fit_replicas(make, train, test, settings.sgd, settings.seeds, told)
    return Outcome(_checks(curves), _numbers(curves), draw(curves))


def standard(hidden: tuple[int, ...], generator: Generator) -> nn.Module:
    """nn.Linear with ReLU in between."""
    with torch.random.fork_rng():
        torch.manual_seed(generator.initial_seed())
        return _perceptron(hidden, nn.Linear)


def rank_one(hidden: tuple[int, ...], generator: Generator) -> nn.Module:
    """The same from `P4Dense`."""
    return _perceptron(hidden, lambda n, m: P4Dense(n, m, generator))


NETWORKS = {"standard": standard, "rank-one": rank_one}


def _perceptron(hidden: tuple[int, ...], linear: Callable[[int, int], nn.Module]) -> nn.Module:
    layers: list[nn.Module] = []
    for n, m in pairwise((784, *hidden, 10)):
        layers += [linear(n, m), nn.ReLU()]
    return nn.Sequential(*layers[:-1])


def _checks(curves: dict[str, Curves]) -> tuple[Check, ...]:
    final = {name: 100 * c.accuracy[-1] for name, c in curves.items()}
    lowest = min(float(accuracy.mean()) for accuracy in final.values())
    gap = float(final["standard"].mean() - final["rank-one"].mean())
    first, last = curves["rank-one"].loss.mean(1)[[0, -1]].tolist()
    return (
        Check("test accuracy of both, mean over replicas in %, above 95", lowest, lowest > 95),
        Check("standard above rank-one in percentage points, at most 1", gap, gap <= 1),
        Check(
            "rank-one's training loss, last epoch over first, below 0.5",
            last / first,
            last < first / 2,
        ),
    )


def _numbers(curves: dict[str, Curves]) -> dict[str, object]:
    standard, rank_one = (curves[name].loss.mean(1).numpy() for name in NETWORKS)
    epochs = np.arange(1, 1 + len(standard))
    return {
        "epoch_of_standard_with_final_loss_of_rank-one": np.interp(-rank_one[-1], -standard, epochs)
    } | {
        name: {
            "final_accuracy": _mean_and_std(c.accuracy[-1]),
            "final_loss": _mean_and_std(c.loss[-1]),
            "accuracy": c.accuracy.tolist(),
            "loss": c.loss.tolist(),
        }
        for name, c in curves.items()
    }


def _mean_and_std(values: Tensor) -> dict[str, float]:
    return {"mean": float(values.mean()), "std": float(values.std())}


@styled
def draw(curves: dict[str, Curves]) -> Figure:
    figure, axes = new_figure(1, 2, 10, 4)
    for i, (name, c) in enumerate(curves.items()):
        _band(axes[0, 0], c.loss, name, run_colour(i))
        _band(axes[0, 1], 100 * c.accuracy, name, run_colour(i))
    axes[0, 0].set(yscale="log", xlabel="epoch", ylabel="cross-entropy", title="Training loss")
    axes[0, 1].set(xlabel="epoch", ylabel="%", title="Test accuracy")
    axes[0, 1].legend()
    return figure


def _band(ax: Axes, values: Tensor, label: str, colour: str) -> None:
    """Mean over replicas, and one standard deviation either way."""
    epochs = torch.arange(1, len(values) + 1)
    mean, std = values.mean(1), values.std(1)
    ax.plot(epochs, mean, color=colour, label=label)
    ax.fill_between(epochs, mean - std, mean + std, color=colour, alpha=0.25, lw=0)
