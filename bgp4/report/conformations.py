"""Which conformations a report's page carries: of each bin of a torsion map, the heaviest sample.

A site is what a reader clicks at: the (phi, psi) map of a residue; in a molecule without any, the
histogram of a torsion; without these too, a list of the heaviest samples. The page has to stay
small whatever the number of samples and atoms, so bins are as fine as a number of bytes allows.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import mdtraj
import numpy as np
from numpy.typing import NDArray

from bgp4.molecule.topology import bonded_angles, rotatable_torsions
from bgp4.report.result import RunResult
from bgp4.report.torsions import backbone_atoms, wrapped
from bgp4.statistics.distributions import bin_centres, bin_index

__all__ = ["BUDGET_BYTES", "Choice", "Site", "choose", "sites"]

BUDGET_BYTES = 2_500_000
"""Size of all coordinates of a page, before base64 makes them a third longer."""

BYTES_PER_ATOM = 6

COARSEST = 8
"""Bins along an angle below which conformations are rather left out."""

LISTED = 24
"""Conformations in the list of a molecule without torsions."""

MOST_TORSIONS = 12
"""Histograms of a molecule without phi and psi that lead to conformations."""

Array = NDArray[np.float64]
Indices = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Site:
    """Angles of all conformations by which they are found.

    Attributes:
        kind: "map", "torsion" or "list".
        label: Of the residue or the torsion.
        anchor: Three atoms that stay where they are from one conformation to the next; fewer in
            a molecule of two.
        samples: (n, angles), of the samples in `RunResult.in_space`, rad; two angles in a map, one
            of a torsion, none in a list.
        data: (frames, angles), of the MD frames.
    """

    kind: str
    label: str
    anchor: tuple[int, ...]
    samples: Array
    data: Array


class Choice(NamedTuple):
    """Conformations of a site, as places in `Site.samples` and `Site.data`, and its bins."""

    samples: Indices
    data: Indices
    bins: int


def sites(run: RunResult) -> list[Site]:
    """The sites of a run: all maps, or else some torsions, or else one list."""
    if run.data_torsions:
        return _maps(run)
    return _torsions(run) or [_list(run)]


def _maps(run: RunResult) -> list[Site]:
    return [
        Site(
            "map",
            md.residue,
            anchor,
            np.column_stack([own.phi, own.psi]),
            np.column_stack([md.phi, md.psi]),
        )
        for md, own, anchor in zip(
            run.data_torsions, run.sample_torsions, backbone_atoms(run.topology), strict=True
        )
    ]


def _torsions(run: RunResult) -> list[Site]:
    """Those farthest from MD's, the worst first."""
    found = rotatable_torsions(run.topology)
    tv = np.nan_to_num(run.marginals["torsion"].tv)
    worst = [found[i] for i in np.argsort(-tv, kind="stable")[:MOST_TORSIONS]]
    samples, data = (
        _angles(positions, run.topology, [torsion.atoms for torsion in worst])
        for positions in (run.sample_positions_nm[run.in_space], run.data_positions_nm)
    )
    return [
        Site("torsion", t.label, t.atoms[:3], samples[:, i : i + 1], data[:, i : i + 1])
        for i, t in enumerate(worst)
    ]


def _angles(
    positions_nm: NDArray[np.floating],
    topology: mdtraj.Topology,
    atoms: list[tuple[int, int, int, int]],
) -> Array:  # (n, torsions)
    frames = mdtraj.Trajectory(np.asarray(positions_nm, dtype=np.float32), topology)
    return wrapped(mdtraj.compute_dihedrals(frames, np.reshape(atoms, (-1, 4)), periodic=False))


def _list(run: RunResult) -> Site:
    heavy = {a.index for a in run.topology.atoms if a.element.symbol != "H"}
    angles = bonded_angles(run.topology)
    anchor: tuple[int, ...] = next((a for a in angles if heavy.issuperset(a)), (*angles, ())[0])
    samples, data = np.empty((run.in_space.sum(), 0)), np.empty((len(run.data_positions_nm), 0))
    return Site("list", "heaviest samples", anchor, samples, data)


def choose(run: RunResult, found: list[Site], budget_bytes: int = BUDGET_BYTES) -> list[Choice]:
    """For each site the heaviest sample of each bin, and the MD frame of that bin next to it.

    Bins are the report's, or coarser ones by halves; where even `COARSEST` ones take more than
    the budget, those of the least weight have no conformation.
    """
    weights = run.sample_weights_in_space
    room = budget_bytes // (BYTES_PER_ATOM * run.topology.n_atoms)
    bins = run.bins
    chosen = [_choose(site, weights, bins) for site in found]
    while bins // 2 >= COARSEST and _number(chosen) > room:
        bins //= 2
        chosen = [_choose(site, weights, bins) for site in found]
    if _number(chosen) <= room:
        return chosen
    share = max(room // (2 * len(found)), 1)
    return [
        _most_populated(site, choice, weights, share)
        for site, choice in zip(found, chosen, strict=True)
    ]


def _number(chosen: list[Choice]) -> int:
    """Number of conformations, each counted once."""
    return sum(len(_union(getattr(c, name) for c in chosen)) for name in ("samples", "data"))


def _union(parts: Any) -> Indices:
    return np.unique(np.concatenate(list(parts)))


def _choose(site: Site, weights: Array, bins: int) -> Choice:
    if site.kind == "list":
        heaviest = np.argsort(-weights, kind="stable")[:LISTED]
        frames = np.linspace(0, len(site.data) - 1, min(LISTED, len(site.data))).astype(int)
        return Choice(heaviest[weights[heaviest] > 0], np.unique(frames), bins)
    samples = _first_of_each(_cell(site.samples, bins), -weights, weights > 0)
    at = _centres(bins, site.data.shape[1])
    at[_cell(site.samples[samples], bins)] = site.samples[samples]
    cells = _cell(site.data, bins)
    away = np.square(wrapped(site.data - at[cells])).sum(axis=1)
    return Choice(samples, _first_of_each(cells, away, np.full(len(cells), True)), bins)


def _cell(angles: Array, bins: int) -> Indices:  # (n,)
    """One number of the bin of all angles."""
    cells: Indices = bin_index(angles, bins) @ bins ** np.arange(angles.shape[1])[::-1]
    return cells


def _centres(bins: int, angles: int) -> Array:  # (bins ** angles, angles)
    axes = [bin_centres(bins)] * angles
    return np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, angles)


def _first_of_each(cells: Indices, order_by: Array, allowed: NDArray[np.bool_]) -> Indices:
    """In each cell, the place where `order_by` is the least."""
    order = np.argsort(order_by, kind="stable")
    order = order[allowed[order]]
    _, first = np.unique(cells[order], return_index=True)
    return order[first]


def _most_populated(site: Site, choice: Choice, weights: Array, most: int) -> Choice:
    """The same with so many samples and frames at most."""
    if site.kind == "list":
        return Choice(choice.samples[:most], choice.data[:most], choice.bins)
    counts = (
        np.bincount(_cell(site.samples, choice.bins), weights),
        np.bincount(_cell(site.data, choice.bins)),
    )
    kept = [
        np.sort(places[np.argsort(-count[_cell(angles[places], choice.bins)])[:most]])
        for places, angles, count in zip(choice[:2], (site.samples, site.data), counts, strict=True)
    ]
    return Choice(kept[0], kept[1], choice.bins)
