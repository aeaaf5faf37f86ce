"""Constrained bonds of many replicas: positions shifted back to them, velocities freed of them.

Both are shifts along the bonds, by the inverse masses: x - x' = m⁻¹ Dᵀ (g d). SHAKE takes the
bonds d as they were before the step, RATTLE as they are. The compiled kernel goes from bond to
bond; without a compiler, torch solves for all bonds at once, by Newton's method.
"""

from __future__ import annotations

import torch
from torch import Tensor

from bgp4.kernels.constraints import ConstraintKernel, load_kernel
from bgp4.molecule.constraints import Constraints

__all__ = ["RigidBonds", "TorchRigidBonds", "rigid_bonds"]

TOLERANCE = 1e-8
"""Relative, of lengths."""

MOST_SWEEPS = 500
MOST_SOLUTIONS = 30

TOO_LONG = "constrained bonds can't be held to their lengths: shorten simulate.timestep_fs"


class RigidBonds:
    """By the compiled kernel.

    Args:
        kernel: Of these bonds.
        timestep_ps: In which a velocity's error must not matter.
    """

    def __init__(self, kernel: ConstraintKernel, timestep_ps: float) -> None:
        self._kernel = kernel
        self._rate = TOLERANCE / timestep_ps

    def hold(
        self,
        positions_nm: Tensor,  # (replicas, atoms, 3), float64, changed
        before_nm: Tensor,  # (replicas, atoms, 3), of before the step
    ) -> None:
        """Shift positions to the bonds' lengths.

        Raises:
            ValueError: If they are too far away.
        """
        at, positions = before_nm.numpy(), positions_nm.numpy()
        if self._kernel.shift_positions(at, positions, 2 * TOLERANCE, MOST_SWEEPS):
            raise ValueError(TOO_LONG)

    def free(
        self,
        velocities: Tensor,  # (replicas, atoms, 3), float64, changed
        positions_nm: Tensor,  # (replicas, atoms, 3)
    ) -> None:
        """Take away all that would change a length.

        Raises:
            ValueError: If they are not finite.
        """
        at, values = positions_nm.numpy(), velocities.numpy()
        if self._kernel.shift_velocities(at, values, self._rate, MOST_SWEEPS):
            raise ValueError(TOO_LONG)


class TorchRigidBonds:
    """The same in torch."""

    def __init__(self, constraints: Constraints) -> None:
        self._difference = torch.as_tensor(constraints.difference)
        self._coupling = torch.as_tensor(constraints.coupling)
        self._back = (self._difference / torch.as_tensor(constraints.masses)).T
        self._square = torch.as_tensor(constraints.lengths_nm).square()

    def hold(self, positions_nm: Tensor, before_nm: Tensor) -> None:
        """As `RigidBonds.hold`."""
        along = self._difference @ before_nm
        for _ in range(MOST_SOLUTIONS):
            d = self._difference @ positions_nm
            off = d.square().sum(-1) - self._square
            if (off.abs() <= 2 * TOLERANCE * self._square).all():
                return
            positions_nm -= self._shift(d, along, off / 2)
        raise ValueError(TOO_LONG)

    def free(self, velocities: Tensor, positions_nm: Tensor) -> None:
        """As `RigidBonds.free`."""
        d = self._difference @ positions_nm
        velocities -= self._shift(d, d, (d * (self._difference @ velocities)).sum(-1))

    def _shift(
        self,
        d: Tensor,  # (replicas, bonds, 3)
        along: Tensor,  # (replicas, bonds, 3)
        amount: Tensor,  # (replicas, bonds), of each d's change times d
    ) -> Tensor:  # (replicas, atoms, 3)
        g = torch.linalg.solve(self._coupling * (d @ along.mT), amount)
        return self._back @ (g[..., None] * along)


def rigid_bonds(constraints: Constraints, timestep_ps: float) -> RigidBonds | TorchRigidBonds:
    """The compiled kernel's, or torch's where there is no C++ compiler."""
    library = load_kernel()
    if library is None:
        return TorchRigidBonds(constraints)
    pairs, lengths_nm, masses = constraints.pairs, constraints.lengths_nm, constraints.masses
    return RigidBonds(ConstraintKernel(library, pairs, lengths_nm, masses), timestep_ps)
