"""The training of a run: data in, steps, evaluations, checkpoints."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from bgp4.config import Config
from bgp4.coordinates import InternalCoordinates, ZMatrix, fit_standardise
from bgp4.data import Frames, Split, load_frames, sha256, split_blocks
from bgp4.distributed import ALONE, Ranks, joined
from bgp4.energies.base import Energy
from bgp4.energies.select import training_energy
from bgp4.errors import UserInputError
from bgp4.flows.build import build_generator
from bgp4.flows.generator import BoltzmannGenerator
from bgp4.interrupt import deferred_interrupt
from bgp4.run import RunFolder, provenance
from bgp4.system import Molecule, load_molecule
from bgp4.training.checkpoint import Counters, load_checkpoint, save_checkpoint
from bgp4.training.history import History
from bgp4.training.monitor import PhiMonitor
from bgp4.training.schedule import Schedule
from bgp4.training.start import conformations_from_energy
from bgp4.training.step import Generators, StepResult, train_step
from bgp4.training.view import training_view
from bgp4.units import kjmol_to_kt

__all__ = ["Trainer", "fitted_generator", "train"]

log = logging.getLogger(__name__)

MAX_SKIPPED_IN_A_ROW = 50

TYPICAL_FRAMES = 100
"""Frames whose mean energy is taken for typical."""


def fitted_generator(
    config: Config,
    zmatrix: ZMatrix,
    positions_nm: NDArray[np.float32],  # (frames, atoms, 3)
) -> BoltzmannGenerator:
    """The untrained generator, standardised by the training frames."""
    coordinates = InternalCoordinates(zmatrix)
    q, _ = coordinates(torch.as_tensor(positions_nm).double().flatten(1))
    standardise = fit_standardise(q, zmatrix.n_atoms - 3, config.model.torsions)
    return build_generator(config, zmatrix, standardise)


def train(config: Config, run_path: Path, resume: bool = False, device: str = "auto") -> RunFolder:
    """Train a run from start to end, or on from its last checkpoint.

    Raises:
        UserInputError: If the config, the data or the run folder won't do; nothing is written then.
        FloatingPointError: If the gradients stay non-finite for many steps in a row.
    """
    with joined(device) as ranks:
        return _train(config, run_path, resume, ranks)


def _train(config: Config, run_path: Path, resume: bool, ranks: Ranks) -> RunFolder:
    if config.training.tensorboard and find_spec("tensorboard") is None:
        raise UserInputError(
            "config key training.tensorboard: the tensorboard package is missing; "
            "install it by pip install 'bgp4[tensorboard]'"
        )
    molecule = RunFolder.open(run_path).molecule() if resume else load_molecule(config.system)
    frames, split = _frames(config, molecule)
    _say_temperatures(config, frames)
    if config.training.threads:
        torch.set_num_threads(config.training.threads)
    t = config.training
    _check_shares(ranks, t.batch_size, t.energy_batch_size, len(split.heldout) or t.batch_size)
    model = fitted_generator(config, molecule.zmatrix, frames.positions_nm[split.train])
    energy = training_energy(
        config.energies,
        molecule,
        config.temperature_k,
        frames.made.calm_nm if frames.made else frames.positions_nm[split.heldout][:16],
        ranks,
    )
    with energy:
        run = _run_folder(run_path, config, molecule, resume, ranks)
        model = model.to(ranks.device)
        trainer = Trainer(config, run, model, energy, frames, split, molecule, ranks)
        trainer.start(resume)
        trainer.fit()
    return run


def _say_temperatures(config: Config, frames: Frames) -> None:
    schedule = Schedule.of(config, frames.temperature_k)
    if frames.temperature_k not in (None, schedule.data_k):
        log.warning(
            "%s was simulated at %g K, but config key data.temperature_k says %g K",
            _words(frames),
            frames.temperature_k,
            schedule.data_k,
        )
    if schedule.data_k == schedule.final_k:
        return
    if schedule.likelihood_steps == schedule.steps:
        log.warning(
            "the flow stays at %g K, where %s was simulated: training.energy_fraction is 0",
            schedule.data_k,
            _words(frames),
        )
    else:
        log.info(
            "from %g K, the frames', to %g K by energies alone", schedule.data_k, schedule.final_k
        )


def _words(frames: Frames) -> str:
    return ", ".join(map(str, frames.paths))


def _frames(config: Config, molecule: Molecule) -> tuple[Frames, Split]:
    """What there is to begin with; of what was made from energies, nothing is held out."""
    data = config.data
    if data.path is not None:
        frames = load_frames(data, molecule)
        n = len(frames.positions_nm)
        return frames, split_blocks(n, data.heldout_fraction, config.seed)
    kelvin, trans = data.temperature_k or config.temperature_k, data.peptide_bonds == "trans"
    frames = conformations_from_energy(molecule, kelvin, trans, config.seed)
    every = np.arange(len(frames.positions_nm))
    return frames, Split(every, every[:0])


def _check_shares(ranks: Ranks, *counts: int) -> None:
    if ranks.size > min(counts):
        raise UserInputError(
            f"torchrun: {ranks.size} processes, but a batch or the held-out frames are only "
            f"{min(counts)}; start fewer processes"
        )


def _run_folder(
    path: Path, config: Config, molecule: Molecule, resume: bool, ranks: Ranks
) -> RunFolder:
    if resume:
        return RunFolder.open(path)
    return RunFolder.create(path, config, molecule) if ranks.is_writer else RunFolder(path)


@dataclass
class Trainer:
    """A run in memory: model, optimizer, random streams, counters, and where they are saved."""

    config: Config
    run: RunFolder
    model: BoltzmannGenerator
    energy: Energy
    frames: Frames
    split: Split
    molecule: Molecule
    ranks: Ranks = ALONE
    counters: Counters = field(default_factory=Counters)

    def __post_init__(self) -> None:
        self.settings = self.config.training
        self.schedule = Schedule.of(self.config, self.frames.temperature_k)
        self.generators = Generators.from_seed(self.config.seed)
        self.optimizer = torch.optim.Adam(
            self.model.parameters(), self.settings.learning_rate, fused=True
        )
        positions = torch.as_tensor(self.frames.positions_nm, device=self.model.device)
        x, logabsdet = self.model.standardised(positions)
        self.x_train = x[self.split.train].to(self.model.dtype)
        heldout = self.split.heldout[self.ranks.share(len(self.split.heldout))]
        self.x_heldout, self.logabsdet_heldout = x[heldout], logabsdet[heldout]
        self.best = self._snapshot()
        self.typical_kjmol = self._typical_kjmol()
        comparable = not self.schedule.data_apart
        self.phi = PhiMonitor(
            self.molecule.topology, self.frames.positions_nm, self.ranks, comparable
        )
        wanted = self.settings.tensorboard and self.ranks.is_writer
        self.history = History(
            self.run.history_path, self.run.path / "tensorboard" if wanted else None
        )

    def _typical_kjmol(self) -> float:
        """Mean energy of (some of) the training frames, were they a simulation's."""
        if self.frames.made is not None:
            return self.frames.made.typical_kjmol
        index = self.split.train[:: max(len(self.split.train) // TYPICAL_FRAMES, 1)]
        known = self.frames.energy_kjmol
        if known is not None:
            return float(known[index].mean())
        return float(np.nanmean(self.energy.evaluate(self.frames.positions_nm[index]).energy_kjmol))

    def start(self, resume: bool) -> None:
        """Write what is known at the start, or take up the last checkpoint."""
        if resume:
            self._resume()
        elif self.ranks.is_writer:
            self._begin()

    def _resume(self) -> None:
        self.best, self.counters = load_checkpoint(
            self.run.checkpoint_path, self.model, self.optimizer, self.generators
        )
        if self.ranks.is_writer:  # alone, because the ranks' counts are added up
            self.energy.n_evaluations = self.counters.energy_evaluations
            self.energy.n_rejected = self.counters.rejected_energies
            self.history.drop_after(self.counters.step)

    def _begin(self) -> None:
        if self.frames.made is not None:
            self.energy.n_evaluations += self.frames.made.n_evaluations
            self.counters.energy_evaluations = self.energy.n_evaluations
        self.run.update_info(
            **provenance(self.config),
            device=str(self.model.device),
            training_energy=type(self.energy).__name__,
            n_parameters=sum(p.numel() for p in self.model.parameters()),
            n_linear=self.model.standardise.n_linear,
            n_circular=self.model.standardise.n_circular,
            data=self._data_info(),
        )
        self.history.begin()
        self.checkpoint()

    def _data_info(self) -> dict[str, object]:
        if not self.frames.paths:
            return {"source": "energies alone", "begun_at_k": self.schedule.data_k}
        return {
            "path": [str(path) for path in self.frames.paths],
            "sha256": [sha256(path) for path in self.frames.paths],
            "frames": len(self.frames.positions_nm),
            "heldout": len(self.split.heldout),
            "cis_left_out": self.frames.n_cis,
        }

    def fit(self) -> None:
        """All steps that are left."""
        every, skipped_in_a_row = self.settings.evaluate_every, 0
        window: list[StepResult] = []
        note = ""
        with (
            deferred_interrupt() as check_interrupt,
            training_view(
                self.schedule, self.counters, self.energy, self.history, self.ranks
            ) as show,
        ):
            for step in range(self.counters.step + 1, self.settings.steps + 1):
                started, cpu = time.perf_counter(), time.process_time()
                result = self.step(step)
                window.append(result)
                if step % every == 0 or self.schedule.ends_phase(step):
                    note = self.evaluate(step, window)
                    window.clear()
                self.counters.wall_s[self.schedule.phase(step)] += time.perf_counter() - started
                self.counters.cpu_s += time.process_time() - cpu
                if not window:
                    self.checkpoint()
                skipped_in_a_row = skipped_in_a_row + 1 if result.skipped else 0
                if skipped_in_a_row >= MAX_SKIPPED_IN_A_ROW:
                    raise FloatingPointError(
                        f"loss or gradient not finite in {skipped_in_a_row} steps in a row, until "
                        f"step {step} (nll {result.nll:g}, energy loss {result.kl:g}); "
                        "lower training.learning_rate or training.energy_learning_rate"
                    )
                show(step, note, result)
                check_interrupt()
        if self.ranks.is_writer:
            self._finish()

    def step(self, step: int) -> StepResult:
        """One optimizer step at its temperature, counted."""
        kelvin = self.schedule.temperature_k(step)
        self.energy.temperature_k = kelvin
        self.model.set_base_std(math.sqrt(kelvin / self.schedule.data_k))
        result = train_step(
            self.model,
            self.optimizer,
            self.x_train,
            self.energy,
            step,
            self.settings,
            self.schedule,
            self.generators,
            self.ranks,
            kjmol_to_kt(self.typical_kjmol, kelvin),
        )
        self.counters.step = step
        self.counters.skipped_steps += result.skipped
        self.counters.p4_merges += result.p4.merged
        self.counters.p4_rejected += result.p4.rejected.total()
        self.counters.p4_nonfinite += result.p4.nonfinite
        return result

    def evaluate(self, step: int, window: list[StepResult]) -> str:
        """Held-out log-likelihood, best-model selection, one row of history; a note on it."""
        phase = self.schedule.phase(step)
        share = self.schedule.data_weight(step, self.settings.energy_weight)
        judged = share or not self.schedule.data_apart
        heldout = self.heldout_log_likelihood() if judged else math.nan
        self._keep_if_best(step, phase, share, heldout, _mean([r.kl for r in window]))
        counts = self.ranks.total(self.energy.n_evaluations, self.energy.n_rejected)
        self.counters.energy_evaluations, self.counters.rejected_energies = map(int, counts)
        weights = [r.log_weight for r in window if r.log_weight is not None]
        ess = _ess(torch.cat([w.log_softmax(0) for w in weights])) if weights else math.nan
        phi = self.phi.share([r.samples for r in window if r.samples is not None])
        kelvin = self.schedule.temperature_k(step)
        row = {
            "step": step,
            "phase": phase,
            "temperature_k": kelvin,
            "loss": _mean([r.loss for r in window]),
            "nll": _mean([r.nll for r in window]),
            "kl": _mean([r.kl for r in window]),
            "heldout_log_likelihood": heldout,
            "ess": ess,
            "phi_positive": phi,
            "gradient_norm": _mean([r.gradient_norm for r in window]),
            "learning_rate": self.schedule.rate(step),
            "energy_evaluations": self.counters.energy_evaluations,
            "rejected_energies": self.counters.rejected_energies,
            "skipped_steps": self.counters.skipped_steps,
            "p4_merges": self.counters.p4_merges,
            "p4_residual": max(r.p4.worst_residual for r in window),
            "wall_s": round(sum(self.counters.wall_s.values()), 2),
        }
        if self.ranks.is_writer:
            self.history.append(row)
        return ", ".join(_notes(heldout, ess, kelvin if phase == "anneal" else None))

    def _keep_if_best(self, step: int, phase: str, share: float, heldout: float, kl: float) -> None:
        """The best model is that of the last phase with the lowest loss, on held-out frames.

        On the way to another temperature, or without held-out frames in their phase, it is the
        latest.
        """
        objective = (-share * heldout if share else 0.0) + ((1 - share) * kl if share < 1 else 0.0)
        counters = self.counters
        latest = phase != counters.best_phase or phase == "anneal" or math.isnan(objective)
        if latest or objective < counters.best_objective:
            counters.best_phase, counters.best_objective = phase, objective
            counters.best_step, counters.best_log_likelihood = step, heldout
            self.best = self._snapshot()

    @torch.no_grad()
    def heldout_log_likelihood(self) -> float:
        """Mean Cartesian log-density of the held-out frames, of which each rank takes a share.

        NaN without any.
        """
        if not len(self.split.heldout):
            return math.nan
        parts = [self.model.log_prob_x(x).double() for x in self.x_heldout.split(4096)]
        (total,) = self.ranks.total(float((torch.cat(parts) + self.logabsdet_heldout).sum()))
        return total / len(self.split.heldout)

    def checkpoint(self) -> None:
        """Save all that a resumed run needs; every rank reads it then."""
        if not self.ranks.is_writer:
            return
        save_checkpoint(
            self.run.checkpoint_path,
            self.model,
            self.best,
            self.optimizer,
            self.generators,
            self.counters,
        )

    def _finish(self) -> None:
        self.run.update_info(
            log_likelihood_heldout=_finite_or_none(self.counters.best_log_likelihood),
            best_step=self.counters.best_step,
            n_energy_evaluations=self.counters.energy_evaluations,
            n_rejected_energies=self.counters.rejected_energies,
            n_skipped_steps=self.counters.skipped_steps,
            core_hours=round(self.counters.cpu_s / 3600, 4),
            p4_merges=self.counters.p4_merges,
            p4_rejected_merges=self.counters.p4_rejected,
            p4_nonfinite=self.counters.p4_nonfinite,
            wall_time_s={f"train_{k}": round(v, 1) for k, v in self.counters.wall_s.items() if v},
        )
        self.history.close()

    def _snapshot(self) -> dict[str, Tensor]:
        return {k: v.detach().cpu().clone() for k, v in self.model.state_dict().items()}


def _ess(
    log_weight: Tensor,  # (batch,)
) -> float:
    """Kish effective sample size as a fraction of 1."""
    log_n = math.log(len(log_weight))
    return float((2 * log_weight.logsumexp(0) - (2 * log_weight).logsumexp(0) - log_n).exp())


def _notes(heldout: float, ess: float, temperature_k: float | None) -> Iterator[str]:
    if not math.isnan(heldout):
        yield f"held-out log-likelihood {heldout:.2f}"
    if not math.isnan(ess):
        yield f"ESS {ess:.1%}"
    if temperature_k is not None:
        yield f"{temperature_k:.0f} K"


def _mean(values: list[float]) -> float:
    finite = [v for v in values if math.isfinite(v)]
    return sum(finite) / len(finite) if finite else math.nan


def _finite_or_none(value: float) -> float | None:
    return value if math.isfinite(value) else None
