"""Internal coordinates: bonds, angles and torsions of a Z-matrix, with the exact log-determinant.

Overall translation and rotation are factored out. In spherical coordinates around the atoms that
place it, each atom contributes b² sin θ to the volume, so

    log |det ∂q/∂x| = -Σ_bonds 2 log b - Σ_angles log sin θ

is the log-determinant of x (modulo rigid motion) to q: the volume element of the 3N Cartesian
coordinates is dx = dR dΩ Π b² Π sin θ dq, with R the position of the first atom and Ω the
orientation of the frame (total volume 8π²).
"""

from __future__ import annotations

import numpy as np
import torch
from nflows.transforms import Transform
from torch import Tensor

from bgp4.molecule.zmatrix import Row, ZMatrix

__all__ = ["InternalCoordinates"]


class InternalCoordinates(Transform):
    """Cartesian positions to bonds (nm), angles (rad) and torsions (rad, in [-π, π)).

    Columns of q: (atoms - 1) bonds, (atoms - 2) angles, (atoms - 3) torsions, in the order of
    the Z-matrix.

    Attributes:
        fixed: (features,), bool, the columns that have one value each; None if there are none.
    """

    fixed: Tensor | None

    def __init__(self, zmatrix: ZMatrix) -> None:
        super().__init__()
        self.register_buffer("fixed", None)
        self.zmatrix = zmatrix
        placed = [*zmatrix.root, *(row.atom for level in zmatrix.levels for row in level)]
        slot = {atom: i for i, atom in enumerate(placed)}
        self._partners = [
            torch.tensor([[slot[a] for a in row[1:]] for row in level]) for level in zmatrix.levels
        ]
        self._rows = [_positions_in(zmatrix.rows, level) for level in zmatrix.levels]
        self._atom_order = torch.tensor([slot[a] for a in range(zmatrix.n_atoms)])
        self._bonds = torch.tensor(zmatrix.bonds)
        self._angles = torch.tensor(zmatrix.angles)
        self._torsions = torch.tensor(zmatrix.torsions)

    @property
    def n_atoms(self) -> int:
        return self.zmatrix.n_atoms

    @property
    def features(self) -> int:
        """Number of internal coordinates, 3 atoms - 6."""
        return 3 * self.n_atoms - 6

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
        bonds = _bond(x[:, self._bonds])
        angles = _angle(x[:, self._angles])
        q = torch.cat([bonds, angles, _torsion(x[:, self._torsions])], dim=1)
        return q, -self._log_volume(bonds, angles)

    def inverse(
        self,
        inputs: Tensor,  # (batch, 3 atoms - 6)
        context: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:  # (batch, 3 atoms) in nm, (batch,)
        """Positions with the first root atom at the origin, the second on x, the third in xy."""
        bonds, angles, torsions = self.split(inputs)
        x = _frame(bonds[:, :2], angles[:, 0])
        for partners, rows in zip(self._partners, self._rows, strict=True):
            b, angle, torsion = bonds[:, rows + 2], angles[:, rows + 1], torsions[:, rows]
            x = torch.cat([x, _place(x[:, partners], b, angle, torsion)], dim=1)
        return x[:, self._atom_order].flatten(1), self._log_volume(bonds, angles)

    def valid(
        self,
        q: Tensor,  # (batch, 3 atoms - 6)
    ) -> Tensor:  # (batch,), bool
        """Whether all values are finite, bonds positive and angles inside (0, π)."""
        bonds, angles, _ = self.split(q)
        inside = (bonds > 0).all(1) & (angles > 0).all(1) & (angles < torch.pi).all(1)
        return inside & torch.isfinite(q).all(1)

    @staticmethod
    def _log_volume(bonds: Tensor, angles: Tensor) -> Tensor:
        return 2 * bonds.abs().log().sum(1) + angles.sin().abs().log().sum(1)


def _positions_in(rows: tuple[Row, ...], level: list[Row]) -> Tensor:
    index = {row.atom: i for i, row in enumerate(rows)}
    return torch.tensor([index[row.atom] for row in level])


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
    x: Tensor,  # (batch, torsions, 4, 3)
) -> Tensor:
    """IUPAC sign, as mdtraj: zero when cis, in [-π, π)."""
    b1, b2, b3 = (x[:, :, i + 1] - x[:, :, i] for i in range(3))
    n1, n2 = torch.linalg.cross(b1, b2), torch.linalg.cross(b2, b3)
    sine = (b1 * n2).sum(-1) * torch.linalg.vector_norm(b2, dim=-1)
    torsion = torch.atan2(sine, (n1 * n2).sum(-1))
    return torch.where(torsion >= np.pi, torsion - 2 * np.pi, torsion)


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
    x: Tensor,  # (batch, atoms, 3 partners: bond, angle, torsion; 3)
    bond: Tensor,  # (batch, atoms)
    angle: Tensor,
    torsion: Tensor,
) -> Tensor:  # (batch, atoms, 3)
    """Natural extension reference frame (Parsons et al., J. Comput. Chem. 26, 1063 (2005))."""
    c, b, a = x.unbind(2)
    axis = torch.nn.functional.normalize(c - b, dim=-1)
    normal = torch.nn.functional.normalize(torch.linalg.cross(b - a, axis), dim=-1)
    third = torch.linalg.cross(normal, axis)
    sine = angle.sin()
    along = -(bond * angle.cos())[..., None] * axis
    across = (bond * sine * torsion.cos())[..., None] * third
    return c + along + across + (bond * sine * torsion.sin())[..., None] * normal
