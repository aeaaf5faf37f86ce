"""What pictures of several runs share: panels, MD data, and how each kind of curve is drawn.

Runs of one molecule share a panel, those of another have their own.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from bgp4.report.result import RunResult
from bgp4.report.style import DATA_COLOUR, Grid, run_colour, short_name

__all__ = [
    "FEW",
    "Look",
    "by_molecule",
    "legend_above",
    "looks",
    "name_runs",
    "names_of",
    "same_data",
]

FEW = 4
"""Rows up to which each is drawn large."""


class Look(NamedTuple):
    """A line's name in the legend, its colour and its style."""

    label: str
    colour: str | tuple[str, float]
    linestyle: Any


def by_molecule(runs: Sequence[RunResult]) -> list[list[int]]:
    """Places of the runs, those of one molecule, with the same bonds to compare, together."""
    groups: list[list[int]] = []
    for index, run in enumerate(runs):
        same = (group for group in groups if _alike(runs[group[0]], run))
        group = next(same, None)
        if group is None:
            groups.append([index])
        else:
            group.append(index)
    return groups


def _alike(one: RunResult, other: RunResult) -> bool:
    same_bonds = one.incomparable_bonds == other.incomparable_bonds
    return same_bonds and bool(one.topology == other.topology)


def names_of(runs: Sequence[RunResult], group: Sequence[int]) -> str:
    """Short names of a molecule's runs, empty where there is no other molecule."""
    return "" if len(group) == len(runs) else ", ".join(short_name(runs[i].name) for i in group)


def looks(runs: Sequence[RunResult], index: int) -> dict[str, Look]:
    """How a run's "data", "samples" and "reweighted" samples are drawn.

    Without data that an earlier run shows, and without "reweighted" where no sample has weight.
    """
    run, colour = runs[index], run_colour(index)
    prefix = f"{short_name(run.name)} " if len(runs) > 1 else ""
    found = {}
    if not any(same_data(run, earlier) for earlier in runs[:index]):
        label, style = ("MD data", "-") if index == 0 else (f"{prefix}MD data", (0, (4, 2)))
        found["data"] = Look(label, DATA_COLOUR, style)
    found["samples"] = Look(f"{prefix}samples", (colour, 0.65), ":")
    if run.sample_weights_in_space.sum() > 0:
        label = f"{prefix}reweighted" if prefix else "reweighted samples"
        found["reweighted"] = Look(label, colour, "-")
    return found


def legend_above(figure: Figure, axes: Grid) -> None:
    """One legend over all axes, with each label once."""
    pairs = [pair for ax in axes.flat for pair in zip(*ax.get_legend_handles_labels(), strict=True)]
    handles = {label: handle for handle, label in reversed(pairs)}
    labels = list(dict.fromkeys(label for _, label in pairs))
    figure.legend([handles[k] for k in labels], labels, loc="outside upper center", ncols=3)


def name_runs(figure: Figure, runs: Sequence[RunResult]) -> None:
    """A legend of the runs' colours, where there are several."""
    if len(runs) > 1:
        names = [short_name(run.name) for run in runs]
        keys = [Line2D([], [], color=run_colour(i), label=name) for i, name in enumerate(names)]
        figure.legend(handles=keys, loc="outside upper center", ncols=4)


def same_data(one: RunResult, other: RunResult) -> bool:
    """Whether two runs have the same MD data, so that one column can stand for both."""
    return (
        one.temperature_k == other.temperature_k
        and np.array_equal(one.data_energy_kt, other.data_energy_kt)
        and one.topology == other.topology
    )
