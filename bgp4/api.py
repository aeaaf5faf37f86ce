"""bgp4 in Python: load or train a model, and draw an ensemble of weighted conformations.

Lengths are nm, energies kT of the ensemble's temperature, log-densities natural logarithms.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from bgp4.config import Config, as_config
from bgp4.data.lengths import bond_lengths
from bgp4.energies.base import Energy
from bgp4.ensemble import Ensemble
from bgp4.errors import UserInputError
from bgp4.flows.generator import BoltzmannGenerator
from bgp4.molecule.molecule import Molecule
from bgp4.molecule.topology import bond_names
from bgp4.parallel.device import check_device
from bgp4.parallel.ranks import joined
from bgp4.sampling.draw import energy_of_weights
from bgp4.sampling.generate import TrainedRun, generate, load_trained
from bgp4.sampling.refined import RefinedChains
from bgp4.statistics.samples import concatenated
from bgp4.training.begin import default_run, train_run
from bgp4.training.run import RunFolder

__all__ = ["Model", "load", "train"]
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
