"""A training from config to run folder: what is checked and made before the first step."""

from __future__ import annotations

import logging
from contextlib import ExitStack
from dataclasses import asdict
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from bgp4.config import Config
from bgp4.coordinates import ZMatrix, fit_standardise, internal_coordinates
from bgp4.data.constrained import with_free_bonds
from bgp4.data.frames import Frames, Split, check_number, load_frames, split_blocks
from bgp4.data.from_energies import conformations_from_energy
from bgp4.data.lengths import with_system_lengths
from bgp4.energies.select import training_energy
from bgp4.errors import UserInputError
from bgp4.flows.build import build_generator
from bgp4.flows.generator import BoltzmannGenerator
from bgp4.molecule.constraints import Constraints
from bgp4.molecule.molecule import Molecule, load_molecule
from bgp4.molecule.states import states
from bgp4.parallel.ranks import Ranks, joined
from bgp4.parallel.threads import threads
from bgp4.training.checkpoint import Counters, read_counters
from bgp4.training.run import RunFolder
from bgp4.training.schedule import OldFlow, Schedule
from bgp4.training.stored import begin_with, stored_generator
from bgp4.training.trainer import Trainer
from bgp4.training.variables import FRAMES_AT_A_TIME

__all__ = ["fitted_generator", "train"]

log = logging.getLogger(__name__)


def fitted_generator(
    config: Config,
    zmatrix: ZMatrix,
    positions_nm: NDArray[np.float32],  # (frames, atoms, 3)
    constraints: Constraints | None = None,
) -> BoltzmannGenerator:
    """The untrained generator, standardised by the training frames."""
    coordinates = internal_coordinates(zmatrix, constraints)
    parts = torch.as_tensor(positions_nm).split(FRAMES_AT_A_TIME)
    q = torch.cat([coordinates(part.double().flatten(1))[0] for part in parts])
    standardise = fit_standardise(
        *(q, zmatrix.n_atoms - 3, config.model.torsions),
        bends=coordinates.bends.tolist(),
        folds=coordinates.folds.tolist(),
        fixed=coordinates.fixed,
    )
    return build_generator(config, coordinates, standardise)


def train(
    config: Config,
    run_path: Path,
    resume: bool = False,
    device: str = "auto",
    old_run: RunFolder | None = None,
) -> RunFolder:
    """Train a run from start to end, or on from its last checkpoint.

    Args:
        config: Of the run.
        run_path: Its folder.
        resume: Whether to go on from its checkpoint.
        device: auto, cpu or cuda.
        old_run: A run whose flow a new one begins with, as `train_run` has checked.

    Raises:
        UserInputError: If the config, the data or the run folder won't do, or another process
            writes there; nothing is written then.
        RunError: If loss or gradients stay non-finite for many steps in a row.
    """
    with joined(device) as ranks, ExitStack() as held:
        return _train(config, RunFolder(run_path), resume, old_run, ranks, held)


def _train(
    config: Config,
    run: RunFolder,
    resume: bool,
    old_run: RunFolder | None,
    ranks: Ranks,
    held: ExitStack,
) -> RunFolder:
    if config.training.tensorboard and find_spec("tensorboard") is None:
        raise UserInputError(
            "config key training.tensorboard: the tensorboard package is missing; "
            "install it with pip install 'bgp4[tensorboard]'"
        )
    if resume:
        _take(RunFolder.open(run.path), ranks, held)
    molecule = run.molecule() if resume else load_molecule(config.system)
    counters = read_counters(run.checkpoint_path) if resume else Counters()
    model = stored_generator(config, molecule, run.checkpoint_path) if resume else None
    if old_run is not None:
        model, molecule, counters.old = begin_with(old_run, config, molecule)
    watched = states(molecule.topology, config)
    frames, split = _frames(config, molecule)
    _say_temperatures(config, frames, counters.old)
    t = config.training
    held.enter_context(threads(t.threads))
    _check_shares(ranks, t.batch_size, t.energy_batch_size, len(split.heldout) or t.batch_size)
    if model is None:
        model = fitted_generator(
            config, molecule.zmatrix, frames.positions_nm[split.train], molecule.constraints
        )
    energy = training_energy(
        config.energies,
        molecule,
        config.temperature_k,
        frames.made.calm_nm if frames.made else frames.positions_nm[split.heldout][:16],
        ranks,
    )
    held.enter_context(energy)
    if not resume and ranks.is_writer:
        _take(RunFolder.reserve(run.path), ranks, held)
        run.begin(config, molecule)
        if counters.old:
            run.update_info(begun_with=asdict(counters.old))
    of_run = (energy, frames, split, molecule, watched, ranks, counters)
    trainer = Trainer(config, run, model.to(ranks.device), *of_run)
    trainer.start(resume)
    trainer.fit()
    return run


def _take(run: RunFolder, ranks: Ranks, held: ExitStack) -> None:
    """The run folder, for the writer alone."""
    if ranks.is_writer:
        held.enter_context(run.locked())


def _say_temperatures(config: Config, frames: Frames, old: OldFlow | None) -> None:
    schedule = Schedule.of(config, frames.temperature_k, old)
    if frames.temperature_k not in (None, schedule.data_k):
        log.warning(
            "%s was simulated at %g K, but config key data.temperature_k says %g K",
            frames.source,
            frames.temperature_k,
            schedule.data_k,
        )
    if old is not None:
        way = "" if schedule.start_k == schedule.final_k else f" at {schedule.start_k:g} K,"
        log.info("from the flow of %s%s to %g K by energies", old.run, way, schedule.final_k)
        return
    if schedule.data_k == schedule.final_k:
        return
    if schedule.lengths["ml"] == schedule.steps:
        log.warning(
            "the flow stays at %g K, the temperature of %s: training.energy_fraction is 0",
            schedule.data_k,
            frames.source,
        )
    else:
        log.info(
            "from the frames' %g K to %g K by energies alone", schedule.data_k, schedule.final_k
        )


def _frames(config: Config, molecule: Molecule) -> tuple[Frames, Split]:
    """What there is to begin with; of what was made from energies, nothing is held out."""
    data = config.data
    if data.path is not None:
        frames = load_frames(data, molecule)
        data_k = Schedule.of(config, frames.temperature_k).data_k
        check_number(frames, molecule, data_k)
        _check_reach(frames, config.temperature_k)
        frames = with_system_lengths(frames, molecule)
        frames = with_free_bonds(frames, molecule, data_k, config.seed)
        n = len(frames.positions_nm)
        return frames, split_blocks(n, data.heldout_fraction, config.seed)
    kelvin, trans = data.temperature_k or config.temperature_k, data.peptide_bonds == "trans"
    frames = conformations_from_energy(molecule, kelvin, trans, config.seed)
    every = np.arange(len(frames.positions_nm))
    return frames, Split(every, every[:0])


def _check_reach(frames: Frames, temperature_k: float) -> None:
    """Torsions of a ladder's frames are learned down to the run's temperature."""
    if frames.cooler and frames.cooler[0].temperature_k > temperature_k:
        raise UserInputError(
            f"config key temperature_k: expected {frames.cooler[0].temperature_k:g} K or more, the "
            f"coldest of {frames.source}, found {temperature_k:g} K; simulate a ladder from there"
        )


def _check_shares(ranks: Ranks, *counts: int) -> None:
    if ranks.size > min(counts):
        raise UserInputError(
            f"torchrun: {ranks.size} processes, but a batch or the held-out frames are only "
            f"{min(counts)}; start fewer processes"
        )
