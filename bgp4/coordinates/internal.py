"""Internal coordinates: bonds, angles and torsions of a Z-matrix, with the exact log-determinant.

Overall translation and rotation are factored out. In spherical coordinates around the atoms that
place it, each atom contributes b² sin θ to the volume, so

    log |det ∂q/∂x| = -Σ_bonds 2 log b - Σ_angles log sin θ

is the log-determinant of x (modulo rigid motion) to q: the volume element of the 3N Cartesian
coordinates is dx = dR dΩ Π b² Π sin θ dq, with R the position of the first atom and Ω the
orientation of the frame (total volume 8π²).

An atom d in a line with c and b has no torsion. Its direction is given by two bends, the Lambert
azimuthal equal-area projection of the sphere around the line's continuation,

    u = 2 cos(θ/2) cos τ,   v = 2 cos(θ/2) sin τ,   du dv = sin θ dθ dτ,

which is smooth where θ = π, the angle of bending for small ones, and has no term in the volume.

An ear d, an atom of a ring that turns, has its distances r and s to the ends of a side of length D
in the place of bond and angle. From s² = r² + D² - 2 r D cos θ at fixed r and D,

    r² sin θ dr dθ dτ = (r s / D) dr ds dτ,   |r - s| < D < r + s.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from nflows.transforms import Transform
from torch import Tensor

from bgp4.molecule.zmatrix import Row, ZMatrix

__all__ = ["InternalCoordinates"]

SMALLEST = 1e-12
"""Bends outside the circle are no direction, and sides that do not meet make no triangle; a square
root of this stands for one, and for its height."""


class InternalCoordinates(Transform):
    """Cartesian positions to bonds (nm), angles (rad) and torsions (rad, in [-π, π)).

    Columns of q: (atoms - 1) bonds, (atoms - 2) angles, (atoms - 3) torsions, in the order of
    the Z-matrix. Where a row has bends, they are in the columns of its angle and its torsion. The
    second distance of an ear is in the column of its angle, in nm.

    Attributes:
        fixed: (features,), bool, the columns that have one value each; None if there are none.
    """

    fixed: Tensor | None
    _bonds: Tensor
    _turning: Tensor
    _straight: Tensor
    _far: Tensor
    _bent_angles: Tensor
    _side: Tensor
    _atom_order: Tensor
    _column_order: Tensor

    def __init__(self, zmatrix: ZMatrix) -> None:
        super().__init__()
        self.register_buffer("fixed", None)
        self.zmatrix = zmatrix
        levels = zmatrix.levels
        placed = [*zmatrix.root, *(row.atom for level in levels for row in level)]
        slot = {atom: i for i, atom in enumerate(placed)}
        index = {row: i for i, row in enumerate(zmatrix.rows)}
        self._kinds = [level[0] for level in levels]
        for i, level in enumerate(levels):
            self._index(f"_partners_{i}", [[slot[a] for a in row.partners] for row in level])
            self._index(f"_rows_{i}", [index[row] for row in level])
        self._index("_atom_order", [slot[a] for a in range(zmatrix.n_atoms)])
        self._index("_bonds", zmatrix.bonds)
        atoms = torch.tensor([[row.atom, *row.partners] for row in zmatrix.rows])
        bends, ears = (
            torch.tensor(kind)
            for kind in zip(*((r.bends, r.ear) for r in zmatrix.rows), strict=True)
        )
        self._index("_turning", atoms[~bends])
        self._index("_straight", atoms[bends])
        self._index("_far", atoms[ears][:, [0, 2]])
        root = torch.tensor([False])
        straight, distant = torch.cat([root, bends]), torch.cat([root, ears])
        bent = ~straight & ~distant
        self._index("_bent_angles", torch.tensor(zmatrix.angles)[bent])
        columns = torch.arange(self.features)
        bonds, angles, torsions = (part[0] for part in self.split(columns[None]))
        of_kind = _Columns(
            angles[bent],
            angles[straight],
            torsions[bends],
            bonds[2:][ears],
            angles[distant],
            torsions[ears],
        )
        for name, chosen in of_kind._asdict().items():
            self._index(f"_columns_of_{name}", chosen)
        self._index("_side", _sides(zmatrix))
        in_order = [bonds, angles[bent], angles[distant]]
        in_order += [torsions[~bends], angles[straight], torsions[bends]]
        self._index("_column_order", torch.cat(in_order).argsort())

    def _index(self, name: str, values: Tensor | Sequence[Any]) -> None:
        """A buffer, which goes with the module to a GPU; it follows from the Z-matrix, so that no
        checkpoint needs it.
        """
        self.register_buffer(name, torch.as_tensor(values, dtype=torch.long), persistent=False)

    @property
    def _columns(self) -> _Columns:
        buffers: dict[str, Any] = self._buffers
        return _Columns(*(buffers[f"_columns_of_{name}"] for name in _Columns._fields))

    @property
    def _levels(self) -> Iterator[_Level]:
        buffers: dict[str, Any] = self._buffers
        for i, kind in enumerate(self._kinds):
            yield _Level(buffers[f"_partners_{i}"], buffers[f"_rows_{i}"], kind)

    @property
    def n_atoms(self) -> int:
        return self.zmatrix.n_atoms

    @property
    def features(self) -> int:
        """Number of internal coordinates, 3 atoms - 6."""
        return 3 * self.n_atoms - 6

    @property
    def bends(self) -> Tensor:
        """Columns of q among the torsions' that are bends."""
        return self._columns.second_bends

    @property
    def folds(self) -> Tensor:
        """Columns of q that are torsions of ears, about a side of a ring's triangles."""
        return self._columns.folds

    @property
    def distances(self) -> Tensor:
        """Columns of q among the angles' that are distances."""
        return self._columns.far

    def split(
        self,
        q: Tensor,  # (batch, 3 atoms - 6)
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Bonds (batch, atoms - 1), angles (batch, atoms - 2), torsions (batch, atoms - 3)."""
        n = self.n_atoms
        bonds, angles, torsions = q.split([n - 1, n - 2, n - 3], dim=1)
        return bonds, angles, torsions

    def forward(
        self,
        inputs: Tensor,  # (batch, 3 atoms), nm
        context: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:  # (batch, 3 atoms - 6), (batch,)
        x = inputs.reshape(len(inputs), self.n_atoms, 3)
        measured = [
            _bond(x[:, self._bonds]),
            _angle(x[:, self._bent_angles]),
            _bond(x[:, self._far]),
            _torsion(x[:, self._turning]),
            *_bends(x[:, self._straight]),
        ]
        q = torch.cat(measured, dim=1)[:, self._column_order]
        return q, -self._log_volume(q)

    def inverse(
        self,
        inputs: Tensor,  # (batch, 3 atoms - 6)
        context: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:  # (batch, 3 atoms) in nm, (batch,)
        """Positions with the first root atom at the origin, the second on x, the third in xy."""
        bonds, angles, torsions = self.split(inputs)
        x = _frame(bonds[:, :2], angles[:, 0])
        for partners, rows, kind in self._levels:
            near = x[:, partners]
            b, angle, torsion = bonds[:, rows + 2], angles[:, rows + 1], torsions[:, rows]
            if kind.ear:
                components = _by_sides(b, angle, torsion, _bond(near[:, :, :2]))
            else:
                components = (_by_bends if kind.bends else _by_angle)(b, angle, torsion)
            x = torch.cat([x, _place(near, components)], dim=1)
        return x[:, self._atom_order].flatten(1), self._log_volume(inputs)

    def valid(
        self,
        q: Tensor,  # (batch, 3 atoms - 6)
    ) -> Tensor:  # (batch,), bool
        """Whether all values are finite, bonds positive, angles inside (0, π), bends inside the
        circle that the sphere's projection is, and the sides of each ear a triangle's.
        """
        bonds = self.split(q)[0]
        angles, u, v, r, s, _ = (q[:, columns] for columns in self._columns)
        inside = (bonds > 0).all(1) & (angles > 0).all(1) & (angles < torch.pi).all(1)
        inside &= (u.square() + v.square() < 4).all(1)
        side = self._lengths_of_sides(q)
        inside &= (((r - s).abs() < side) & (side < r + s)).all(1)
        return inside & torch.isfinite(q).all(1)

    def _lengths_of_sides(
        self,
        q: Tensor,  # (batch, 3 atoms - 6)
    ) -> Tensor:  # (batch, ears), nm
        """Of the two atoms that each ear is on."""
        first, second, angle = q[:, 0], q[:, 1], q[:, self.n_atoms - 1]
        across = first.square() + second.square() - 2 * first * second * angle.cos()
        outer = across.clamp_min(SMALLEST).sqrt()
        return torch.cat([q, outer[:, None]], dim=1)[:, self._side]

    def _log_volume(
        self,
        q: Tensor,  # (batch, 3 atoms - 6)
    ) -> Tensor:  # (batch,)
        bonds, angles = self.split(q)[0], q[:, self._columns.angles]
        volume = 2 * bonds.abs().log().sum(1) + angles.sin().abs().log().sum(1)
        r, s = q[:, self._columns.near], q[:, self._columns.far]
        return volume + (s / (r * self._lengths_of_sides(q))).abs().log().sum(1)


class _Level(NamedTuple):
    """Rows of one kind that can be placed together: slots of partners, rows, and one of them."""

    partners: Tensor
    rows: Tensor
    kind: Row


class _Columns(NamedTuple):
    """Which columns of q are angles, the two bends of each line, and of each ear the distances and
    the torsion.
    """

    angles: Tensor
    first_bends: Tensor
    second_bends: Tensor
    near: Tensor
    far: Tensor
    folds: Tensor


def _sides(zmatrix: ZMatrix) -> list[int]:
    """The column of the side that each ear is on; one past the last for the root's outer atoms."""
    columns = dict(zmatrix.distances)
    first, _, second = zmatrix.root
    columns.setdefault((min(first, second), max(first, second)), 3 * zmatrix.n_atoms - 6)
    ears = (sorted((row.bond, row.angle)) for row in zmatrix.rows if row.ear)
    return [columns[one, other] for one, other in ears]


def _bond(
    x: Tensor,  # (batch, bonds, 2, 3)
) -> Tensor:
    return torch.linalg.vector_norm(x[:, :, 0] - x[:, :, 1], dim=-1)


def _angle(
    x: Tensor,  # (batch, angles, 3, 3)
) -> Tensor:
    left, right = x[:, :, 0] - x[:, :, 1], x[:, :, 2] - x[:, :, 1]
    sine = torch.linalg.vector_norm(torch.linalg.cross(left, right), dim=-1)
    return torch.atan2(sine, (left * right).sum(-1))


def _torsion(
    x: Tensor,  # (batch, torsions, 5 atoms: atom, bond, angle, hinge, torsion; 3)
) -> Tensor:
    """IUPAC sign, as mdtraj: zero when cis, in [-π, π)."""
    d, c, b, h, a = x.unbind(2)
    b1, b2, b3 = c - d, b - c, a - h
    n1, n2 = torch.linalg.cross(b1, b2), torch.linalg.cross(b2, b3)
    sine = (b1 * n2).sum(-1) * torch.linalg.vector_norm(b2, dim=-1)
    torsion = torch.atan2(sine, (n1 * n2).sum(-1))
    return torch.where(torsion >= np.pi, torsion - 2 * np.pi, torsion)


def _bends(
    x: Tensor,  # (batch, atoms, 5 atoms: atom, bond, angle, hinge, torsion; 3)
) -> tuple[Tensor, Tensor]:  # (batch, atoms) each
    axis, third, normal = _axes(x[:, :, 1:])
    direction = torch.nn.functional.normalize(x[:, :, 0] - x[:, :, 1], dim=-1)
    half = ((1 + (direction * axis).sum(-1)) / 2).sqrt()
    return (direction * third).sum(-1) / half, (direction * normal).sum(-1) / half


def _frame(
    bonds: Tensor,  # (batch, 2)
    angle: Tensor,  # (batch,)
) -> Tensor:  # (batch, 3, 3)
    zero = torch.zeros_like(angle)
    first, second = bonds.unbind(1)
    return torch.stack(
        [
            torch.stack([zero, zero, zero], -1),
            torch.stack([first, zero, zero], -1),
            torch.stack([first - second * angle.cos(), second * angle.sin(), zero], -1),
        ],
        dim=1,
    )


def _place(
    x: Tensor,  # (batch, atoms, 4 partners: bond, angle, hinge, torsion; 3)
    components: tuple[Tensor, Tensor, Tensor],  # (batch, atoms) each, nm
) -> Tensor:  # (batch, atoms, 3)
    """Natural extension reference frame (Parsons et al., J. Comput. Chem. 26, 1063 (2005))."""
    place = x[:, :, 0]
    for component, axis in zip(components, _axes(x), strict=True):
        place = place + component[..., None] * axis
    return place


def _axes(
    x: Tensor,  # (batch, atoms, 4 partners: bond, angle, hinge, torsion; 3)
) -> tuple[Tensor, Tensor, Tensor]:  # (batch, atoms, 3) each
    """Unit vectors: along the line to the bond's atom, towards cis, and normal to both."""
    c, b, h, a = x.unbind(2)
    axis = torch.nn.functional.normalize(c - b, dim=-1)
    normal = torch.nn.functional.normalize(torch.linalg.cross(h - a, axis), dim=-1)
    return axis, torch.linalg.cross(normal, axis), normal


def _by_angle(bond: Tensor, angle: Tensor, torsion: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Components of a bond along the axes, of its angle and torsion."""
    sine = angle.sin()
    return -(bond * angle.cos()), bond * sine * torsion.cos(), bond * sine * torsion.sin()


def _by_sides(r: Tensor, s: Tensor, torsion: Tensor, side: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Components of an ear's bond along the axes, of its distances, torsion and side."""
    along = (r.square() + side.square() - s.square()) / (2 * side)
    height = ((r - along) * (r + along)).clamp_min(SMALLEST).sqrt()
    return -along, height * torsion.cos(), height * torsion.sin()


def _by_bends(bond: Tensor, u: Tensor, v: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Components of a bond along the axes, of its bends."""
    quarter = (u.square() + v.square()) / 4
    across = bond * (1 - quarter).clamp_min(SMALLEST).sqrt()
    return bond * (1 - 2 * quarter), across * u, across * v
