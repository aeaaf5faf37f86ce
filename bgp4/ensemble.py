"""An ensemble of weighted conformations: averages, free energies and the other answers.

Lengths are nm, energies kT of the ensemble's temperature, log-densities natural logarithms.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import mdtraj
import numpy as np
from numpy.typing import ArrayLike, NDArray

from bgp4.answers.conformers import LEAST, Conformers, conformers
from bgp4.answers.free_energy import FreeEnergies, free_energies
from bgp4.answers.observables import j_couplings, noe
from bgp4.answers.surface import Surface, axes_of, surface
from bgp4.answers.variables import variable
from bgp4.answers.weighted import Estimate, Weighted, weighted
from bgp4.errors import UserInputError
from bgp4.sampling.draw import refuse_without_overlap
from bgp4.sampling.files import refuse_to_lose, write_samples
from bgp4.statistics.samples import Samples
from bgp4.statistics.weights import (
    FreeEnergy,
    bootstrap,
    bootstrap_error,
    free_energy_difference,
    normalised_weights,
    weighted_mean,
)

__all__ = ["Ensemble"]

REPEATS = 200
"""Bootstrap replicates behind an error."""


@dataclass(frozen=True, eq=False, repr=False)
class Ensemble:
    """Weighted conformations at a temperature.

    Attributes:
        samples: Positions in nm, log-densities, and energies in kT of `temperature_k`.
        temperature_k: Temperature of the weights, K.
        topology: mdtraj topology.
        origin: The run, the seed, the kind of energy, whether a chain's states; `save` keeps them.
        n_constraints: Constrained bonds of the System.
    """

    samples: Samples
    temperature_k: float
    topology: mdtraj.Topology
    origin: Mapping[str, Any]
    n_constraints: int = 0

    def __len__(self) -> int:
        return len(self.energy_kt)

    @property
    def positions_nm(self) -> NDArray[np.floating]:
        """(n, atoms, 3), float32, nm; energies are for exactly these positions."""
        return self.samples.positions_nm

    @property
    def log_prob(self) -> NDArray[np.float64]:
        """(n,), the flow's log-density, rigid motion factored out."""
        return self.samples.log_prob

    @property
    def energy_kt(self) -> NDArray[np.float64]:
        """(n,), kT of `temperature_k`; 1e6 where a conformation was rejected."""
        return self.samples.energy_kt

    def __repr__(self) -> str:
        n, rejected = len(self), self.n_rejected
        ess = f"{self.ess:.1%}" if rejected < n else "none"
        return f"Ensemble({n} at {self.temperature_k:g} K, ESS {ess}, {rejected} rejected)"

    @property
    def log_weight(self) -> NDArray[np.float64]:
        """-energy_kt - log_prob, (n,); -inf where rejected."""
        return self.samples.safe_log_weight

    @property
    def weights(self) -> NDArray[np.float64]:
        """Normalised weights, (n,); their sum is 1."""
        return normalised_weights(self.log_weight)

    @property
    def n_rejected(self) -> int:
        """Conformations without an energy, whose weight is zero."""
        return int(np.isneginf(self.log_weight).sum())

    @property
    def ess(self) -> float:
        """Effective sample size, as a fraction of 1; 0 where all were rejected."""
        return self.samples.ess

    def average(
        self,
        values: ArrayLike,  # (n, ...)
    ) -> Any:  # (...)
        """Boltzmann average of an observable, given its value for each conformation."""
        return weighted_mean(values, self.log_weight)

    def error(
        self,
        values: ArrayLike,  # (n, ...)
        repeats: int = REPEATS,
        seed: int = 0,
    ) -> Any:  # (...)
        """Standard error of `average`, by bootstrap."""
        weights, observed = self.weights, np.asarray(values, dtype=float)
        inside, rng = weights > 0, np.random.default_rng(seed)

        def mean(weight: NDArray[np.float64]) -> Any:
            return np.tensordot(weight / weight.sum(), observed[inside], axes=1)

        return bootstrap_error(bootstrap(mean, weights[inside], repeats, rng))

    def free_energy_difference(
        self,
        first: ArrayLike,  # (n,) bool
        second: ArrayLike,  # (n,) bool
        repeats: int = REPEATS,
        seed: int = 0,
    ) -> FreeEnergy:
        """-ln(P(first) / P(second)) in kT, with its bootstrap error."""
        rng = np.random.default_rng(seed)
        return free_energy_difference(first, second, self.log_weight, repeats, rng)

    def at_temperature(self, temperature_k: float) -> Ensemble:
        """The same conformations, weighted for another temperature, K.

        Raises:
            UserInputError: If almost no effective samples are left.
        """
        if not (np.isfinite(temperature_k) and temperature_k > 0):
            raise UserInputError(f"at_temperature: expected K above 0, found {temperature_k:g}")
        samples = self.samples.at_temperature(self.temperature_k, temperature_k)
        other = replace(self, samples=samples, temperature_k=float(temperature_k))
        if temperature_k != self.temperature_k:
            refuse_without_overlap(other.log_weight, temperature_k, "at_temperature")
        return other

    @cached_property
    def weighted(self) -> Weighted:
        """The conformations of positive weight, as `bgp4.answers` takes them.

        Raises:
            UserInputError: If there are none.
        """
        return weighted(self.positions_nm, self.log_weight, self.topology, self.temperature_k)

    def fes(self, *variables: str, bins: int | None = None) -> Surface:
        """Free energy along one or two variables, in kT, (bins,) or (bins, bins), with errors.

        Args:
            variables: By name, such as `phi ALA2` (see `bgp4.answers.variables`).
            bins: Along each; by default 72 along one, 36 along two.

        Raises:
            UserInputError: If the molecule has no such variable.
        """
        own = [variable(name, self.weighted.frames, self.weighted) for name in variables]
        return surface(self.weighted, own, axes_of(own, bins=bins))

    def j_couplings(self) -> list[Estimate]:
        """3J(HN-Hα), 3J(HN-C') and 3J(HN-Cβ) of each residue, Hz, with errors."""
        return j_couplings(self.weighted)

    def noe(self, farthest_nm: float = 0.6) -> list[Estimate]:
        """Effective distances <r^-6>^(-1/6) of hydrogens, nm, with errors."""
        return noe(self.weighted, farthest_nm)

    def conformers(
        self, rmsd_nm: float | None = None, least: float = LEAST, most: int | None = None
    ) -> Conformers:
        """Which conformers there are, and how much of each (see `bgp4.answers.conformers`).

        Args:
            rmsd_nm: Cluster by RMSD with this cutoff, nm, instead of by wells of torsions.
            least: Population that is listed.
            most: How many are listed at most.
        """
        return conformers(self.weighted, rmsd_nm, least, most)

    def free_energy(self, md_work_kt: ArrayLike | None = None) -> FreeEnergies:
        """F = -kT ln Z, mean energy U and entropy, in kT and k, with errors.

        Args:
            md_work_kt: (frames,), `energy + log_prob` of MD frames in time order that the model
                did not learn from; with it, F by BAR as well.

        Raises:
            UserInputError: If these are states of a chain, or none has a weight.
        """
        work = None if md_work_kt is None else np.asarray(md_work_kt, dtype=np.float64)
        of_chain = bool(self.origin.get("unbiased"))
        return free_energies(self.samples, self.n_constraints, work, of_chain)

    def trajectory(self) -> mdtraj.Trajectory:
        """The conformations for mdtraj, without their weights."""
        return mdtraj.Trajectory(self.positions_nm.copy(), self.topology)

    def save(self, path: str | Path) -> list[Path]:
        """Write conformations and weights as `bgp4 sample` does, and return the files.

        Args:
            path: .h5 (weights inside), or .pdb, .dcd, .xtc (weights in a separate CSV file).
        """
        refuse_to_lose(Path(path))
        attributes = {**self.origin, "temperature_k": self.temperature_k}
        return write_samples(Path(path), [self.samples], self.topology, attributes)
