"""Z-matrix from the bond graph: which bond, angle and torsion place each atom.

Breadth first from the molecule's centre. The first child of an atom has a proper torsion about
the bond behind it; its siblings have an improper torsion against that first child, so that each
rotation (φ, ψ, a methyl group) and each chirality is one coordinate.

An atom in a line with the two before it (a triple bond) has two bends in the place of angle and
torsion. What hangs behind the line turns about it, against the last bond before it.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from itertools import combinations
from typing import NamedTuple

import mdtraj
import networkx as nx
import numpy as np
from numpy.typing import NDArray

from bgp4.errors import UserInputError
from bgp4.molecule.lines import Lines, linear_atoms
from bgp4.molecule.topology import atom_label, bond_graph

__all__ = [
    "Row",
    "ZMatrix",
    "lines_of",
    "with_bends",
    "zmatrix_from_bonds",
    "zmatrix_from_rows",
    "zmatrix_from_topology",
]


Through = Callable[[int, int, int], bool]
"""Whether three atoms are in a line."""


class Row(NamedTuple):
    """Places `atom` by its bond to `bond`, angle at `bond` to `angle`, and torsion to `torsion`.

    Attributes:
        hinge: Where the bond to `torsion` begins, against which the torsion is; None for `angle`.
            Behind a line it is the atom where the line begins.
        bends: Whether two bends of the line `angle`-`bond`-`atom` stand for angle and torsion.
    """

    atom: int
    bond: int
    angle: int
    torsion: int
    hinge: int | None = None
    bends: bool = False

    @property
    def partners(self) -> tuple[int, int, int, int]:
        """Atoms that must be placed before: bond, angle, hinge and torsion."""
        hinge = self.angle if self.hinge is None else self.hinge
        return self.bond, self.angle, hinge, self.torsion

    @property
    def atoms(self) -> tuple[int, ...]:
        """As a row of a table: atom, bond, angle, torsion and, where it is not angle, hinge."""
        return self[:4] if self.hinge is None else self[:5]  # type: ignore[return-value]


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
    def torsions(self) -> list[tuple[int, ...]]:
        """Atoms of the torsions, (atoms - 3) of them: four, and the hinge where there is one."""
        return [row.atoms for row in self.rows]

    @property
    def straight(self) -> list[tuple[int, int, int]]:
        """Those of the angles in whose place, and their torsions', are bends."""
        return [(row.atom, row.bond, row.angle) for row in self.rows if row.bends]

    def table(self) -> Iterator[tuple[int, ...]]:
        """The usual rows: an atom, then another with its bond's, a third with bond's and angle's,
        and all others with bond's, angle's and torsion's atoms, and the hinge where it is another.
        """
        a, b, c = self.root
        yield from [(a,), (b, a), (c, b, a), *(row.atoms for row in self.rows)]

    @property
    def levels(self) -> list[list[Row]]:
        """Rows of one kind, grouped so that a group needs only atoms of the root and of earlier
        groups.
        """
        depth = dict.fromkeys(self.root, 0)
        groups: dict[tuple[int, bool], list[Row]] = {}
        for row in self.rows:
            depth[row.atom] = 1 + max(depth[i] for i in row.partners)
            groups.setdefault((depth[row.atom], row.bends), []).append(row)
        return [groups[key] for key in sorted(groups)]


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


def zmatrix_from_rows(
    rows: Sequence[Sequence[int]], n_atoms: int, bends: Collection[int] = ()
) -> ZMatrix:
    """The Z-matrix of a table's rows, as `ZMatrix.table` yields them.

    Args:
        bends: Atoms that two bends place.

    Raises:
        ValueError: If they do not place every atom once, by atoms of the rows before; the message
            goes on from the name of what is wrong.
    """
    if len(rows) != n_atoms:
        raise ValueError(f"expected {n_atoms} rows, one for each atom, found {len(rows)}")
    placed: set[int] = set()
    for number, row in enumerate(rows, 1):
        expected = (4, 5) if number > 4 else (number,)
        if len(row) not in expected or len(set(row)) != len(row):
            raise ValueError(
                f"row {number}: expected {' or '.join(map(str, expected))} different atoms, "
                f"found {len(set(row))}"
            )
        if row[0] in placed or not set(row[1:]) <= placed:
            raise ValueError(
                f"row {number}: expected a new atom, placed by atoms of the rows before"
            )
        placed.add(row[0])
    (a,), (b, _), (c, *by) = rows[:3]
    if by != [b, a]:
        raise ValueError("row 3: expected its bond to row 2's atom and its angle to row 1's")
    return ZMatrix((a, b, c), tuple(_row(row, row[0] in bends) for row in rows[3:]))


def _row(atoms: Sequence[int], bends: bool) -> Row:
    atom, bond, angle, torsion, *hinge = atoms
    return Row(atom, bond, angle, torsion, hinge[0] if hinge else None, bends)


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
        if lines.along((angle, bond), (hinge, torsion)):
            raise UserInputError(
                f"config key system.zmatrix: {_named(row.atoms, name)}: the bonds "
                f"{_named((angle, bond), name)} and {_named((hinge, torsion), name)} are in a "
                "line, so there is no torsion; take a bond before the line, and name its other "
                "atom as the fifth"
            )
    rows = (r._replace(bends=lines.through(r.atom, r.bond, r.angle)) for r in zmatrix.rows)
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
    return _rows(centre, {a: sorted(c, key=rank.__getitem__) for a, c in children.items()}, through)


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


def _rows(centre: int, children: dict[int, list[int]], through: Through) -> ZMatrix:
    """Frame child1-centre-child2; then breadth first, first children before their siblings."""
    first, second = next(
        pair for pair in combinations(children[centre], 2) if not through(pair[0], centre, pair[1])
    )
    # The atom of the angle at each atom, and the bond that its first child's torsion is against.
    behind = {first: (centre, centre, second), second: (centre, centre, first)}
    rows = []
    queue = [first, second]

    def place(atom: int, bond: int, angle: int, hinge: int, torsion: int) -> bool:
        """Whether the atom is not in a line with those that place it."""
        rows.append(Row(atom, bond, angle, torsion, None if hinge == angle else hinge))
        bent = not through(atom, bond, angle)
        behind[atom] = (bond, bond, angle) if bent else (bond, hinge, torsion)
        queue.append(atom)
        return bent

    for atom in children[centre]:
        if atom not in behind:
            place(atom, centre, first, first, second)
    for atom in queue:
        angle, hinge, torsion = behind[atom]
        for child in children[atom]:
            if place(child, atom, angle, hinge, torsion) and torsion not in children[atom]:
                hinge, torsion = angle, child
    return ZMatrix((first, centre, second), tuple(rows))
