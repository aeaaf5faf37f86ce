"""bgp4 in Python: load or train a model, draw weighted conformations, take averages of them.

Lengths are nm, energies kT of the ensemble's temperature, log-densities natural logarithms.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import mdtraj
import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from bgp4.config import Config, as_config
from bgp4.data.lengths import bond_lengths
from bgp4.energies.base import Energy
from bgp4.errors import UserInputError
from bgp4.flows.generator import BoltzmannGenerator
from bgp4.molecule.constraints import Constraints
from bgp4.molecule.molecule import Molecule
from bgp4.molecule.topology import bond_names
from bgp4.parallel.device import check_device
from bgp4.parallel.ranks import joined
from bgp4.sampling.colvar import check_colvar
from bgp4.sampling.draw import energy_of_weights, refuse_without_overlap
from bgp4.sampling.files import refuse_to_lose, sidecar, write_samples
from bgp4.sampling.generate import TrainedRun, generate, load_trained
from bgp4.sampling.refined import RefinedChains
from bgp4.sampling.reweigh import resampled, reweighted_by
from bgp4.statistics.samples import REJECTED_ENERGY_KT, Samples, concatenated
from bgp4.statistics.weights import (
    FreeEnergy,
    bootstrap,
    bootstrap_error,
    free_energy_difference,
    normalised_weights,
    weighted_mean,
)
from bgp4.training.begin import default_run, train_run
from bgp4.training.run import RunFolder

__all__ = ["Ensemble", "Model", "load", "train"]

REPEATS = 200
"""Bootstrap replicates behind an error."""

LENGTH_NM = 2e-3
"""A constrained bond's length may be so far off: XTC's rounding makes 0.0009 at most."""


def load(run: str | Path, device: str = "auto") -> Model:
    """Load a trained model from a run folder or, if there is no such path, a bundled model.

    Args:
        run: A folder made by a training, or the name of a bundled model.
        device: auto, cpu or cuda.

    Raises:
        UserInputError: If it is neither, or damaged, or there is no such device.
    """
    check_device(device)
    _silence_imports()
    folder = RunFolder.find(Path(run))
    with joined(device) as ranks:
        return Model(folder, load_trained(folder, ranks.device))


def train(
    config: str | Path | Mapping[str, Any] | Config,
    run: str | Path | None = None,
    resume: bool = False,
    device: str = "auto",
    start: str | Path | None = None,
) -> Model:
    """Train a model, as `bgp4 train` does, and load it.

    Args:
        config: A file, the name of a bundled config, a mapping of its keys, or the result of
            `load_config`.
        run: The run folder, which must not exist; by default runs/NAME, after the config file.
        resume: Continue from the last checkpoint in the folder instead.
        device: auto, cpu or cuda.
        start: A run folder or bundled model of the same atoms, whose flow it begins with.

    Raises:
        UserInputError: If the config, the data or the folder won't do; nothing is written then.
    """
    if run is None and not isinstance(config, str | Path):
        raise UserInputError("train: expected run, the folder of a config that has no file name")
    _silence_imports()
    path = default_run(str(config)) if run is None else Path(run)
    begin = None if start is None else Path(start)
    return load(train_run(as_config(config), path, resume, device, begin).path, device)


def _silence_imports() -> None:
    """pymbar, which openmmtools imports, warns of what is not about the user's work."""
    logging.getLogger("pymbar").setLevel(logging.ERROR)


class Model:
    """A trained flow, the molecule that it generates, and the energy that weights its samples.

    `log_prob` and `energy` take positions as a NumPy array or a tensor, and return the same type in
    float64. Results from tensors are differentiable, energies to first order only.

    Attributes:
        run: The folder that it came from.
        config: Of its training.
        molecule: Topology, start positions, OpenMM System.
        flow: The torch module, in float64.
    """

    run: RunFolder
    config: Config
    molecule: Molecule
    flow: BoltzmannGenerator

    def __init__(self, run: RunFolder, trained: TrainedRun) -> None:
        self.run = run
        self.config, self.molecule, self.flow = trained

    def __repr__(self) -> str:
        return (
            f"Model({self.run.path.name}: {self.molecule.name}, {self.molecule.n_atoms} atoms, "
            f"{self.temperature_k:g} K)"
        )

    @property
    def temperature_k(self) -> float:
        """Temperature of the ensemble that the model was trained on, K."""
        return self.config.temperature_k

    @cached_property
    def potential(self) -> Energy:
        """The energy behind `energy` and the weights, checked against OpenMM's."""
        trained = TrainedRun(self.config, self.molecule, self.flow)
        return energy_of_weights(trained, self.temperature_k)

    def sample(self, n: int, seed: int = 0, refine: bool = False) -> Ensemble:
        """Draw n weighted conformations; a seed gives the same samples as in `bgp4 sample`.

        Args:
            n: How many.
            seed: Of everything random.
            refine: Whether they are states of chains that also move by MD, of equal weights.
        """
        if n < 1:
            raise UserInputError(f"sample: expected at least one conformation, found {n}")
        if refine:
            trained = TrainedRun(self.config, self.molecule, self.flow)
            made = RefinedChains(trained, self.potential, seed).states(n)
        else:
            made = generate(self.flow, n, seed, self.potential)
        drawn = concatenated(list(made))
        energies = type(self.potential).__name__
        origin = {"run": self.run.path.name, "seed": seed, "energies": energies, "unbiased": refine}
        of_run = (self.molecule.topology, origin, self.molecule.constraints)
        return Ensemble(drawn, self.temperature_k, *of_run)

    def log_prob(
        self,
        positions_nm: Any,  # (batch, atoms, 3)
    ) -> Any:  # (batch,)
        """Log-density of conformations, rigid motion factored out, in nm^-(3 atoms - 6).

        With constrained bonds, it is with respect to the measure that constrained MD samples.

        Raises:
            UserInputError: If constrained bonds do not have the System's lengths.
        """
        self._check_lengths(positions_nm)
        return self._of_positions(self.flow.log_prob_xyz, positions_nm)

    def energy(
        self,
        positions_nm: Any,  # (batch, atoms, 3)
    ) -> Any:  # (batch,)
        """Energies in kT; 1e6 for rejected conformations."""
        return self._of_positions(self.potential, positions_nm)

    def close(self) -> None:
        """End OpenMM's worker processes, if any; the next energy starts new ones."""
        potential = self.__dict__.pop("potential", None)
        if potential is not None:
            potential.close()

    def _check_lengths(self, positions_nm: Any) -> None:
        """There is no density beside the manifold of constrained bonds; files round."""
        self._check_shape(positions_nm)
        held = self.molecule.constraints
        if not len(held):
            return
        found = bond_lengths(torch.as_tensor(positions_nm).detach().cpu().numpy(), held.pairs)
        off = np.abs(found - held.lengths_nm)
        beyond = (off > LENGTH_NM).any(axis=0)
        if beyond.any():
            bond = int(beyond.argmax())
            row = int(off[:, bond].argmax())
            names = bond_names(self.molecule.topology, [tuple(held.pairs[bond].tolist())])
            raise UserInputError(
                f"positions: the constrained bond {names} is {found[row, bond]:.4f} nm long, "
                f"expected {held.lengths_nm[bond]:.4f}, as in MD of the same System"
            )

    def _check_shape(self, positions_nm: Any) -> None:
        expected = (self.molecule.n_atoms, 3)
        if np.ndim(positions_nm) != 3 or tuple(positions_nm.shape[1:]) != expected:
            raise UserInputError(
                f"positions: expected shape (batch, {expected[0]}, 3), in nm, found "
                f"{tuple(np.shape(positions_nm))}"
            )

    def _of_positions(self, function: Callable[[Tensor], Tensor], positions_nm: Any) -> Any:
        self._check_shape(positions_nm)
        if isinstance(positions_nm, Tensor):
            values = function(positions_nm.to(self.flow.device, torch.float64))
            return values.to(positions_nm.device)
        with torch.no_grad():
            values = function(torch.as_tensor(positions_nm).to(self.flow.device, torch.float64))
        return values.cpu().numpy()


@dataclass(frozen=True, eq=False, repr=False)
class Ensemble:
    """Weighted conformations at a temperature.

    Attributes:
        samples: Positions in nm, log-densities, and energies in kT of `temperature_k`.
        temperature_k: Temperature of the weights, K.
        topology: mdtraj topology.
        origin: The run, the seed and the kind of energy; `save` keeps them.
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
        scaled = self.energy_kt * (self.temperature_k / temperature_k)
        energy_kt = np.where(np.isneginf(self.log_weight), REJECTED_ENERGY_KT, scaled)
        samples = self.samples._replace(energy_kt=energy_kt)
        other = replace(self, samples=samples, temperature_k=float(temperature_k))
        if temperature_k != self.temperature_k:
            refuse_without_overlap(other.log_weight, f"at_temperature {temperature_k:g}")
        return other

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
