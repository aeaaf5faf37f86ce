"""Which energy a run trains with: batched where it is known and checked, else OpenMM's pool."""

from __future__ import annotations

import logging
import math

import numpy as np
import torch
from numpy.typing import NDArray

from bgp4.config import EnergyConfig
from bgp4.distributed import ALONE, Ranks
from bgp4.energies.base import Energy
from bgp4.energies.batched import BatchedEnergy, check_against_openmm
from bgp4.energies.forcefield import UnsupportedForce
from bgp4.energies.openmm import OpenMMEnergy, available_cores
from bgp4.energies.worker import make_context
from bgp4.errors import UserInputError
from bgp4.system import Molecule

__all__ = ["training_energy"]

log = logging.getLogger(__name__)

COMPILE_FROM = 500_000
"""Evaluations from which compiling the batched energy pays."""


def training_energy(
    config: EnergyConfig,
    molecule: Molecule,
    temperature_k: float,
    frames_nm: NDArray[np.floating],  # (frames, atoms, 3), real conformations to check it on
    batch_size: int,
    n_evaluations: int,
    ranks: Ranks = ALONE,
) -> Energy:
    """The energy of the training loop, in float32 where it is batched.

    Batch size, evaluations and workers are those of all ranks; each has its part of them.

    Raises:
        UserInputError: If the config asks for `batched` and the System can't have it, or for a
            platform that OpenMM does not have here.
    """
    _check_platform(molecule, config.platform)
    if config.method == "openmm" or not _batched_serves(config, molecule, frames_nm):
        workers = ranks.of_machine(config.workers or available_cores())
        return OpenMMEnergy(molecule, temperature_k, config.platform, workers)
    largest = math.ceil(batch_size / ranks.size)
    chunk = largest if n_evaluations >= COMPILE_FROM * ranks.size else None
    return BatchedEnergy(molecule, temperature_k, torch.float32, chunk, ranks.device)


def _batched_serves(
    config: EnergyConfig, molecule: Molecule, frames_nm: NDArray[np.floating]
) -> bool:
    """Whether batched energies agree with OpenMM's; a refusal is the user's to know."""
    try:
        check_against_openmm(molecule, frames_nm)
    except UnsupportedForce as unsupported:
        if config.method == "batched":
            raise UserInputError(
                f"config key energies.method: batched does not know {unsupported}; use openmm"
            ) from unsupported
        log.info("energies from OpenMM's workers: batched ones do not know %s", unsupported)
        return False
    return True


def _check_platform(molecule: Molecule, platform: str) -> None:
    """Samples are weighted by OpenMM, whatever trains: better to know before training."""
    try:
        make_context(molecule.system_xml, platform)
    except Exception as error:
        reason = " ".join(str(error).split())
        raise UserInputError(f"config key energies.platform: {reason}") from error
