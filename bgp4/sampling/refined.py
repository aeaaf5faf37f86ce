"""An unweighted ensemble where the flow is poor: jumps that it proposes, and short MD between them.

Many chains run side by side. A cycle of each is an independence-Metropolis step to a fresh sample
of the flow (see `bgp4.sampling.unbiased`), and a step of Hamiltonian Monte Carlo (Duane et al.,
Phys. Lett. B 195, 216, 1987) on the energy itself (see `bgp4.sampling.moves`). Both leave the
Boltzmann density as it is, so the result is exact in the long run, whatever the flow; the second
moves a heavy sample that the first would only repeat. Whether the run was long enough is for R-hat
to say.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from bgp4.energies.base import Energy
from bgp4.errors import UserInputError
from bgp4.molecule.states import State, members, states
from bgp4.parallel.progress import Report, silent
from bgp4.parallel.threads import in_threads
from bgp4.sampling.generate import TrainedRun, generate
from bgp4.sampling.moves import MolecularDynamics
from bgp4.statistics.chains import LARGEST_R_HAT, effective_draws, split_r_hat
from bgp4.statistics.samples import Samples, concatenated
from bgp4.statistics.weights import normalised_weights

__all__ = ["RefinedChains", "RefinedStatistics"]

Array = NDArray[np.float64]

CHAINS, STATES = 256, 32
"""The most chains, and the fewest states of each: R-hat needs some to compare."""

START = 8
"""Samples for each chain among which its first state is drawn, by weight."""

JUMPS, FEWEST_CYCLES, MOST_CYCLES = 5, 20, 400
"""A chain's start is left behind after so many accepted jumps, on average over the chains."""

BLOCK = 4
"""Cycles whose proposals are made together."""

PART = 512
"""Conformations whose log-density a thread computes at a time."""


class RefinedStatistics(NamedTuple):
    """How good the chains are.

    Attributes:
        chains: How many ran side by side.
        discarded: Cycles before the first that counts.
        jump_acceptance: Share of the flow's proposals that were accepted.
        move_acceptance: Share of the pieces of MD that were accepted.
        effective: States' worth in independent ones, of the observable that is worst off.
        worst: That observable: the energy, or a state's label.
        r_hat: The largest split R-hat; near 1 where chains agree.
        evaluations: Energies that all of it took.
    """

    chains: int
    discarded: int
    jump_acceptance: float
    move_acceptance: float
    effective: float
    worst: str
    r_hat: float
    evaluations: int

    @property
    def agree(self) -> bool:
        """Whether the chains do."""
        return self.r_hat <= LARGEST_R_HAT

    @property
    def _worth(self) -> str:
        if not self.agree:
            return "effective samples unknown, for the chains do not agree"
        return f"{self.effective:,.0f} effective samples (by {self.worst})"

    @property
    def words(self) -> str:
        """What a user is told of them."""
        return (
            f"refined: {self.chains} chains, {self.discarded} cycles discarded, "
            f"{self.jump_acceptance:.1%} of the jumps and {self.move_acceptance:.1%} of the MD "
            f"accepted, {self._worth}, R-hat {self.r_hat:.3f}, {self.evaluations:,} energies"
        )


@dataclass
class RefinedChains:
    """Chains of a trained run at the temperature of an energy.

    Args:
        trained: The flow and its molecule.
        energy: Of the target.
        seed: Of everything random.
    """

    trained: TrainedRun
    energy: Energy
    seed: int
    _jumped: list[float] = field(default_factory=list)
    _moved: list[float] = field(default_factory=list)
    _energies_kt: list[Array] = field(default_factory=list)
    _inside: list[NDArray[np.bool_]] = field(default_factory=list)
    _discarded: int = 0

    def __post_init__(self) -> None:
        self._rng = np.random.default_rng(self.seed)
        molecule = self.trained.molecule
        self._md = MolecularDynamics(self.energy, molecule.constraints, self._rng)
        self._states: list[State] = states(molecule.topology, self.trained.config)

    def states(self, n: int, report: Report = silent) -> Iterator[Samples]:
        """n states, those of all chains after a cycle at a time.

        They come from exp(-u) itself, so their `log_prob` is -u, up to a constant, and their
        log-weight zero.

        Raises:
            UserInputError: If none of the samples that chains could begin at has a weight.
        """
        n_chains = min(CHAINS, max(n // STATES, 1))
        proposals = self._proposals(n_chains)
        current, jumps = self._start(n_chains), 0.0
        while self._discarded < MOST_CYCLES and (jumps < JUMPS or self._discarded < FEWEST_CYCLES):
            current, jumped, moved = self._cycle(current, next(proposals))
            jumps += jumped
            self._md.tune(moved)
            self._discarded += 1
            report(None, f"settling, {jumps:.1f} of {JUMPS} jumps")
        for begin in range(0, n, n_chains):
            current, jumped, moved = self._cycle(current, next(proposals))
            self._note(current, jumped, moved)
            report(min(begin + n_chains, n), "")
            made = current.rows(slice(min(n_chains, n - begin)))
            yield made._replace(
                positions_nm=made.positions_nm.astype(np.float32), log_prob=-made.energy_kt
            )

    def _note(self, current: Samples, jumped: float, moved: float) -> None:
        self._jumped.append(jumped)
        self._moved.append(moved)
        self._energies_kt.append(current.energy_kt)
        topology = self.trained.molecule.topology
        self._inside.append(members(self._states, current.positions_nm, topology))

    @property
    def statistics(self) -> RefinedStatistics:
        """Of the states so far."""
        observables = {"the energy": np.array(self._energies_kt).T}  # (chains, cycles)
        inside = np.array(self._inside)  # (cycles, chains, states)
        for place, state in enumerate(self._states):
            values = inside[:, :, place].T.astype(np.float64)
            if np.ptp(values):
                observables[state.label] = values
        worth = {name: effective_draws(values) for name, values in observables.items()}
        worst = min(worth, key=lambda name: worth[name])
        return RefinedStatistics(
            chains=len(self._energies_kt[0]),
            discarded=self._discarded,
            jump_acceptance=float(np.mean(self._jumped)),
            move_acceptance=float(np.mean(self._moved)),
            effective=worth[worst],
            worst=worst,
            r_hat=max(map(split_r_hat, observables.values())),
            evaluations=self.energy.n_evaluations,
        )

    def _start(self, n_chains: int) -> Samples:
        """A first state for each chain, drawn by weight from a pool of the flow's samples."""
        pool = self._flow_samples(START * max(n_chains, CHAINS))
        if not pool.accepted.any():
            raise UserInputError(
                f"--refine: none of the model's first {len(pool.energy_kt)} samples has a weight; "
                "train it longer"
            )
        weights = normalised_weights(pool.safe_log_weight)
        return pool.rows(self._rng.choice(len(weights), size=n_chains, p=weights))

    def _proposals(self, n_chains: int) -> Iterator[Samples]:
        while True:
            block = self._flow_samples(BLOCK * n_chains)
            for i in range(BLOCK):
                yield block.rows(slice(i * n_chains, (i + 1) * n_chains))

    def _flow_samples(self, n: int) -> Samples:
        seed = int(self._rng.integers(2**31))
        made = concatenated(list(generate(self.trained.model, n, seed, self.energy)))
        return made._replace(positions_nm=made.positions_nm.astype(np.float64))

    def _cycle(self, current: Samples, proposed: Samples) -> tuple[Samples, float, float]:
        """A jump and a piece of MD, and the shares of chains that accepted each."""
        gain = proposed.safe_log_weight - current.log_weight
        jumped = gain > -self._rng.exponential(size=len(gain))
        current = _chosen(jumped, proposed, current)
        moved, after = self._moves(current)
        return _chosen(moved, after, current), float(jumped.mean()), float(moved.mean())

    def _moves(self, start: Samples) -> tuple[NDArray[np.bool_], Samples]:
        """Who accepts a piece of MD, and where it ends."""
        moved, x, energy_kt = self._md(start.positions_nm, start.energy_kt)
        log_prob = np.full(len(x), -np.inf)
        log_prob[moved] = self._log_prob(x[moved])
        return moved, Samples(x, log_prob, energy_kt)

    def _log_prob(self, x: Array) -> Array:
        if not len(x):
            return np.empty(0)
        density = torch.no_grad()(self.trained.model.log_prob_xyz)
        parts = list(in_threads(density, torch.as_tensor(x).split(PART)))
        log_prob: Array = torch.cat(parts).cpu().numpy()
        return log_prob


def _chosen(first: NDArray[np.bool_], one: Samples, other: Samples) -> Samples:
    """Row by row, of one where `first` is true, else of the other."""
    rows = [
        np.where(first.reshape(-1, *[1] * (a.ndim - 1)), a, b)
        for a, b in zip(one, other, strict=True)
    ]
    return Samples(*rows)
