"""Sampling a trained run: conformations, energies, log-densities and log-weights."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from bgp4.config import Config
from bgp4.energies.base import Energy
from bgp4.flows.generator import BoltzmannGenerator, Conformations, in_double_precision
from bgp4.molecule.molecule import Molecule
from bgp4.parallel.ranks import ALONE, Ranks
from bgp4.parallel.threads import in_threads
from bgp4.statistics.samples import REJECTED_ENERGY_KT, Samples
from bgp4.training.run import RunFolder
from bgp4.training.stored import stored_generator
from bgp4.units import kjmol_to_kt

__all__ = ["TrainedRun", "generate", "load_trained"]

CHUNK = 2048
"""Conformations whose latent samples are drawn at a time, and which a thread of a CPU makes."""

CHUNKS_OF_GPU = 16
"""So many at a time where a call costs more than what it computes."""


class TrainedRun(NamedTuple):
    """A run's config, its molecule, and its best model in float64."""

    config: Config
    molecule: Molecule
    model: BoltzmannGenerator


def load_trained(run: RunFolder, device: torch.device | str = "cpu") -> TrainedRun:
    """Load a run's best model.

    Raises:
        UserInputError: If the folder is not a run or its checkpoint is damaged.
    """
    config = run.config()
    molecule = run.molecule()
    model = stored_generator(config, molecule, run.checkpoint_path)
    return TrainedRun(config, molecule, in_double_precision(model).to(device))


def generate(
    model: BoltzmannGenerator,
    n: int,
    seed: int,
    energy: Energy | None,
    ranks: Ranks = ALONE,
) -> Iterator[Samples]:
    """Draw n conformations, chunk by chunk; the same seed draws the same ones.

    Chunks are made in as many threads as torch has, whose number changes nothing; on a GPU, many
    chunks at a time.

    Of several ranks each draws all latent samples and makes every size-th chunk of conformations;
    all chunks come out at the writer, in order, and none at the others.

    Args:
        model: In float64.
        n: How many.
        seed: Of the latent samples.
        energy: At the temperature of the weights; None for no energies.
    """
    generator = torch.Generator().manual_seed(seed)

    def latents() -> Iterator[tuple[int, Tensor]]:
        """Latent samples of what is made at a time, with the rank that makes it."""
        chunks = (
            model.draw_latent(min(CHUNK, n - start), generator) for start in range(0, n, CHUNK)
        )
        index = 0
        while group := list(islice(chunks, at_a_time)):
            yield index % ranks.size, torch.cat(group)
            index += 1

    @torch.no_grad()
    def make(chunk: tuple[int, Tensor]) -> tuple[int, int, Conformations | None]:
        """Who makes a chunk, its size, and what is in it where it is made here."""
        maker, z = chunk
        return maker, len(z), model.from_latent(z) if maker == ranks.rank else None

    on_cpu = model.device.type == "cpu"
    at_a_time = 1 if on_cpu else CHUNKS_OF_GPU
    for maker, size, made in (in_threads if on_cpu else map)(make, latents()):
        if made is not None:
            samples = _samples(made, energy)
            if ranks.is_writer:
                yield samples
            else:
                ranks.send(torch.as_tensor(values) for values in samples)
        elif ranks.is_writer:
            samples = _empty(size, model.coordinates.n_atoms)
            ranks.receive([torch.as_tensor(values) for values in samples], maker)
            yield samples


def _samples(made: Conformations, energy: Energy | None) -> Samples:
    positions = made.positions_nm.cpu().numpy().astype(np.float32)
    valid = made.valid.cpu().numpy()
    log_prob = made.log_prob_xyz.cpu().numpy()
    return Samples(positions, np.where(valid, log_prob, 0.0), _energies(energy, positions, valid))


def _empty(n: int, n_atoms: int) -> Samples:
    return Samples(np.empty((n, n_atoms, 3), np.float32), np.empty(n), np.empty(n))


def _energies(
    energy: Energy | None, positions: NDArray[np.float32], valid: NDArray[np.bool_]
) -> NDArray[np.float64]:
    """Energies in kT; what is not a conformation, or was rejected, has weight zero."""
    if energy is None:
        return np.full(len(positions), np.nan)
    energy_kt = kjmol_to_kt(energy.evaluate(positions).energy_kjmol, energy.temperature_k)
    return np.where(valid & np.isfinite(energy_kt), energy_kt, REJECTED_ENERGY_KT)
