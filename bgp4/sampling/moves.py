"""Short MD as a move of Hamiltonian Monte Carlo, which leaves exp(-u) as it is.

With constrained bonds the steps are RATTLE's (Andersen, J. Comput. Phys. 52, 24 (1983)), from
velocities drawn on the manifold, whose distribution in the positions is that of constrained MD
(docs/theory.md). A projection onto the manifold has several solutions, or none, so that a long step
may not lead back. Each step is therefore taken back as well, and a move with a step that does not
return to where it began is rejected (Lelièvre, Rousset, Stoltz, Numer. Math. 143, 379 (2019)).
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from bgp4.dynamics.rigid import rigid_bonds
from bgp4.energies.base import Energy
from bgp4.molecule.constraints import Constraints
from bgp4.statistics.samples import REJECTED_ENERGY_KT
from bgp4.units import kt_in_kjmol

__all__ = ["MolecularDynamics", "Moved"]

Array = NDArray[np.float64]

STEPS = 20

FIRST_TIMESTEP_PS, LONGEST_PS = 1e-3, 4e-3

WANTED_ACCEPTANCE, TUNING = 0.8, 1.05
"""By how much the time step follows at a time."""

JITTER = 0.1
"""Time steps differ by up to this share, so that no vibration comes around in a whole number."""

SAME_NM = 1e-6
"""A step that is taken back returns to within this; files round to 1e-7 nm."""


class Moved(NamedTuple):
    """Where the MD of each chain ended.

    Attributes:
        accepted: (chains,), bool.
        positions_nm: (chains, atoms, 3), of single precision.
        energy_kt: (chains,).
    """

    accepted: NDArray[np.bool_]
    positions_nm: Array
    energy_kt: Array


class _Phase(NamedTuple):
    """Positions, velocities and the energy's gradient after a step, and who may go on."""

    x: Array  # (chains, atoms, 3), nm
    v: Array  # (chains, atoms, 3), nm/ps
    slope: Array  # (chains, atoms, 3), kT/nm
    energy_kt: Array  # (chains,)
    sound: NDArray[np.bool_]  # (chains,)


class MolecularDynamics:
    """`STEPS` steps from fresh velocities, for many chains side by side.

    Args:
        energy: Of the target, at its temperature.
        constraints: Bonds of constant length, and the masses of all atoms.
        rng: Of velocities, time steps and decisions.
    """

    def __init__(self, energy: Energy, constraints: Constraints, rng: np.random.Generator) -> None:
        self._energy, self._rng = energy, rng
        kt = kt_in_kjmol(energy.temperature_k)
        self._per_mass = kt / constraints.masses[:, None]  # kT in Da, (nm/ps)²
        self._bonds = rigid_bonds(constraints, LONGEST_PS) if len(constraints) else None
        self.timestep_ps = FIRST_TIMESTEP_PS

    def tune(self, accepted: float) -> None:
        """Lengthen or shorten the time step after so large a share of moves was accepted."""
        self.timestep_ps *= TUNING if accepted > WANTED_ACCEPTANCE else 1 / TUNING
        self.timestep_ps = min(self.timestep_ps, LONGEST_PS)

    def __call__(
        self,
        positions_nm: NDArray[Any],  # (chains, atoms, 3)
        energy_kt: Array,  # (chains,)
    ) -> Moved:
        """A move of each chain."""
        x = positions_nm.astype(np.float64)
        v = self._rng.normal(size=x.shape) * np.sqrt(self._per_mass)
        sound = self._free(v, x)
        before_kt = energy_kt + self._kinetic_kt(v)
        timestep = self.timestep_ps * (1 + JITTER * self._rng.uniform(-1, 1))
        at = _Phase(x, v, self._reduced(x)[1], energy_kt, sound)
        for step in range(STEPS):
            at = self._step(at, timestep, last=step == STEPS - 1)
        change_kt = at.energy_kt + self._kinetic_kt(at.v) - before_kt
        accepted = at.sound & (at.energy_kt < REJECTED_ENERGY_KT)
        accepted &= change_kt < self._rng.exponential(size=len(x))
        return Moved(accepted, at.x, at.energy_kt)

    def _step(self, at: _Phase, timestep: float, last: bool) -> _Phase:
        """Velocity Verlet; chains that are not sound stay where they are."""
        half = 0.5 * timestep * self._per_mass
        x, v, held = self._drift(at.x, at.v - half * at.slope, timestep)
        sound = at.sound & held
        x[~sound] = at.x[~sound]
        if last:  # files hold single precision, and the energy is of these
            x = x.astype(np.float32).astype(np.float64)
        energy_kt, slope = self._reduced(x)
        v -= half * slope
        sound &= self._free(v, x)
        if self._bonds is not None:
            back, v_back, held = self._drift(x, -v - half * slope, timestep)
            v_back -= half * at.slope
            sound &= held & self._free(v_back, back) & _same(back, at.x, SAME_NM)
            sound &= _same(-v_back, at.v, SAME_NM / timestep)
        v[~sound] = slope[~sound] = 0
        return _Phase(x, v, slope, energy_kt, sound)

    def _drift(self, x: Array, v: Array, timestep: float) -> tuple[Array, Array, NDArray[np.bool_]]:
        """Positions a step later, the velocities that led there, and where bonds could be held."""
        there = x + timestep * v
        if self._bonds is None:
            return there, v, np.ones(len(x), bool)
        held = self._bonds.hold(torch.from_numpy(there), torch.from_numpy(x)).numpy()
        return there, (there - x) / timestep, held

    def _free(self, v: Array, x: Array) -> NDArray[np.bool_]:
        """Take from velocities, in place, what changes bonds; false where that was impossible."""
        if self._bonds is None:
            return np.ones(len(x), bool)
        freed: NDArray[np.bool_] = self._bonds.free(
            torch.from_numpy(v), torch.from_numpy(x)
        ).numpy()
        return freed

    def _reduced(self, x: Array) -> tuple[Array, Array]:
        """Energies in kT and their gradient in kT/nm."""
        energy_kt, slope = self._energy.reduced(torch.from_numpy(x))
        return energy_kt.numpy(), slope.numpy()

    def _kinetic_kt(self, v: Array) -> Array:
        kinetic: Array = 0.5 * (v**2 / self._per_mass).sum(axis=(1, 2))
        return kinetic


def _same(one: Array, other: Array, within: float) -> NDArray[np.bool_]:
    """Of each chain."""
    close: NDArray[np.bool_] = np.abs(one - other).max(axis=(1, 2)) < within
    return close
