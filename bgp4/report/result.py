"""What a report is made from: one run's plain data, and what metrics and plots share of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import mdtraj
import numpy as np
from numpy.typing import NDArray

from bgp4.molecule.states import State, members
from bgp4.report.marginals import Marginals, internal_coordinates, marginals, without
from bgp4.report.torsions import (
    BackboneTorsions,
    backbone_torsions,
    stereocentres,
    wrong_chirality,
)
from bgp4.statistics.chains import effective_draws, in_chains
from bgp4.statistics.distributions import ramachandran_histogram
from bgp4.statistics.samples import Samples

__all__ = ["DATA_BLOCKS", "RunResult"]

DATA_BLOCKS = 20
"""Contiguous blocks of MD frames that the block bootstrap draws from."""

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class RunResult:
    """One run: its MD data, its samples, its training, and what was run.

    Attributes:
        name: Short name of the run.
        temperature_k: Temperature of kT, in K.
        topology: mdtraj topology.
        reference_positions_nm: (atoms, 3), start positions, nm.
        data_positions_nm: (frames, atoms, 3), MD in time order, chain after chain, nm.
        data_energy_kt: (frames,), kT.
        noisy_energy_kt: (m,), of MD frames with Gaussian noise on every coordinate, kT.
        samples: Drawn from the flow, with their weights.
        history: Columns of history.csv, each (rows,); any may be missing, a cell may be NaN.
        config_yaml: The run's config.
        run_info: What run.json says: versions, seed, wall times, counts, checksums.
        bins: Bins of a torsion.
        bootstrap: Bootstrap replicates.
        seed: Of the bootstrap and of the noise floors.
        noise_nm: Standard deviation of the noise in `noisy_energy_kt`, nm.
        data_log_prob: (frames,), the flow's Cartesian log-density of the MD frames, NaN where it
            was trained on them; None where it isn't known, they are of another temperature, or
            of constrained MD.
        states: The states that the run watches.
        constrained_bonds: Atoms of each bond that MD had constrained, the lower index first; its
            lengths in `data_positions_nm` were drawn, and are not compared.
        system_constraints: Atoms of each bond that the System constrains, alike.
        lengths_set: Whether MD had other lengths there, in the place of which those of
            `data_positions_nm` were set.
    """

    name: str
    temperature_k: float
    topology: mdtraj.Topology
    reference_positions_nm: Array
    data_positions_nm: NDArray[np.floating]
    data_energy_kt: Array
    noisy_energy_kt: Array
    samples: Samples
    history: Mapping[str, NDArray[Any]]
    config_yaml: str
    run_info: Mapping[str, Any]
    bins: int = 64
    bootstrap: int = 200
    seed: int = 0
    noise_nm: float = 0.004
    data_log_prob: Array | None = None
    states: tuple[State, ...] = ()
    constrained_bonds: tuple[tuple[int, int], ...] = ()
    system_constraints: tuple[tuple[int, int], ...] = ()
    lengths_set: bool = False

    @property
    def incomparable_bonds(self) -> tuple[tuple[int, int], ...]:
        """Bonds whose lengths say nothing: those that MD, or the System, had constrained."""
        return tuple(sorted({*self.constrained_bonds, *self.system_constraints}))

    @property
    def n_samples(self) -> int:
        return len(self.energy_kt)

    def rng(self) -> np.random.Generator:
        """A fresh generator of `seed`, so that no figure depends on what was computed before."""
        return np.random.default_rng(self.seed)

    @property
    def sample_positions_nm(self) -> NDArray[np.floating]:  # (n, atoms, 3)
        return self.samples.positions_nm

    @property
    def energy_kt(self) -> Array:  # (n,)
        return self.samples.energy_kt

    @cached_property
    def in_space(self) -> NDArray[np.bool_]:  # (n,)
        """As of `Samples`."""
        return self.samples.in_space

    @cached_property
    def accepted(self) -> NDArray[np.bool_]:  # (n,)
        """As of `Samples`."""
        return self.samples.accepted

    @cached_property
    def safe_log_weight(self) -> Array:  # (n,)
        """As of `Samples`."""
        return self.samples.safe_log_weight

    @cached_property
    def weights(self) -> Array:  # (n,)
        """As of `Samples`."""
        return self.samples.weights

    @cached_property
    def data_torsions(self) -> list[BackboneTorsions]:
        """Backbone torsions of the MD frames."""
        return backbone_torsions(self.data_positions_nm, self.topology)

    @cached_property
    def sample_torsions(self) -> list[BackboneTorsions]:
        """Backbone torsions of the samples in `in_space`."""
        return backbone_torsions(self.sample_positions_nm[self.in_space], self.topology)

    @cached_property
    def data_states(self) -> NDArray[np.bool_]:  # (frames, states)
        """Which MD frames are in which state."""
        return members(self.states, self.data_positions_nm, self.topology)

    @cached_property
    def data_draws(self) -> list[float]:  # (states,)
        """Independent MD frames behind each state's share, by blocks of frames; all of them where
        MD never changes.
        """
        n = len(self.data_states)
        if n < 2 * DATA_BLOCKS:
            return [float(n)] * len(self.states)
        series = in_chains(self.data_states, DATA_BLOCKS)
        return [effective_draws(v) if np.ptp(v) else float(n) for v in series]

    @cached_property
    def sample_states(self) -> NDArray[np.bool_]:  # (samples in space, states)
        """Which samples of those in `in_space` are in which state."""
        return members(self.states, self.sample_positions_nm[self.in_space], self.topology)

    @cached_property
    def ramachandran(self) -> list[tuple[Array, Array, Array]]:
        """For each residue, (φ, ψ) probabilities of MD, samples and reweighted samples.

        Each is (bins, bins), NaN where there are no samples, or none with weight.
        """
        weights = self.sample_weights_in_space
        return [
            (
                ramachandran_histogram(md.phi, md.psi, self.bins),
                _nan_if_empty(ramachandran_histogram(own.phi, own.psi, self.bins)),
                _nan_if_empty(ramachandran_histogram(own.phi, own.psi, self.bins, weights)),
            )
            for md, own in zip(self.data_torsions, self.sample_torsions, strict=True)
        ]

    @cached_property
    def sample_weights_in_space(self) -> Array:
        """`weights` of the samples in `in_space`."""
        return self.weights[self.in_space]

    @cached_property
    def n_effective(self) -> int:
        """Samples times the effective sample size's share, rounded."""
        return round(self.n_samples * self.samples.ess)

    @cached_property
    def marginals(self) -> dict[str, Marginals]:
        """Distributions of each "bond", "angle" and rotatable "torsion", by these kinds.

        Without bonds that MD or the System had constrained.
        """
        coordinates_by_kind = internal_coordinates(self.topology)
        coordinates_by_kind["bond"] = without(coordinates_by_kind["bond"], self.incomparable_bonds)
        return {
            kind: marginals(
                coordinates,
                self.topology,
                self.data_positions_nm,
                self.sample_positions_nm[self.in_space],
                self.sample_weights_in_space,
                self.bins,
            )
            for kind, coordinates in coordinates_by_kind.items()
        }

    @cached_property
    def stereocentres(self) -> NDArray[np.int64]:  # (centres, 5)
        """As `bgp4.report.torsions.stereocentres` finds them."""
        return stereocentres(self.topology)

    @cached_property
    def wrong_chirality(self) -> NDArray[np.bool_]:  # (samples in space, centres)
        """Which stereocentres of the samples in `in_space` have the wrong sign."""
        return wrong_chirality(
            self.sample_positions_nm[self.in_space],
            self.data_positions_nm,
            self.reference_positions_nm,
            self.stereocentres,
        )

    @property
    def max_data_energy_kt(self) -> float:
        """Highest energy of the MD frames, the bar of the low-energy fraction."""
        return float(np.max(self.data_energy_kt))

    @property
    def data_blocks(self) -> int:
        """Blocks for the bootstrap over MD frames, whose neighbours in time are correlated."""
        return min(DATA_BLOCKS, len(self.data_energy_kt))


def _nan_if_empty(probabilities: Array) -> Array:
    return probabilities if probabilities.any() else np.full_like(probabilities, np.nan)
