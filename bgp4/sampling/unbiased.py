"""An unweighted ensemble without bias: Metropolis among the flow's independent samples.

The chain's target is the Boltzmann density p ~ exp(-u), its proposals are the flow's samples, of
density q. From x it goes to the proposal y with probability min(1, w(y) / w(x)), w = exp(-u) / q,
and else stays (Liu, Stat. Comput. 6, 113, 1996). It begins at one of `START` samples, drawn by
their weights, which comes from p but for O(1 / (START ESS)); so there is no burn-in to cut off.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import chain
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from bgp4.errors import UserInputError
from bgp4.statistics.samples import Samples, concatenated
from bgp4.statistics.weights import normalised_weights

__all__ = ["START", "ChainStatistics", "MetropolisChain", "independence_chain"]

START = 2048
"""Samples that the first state is drawn from; they are not proposed again."""


class ChainStatistics(NamedTuple):
    """How good a chain is.

    Attributes:
        acceptance: Share of the proposals that were accepted.
        n_distinct: Conformations among the states.
        inefficiency: Of the mean energy: so many states are worth one independent one.
    """

    acceptance: float
    n_distinct: int
    inefficiency: float

    @property
    def words(self) -> str:
        """What a user is told of them."""
        return (
            f"unbiased: {self.acceptance:.1%} of the proposals accepted, "
            f"{self.n_distinct} distinct conformations, "
            f"statistical inefficiency {self.inefficiency:.1f}"
        )


def independence_chain(
    log_weight: NDArray[np.float64],  # (1 + n,), of the first state and of n proposals
    rng: np.random.Generator,
) -> NDArray[np.int64]:  # (n,)
    """The state after each proposal, as an index of `log_weight`; a weight of zero is -inf.

    >>> log_weight = np.array([0.0, -np.inf, 1.0, -np.inf])
    >>> independence_chain(log_weight, np.random.default_rng(0)).tolist()
    [0, 2, 2]
    """
    first, *proposed = log_weight.tolist()
    log_uniform = -rng.exponential(size=len(proposed))
    states, state, current = [], 0, first
    for i, (weight, bar) in enumerate(zip(proposed, log_uniform.tolist(), strict=True), start=1):
        if weight - current > bar:
            state, current = i, weight
        states.append(state)
    return np.array(states, dtype=np.int64)


@dataclass
class MetropolisChain:
    """The chain over a stream of samples, of which it holds a chunk at a time."""

    rng: np.random.Generator
    _moves: list[NDArray[np.bool_]] = field(default_factory=list)
    _energies_kt: list[NDArray[np.float64]] = field(default_factory=list)

    def states(self, samples: Iterator[Samples]) -> Iterator[Samples]:
        """One state for each sample after the first `START`.

        They come from exp(-u) itself, so their `log_prob` is -u, up to a constant, and their
        log-weight zero.

        Raises:
            UserInputError: If none of the first `START` has a weight.
        """
        pool, rest = _first(samples, START)
        state = _drawn_by_weight(pool, self.rng)
        for proposals in chain([rest], samples):
            candidates = concatenated([state, proposals])
            index = independence_chain(candidates.safe_log_weight, self.rng)
            made = candidates.rows(index)
            state = candidates.rows(index[-1:]) if len(index) else state
            self._moves.append(np.diff(index, prepend=0) > 0)
            self._energies_kt.append(made.energy_kt)
            yield made._replace(log_prob=-made.energy_kt)

    @property
    def statistics(self) -> ChainStatistics:
        """Statistics of the states so far."""
        moved = np.concatenate(self._moves)
        energy_kt = np.concatenate(self._energies_kt)
        n_distinct = int(moved.sum() + (not moved[0]))
        return ChainStatistics(float(moved.mean()), n_distinct, _inefficiency(energy_kt))


def _inefficiency(values: NDArray[np.float64]) -> float:
    """1 + 2 x the autocorrelation time of a series; its length where it never changes."""
    if np.ptp(values) == 0:
        return float(len(values))
    from pymbar.timeseries import statistical_inefficiency

    return float(statistical_inefficiency(values))


def _first(samples: Iterator[Samples], n: int) -> tuple[Samples, Samples]:
    """The first n samples, and what is left of the chunk that the last of them came in."""
    taken: list[Samples] = []
    while sum(len(part.energy_kt) for part in taken) < n:
        taken.append(next(samples))
    whole = concatenated(taken)
    return whole.rows(slice(n)), whole.rows(slice(n, None))


def _drawn_by_weight(samples: Samples, rng: np.random.Generator) -> Samples:
    log_weight = samples.safe_log_weight
    if np.isneginf(log_weight).all():
        raise UserInputError(
            f"--unbiased: none of the model's first {len(log_weight)} samples has a weight; "
            "train it longer"
        )
    index = rng.choice(len(log_weight), size=1, p=normalised_weights(log_weight))
    return samples.rows(index)
