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
from bgp4.parallel.ranks import CPU

__all__ = ["RigidBonds", "TorchRigidBonds", "rigid_bonds"]

TOLERANCE = 1e-8
"""Relative, of lengths."""

MOST_SWEEPS = 500
MOST_SOLUTIONS = 30


class RigidBonds:
    """By the compiled kernel.

    Args:
        constraints: The bonds.
        kernel: Of these bonds.
        timestep_ps: In which a velocity's error must not matter.
    """

    def __init__(
        self, constraints: Constraints, kernel: ConstraintKernel, timestep_ps: float
    ) -> None:
        self._kernel = kernel
        self._rate = TOLERANCE / timestep_ps
        self._first, self._second = torch.as_tensor(constraints.pairs.T)
        self._square = torch.as_tensor(constraints.lengths_nm).square()

    def hold(
        self,
        positions_nm: Tensor,  # (replicas, atoms, 3), float64, changed
        before_nm: Tensor,  # (replicas, atoms, 3), of before the step
    ) -> Tensor:  # (replicas,), bool
        """Shift positions to the bonds' lengths; false for those that are too far away."""
        at, positions = before_nm.numpy(), positions_nm.numpy()
        if not self._kernel.shift_positions(at, positions, 2 * TOLERANCE, MOST_SWEEPS):
            return torch.ones(len(positions), dtype=torch.bool)
        square = self._along(positions_nm).square().sum(-1)
        return ((square / self._square - 1).abs() <= 2 * TOLERANCE).all(-1)

    def free(
        self,
        velocities: Tensor,  # (replicas, atoms, 3), float64, changed
        positions_nm: Tensor,  # (replicas, atoms, 3)
    ) -> Tensor:  # (replicas,), bool
        """Take away all that would change a length; false for those that are not finite."""
        at, values = positions_nm.numpy(), velocities.numpy()
        if not self._kernel.shift_velocities(at, values, self._rate, MOST_SWEEPS):
            return torch.ones(len(values), dtype=torch.bool)
        rate = (self._along(positions_nm) * self._along(velocities)).sum(-1) / self._square
        return (rate.abs() <= self._rate).all(-1)

    def _along(self, values: Tensor) -> Tensor:
        return values[:, self._second] - values[:, self._first]


class TorchRigidBonds:
    """The same in torch, on any device; to know that lengths are right, it waits for a GPU."""

    def __init__(self, constraints: Constraints, device: torch.device = CPU) -> None:
        self._difference = torch.as_tensor(constraints.difference).to(device)
        self._coupling = torch.as_tensor(constraints.coupling).to(device)
        self._back = (self._difference / torch.as_tensor(constraints.masses).to(device)).T
        self._square = torch.as_tensor(constraints.lengths_nm).square().to(device)

    def hold(self, positions_nm: Tensor, before_nm: Tensor) -> Tensor:
        """As `RigidBonds.hold`."""
        along = self._difference @ before_nm
        for _ in range(MOST_SOLUTIONS):
            d = self._difference @ positions_nm
            off = d.square().sum(-1) - self._square
            held = (off.abs() <= 2 * TOLERANCE * self._square).all(-1)
            if held.all():
                break
            positions_nm -= self._shift(d, along, off / 2)
        return held

    def free(self, velocities: Tensor, positions_nm: Tensor) -> Tensor:
        """As `RigidBonds.free`."""
        d = self._difference @ positions_nm
        velocities -= self._shift(d, d, (d * (self._difference @ velocities)).sum(-1))
        return velocities.isfinite().all((1, 2))

    def _shift(
        self,
        d: Tensor,  # (replicas, bonds, 3)
        along: Tensor,  # (replicas, bonds, 3)
        amount: Tensor,  # (replicas, bonds), of each d's change times d
    ) -> Tensor:  # (replicas, atoms, 3)
        g = torch.linalg.solve_ex(self._coupling * (d @ along.mT), amount).result
        return self._back @ (g[..., None] * along)


def rigid_bonds(
    constraints: Constraints, timestep_ps: float, device: torch.device = CPU
) -> RigidBonds | TorchRigidBonds:
    """The compiled kernel's, or torch's on a GPU and where there is no C++ compiler."""
    library = load_kernel() if device.type == "cpu" else None
    if library is None:
        return TorchRigidBonds(constraints, device)
    pairs, lengths_nm, masses = constraints.pairs, constraints.lengths_nm, constraints.masses
    kernel = ConstraintKernel(library, pairs, lengths_nm, masses)
    return RigidBonds(constraints, kernel, timestep_ps)
