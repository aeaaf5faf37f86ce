"""The Z-matrix: which bond, angle and torsion place each atom.

An atom in a line with the two before it (a triple bond) has two bends in the place of angle and
torsion. What hangs behind the line turns about it, against the last bond before it.

An ear makes a triangle with two atoms, and has its distances to both in the place of bond and
angle. So all bonds of a ring are coordinates. `placing.py` makes a molecule's Z-matrix.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from typing import NamedTuple

__all__ = ["EAR", "Row", "ZMatrix", "zmatrix_from_rows"]

EAR = "ear"
"""Ends a table's row of an ear, after its atoms."""


class Row(NamedTuple):
    """Places `atom` by its bond to `bond`, angle at `bond` to `angle`, and torsion to `torsion`.

    Attributes:
        hinge: Where the bond to `torsion` begins, against which the torsion is; None for `angle`.
            Behind a line it is the atom where the line begins.
        bends: Whether two bends of the line `angle`-`bond`-`atom` stand for angle and torsion.
        ear: Whether the distance to `angle` stands for the angle. That to `bond` may be no bond.
    """

    atom: int
    bond: int
    angle: int
    torsion: int
    hinge: int | None = None
    bends: bool = False
    ear: bool = False

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
        """Atom pairs of the coordinates' first distances, (atoms - 1) of them: bonds, and of ears
        also chords of a ring.
        """
        a, b, c = self.root
        return [(a, b), (b, c)] + [(row.atom, row.bond) for row in self.rows]

    @property
    def angles(self) -> list[tuple[int, int, int]]:
        """Atom triples of the angles, vertex in the middle, (atoms - 2) of them. In the place of an
        ear's is the distance of the outer two.
        """
        return [self.root] + [(row.atom, row.bond, row.angle) for row in self.rows]

    @property
    def torsions(self) -> list[tuple[int, ...]]:
        """Atoms of the torsions, (atoms - 3) of them: four, and the hinge where there is one."""
        return [row.atoms for row in self.rows]

    @property
    def placed_atoms(self) -> list[int]:
        """The atom that each coordinate places: of bonds, angles and torsions, in this order."""
        placed = [*self.root, *(row.atom for row in self.rows)]
        return placed[1:] + placed[2:] + placed[3:]

    @property
    def straight(self) -> list[tuple[int, int, int]]:
        """Those of the angles in whose place, and their torsions', are bends."""
        return [(row.atom, row.bond, row.angle) for row in self.rows if row.bends]

    @property
    def distances(self) -> dict[tuple[int, int], int]:
        """Atom pairs, the lower first, whose distance is a coordinate, and its column."""
        pairs = dict(enumerate(self.bonds))
        pairs |= {self.n_atoms + i: (r.atom, r.angle) for i, r in enumerate(self.rows) if r.ear}
        return {(min(pair), max(pair)): column for column, pair in pairs.items()}

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
        groups: dict[tuple[int, bool, bool], list[Row]] = {}
        for row in self.rows:
            depth[row.atom] = 1 + max(depth[i] for i in row.partners)
            groups.setdefault((depth[row.atom], row.bends, row.ear), []).append(row)
        return [groups[key] for key in sorted(groups)]


def zmatrix_from_rows(
    rows: Sequence[Sequence[int]],
    n_atoms: int,
    bends: Collection[int] = (),
    ears: Collection[int] = (),
) -> ZMatrix:
    """The Z-matrix of a table's rows, as `ZMatrix.table` yields them.

    Args:
        bends: Atoms that two bends place.
        ears: Atoms that two distances place.

    Raises:
        ValueError: If they do not place every atom once, by atoms of the rows before; the message
            goes on from the name of what is wrong.
    """
    if len(rows) != n_atoms:
        raise ValueError(f"expected {n_atoms} rows, one for each atom, found {len(rows)}")
    placed: set[int] = set()
    sides: set[frozenset[int]] = set()
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
        if row[0] in ears and (number < 4 or frozenset(row[1:3]) not in sides):
            raise ValueError(
                f"row {number}: expected an ear on two atoms whose distance is a coordinate"
            )
        placed.add(row[0])
        by_distance = row[1:3] if row[0] in ears or number == 3 else row[1:2]
        sides |= {frozenset((row[0], other)) for other in by_distance}
    (a,), (b, _), (c, *by) = rows[:3]
    if by != [b, a]:
        raise ValueError("row 3: expected its bond to row 2's atom and its angle to row 1's")
    return ZMatrix((a, b, c), tuple(_row(row, row[0] in bends, row[0] in ears) for row in rows[3:]))


def _row(atoms: Sequence[int], bends: bool, ear: bool) -> Row:
    atom, bond, angle, torsion, *hinge = atoms
    return Row(atom, bond, angle, torsion, hinge[0] if hinge else None, bends, ear)
