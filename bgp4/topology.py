"""Chemistry read off a topology's elements and bonds."""

from __future__ import annotations

from collections.abc import Iterator

import mdtraj
import networkx as nx

__all__ = ["atom_label", "bond_graph", "peptide_torsions", "rings", "solvent"]

IONS = {"Li", "Na", "K", "Rb", "Cs", "Mg", "Ca", "Zn", "F", "Cl", "Br", "I"}
"""Elements of which an atom by itself is an ion."""


def atom_label(topology: mdtraj.Topology, index: int) -> str:
    """Residue, number and name of an atom, ALA2-CA."""
    return str(topology.atom(index))


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


def peptide_torsions(topology: mdtraj.Topology) -> list[tuple[int, int, int, int]]:
    """ω of each peptide bond O=C-N: atoms (carbon on C, C, N, carbon on N), the caps' included.

    Where N has two carbons besides C (proline), the one named CA is taken.
    """
    neighbours: dict[int, list[mdtraj.core.topology.Atom]] = {a.index: [] for a in topology.atoms}
    for a, b in topology.bonds:
        neighbours[a.index].append(b)
        neighbours[b.index].append(a)
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
