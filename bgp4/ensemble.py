"""An ensemble of weighted conformations: averages, free energies and the other answers.

Lengths are nm, energies kT of the ensemble's temperature, log-densities natural logarithms.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
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
from bgp4.config import Config
from bgp4.energies.base import Energy
from bgp4.errors import UserInputError
from bgp4.molecule.constraints import Constraints
from bgp4.sampling.colvar import check_colvar
from bgp4.sampling.draw import refuse_without_overlap
from bgp4.sampling.files import refuse_to_lose, sidecar, write_samples
from bgp4.sampling.reweigh import resampled, reweighted_by
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
        constraints: Constrained bonds of the run's System; None where they are not known.
    """

    samples: Samples
    temperature_k: float
    topology: mdtraj.Topology
    origin: Mapping[str, Any]
    constraints: Constraints | None = None

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
            refuse_without_overlap(other.log_weight, f"at_temperature {temperature_k:g}")
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
        return free_energies(self.samples, len(self.constraints or ()), work, of_chain)

    def reweighted(
        self,
        target: str | Path | Mapping[str, Any] | Config | Energy | Callable[..., Any],
        temperature_k: float | None = None,
    ) -> Ensemble:
        """The same conformations, weighted by another energy, as `bgp4 reweigh` does.

        Args:
            target: A config of the same molecule, whose System and temperature count; or a
                function of positions in nm, (n, atoms, 3), and elements that returns (n,) kJ/mol
                (a torch module is given tensors); or an energy of bgp4.
            temperature_k: K; by default the config's or energy's, else that of these weights.

        Raises:
            UserInputError: If it has other atoms or constraints, or if almost no effective samples
                are left.
        """
        known = (self.samples, self.topology, self.constraints, self.temperature_k)
        samples, kelvin, kind = reweighted_by(target, *known, temperature_k)
        origin = {**self.origin, "energies": kind}
        return replace(self, samples=samples, temperature_k=kelvin, origin=origin)

    def resampled(self, n: int, seed: int = 0) -> Ensemble:
        """n conformations of equal weight, each n times its weight often, rounded at random.

        They hold no more than the weighted ones, and are for programs that know no weights.
        """
        samples = resampled(self.samples, n, np.random.default_rng(seed))
        return replace(self, samples=samples, origin={**self.origin, "unbiased": True})

    def trajectory(self) -> mdtraj.Trajectory:
        """The conformations for mdtraj, without their weights."""
        return mdtraj.Trajectory(self.positions_nm.copy(), self.topology)

    def save(self, path: str | Path, colvar: str | Path | None = None) -> list[Path]:
        """Write conformations and weights as `bgp4 sample` does, and return the files.

        Args:
            path: .h5 (weights inside), or .pdb, .cif, .dcd, .xtc, .nc (weights in a CSV file).
            colvar: Also write the weights to this file, in PLUMED's columns.
        """
        files = [Path(path), *([] if colvar is None else [Path(colvar)])]
        refuse_to_lose(files[0])
        for table in files[1:]:
            check_colvar(table, [files[0], sidecar(files[0])])
        attributes = {"unbiased": False, **self.origin, "temperature_k": self.temperature_k}
        return write_samples(files[0], [self.samples], self.topology, attributes, *files[1:])
