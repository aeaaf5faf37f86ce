"""The conformations that a question is asked of: an ensemble's, or MD frames, with their weights.

Equal weights are those of states in the order of a chain: MD frames, or an unbiased or refined
ensemble. These are correlated, and errors come from blocks of successive ones.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import mdtraj
import numpy as np
from numpy.typing import ArrayLike, NDArray

from bgp4.errors import UserInputError
from bgp4.statistics.weights import (
    bootstrap,
    bootstrap_error,
    normalised_weights,
    resampling_counts,
)

__all__ = ["BLOCKS", "REPEATS", "Estimate", "Weighted", "weighted"]

Array = NDArray[np.float64]

REPEATS = 200
"""Bootstrap replicates behind an error."""

BLOCKS = 20
"""Blocks of successive states that are drawn whole where weights are equal."""


class Estimate(NamedTuple):
    """A number that an ensemble gives.

    Attributes:
        name: Of the observable, with its residue or atoms.
        value: In `unit`.
        error: One standard error, by bootstrap.
        unit: Hz, nm, nm², rad, kT, or empty for a number.
    """

    name: str
    value: float
    error: float
    unit: str


class Weighted(NamedTuple):
    """Conformations of positive weight (of one whose square is no zero in floating point).

    Attributes:
        frames: Of mdtraj, n of them.
        weights: (n,), their sum is 1.
        temperature_k: Temperature of the weights, K.
        kept: (all,) bool, which of the conformations these are.
    """

    frames: mdtraj.Trajectory
    weights: Array
    temperature_k: float
    kept: NDArray[np.bool_]

    @property
    def blocks(self) -> int | None:
        """Blocks of the bootstrap; None where samples are independent."""
        return BLOCKS if len(self.weights) > 1 and np.ptp(self.weights) == 0 else None

    @property
    def words(self) -> str:
        """How many conformations these are, and where errors come from."""
        if self.blocks is not None:
            return f"{len(self.weights):,} of equal weight, errors from {BLOCKS} successive blocks"
        worth = 1 / float(np.sum(self.weights**2))
        return f"{len(self.weights):,} weighted, {worth:,.0f} effective, errors by bootstrap"

    def errors(self, statistic: Callable[[Array], Any], seed: int = 0) -> Any:
        """Standard errors of a statistic of unnormalised weights (n,), by bootstrap."""
        rng = np.random.default_rng(seed)
        return bootstrap_error(bootstrap(statistic, self.weights, REPEATS, rng, self.blocks))

    def average(
        self,
        values: Array,  # (n, m)
        after: Callable[[Array], Array] = lambda means: means,
        seed: int = 0,
    ) -> tuple[Array, Array]:  # (m,), (m,)
        """Functions of weighted means, and their standard errors by bootstrap.

        Args:
            values: One row for each conformation.
            after: Of the means, elementwise.
            seed: Of the bootstrap.
        """
        rng, n = np.random.default_rng(seed), len(self.weights)
        draws = np.array([resampling_counts(n, rng, self.blocks) for _ in range(REPEATS)])
        draws = draws * self.weights
        replicates = after((draws @ values) / draws.sum(axis=1, keepdims=True))
        return after(self.weights @ values), bootstrap_error(replicates)


def weighted(
    positions_nm: NDArray[np.floating],  # (all, atoms, 3)
    log_weight: ArrayLike,  # (all,)
    topology: mdtraj.Topology,
    temperature_k: float,
    source: str = "ensemble",
) -> Weighted:
    """Leave out conformations without weight, whose positions may not even be finite.

    Raises:
        UserInputError: If none is left.
    """
    logarithms = np.asarray(log_weight, dtype=np.float64)
    if not np.isfinite(logarithms).any():
        raise UserInputError(
            f"{source}: expected weighted conformations, found none with a weight; draw them with "
            "`bgp4 sample` without --no-weights, or train the model longer"
        )
    weights = normalised_weights(np.where(np.isfinite(logarithms), logarithms, -np.inf))
    kept = weights**2 > 0
    frames = mdtraj.Trajectory(np.asarray(positions_nm[kept], dtype=np.float32), topology)
    return Weighted(frames, weights[kept], temperature_k, kept)
