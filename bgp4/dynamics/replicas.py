"""Molecular dynamics of many replicas at once: stacks of one replica for each temperature.

Both engines integrate Langevin dynamics by the middle scheme (Zhang et al., J. Phys. Chem. A 123,
6056 (2019)), whose error in the configurations is of the second order and small even at 1 fs.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from bgp4.energies.worker import make_context
from bgp4.molecule.constraints import Constraints, constraints_of
from bgp4.units import BOLTZMANN_KJMOL_PER_K

__all__ = ["BatchedReplicas", "DynamicsSettings", "OpenMMReplicas", "Replicas"]

Array = NDArray[np.float64]


@dataclass(frozen=True)
class DynamicsSettings:
    """What the replicas of one process do.

    Attributes:
        system_xml: Serialised OpenMM System.
        positions_nm: Start of every replica, (atoms, 3), or of those of each stack, (stacks, atoms,
            3), nm.
        temperatures_k: (temperatures,), K.
        stacks: Independent sets of one replica for each temperature.
        timestep_fs: Of the integrator.
        friction_per_ps: Of the Langevin thermostat.
        platform: OpenMM platform.
        seed: Of noise and velocities.
        device: Where batched replicas are, cpu or cuda.
    """

    system_xml: str
    positions_nm: Array
    temperatures_k: tuple[float, ...]
    stacks: int
    timestep_fs: float
    friction_per_ps: float
    platform: str
    seed: int
    device: str = "cpu"

    @property
    def starts_nm(self) -> Array:
        """Start of each stack, (stacks, atoms, 3), nm."""
        return np.broadcast_to(self.positions_nm, (self.stacks, *self.positions_nm.shape[-2:]))


class Replicas(Protocol):
    """Replicas in stacks; temperatures stay in place, configurations are exchanged."""

    def run(self, steps: int) -> None:
        """Integrate every replica."""

    def energies_kjmol(self) -> Array:
        """(stacks, temperatures), kJ/mol."""

    def positions_nm(self, temperature: int) -> Array:
        """Positions of one temperature's replicas, (stacks, atoms, 3), nm."""

    def permute(self, source: NDArray[np.int64]) -> None:
        """Replica t of stack s goes on from what was replica source[s, t] of stack s.

        Velocities are rescaled to the new temperature.
        """

    def state(self) -> dict[str, NDArray[Any]]:
        """All that others of the same settings need to go on: configurations, velocities, noise."""

    def restore(self, state: dict[str, NDArray[Any]]) -> None:
        """Go on from a `state`."""


class OpenMMReplicas:
    """Replicas as OpenMM Contexts, one after the other on one thread: any force field."""

    def __init__(self, settings: DynamicsSettings) -> None:
        self.temperatures_k = settings.temperatures_k
        rng = np.random.default_rng(settings.seed)
        self.contexts = [
            [_context(settings, start, t, rng) for t in settings.temperatures_k]
            for start in settings.starts_nm
        ]

    def run(self, steps: int) -> None:
        for stack in self.contexts:
            for context in stack:
                context.getIntegrator().step(steps)

    def energies_kjmol(self) -> Array:
        return np.array(
            [
                [c.getState(energy=True).getPotentialEnergy()._value for c in stack]
                for stack in self.contexts
            ]
        )

    def positions_nm(self, temperature: int) -> Array:
        states = [stack[temperature].getState(positions=True) for stack in self.contexts]
        return np.stack([state.getPositions(asNumpy=True)._value for state in states])

    def permute(self, source: NDArray[np.int64]) -> None:
        for s, row in enumerate(source):
            self.contexts[s] = [self.contexts[s][t] for t in row]
            for t in np.flatnonzero(row != np.arange(len(row))):
                self._set_temperature(self.contexts[s][t], int(row[t]), int(t))

    def state(self) -> dict[str, NDArray[Any]]:
        """OpenMM's own checkpoints, random numbers included, for the same platform and machine."""
        return {
            f"{s}.{t}": np.frombuffer(context.createCheckpoint(), np.uint8)
            for s, stack in enumerate(self.contexts)
            for t, context in enumerate(stack)
        }

    def restore(self, state: dict[str, NDArray[Any]]) -> None:
        for s, stack in enumerate(self.contexts):
            for t, context in enumerate(stack):
                context.loadCheckpoint(state[f"{s}.{t}"].tobytes())

    def _set_temperature(self, context: Any, old: int, new: int) -> None:
        scale = np.sqrt(self.temperatures_k[new] / self.temperatures_k[old])
        velocities = context.getState(velocities=True).getVelocities(asNumpy=True)._value
        context.setVelocities(velocities * scale)
        context.getIntegrator().setTemperature(self.temperatures_k[new])


def _context(
    settings: DynamicsSettings,
    start_nm: Array,  # (atoms, 3)
    temperature_k: float,
    rng: np.random.Generator,
) -> Any:
    """At a minimum near the start, with velocities of the temperature."""
    import openmm
    from openmm import unit

    integrator = openmm.LangevinMiddleIntegrator(
        temperature_k * unit.kelvin,
        settings.friction_per_ps / unit.picosecond,
        settings.timestep_fs * unit.femtosecond,
    )
    integrator.setRandomNumberSeed(int(rng.integers(1, 2**31)))
    context = make_context(settings.system_xml, settings.platform, integrator)
    context.setPositions(start_nm)
    openmm.LocalEnergyMinimizer.minimize(context, maxIterations=100)
    context.setVelocitiesToTemperature(temperature_k, int(rng.integers(1, 2**31)))
    return context


class BatchedReplicas:
    """All replicas in one batch; forces in float32, positions and velocities in float64.

    On a GPU nothing leaves it between frames, and noise comes from its own generator.

    Constrained bonds are held as OpenMM holds them: velocities are freed of them after each kick,
    positions shifted back at the end of each step.

    Raises:
        UnsupportedForce: If the System has a term that only OpenMM can evaluate.
    """

    def __init__(self, settings: DynamicsSettings) -> None:
        import torch

        from bgp4.dynamics.rigid import rigid_bonds
        from bgp4.energies.batched import on_tensors
        from bgp4.energies.forcefield import read_force_field

        torch.set_num_threads(1)
        self.device = torch.device(settings.device)
        self.stacks, self.n_temperatures = settings.stacks, len(settings.temperatures_k)
        terms = read_force_field(settings.system_xml)
        self.function = on_tensors(terms, torch.float32, self.device)
        self.generator = torch.Generator(self.device).manual_seed(settings.seed)
        kt = BOLTZMANN_KJMOL_PER_K * torch.tensor(settings.temperatures_k, dtype=torch.float64)
        self.kt = kt.repeat(self.stacks)[:, None, None].to(self.device)
        constraints = _constraints(settings.system_xml)
        self.mass = torch.as_tensor(constraints.masses)[:, None].to(self.device)
        self.thermal = (self.kt / self.mass).sqrt()
        self.timestep_ps = settings.timestep_fs / 1000
        self.decay = float(np.exp(-settings.friction_per_ps * self.timestep_ps))
        minima = torch.as_tensor(_minimised(settings))
        self.x = minima.repeat_interleave(self.n_temperatures, 0).to(self.device)
        self.v = self.thermal * self._normal()
        held = (constraints, self.timestep_ps, self.device)
        self.rigid = rigid_bonds(*held) if len(constraints) else None

    def run(self, steps: int) -> None:
        from bgp4.parallel.hardware import wait_for

        kick = self.timestep_ps / self.mass
        noise = (1 - self.decay**2) ** 0.5 * self.thermal
        for _ in range(steps):
            self.v += kick * self.function(self.x)[1]
            if self.rigid is None:
                self._drift(noise)
                continue
            _insist(self.rigid.free(self.v, self.x))
            before = self.x.clone()
            self._drift(noise)
            astray = self.x.clone()
            _insist(self.rigid.hold(self.x, before))
            self.v.add_(self.x - astray, alpha=1 / self.timestep_ps)
        wait_for(self.device)

    def _drift(self, noise: Any) -> None:
        """With the thermostat in the middle."""
        half = self.timestep_ps / 2
        self.x.add_(self.v, alpha=half)
        self.v.mul_(self.decay).addcmul_(noise, self._normal())
        self.x.add_(self.v, alpha=half)

    def energies_kjmol(self) -> Array:
        energies: Array = self.function(self.x)[0].cpu().numpy()
        return energies.reshape(self.stacks, self.n_temperatures)

    def positions_nm(self, temperature: int) -> Array:
        positions: Array = self.x[temperature :: self.n_temperatures].cpu().numpy().copy()
        return positions

    def permute(self, source: NDArray[np.int64]) -> None:
        import torch

        stack = self.n_temperatures * np.arange(self.stacks)[:, None]
        index = torch.as_tensor((source + stack).ravel()).to(self.device)
        self.x = self.x[index]
        self.v = self.v[index] * (self.kt / self.kt[index]).sqrt()

    def state(self) -> dict[str, NDArray[Any]]:
        noise = self.generator.get_state().numpy()
        return {"x": self.x.cpu().numpy(), "v": self.v.cpu().numpy(), "noise": noise}

    def restore(self, state: dict[str, NDArray[Any]]) -> None:
        import torch

        of_state = (torch.as_tensor(state[name]).clone() for name in ("x", "v"))
        self.x, self.v = (values.to(self.device) for values in of_state)
        self.generator.set_state(torch.as_tensor(state["noise"]).clone())

    def _normal(self) -> Any:
        """Standard normal numbers of single precision, as doubles, (replicas, atoms, 3)."""
        import torch

        drawn = torch.randn(self.x.shape, generator=self.generator, device=self.device)
        return drawn.double()


def _insist(done: Any) -> None:
    """On constrained bonds of all replicas, (replicas,)."""
    if not done.all():
        raise ValueError(
            "constrained bonds can't be held to their lengths: shorten simulate.timestep_fs"
        )


def _constraints(system_xml: str) -> Constraints:
    """Constrained bonds, and masses in Da, which is kJ/mol (ps/nm)²."""
    import openmm

    return constraints_of(openmm.XmlSerializer.deserialize(system_xml))


def _minimised(settings: DynamicsSettings) -> Array:
    """Each stack's start, (stacks, atoms, 3), nm; stacks with the same start have the same."""
    starts, which = np.unique(settings.starts_nm, axis=0, return_inverse=True)
    contexts = [_context(settings, start, 300.0, np.random.default_rng(0)) for start in starts]
    found = [c.getState(positions=True).getPositions(asNumpy=True)._value for c in contexts]
    minima: Array = np.stack(found)[which.ravel()]
    return minima


ENGINES: dict[str, Callable[[DynamicsSettings], Replicas]] = {
    "batched": BatchedReplicas,
    "openmm": OpenMMReplicas,
}
