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
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from nflows.transforms import Transform
from torch import Tensor

from bgp4.molecule.zmatrix import ZMatrix

__all__ = ["InternalCoordinates"]

SMALLEST = 1e-12
"""Bends outside the circle are no direction; a square root of this stands for one."""


class InternalCoordinates(Transform):
    """Cartesian positions to bonds (nm), angles (rad) and torsions (rad, in [-π, π)).

    Columns of q: (atoms - 1) bonds, (atoms - 2) angles, (atoms - 3) torsions, in the order of
    the Z-matrix. Where a row has bends, they are in the columns of its angle and its torsion.

    Attributes:
        fixed: (features,), bool, the columns that have one value each; None if there are none.
    """

    fixed: Tensor | None

    def __init__(self, zmatrix: ZMatrix) -> None:
        super().__init__()
        self.register_buffer("fixed", None)
        self.zmatrix = zmatrix
        levels = zmatrix.levels
        placed = [*zmatrix.root, *(row.atom for level in levels for row in level)]
        slot = {atom: i for i, atom in enumerate(placed)}
        index = {row: i for i, row in enumerate(zmatrix.rows)}
        self._levels = [
            (
                torch.tensor([[slot[a] for a in row.partners] for row in level]),
                torch.tensor([index[row] for row in level]),
                _by_bends if level[0].bends else _by_angle,
            )
            for level in levels
        ]
        self._atom_order = torch.tensor([slot[a] for a in range(zmatrix.n_atoms)])
        self._bonds = torch.tensor(zmatrix.bonds)
        atoms = torch.tensor([[row.atom, *row.partners] for row in zmatrix.rows])
        bends = torch.tensor([row.bends for row in zmatrix.rows])
        self._turning, self._straight = atoms[~bends], atoms[bends]
        straight = torch.cat([torch.tensor([False]), bends])
        self._bent_angles = torch.tensor(zmatrix.angles)[~straight]
        columns = torch.arange(self.features)
        bonds, angles, torsions = (part[0] for part in self.split(columns[None]))
        self._columns = _Columns(angles[~straight], angles[straight], torsions[bends])
        in_order = [bonds, angles[~straight], torsions[~bends], angles[straight], torsions[bends]]
        self._column_order = torch.cat(in_order).argsort()

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
        bonds, angles = _bond(x[:, self._bonds]), _angle(x[:, self._bent_angles])
        torsions = _torsion(x[:, self._turning])
        q = torch.cat([bonds, angles, torsions, *_bends(x[:, self._straight])], dim=1)
        return q[:, self._column_order], -self._log_volume(bonds, angles)

    def inverse(
        self,
        inputs: Tensor,  # (batch, 3 atoms - 6)
        context: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:  # (batch, 3 atoms) in nm, (batch,)
        """Positions with the first root atom at the origin, the second on x, the third in xy."""
        bonds, angles, torsions = self.split(inputs)
        x = _frame(bonds[:, :2], angles[:, 0])
        for partners, rows, components in self._levels:
            b, angle, torsion = bonds[:, rows + 2], angles[:, rows + 1], torsions[:, rows]
            x = torch.cat([x, _place(x[:, partners], components(b, angle, torsion))], dim=1)
        volume = self._log_volume(bonds, inputs[:, self._columns.angles])
        return x[:, self._atom_order].flatten(1), volume

    def valid(
        self,
        q: Tensor,  # (batch, 3 atoms - 6)
    ) -> Tensor:  # (batch,), bool
        """Whether all values are finite, bonds positive, angles inside (0, π) and bends inside the
        circle that the sphere's projection is.
        """
        bonds = self.split(q)[0]
        angles, u, v = (q[:, columns] for columns in self._columns)
        inside = (bonds > 0).all(1) & (angles > 0).all(1) & (angles < torch.pi).all(1)
        inside &= (u.square() + v.square() < 4).all(1)
        return inside & torch.isfinite(q).all(1)

    @staticmethod
    def _log_volume(bonds: Tensor, angles: Tensor) -> Tensor:
        return 2 * bonds.abs().log().sum(1) + angles.sin().abs().log().sum(1)


class _Columns(NamedTuple):
    """Which columns of q are angles, and which the two bends of each line."""

    angles: Tensor
    first_bends: Tensor
    second_bends: Tensor


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


def _by_bends(bond: Tensor, u: Tensor, v: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Components of a bond along the axes, of its bends."""
    quarter = (u.square() + v.square()) / 4
    across = bond * (1 - quarter).clamp_min(SMALLEST).sqrt()
    return bond * (1 - 2 * quarter), across * u, across * v
