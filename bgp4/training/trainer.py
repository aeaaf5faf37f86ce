"""The steps of a run, one after the other: evaluations, best model, checkpoints, history."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from bgp4.config import Config
from bgp4.data.frames import Frames, Split
from bgp4.energies.base import Energy
from bgp4.errors import RunError
from bgp4.flows.generator import BoltzmannGenerator
from bgp4.molecule.molecule import Molecule
from bgp4.molecule.states import State
from bgp4.p4 import SingularMatrixError
from bgp4.parallel.interrupt import deferred_interrupt, way_on
from bgp4.parallel.ranks import ALONE, Ranks
from bgp4.training.checkpoint import Counters, load_checkpoint, save_checkpoint
from bgp4.training.diagnosis import diagnose
from bgp4.training.facts import facts_at_end, facts_at_start
from bgp4.training.generators import Generators
from bgp4.training.guard import Guard
from bgp4.training.history import History, state_column
from bgp4.training.monitor import StateMonitor
from bgp4.training.objective import Objective
from bgp4.training.optimizer import TrainingOptimizer
from bgp4.training.run import RunFolder
from bgp4.training.schedule import Schedule
from bgp4.training.step import StepResult, train_step
from bgp4.training.variables import standardised, torsion_frames
from bgp4.training.view import training_view
from bgp4.training.window import Window

__all__ = ["MAX_SKIPPED_IN_A_ROW", "Trainer"]

log = logging.getLogger(__name__)

MAX_SKIPPED_IN_A_ROW = 50

PATIENCE = 3
"""Evaluations in a row without a better likelihood, after which it ends."""

SLOWER, LEAST_RATE_FACTOR = 0.5, 1 / 64
"""What a divergence makes of the learning rates, and how far they may fall."""

TYPICAL_FRAMES = 100
"""Frames whose mean energy is taken for typical."""


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
    states: Sequence[State] = ()
    ranks: Ranks = ALONE
    counters: Counters = field(default_factory=Counters)

    def __post_init__(self) -> None:
        self.settings = self.config.training
        self.schedule = Schedule.of(self.config, self.frames.temperature_k, self.counters.old)
        self.generators = Generators.from_seed(self.config.seed)
        self.optimizer = TrainingOptimizer(self.model, self.settings.optimizer)
        model, positions_nm = self.model, self.frames.positions_nm
        x_train, _ = standardised(model, positions_nm[self.split.train], model.dtype)
        heldout = positions_nm[self.split.heldout[self.ranks.share(len(self.split.heldout))]]
        self.x_heldout, self.logabsdet_heldout = standardised(model, heldout, torch.float64)
        self.best = self._snapshot()
        self.saved_s = time.monotonic()
        self.objective = Objective(
            self.model,
            self.energy,
            x_train,
            self.settings,
            self.schedule,
            self._typical_kjmol(),
            torsion_frames(model, self.frames.cooler, x_train, self.schedule.data_k),
            self.ranks,
        )
        comparable = not self.schedule.data_apart
        watched = (self.states, self.molecule.topology, positions_nm)
        self.monitor = StateMonitor(*watched, self.ranks, comparable)
        self.window = Window(self.monitor)
        wanted = self.settings.tensorboard and self.ranks.is_writer
        self.history = History(
            self.run.history_path,
            self.run.path / "tensorboard" if wanted else None,
            [state.label for state in self.states],
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
        else:
            self._begin()

    def _resume(self) -> None:
        self.best, window, self.counters = load_checkpoint(
            self.run.checkpoint_path, self.model, self.optimizer, self.generators
        )
        self.window.restore(window)
        for phase, step in self.counters.ended.items():
            self.schedule.end(phase, step)
        kept = self.counters if self.ranks.is_writer else Counters()  # ranks' counts are added up
        self.energy.n_evaluations = kept.energy_evaluations
        self.energy.n_rejected = kept.rejected_energies
        self.energy.n_replaced_workers = kept.replaced_workers
        if self.ranks.is_writer:
            self.history.drop_after(self.counters.step)

    def _begin(self) -> None:
        """The checkpoint comes last: without it, a run has not begun."""
        if self.ranks.is_writer:
            if self.frames.made is not None:
                self.energy.n_evaluations += self.frames.made.n_evaluations
            self.run.update_info(
                **facts_at_start(
                    self.config, self.molecule, self.model, self.energy, self.frames, self.split
                )
            )
            self.history.begin()
        self.checkpoint()

    def fit(self) -> None:
        """All steps that are left, with a checkpoint after each evaluation, every
        `training.checkpoint_s`, and at Ctrl-C.

        Raises:
            KeyboardInterrupt: If it was pressed, once the checkpoint is written.
            RunError: If too many steps in a row were skipped.
        """
        note = ""
        with (
            deferred_interrupt() as interrupted,
            training_view(
                self.schedule, self.counters, self.energy, self.history, self.ranks
            ) as show,
        ):
            for step in range(self.counters.step + 1, self.settings.steps + 1):
                started, cpu = time.perf_counter(), time.process_time()
                result = self.step(step)
                self.window.add(result)
                self._stop_if_many_skipped(step, result)
                self._go_back_if_diverged(step)
                if self.schedule.evaluates(step):
                    note = self.evaluate(step)
                    self._end_phase_if_done(step)
                self.counters.wall_s[self.schedule.phase(step)] += time.perf_counter() - started
                self.counters.cpu_s += time.process_time() - cpu
                stop = self._save(interrupted())
                show(step, note, result)
                if stop:
                    log.info("stopped after step %d; continue with %s", step, way_on())
                    raise KeyboardInterrupt
        if self.ranks.is_writer:
            self._finish()

    def _save(self, interrupted: bool) -> bool:
        """A checkpoint where one is due; whether to stop. All ranks agree on both."""
        late = (
            self.ranks.is_writer and self.saved_s + self.settings.checkpoint_s <= time.monotonic()
        )
        n_late, n_interrupted = self.ranks.total(late, interrupted)
        if n_late or n_interrupted or not len(self.window):
            self.checkpoint()
        return n_interrupted > 0

    def _stop_if_many_skipped(self, step: int, result: StepResult) -> None:
        n = self.counters.skipped_in_a_row
        if n < MAX_SKIPPED_IN_A_ROW:
            return
        phase = self.schedule.phase(step)
        share = self.schedule.data_weight(step, self.settings.energy_weight)
        terms = ["likelihood"] * (share > 0) + ["energy"] * (phase != "ml")
        why = diagnose(self.model, self.molecule.topology, self.objective.x_train, result, terms)
        rate = "learning_rate" if phase == "ml" else "energy_learning_rate"
        raise RunError(
            f"loss or gradient not finite in {n} steps in a row, until step {step}: {why}; "
            f"start again with a lower training.{rate}"
        )

    def _end_phase_if_done(self, step: int) -> None:
        """Likelihood that gets no better; energies go on from its best model."""
        best = self.counters.best_step
        if self.schedule.may_end_likelihood(step):
            if step - best >= PATIENCE * self.schedule.evaluated_every(step):
                self.schedule.end("ml", step)
                self.counters.ended["ml"] = step
            if self.schedule.ends_phase(step):
                if best < step:
                    log.info("likelihood ends: on held-out frames it was best at step %d", best)
                    self._take_best()
                self.counters.guard = Guard()

    def _go_back_if_diverged(self, step: int) -> None:
        """To the last model that was well, at a lower rate.

        Raises:
            RunError: If the rate is as low as it gets.
        """
        if not self.counters.guard.diverged:
            return
        factor = self.counters.rate_factor * SLOWER
        phase = self.schedule.phase(step)
        rate = "learning_rate" if phase == "ml" else "energy_learning_rate"
        if factor < LEAST_RATE_FACTOR:
            raise RunError(
                f"step {step}: the training diverges at any learning rate down to "
                f"{self.rate(step):.2g}; start again with a lower training.{rate}"
            )
        log.warning(
            "step %d: the training diverges (%s); it returns to the model of step %d, with %g "
            "times the learning rates",
            step,
            self.counters.guard,
            self.counters.best_step,
            factor,
        )
        self._take_best()
        self.counters.rate_factor = factor
        self.counters.guard.go_back()
        self.counters.divergences += 1

    def _take_best(self) -> None:
        """In the place of the model, with an optimizer that knows nothing of it yet."""
        self.model.load_state_dict(self.best)
        self.optimizer = TrainingOptimizer(self.model, self.settings.optimizer)

    def rate(self, step: int) -> float:
        """The schedule's learning rate, less where there is little to go by or it diverged."""
        length = self.counters.guard.step_length(self.settings.full_step_ess)
        return self.schedule.rate(step) * self.counters.rate_factor * length

    def step(self, step: int) -> StepResult:
        """One optimizer step at its temperature, counted.

        Raises:
            RunError: If a P4 matrix has become singular.
        """
        try:
            result = train_step(
                self.objective, self.optimizer, step, self.rate(step), self.generators
            )
        except SingularMatrixError as error:
            raise RunError(
                f"step {step}: a P4 layer's matrix has become singular, or is not finite; "
                "start again with a lower training.learning_rate or training.merge_every"
            ) from error
        self.counters.step = step
        self.counters.guard.add(math.nan if result.skipped else result.gradient_norm, result.ess)
        self.counters.skipped_steps += result.skipped
        in_a_row = self.counters.skipped_in_a_row
        self.counters.skipped_in_a_row = in_a_row + 1 if result.skipped else 0
        self.counters.p4_merges += result.p4.merged
        self.counters.p4_rejected += result.p4.rejected.total()
        self.counters.p4_nonfinite += result.p4.nonfinite
        return result

    def evaluate(self, step: int) -> str:
        """Held-out log-likelihood, best-model selection, one row of history; a note on it."""
        phase, window = self.schedule.phase(step), self.window
        share = self.schedule.data_weight(step, self.settings.energy_weight)
        judged = share or not self.schedule.data_apart
        heldout = self.heldout_log_likelihood() if judged else math.nan
        self._keep_if_best(step, phase, share, heldout, window.mean("kl"))
        self._count_energies()
        ess, kelvin = window.ess(), self.schedule.temperature_k(step)
        row = {
            "step": step,
            "phase": phase,
            "temperature_k": kelvin,
            **{name: window.mean(name) for name in ("loss", "nll", "kl", "gradient_norm")},
            "heldout_log_likelihood": heldout,
            "ess": ess,
            "learning_rate": self.rate(step),
            "energy_evaluations": self.counters.energy_evaluations,
            "rejected_energies": self.counters.rejected_energies,
            "skipped_steps": self.counters.skipped_steps,
            "p4_merges": self.counters.p4_merges,
            "p4_residual": window.largest("p4_residual"),
            "wall_s": round(sum(self.counters.wall_s.values()), 2),
            **{
                state_column(label): share
                for label, share in self.monitor.shares(window.state_counts()).items()
            },
        }
        if self.ranks.is_writer:
            self.history.append(row)
        window.clear()
        return ", ".join(_notes(heldout, ess, kelvin if phase == "anneal" else None))

    def _count_energies(self) -> None:
        """Add up the energies of all ranks."""
        energy, counters = self.energy, self.counters
        counts = self.ranks.total(
            energy.n_evaluations, energy.n_rejected, energy.n_replaced_workers
        )
        counters.energy_evaluations, counters.rejected_energies, counters.replaced_workers = map(
            int, counts
        )

    def _keep_if_best(self, step: int, phase: str, share: float, heldout: float, kl: float) -> None:
        """The best model is that of the last phase with the lowest loss, on held-out frames.

        On the way to another temperature, or without held-out frames in their phase, it is the
        latest.
        """
        objective = (-share * heldout if share else 0.0) + ((1 - share) * kl if share < 1 else 0.0)
        counters = self.counters
        if not counters.guard.healthy:
            return
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
        """Save all that a resumed run needs; every rank takes part, and reads it then."""
        self._count_energies()
        window = self.window.tensors()
        self.saved_s = time.monotonic()
        if self.ranks.is_writer:
            save_checkpoint(
                self.run.checkpoint_path,
                self.model,
                self.best,
                self.optimizer,
                self.generators,
                window,
                self.counters,
            )

    def _finish(self) -> None:
        self.run.update_info(**facts_at_end(self.counters))
        self.history.close()

    def _snapshot(self) -> dict[str, Tensor]:
        return {k: v.detach().clone() for k, v in self.model.state_dict().items()}


def _notes(heldout: float, ess: float, temperature_k: float | None) -> Iterator[str]:
    if not math.isnan(heldout):
        yield f"held-out log-likelihood {heldout:.2f}"
    if not math.isnan(ess):
        yield f"ESS {ess:.1%}"
    if temperature_k is not None:
        yield f"{temperature_k:.0f} K"
