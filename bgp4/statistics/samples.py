"""Weighted samples: conformations, energies and log-densities, and what follows from these."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from bgp4.statistics.weights import effective_sample_size, normalised_weights

__all__ = ["REJECTED_ENERGY_KT", "Samples", "concatenated"]

Array = NDArray[np.float64]

REJECTED_ENERGY_KT = 1e6
"""Energy given to a conformation that can't be evaluated: its Boltzmann weight is exactly zero."""

FARTHEST_NM = 1e6
"""Coordinates from here on count as not finite: products of them overflow float32."""


class Samples(NamedTuple):
    """Weighted conformations.

    Attributes:
        positions_nm: (n, atoms, 3), float32, nm; the energies are of exactly these.
        log_prob: (n,), Cartesian log-density, rigid motion factored out.
        energy_kt: (n,), NaN where no weights were asked for.
    """

    positions_nm: NDArray[np.floating]
    log_prob: Array
    energy_kt: Array

    @property
    def log_weight(self) -> Array:
        """-energy_kt - log_prob, (n,)."""
        return -self.energy_kt - self.log_prob

    @property
    def in_space(self) -> NDArray[np.bool_]:
        """Samples whose coordinates are all finite, and within `FARTHEST_NM`, (n,)."""
        within: NDArray[np.bool_] = (np.abs(self.positions_nm) < FARTHEST_NM).all(axis=(1, 2))
        return within

    @property
    def finite(self) -> NDArray[np.bool_]:
        """Samples whose coordinates, energy and log-density are all finite, (n,)."""
        return self.in_space & np.isfinite(self.energy_kt) & np.isfinite(self.log_prob)

    @property
    def accepted(self) -> NDArray[np.bool_]:
        """Finite samples with an energy below `REJECTED_ENERGY_KT`, (n,)."""
        return self.finite & (self.energy_kt < REJECTED_ENERGY_KT)

    @property
    def safe_log_weight(self) -> Array:
        """log_weight, and -inf for samples that are not accepted, (n,)."""
        accepted = self.accepted
        found = np.full(len(accepted), -np.inf)
        return np.subtract(-self.energy_kt, self.log_prob, out=found, where=accepted)

    @property
    def weights(self) -> Array:
        """Normalised weights, (n,); all zero where no sample is accepted."""
        log_weight = self.safe_log_weight
        if np.isneginf(log_weight).all():
            return np.zeros(len(log_weight))
        return normalised_weights(log_weight)

    @property
    def ess(self) -> float:
        """Effective sample size as a fraction of 1; 0 where no sample is accepted."""
        return effective_sample_size(self.safe_log_weight)

    def at_temperature(self, own_k: float, other_k: float) -> Samples:
        """The same conformations, with energies in kT of another temperature, K.

        Args:
            own_k: Temperature of the present energies.
            other_k: Of the new ones.
        """
        scaled = np.where(self.accepted, self.energy_kt * (own_k / other_k), REJECTED_ENERGY_KT)
        return self._replace(energy_kt=scaled)

    def rows(self, index: NDArray[np.integer] | NDArray[np.bool_] | slice) -> Samples:
        """Some of the samples."""
        return Samples(self.positions_nm[index], self.log_prob[index], self.energy_kt[index])


def concatenated(parts: Sequence[Samples]) -> Samples:
    """Chunks of samples as one."""
    return Samples(*(np.concatenate(values) for values in zip(*parts, strict=True)))
