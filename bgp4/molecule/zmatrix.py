"""Z-matrix from the bond graph: which bond, angle and torsion place each atom.

Breadth first from the molecule's centre. The first child of an atom has a proper torsion about
the bond behind it; its siblings have an improper torsion against that first child, so that each
rotation (φ, ψ, a methyl group) and each chirality is one coordinate.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import mdtraj
import networkx as nx
import numpy as np
from numpy.typing import NDArray

from bgp4.errors import UserInputError
from bgp4.molecule.topology import atom_label

__all__ = [
    "Row",
    "ZMatrix",
    "refuse_lines",
    "zmatrix_from_bonds",
    "zmatrix_from_rows",
    "zmatrix_from_topology",
]

LINE_DEG = 170.0
"""Beyond this angle, or within what is left of 180°, three atoms are in a line."""


class Row(NamedTuple):
    """Places `atom` by its bond to `bond`, angle at `bond` to `angle`, and torsion to `torsion`."""

    atom: int
    bond: int
    angle: int
    torsion: int


class ZMatrix(NamedTuple):
    """Three root atoms (bonded 0-1-2, the frame) and one row for each other atom, in order."""

    root: tuple[int, int, int]
    rows: tuple[Row, ...]

    @property
    def n_atoms(self) -> int:
        return 3 + len(self.rows)

    @property
    def bonds(self) -> list[tuple[int, int]]:
        """Atom pairs of the 3N - 6 coordinates' bonds, (atoms - 1) of them."""
        a, b, c = self.root
        return [(a, b), (b, c)] + [(row.atom, row.bond) for row in self.rows]

    @property
    def angles(self) -> list[tuple[int, int, int]]:
        """Atom triples of the angles, vertex in the middle, (atoms - 2) of them."""
        return [self.root] + [(row.atom, row.bond, row.angle) for row in self.rows]

    @property
    def torsions(self) -> list[tuple[int, int, int, int]]:
        """Atom quadruples of the torsions, (atoms - 3) of them."""
        return [tuple(row) for row in self.rows]  # type: ignore[misc]

    def table(self) -> Iterator[tuple[int, ...]]:
        """The usual rows: an atom, then another with its bond's, a third with bond's and angle's,
        and all others with bond's, angle's and torsion's atoms.
        """
        a, b, c = self.root
        yield from [(a,), (b, a), (c, b, a), *self.rows]

    @property
    def levels(self) -> list[list[Row]]:
        """Rows grouped so that a group needs only atoms of the root and of earlier groups."""
        depth = dict.fromkeys(self.root, 0)
        groups: dict[int, list[Row]] = {}
        for row in self.rows:
            depth[row.atom] = 1 + max(depth[i] for i in row[1:])
            groups.setdefault(depth[row.atom], []).append(row)
        return [groups[level] for level in sorted(groups)]


def zmatrix_from_topology(topology: mdtraj.Topology) -> ZMatrix:
    """The Z-matrix of a molecule's elements and bonds; see `zmatrix_from_bonds`."""
    return zmatrix_from_bonds(
        [atom.element.symbol for atom in topology.atoms],
        [(a.index, b.index) for a, b in topology.bonds],
        lambda atom: atom_label(topology, atom),
    )


def zmatrix_from_rows(rows: Sequence[Sequence[int]], n_atoms: int) -> ZMatrix:
    """The Z-matrix of a table's rows, as `ZMatrix.table` yields them.

    Raises:
        ValueError: If they do not place every atom once, by atoms of the rows before; the message
            goes on from the name of what is wrong.
    """
    if len(rows) != n_atoms:
        raise ValueError(f"expected {n_atoms} rows, one for each atom, found {len(rows)}")
    placed: set[int] = set()
    for number, row in enumerate(rows, 1):
        if len(row) != min(number, 4) or len(set(row)) != len(row):
            raise ValueError(
                f"row {number}: expected {min(number, 4)} different atoms, found {len(row)}"
            )
        if row[0] in placed or not set(row[1:]) <= placed:
            raise ValueError(
                f"row {number}: expected a new atom, placed by atoms of the rows before"
            )
        placed.add(row[0])
    (a,), (b, _), (c, *by) = rows[:3]
    if by != [b, a]:
        raise ValueError("row 3: expected its bond to row 2's atom and its angle to row 1's")
    return ZMatrix((a, b, c), tuple(Row(*row) for row in rows[3:]))


def refuse_lines(
    zmatrix: ZMatrix,
    positions_nm: NDArray[np.floating],  # (atoms, 3)
    name: Callable[[int], str],
) -> None:
    """Refuse a Z-matrix with three atoms in a line: there is no torsion about a bond of theirs.

    Raises:
        UserInputError: If three atoms of an angle, or the three that a torsion turns about, are in
            a line at these positions.
    """
    for triple in (*zmatrix.angles, *(row[1:] for row in zmatrix.rows)):
        left, vertex, right = (positions_nm[i] for i in triple)
        angle = _angle_deg(left - vertex, right - vertex)
        if not 180 - LINE_DEG < angle < LINE_DEG:
            atoms = "-".join(map(name, triple))
            raise UserInputError(
                f"config key system: the angle {atoms} is {angle:.0f}°: atoms in a line (a triple "
                "bond) leave a torsion without meaning, and are not supported"
            )


def _angle_deg(one: NDArray[np.floating], other: NDArray[np.floating]) -> float:
    return float(np.degrees(np.arctan2(np.linalg.norm(np.cross(one, other)), one @ other)))


def zmatrix_from_bonds(
    elements: Sequence[str],
    bonds: Sequence[tuple[int, int]],
    name: Callable[[int], str] = lambda atom: f"atom {atom}",
) -> ZMatrix:
    """A deterministic Z-matrix in which every coordinate is local.

    Args:
        elements: Element symbol of each atom.
        bonds: Pairs of atom indices.
        name: What an error calls an atom.

    Raises:
        UserInputError: If there are fewer than four atoms or the atoms are not one connected
            molecule.
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
    centre = _centre(graph, elements)
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
    return _rows(centre, {a: sorted(c, key=rank.__getitem__) for a, c in children.items()})


def _centre(graph: nx.Graph, elements: Sequence[str]) -> int:
    """The most central atom that is not a hydrogen and has at least two neighbours."""
    inner = [a for a in graph if graph.degree(a) > 1]
    closeness = nx.closeness_centrality(graph)
    return min(inner, key=lambda a: (elements[a] == "H", -round(closeness[a], 12), a))


def _subtree_sizes(order: Sequence[int], parent: dict[int, int]) -> dict[int, int]:
    size = dict.fromkeys(order, 1)
    for atom in reversed(order[1:]):
        size[parent[atom]] += size[atom]
    return size


def _rows(centre: int, children: dict[int, list[int]]) -> ZMatrix:
    """Frame child1-centre-child2; then breadth first, first children before their siblings."""
    first, second, *others = children[centre]
    rows = [Row(atom, centre, first, second) for atom in others]
    behind = {first: (centre, second), second: (centre, first)}
    behind |= dict.fromkeys(others, (centre, first))
    queue = [first, second, *others]
    for atom in queue:
        angle, torsion = behind[atom]
        for i, child in enumerate(children[atom]):
            rows.append(Row(child, atom, angle, torsion if i == 0 else children[atom][0]))
            behind[child] = (atom, angle)
            queue.append(child)
    return ZMatrix((first, centre, second), tuple(rows))
