"""What NMR measures: 3J couplings by Karplus curves, and distances by NOE."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import combinations

import mdtraj
import numpy as np
from numpy.typing import NDArray

from bgp4.answers.variables import Variable
from bgp4.answers.weighted import Estimate, Weighted
from bgp4.errors import UserInputError
from bgp4.molecule.topology import atom_label, bond_graph

__all__ = ["KARPLUS", "averages", "effective_distance", "j_couplings", "noe"]

Array = NDArray[np.float64]

KARPLUS = "Bax2007"
"""mdtraj's name of the parameters of all three curves (Vögeli et al., J. Am. Chem. Soc. 129, 9377,
2007), which are good to 0.36, 0.30 and 0.22 Hz."""

FARTHEST_NM = 0.6
"""Effective distances beyond which no NOE is seen."""

CHUNK = 2_000
"""Frames whose distances are in memory at a time."""


def j_couplings(sample: Weighted) -> list[Estimate]:
    """3J(HN-Hα), 3J(HN-C') and 3J(HN-Cβ) of each residue with φ and an amide hydrogen, in Hz.

    Raises:
        UserInputError: If the molecule has none.
    """
    topology = sample.frames.topology
    graph = bond_graph(topology)
    curves = {
        "HA": (mdtraj.compute_J3_HN_HA, {"HA"}),
        "C": (mdtraj.compute_J3_HN_C, set()),
        "CB": (mdtraj.compute_J3_HN_CB, {"CB"}),
    }
    found = []
    for partner, (compute, needed) in curves.items():
        atoms, hertz = compute(sample.frames, model=KARPLUS)
        for four, values in zip(atoms, hertz.T.astype(np.float64), strict=True):
            alpha = topology.atom(int(four[2]))
            symbols = {topology.atom(i).element.symbol for i in graph[int(four[1])]}
            if "H" in symbols and needed <= {atom.name for atom in alpha.residue.atoms}:
                value, error = sample.average(values[:, None])
                name = f"3J(HN-{partner}) {alpha.residue}"
                found.append(Estimate(name, float(value[0]), float(error[0]), "Hz"))
    if not found:
        raise UserInputError(
            "J couplings: expected a peptide with φ and an amide hydrogen, found no such residue"
        )
    return found


def noe(sample: Weighted, farthest_nm: float = FARTHEST_NM) -> list[Estimate]:
    """Effective distances <r^-6>^(-1/6) of hydrogens, in nm, of those within `farthest_nm`.

    The three hydrogens of a methyl group or an ammonium are one: r^-6 is averaged over all pairs.

    Raises:
        UserInputError: If the molecule has fewer than two groups of hydrogens.
    """
    groups = dict(_hydrogens(sample.frames.topology))
    pairs = list(combinations(groups, 2))
    if not pairs:
        raise UserInputError("NOE: expected a molecule with two hydrogens, found fewer")
    return [one for one in _distances(sample, groups, pairs) if one.value < farthest_nm]


def effective_distance(sample: Weighted, name: str) -> Estimate | None:
    """That of one pair, named as `noe` names it; None if these are no two groups of hydrogens.

    >>> from bgp4 import load
    >>> effective_distance(load("ala2").sample(100).weighted, "ALA2-H ALA2-HA").unit
    'nm'
    """
    groups = dict(_hydrogens(sample.frames.topology))
    pair = tuple(name.split())
    if len(pair) != 2 or not set(pair) <= set(groups) or pair[0] == pair[1]:
        return None
    return _distances(sample, groups, [pair])[0]


def averages(sample: Weighted, variables: Sequence[Variable]) -> list[Estimate]:
    """Averages of variables, in their units.

    Raises:
        UserInputError: If one is periodic, for which a mean says nothing.
    """
    for one in variables:
        if one.periodic:
            raise UserInputError(
                f"average of {one.name!r}: the mean of a torsion says nothing; ask for its surface "
                f'by --fes "{one.name}"'
            )
    values, errors = sample.average(np.stack([one.values for one in variables], axis=1))
    named = zip(variables, values.tolist(), errors.tolist(), strict=True)
    return [Estimate(one.name, value, error, one.unit) for one, value, error in named]


def _distances(
    sample: Weighted, groups: dict[str, list[int]], pairs: list[tuple[str, str]]
) -> list[Estimate]:
    """<r^-6>^(-1/6) of pairs of groups, r^-6 averaged over all hydrogens of both, in nm."""
    atoms = [[(i, j) for i in groups[a] for j in groups[b]] for a, b in pairs]
    flat = np.array([pair for own in atoms for pair in own])
    starts = np.cumsum([0, *(len(own) for own in atoms[:-1])])
    inverse = np.concatenate(
        [
            np.add.reduceat(_inverse_sixth(sample.frames[i : i + CHUNK], flat), starts, axis=1)
            for i in range(0, sample.frames.n_frames, CHUNK)
        ]
    ) / [len(own) for own in atoms]
    values, errors = sample.average(inverse, lambda mean: mean ** (-1 / 6))
    named = zip(pairs, values.tolist(), errors.tolist(), strict=True)
    return [Estimate(f"{a} {b}", value, error, "nm") for (a, b), value, error in named]


def _inverse_sixth(frames: mdtraj.Trajectory, pairs: NDArray[np.integer]) -> Array:
    return mdtraj.compute_distances(frames, pairs, periodic=False).astype(np.float64) ** -6


def _hydrogens(topology: mdtraj.Topology) -> Iterator[tuple[str, list[int]]]:
    """Hydrogens by label; three on one atom together, such as ALA2-HB1/HB2/HB3."""
    graph = bond_graph(topology)
    for atom in topology.atoms:
        own = [i for i in sorted(graph[atom.index]) if topology.atom(i).element.symbol == "H"]
        if len(own) == 3 and atom.element.symbol in ("C", "N"):
            names = "/".join(topology.atom(i).name for i in own)
            yield f"{topology.atom(own[0]).residue}-{names}", own
        else:
            yield from ((atom_label(topology, i), [i]) for i in own)
