"""From the bond graph to the Z-matrix.

Breadth first from the molecule's centre. The first child of an atom has a proper torsion about
the bond behind it; its siblings have an improper torsion against that first child, so that each
rotation (φ, ψ, a methyl group) and each chirality is one coordinate. A ring that turns is placed
at once, when the first of its atoms is reached.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import combinations
from typing import NamedTuple

import mdtraj
import networkx as nx
import numpy as np
from numpy.typing import NDArray

from bgp4.errors import UserInputError
from bgp4.molecule.ears import Through, flat, folds, turning_rings
from bgp4.molecule.lines import Lines, linear_atoms
from bgp4.molecule.topology import atom_label, bond_graph
from bgp4.molecule.zmatrix import Row, ZMatrix

__all__ = ["lines_of", "with_bends", "zmatrix_from_bonds", "zmatrix_from_topology"]


def lines_of(topology: mdtraj.Topology, positions_nm: NDArray[np.floating]) -> Lines:
    """The molecule's lines at these positions, (atoms, 3)."""
    elements = [atom.element.symbol for atom in topology.atoms]
    return Lines(positions_nm, linear_atoms(bond_graph(topology), elements))


def zmatrix_from_topology(topology: mdtraj.Topology, lines: Lines | None = None) -> ZMatrix:
    """The Z-matrix of a molecule's elements and bonds; see `zmatrix_from_bonds`."""
    return zmatrix_from_bonds(
        [atom.element.symbol for atom in topology.atoms],
        [(a.index, b.index) for a, b in topology.bonds],
        lambda atom: atom_label(topology, atom),
        lines,
    )


def with_bends(zmatrix: ZMatrix, lines: Lines, name: Callable[[int], str]) -> ZMatrix:
    """The Z-matrix with bends for each atom that is in a line with those of its bond and angle.

    Raises:
        UserInputError: If the root is in a line, or a torsion is against a bond in its own axis.
    """
    if lines.through(*zmatrix.root):
        raise UserInputError(
            f"config key system.zmatrix: the first three atoms, {_named(zmatrix.root, name)}, are "
            "in a line; begin with three that are not"
        )
    for row in zmatrix.rows:
        bond, angle, hinge, torsion = row.partners
        if (
            flat((bond, angle, torsion), lines.through)
            if row.ear and row.hinge is None
            else lines.along((angle, bond), (hinge, torsion))
        ):
            raise UserInputError(
                f"config key system.zmatrix: {_named(row.atoms, name)}: the bonds "
                f"{_named((angle, bond), name)} and {_named((hinge, torsion), name)} are in a "
                "line, so there is no torsion; take a bond before the line, and name its other "
                "atom as the fifth"
            )
    rows = (
        row._replace(bends=not row.ear and lines.through(row.atom, row.bond, row.angle))
        for row in zmatrix.rows
    )
    return zmatrix._replace(rows=tuple(rows))


def _named(atoms: Sequence[int], name: Callable[[int], str]) -> str:
    return "-".join(map(name, atoms))


def zmatrix_from_bonds(
    elements: Sequence[str],
    bonds: Sequence[tuple[int, int]],
    name: Callable[[int], str] = lambda atom: f"atom {atom}",
    lines: Lines | None = None,
) -> ZMatrix:
    """A deterministic Z-matrix in which every coordinate is local.

    Args:
        elements: Element symbol of each atom.
        bonds: Pairs of atom indices.
        name: What an error calls an atom.
        lines: Which atoms are in a line; None if none are.

    Raises:
        UserInputError: If there are fewer than four atoms, the atoms are not one connected
            molecule, or they are all in a line.
    """
    graph = nx.Graph(bonds)
    graph.add_nodes_from(range(len(elements)))
    if len(elements) < 4:
        raise UserInputError(f"config key system: expected at least 4 atoms, found {len(elements)}")
    if not nx.is_connected(graph):
        parts = sorted(nx.connected_components(graph), key=min)
        words = ", ".join(f"{len(p)} atoms from {name(min(p))} on" for p in parts[:3])
        raise UserInputError(
            f"config key system: expected one covalently connected molecule, found {len(parts)}: "
            f"{words}{', ...' if len(parts) > 3 else ''}; keep one of them or, if they are one, "
            "give the bonds that are missing (in a PDB file: CONECT records)"
        )
    through = lines.through if lines else lambda *_: False
    centre = _centre(graph, elements, through)
    if centre is None:
        raise UserInputError(
            f"config key system: all atoms from {name(0)} to {name(len(elements) - 1)} are in a "
            "line, so that no internal coordinates say how the molecule is turned; bgp4 needs a "
            "molecule with a bend"
        )
    parent = {centre: centre}
    children: dict[int, list[int]] = {}
    order = [centre]
    for atom in order:
        new = [n for n in graph[atom] if n not in parent]
        parent.update(dict.fromkeys(new, atom))
        children[atom] = new
        order.extend(new)
    size = _subtree_sizes(order, parent)
    rank = {a: (elements[a] == "H", -size[a], a) for a in order}
    ranked = {a: sorted(c, key=rank.__getitem__) for a, c in children.items()}
    return _Builder(graph, ranked, through).build(centre)


def _centre(graph: nx.Graph, elements: Sequence[str], through: Through) -> int | None:
    """The most central atom that is not a hydrogen and has two neighbours that it is not in a line
    with; None if no atom has.
    """
    bent = [a for a in graph if any(not through(i, a, k) for i, k in combinations(graph[a], 2))]
    closeness = nx.closeness_centrality(graph)
    best = sorted(bent, key=lambda a: (elements[a] == "H", -round(closeness[a], 12), a))
    return best[0] if best else None


def _subtree_sizes(order: Sequence[int], parent: dict[int, int]) -> dict[int, int]:
    size = dict.fromkeys(order, 1)
    for atom in reversed(order[1:]):
        size[parent[atom]] += size[atom]
    return size


class _Behind(NamedTuple):
    """What the angles at an atom, and the torsions of its next child, are against."""

    angle: int
    hinge: int
    torsion: int

    def hinge_of(self, angle: int) -> int | None:
        return None if self.hinge == angle else self.hinge


class _Builder:
    """Places the atoms: breadth first, first children before their siblings, a ring at once.

    Args:
        graph: Atoms and bonds.
        children: Of each atom, in the order in which they are placed.
        through: Whether three atoms are in a line.
    """

    def __init__(self, graph: nx.Graph, children: dict[int, list[int]], through: Through) -> None:
        self._graph = graph
        self._children = children
        self._through = through
        self._rings = turning_rings(graph, through)
        self._rows: list[Row] = []
        self._queue: list[int] = []
        self._behind: dict[int, _Behind] = {}
        self._settled: set[int] = set()
        """Atoms whose `torsion` is a neighbour of theirs: further children are impropers."""
        self._sides: set[frozenset[int]] = set()

    def build(self, centre: int) -> ZMatrix:
        """Frame first-centre-second, and all other atoms."""
        first, second = self._ends(centre)
        self._queue = [centre, first, second]
        self._behind = {
            centre: _Behind(first, first, second),
            first: _Behind(centre, centre, second),
            second: _Behind(centre, centre, first),
        }
        self._settled = {centre}
        self._sides = {frozenset(pair) for pair in combinations(self._queue, 2)}
        for atom in self._queue:
            for ring in self._rings:
                if atom in ring:
                    self._close(ring, atom)
            for child in self._children[atom]:
                if child not in self._behind:
                    self._hang(child, atom)
        return ZMatrix((first, centre, second), tuple(self._rows))

    def _ends(self, centre: int) -> tuple[int, int]:
        """Those of the frame, in the centre's ring if it has one that turns."""
        ring = next((ring for ring in self._rings if centre in ring), None)
        if ring is not None:
            place = ring.index(centre)
            return ring[place - 1], ring[(place + 1) % len(ring)]
        pairs = combinations(self._children[centre], 2)
        return next((i, k) for i, k in pairs if not self._through(i, centre, k))

    def _hang(self, atom: int, bond: int) -> None:
        """Place an atom on its parent."""
        behind = self._behind[bond]
        self._rows.append(
            Row(atom, bond, behind.angle, behind.torsion, behind.hinge_of(behind.angle))
        )
        bent = not self._through(atom, bond, behind.angle)
        self._behind[atom] = behind._replace(angle=bond)
        if bent:
            self._behind[atom] = _Behind(bond, bond, behind.angle)
            self._settle(bond, atom)
        self._queue.append(atom)
        self._sides.add(frozenset((atom, bond)))

    def _settle(self, atom: int, neighbour: int) -> None:
        """The atom's further children turn with this one."""
        if atom not in self._settled:
            angle = self._behind[atom].angle
            self._behind[atom] = _Behind(angle, angle, neighbour)
            self._settled.add(atom)

    def _close(self, ring: list[int], tip: int) -> None:
        """Place the rest of a ring, if what is placed of it is one atom, bond or corner."""
        place = ring.index(tip)
        around = ring[place:] + ring[:place]
        if around[-1] in self._behind and around[1] not in self._behind:
            around[1:] = around[:0:-1]
        _, near, *_, far = around
        corner = [atom for atom in (tip, near, far) if atom in self._behind]
        known = all(frozenset(pair) in self._sides for pair in combinations(corner, 2))
        if not known or any(atom in self._behind for atom in around[2:-1]):
            return
        folded = folds(self._graph, around, self._through)
        if folded is None:
            return
        if near not in self._behind:
            self._hang(near, tip)
        if far not in self._behind:
            behind = self._behind[tip]
            if behind.angle == near:
                self._fold(far, (tip, near), behind.torsion, behind.hinge_of(near))
            else:
                self._fold(far, (tip, near), behind.angle)
            self._settle(tip, far)
        for fold in folded:
            self._fold(*fold)
        self._settle(near, around[2])
        self._settle(far, around[-2])
        for before, atom, after in zip(around[1:], around[2:-1], around[3:], strict=False):
            self._behind[atom] = _Behind(before, before, after)
            self._settled.add(atom)

    def _fold(
        self, atom: int, side: tuple[int, int], across: int, hinge: int | None = None
    ) -> None:
        """Place an atom by its distances to two, and the torsion about them."""
        bond, angle = side if self._graph.has_edge(atom, side[0]) else side[::-1]
        self._rows.append(Row(atom, bond, angle, across, hinge, ear=True))
        self._behind[atom] = _Behind(bond, bond, angle)
        self._queue.append(atom)
        self._sides |= {frozenset((atom, other)) for other in side}
