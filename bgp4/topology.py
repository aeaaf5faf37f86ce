"""Chemistry read off a topology's elements and bonds."""

from __future__ import annotations

import mdtraj

__all__ = ["peptide_torsions"]


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
