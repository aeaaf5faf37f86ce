"""Which energy trains and which weighs: batched where it is known and checked, else OpenMM."""

from __future__ import annotations

import logging

import numpy as np
import torch
from numpy.typing import NDArray

from bgp4.config import EnergyConfig
from bgp4.energies.base import Energy, Evaluation
from bgp4.energies.batched import BatchedEnergy, check_against_openmm
from bgp4.energies.openmm import OpenMMEnergy, available_cores
from bgp4.energies.terms import UnsupportedForce
from bgp4.energies.worker import make_context
from bgp4.errors import UserInputError
from bgp4.molecule.molecule import Molecule
from bgp4.parallel.ranks import ALONE, CPU, Ranks
from bgp4.units import kjmol_to_kt

__all__ = ["CheckedEnergy", "training_energy", "weighing_energy"]

log = logging.getLogger(__name__)


def training_energy(
    config: EnergyConfig,
    molecule: Molecule,
    temperature_k: float,
    frames_nm: NDArray[np.floating],  # (frames, atoms, 3), real conformations to check it on
    ranks: Ranks = ALONE,
) -> Energy:
    """The energy of the training loop, in float32 where it is batched.

    Batch size, evaluations and workers are those of all ranks; each has its part of them.

    Raises:
        UserInputError: If the config asks for `batched` and the System can't have it, or for a
            platform that OpenMM does not have here.
    """
    if _batched_serves(config, molecule, frames_nm, ranks.device):
        return BatchedEnergy(molecule, temperature_k, torch.float32, ranks.device)
    return _openmm(config, molecule, temperature_k, ranks)


def weighing_energy(
    config: EnergyConfig,
    molecule: Molecule,
    temperature_k: float,
    frames_nm: NDArray[np.floating],  # (frames, atoms, 3), to check the batched energy on
    check: bool = False,
    ranks: Ranks = ALONE,
    device: torch.device = CPU,
) -> Energy:
    """The energy of weights: float64 where it is batched.

    Args:
        check: Take OpenMM's for each conformation, and compare (see `CheckedEnergy`).
        device: Where batched energies are computed.

    Raises:
        UserInputError: As `training_energy`.
    """
    if not _batched_serves(config, molecule, frames_nm, device):
        return _openmm(config, molecule, temperature_k, ranks)
    batched = BatchedEnergy(molecule, temperature_k, device=device)
    if not check:
        return batched
    return CheckedEnergy(_openmm(config, molecule, temperature_k, ranks), batched)


class CheckedEnergy(Energy):
    """OpenMM's energies, and how far the batched ones are from them.

    Attributes:
        largest_difference_kt: Over all conformations so far that both could evaluate, below
            `COMPARED_BELOW_KT` (what clashes is compared in vain, and has no weight).
    """

    COMPARED_BELOW_KT = 1e3

    def __init__(self, openmm: OpenMMEnergy, batched: BatchedEnergy) -> None:
        super().__init__(openmm.n_atoms, openmm.temperature_k)
        self.openmm, self.batched = openmm, batched
        self.largest_difference_kt = 0.0

    def _evaluate(self, positions: NDArray[np.float64]) -> Evaluation:
        result = self.openmm._evaluate(positions)
        other = self.batched._evaluate(positions).energy_kjmol
        kt = kjmol_to_kt(result.energy_kjmol, self.temperature_k)
        difference = np.abs(kt - kjmol_to_kt(other, self.temperature_k))
        compared = difference[kt < self.COMPARED_BELOW_KT]
        self.largest_difference_kt = max([self.largest_difference_kt, *compared])
        return result

    def close(self) -> None:
        self.openmm.close()


def _openmm(
    config: EnergyConfig, molecule: Molecule, temperature_k: float, ranks: Ranks
) -> OpenMMEnergy:
    workers = ranks.of_machine(config.workers or available_cores())
    return OpenMMEnergy(molecule, temperature_k, config.platform, workers, config.timeout_s)


def _batched_serves(
    config: EnergyConfig,
    molecule: Molecule,
    frames_nm: NDArray[np.floating],
    device: torch.device,
) -> bool:
    """Whether the config allows batched energies and they agree with OpenMM's.

    A refusal is the user's to know, and so is a platform that OpenMM does not have here.
    """
    _check_platform(molecule, config.platform)
    if config.method == "openmm":
        return False
    try:
        check_against_openmm(molecule, frames_nm, device)
    except UnsupportedForce as unsupported:
        if config.method == "batched":
            raise UserInputError(
                f"config key energies.method: batched does not support {unsupported}; use openmm"
            ) from unsupported
        log.info("energies by OpenMM's workers: the batched code does not support %s", unsupported)
        return False
    return True


def _check_platform(molecule: Molecule, platform: str) -> None:
    """OpenMM judges, whatever else is used: better to know at the start whether it can."""
    try:
        make_context(molecule.system_xml, platform)
    except Exception as error:
        reason = " ".join(str(error).split())
        raise UserInputError(f"config key energies.platform: {reason}") from error
