"""Chemistry read off a topology's elements and bonds."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import combinations
from typing import NamedTuple

import mdtraj
import networkx as nx
from mdtraj.geometry import dihedral

from bgp4.molecule.lines import linear_atoms

__all__ = [
    "Torsion",
    "atom_label",
    "atoms_label",
    "bond_graph",
    "bond_names",
    "bond_pairs",
    "bonded_angles",
    "distinct",
    "peptide_torsions",
    "rings",
    "rotatable_torsions",
    "solvent",
]

IONS = {"Li", "Na", "K", "Rb", "Cs", "Mg", "Ca", "Zn", "F", "Cl", "Br", "I"}
"""Elements of which an atom by itself is an ion."""

MOST_NAMED = 4
"""Bonds that a list of them names."""

CHI = (
    dihedral.indices_chi1,
    dihedral.indices_chi2,
    dihedral.indices_chi3,
    dihedral.indices_chi4,
    dihedral.indices_chi5,
)


def atom_label(topology: mdtraj.Topology, index: int) -> str:
    """Residue, number and name of an atom, ALA2-CA."""
    return str(topology.atom(index))


def bond_pairs(topology: mdtraj.Topology) -> list[tuple[int, int]]:
    """Atom indices of every bond, the lower one first, in the topology's order."""
    return [(min(a.index, b.index), max(a.index, b.index)) for a, b in topology.bonds]


def bond_names(topology: mdtraj.Topology, bonds: Sequence[tuple[int, int]]) -> str:
    """The first few bonds by name, or what they are all of.

    Args:
        bonds: Atom indices, the lower one first.
    """
    every = set(bond_pairs(topology))
    with_hydrogen = {bond for bond in every if not all(_heavy(topology, i) for i in bond)}
    if set(bonds) in (every, with_hydrogen):
        return "all bonds" + " to hydrogen" * (set(bonds) != every)
    names = ["-".join(atom_label(topology, i) for i in bond) for bond in bonds]
    return ", ".join(names[:MOST_NAMED]) + (", ..." if len(names) > MOST_NAMED else "")


def bond_graph(topology: mdtraj.Topology) -> nx.Graph:
    """Atom indices, and the bonds between them."""
    graph = nx.Graph()
    graph.add_nodes_from(range(topology.n_atoms))
    graph.add_edges_from((a.index, b.index) for a, b in topology.bonds)
    return graph


def rings(graph: nx.Graph) -> list[list[int]]:
    """The smallest rings, each in the order of its bonds."""
    return [ring for part in nx.biconnected_components(graph) for ring in _of_part(graph, part)]


def _of_part(graph: nx.Graph, atoms: set[int]) -> Iterator[list[int]]:
    if len(atoms) > 2:
        yield from nx.minimum_cycle_basis(graph.subgraph(atoms))


def solvent(topology: mdtraj.Topology) -> list[mdtraj.core.topology.Residue]:
    """Residues that are water, or an ion of one atom."""
    return [r for r in topology.residues if r.is_water or _is_ion(r)]


def _is_ion(residue: mdtraj.core.topology.Residue) -> bool:
    atoms = list(residue.atoms)
    return len(atoms) == 1 and atoms[0].element is not None and atoms[0].element.symbol in IONS


class Torsion(NamedTuple):
    """Four atoms in a row, and what the torsion about the middle two is called."""

    label: str
    atoms: tuple[int, int, int, int]


def bonded_angles(topology: mdtraj.Topology) -> list[tuple[int, int, int]]:
    """All atoms i-j-k with bonds i-j and j-k, i < k, in order of j."""
    graph = bond_graph(topology)
    return [(i, j, k) for j in sorted(graph) for i, k in combinations(sorted(graph[j]), 2)]


def rotatable_torsions(topology: mdtraj.Topology) -> list[Torsion]:
    """One torsion for each bond outside rings whose ends both have a further heavy neighbour.

    Methyl rotations are thus left out. A line of bonds (C-C≡C-C) counts as one bond between its
    ends. A bond of φ, ψ or χ has mdtraj's four atoms, a peptide bond those of `peptide_torsions`,
    any other bond the first heavy neighbours. In order of the bonds.
    """
    graph = bond_graph(topology)
    linear = linear_atoms(graph, [atom.element.symbol for atom in topology.atoms])
    named = _named_torsions(topology)
    found: dict[tuple[int, int], Torsion] = {}
    for bond in sorted((min(bond), max(bond)) for bond in nx.bridges(graph)):
        (j, after_j), (k, after_k) = (
            _end_of_line(graph, linear, *way) for way in (bond[::-1], bond)
        )
        before, after = (
            [i for i in sorted(graph[end]) if i != inside and _heavy(topology, i)]
            for end, inside in ((j, after_j), (k, after_k))
        )
        if before and after and (k, j) not in found:
            four = (before[0], j, k, after[0])
            unnamed = Torsion(atoms_label(topology, four), four)
            found[j, k] = named.get(frozenset((j, k)), unnamed)
    labels = distinct(torsion.label for torsion in found.values())
    return [Torsion(label, t.atoms) for label, t in zip(labels, found.values(), strict=True)]


def _end_of_line(graph: nx.Graph, linear: set[int], before: int, atom: int) -> tuple[int, int]:
    """The first atom from `atom` on that is not linear, and the one before it."""
    while atom in linear:
        before, atom = atom, next(i for i in graph[atom] if i != before)
    return atom, before


def _heavy(topology: mdtraj.Topology, index: int) -> bool:
    return bool(topology.atom(index).element.symbol != "H")


def _named_torsions(topology: mdtraj.Topology) -> dict[frozenset[int], Torsion]:
    """φ, ψ, ω and χ by the two atoms of their bond; the residue is that of the α carbon.

    ω, from Cα to the next Cα, counts to the first of its two residues, as in mdtraj.
    """
    symbols = {
        "φ": dihedral.indices_phi(topology),
        "ψ": dihedral.indices_psi(topology),
        "ω": [four for four in peptide_torsions(topology) if _between_residues(topology, four)],
        **{f"χ{i}": indices(topology) for i, indices in enumerate(CHI, 1)},
    }
    named = {}
    for symbol, quadruples in symbols.items():
        for i, j, k, m in quadruples:
            four = (int(i), int(j), int(k), int(m))
            residue = topology.atom(four[2 if symbol == "φ" else 1]).residue
            named[frozenset(four[1:3])] = Torsion(f"{symbol} {residue}", four)
    return named


def _between_residues(topology: mdtraj.Topology, four: Sequence[int]) -> bool:
    return bool(topology.atom(four[1]).residue != topology.atom(four[2]).residue)


def atoms_label(topology: mdtraj.Topology, indices: Iterable[int]) -> str:
    """The atoms' names, and their residues if the molecule has several: CA–CB ALA2."""
    atoms = [topology.atom(int(i)) for i in indices]
    names = "–".join(atom.name for atom in atoms)
    residues = "/".join(dict.fromkeys(str(atom.residue) for atom in atoms))
    return f"{names} {residues}" if topology.n_residues > 1 else names


def distinct(labels: Iterable[str]) -> list[str]:
    """The labels with a number after each one that came before.

    >>> distinct(["ALA2", "GLY3", "ALA2"])
    ['ALA2', 'GLY3', 'ALA2 (2)']
    """
    seen: dict[str, int] = {}
    found = []
    for label in labels:
        seen[label] = seen.get(label, 0) + 1
        found.append(label if seen[label] == 1 else f"{label} ({seen[label]})")
    return found


def peptide_torsions(topology: mdtraj.Topology) -> list[tuple[int, int, int, int]]:
    """ω of each peptide bond O=C-N: atoms (carbon on C, C, N, carbon on N), the caps' included.

    Where N has two carbons besides C (proline), the one named CA is taken.
    """
    graph = bond_graph(topology)
    neighbours = {i: [topology.atom(j) for j in graph[i]] for i in graph}
    found = []
    for a, b in topology.bonds:
        for c, n in ((a, b), (b, a)):
            if (c.element.symbol, n.element.symbol) != ("C", "N") or not _carbonyl(c, neighbours):
                continue
            before = [x for x in neighbours[c.index] if x.element.symbol == "C"]
            after = [x for x in neighbours[n.index] if x.element.symbol == "C" and x != c]
            if before and after:
                last = min(after, key=lambda x: (x.name != "CA", x.index))
                found.append((before[0].index, c.index, n.index, last.index))
    return sorted(found)


def _carbonyl(carbon: mdtraj.core.topology.Atom, neighbours: dict) -> bool:
    """Whether an oxygen with no other neighbour hangs on this carbon."""
    return any(
        x.element.symbol == "O" and len(neighbours[x.index]) == 1 for x in neighbours[carbon.index]
    )
