"""What a training does when: its phase, temperature and learning rate at each step."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from bgp4.config import Config

__all__ = ["PHASES", "OldFlow", "Phase", "Schedule"]

Phase = Literal["ml", "anneal", "kl"]
PHASES: tuple[Phase, ...] = ("ml", "anneal", "kl")

WARMUP_STEPS = 100
FINAL_RATE = 0.02
"""The cosine schedule ends at this share of the learning rate."""

LEAST_EVALUATED_EVERY = 25
"""Steps between evaluations of the likelihood, where it may end early."""


@dataclass(frozen=True)
class OldFlow:
    """The flow of another run, which a training begins with.

    Attributes:
        run: That run.
        sha256: Of its checkpoint.
        temperature_k: Temperature that it has learned, K.
        base_k: Temperature at which the flow's base has width 1, K.
    """

    run: str
    sha256: str
    temperature_k: float
    base_k: float


@dataclass
class Schedule:
    """Steps are counted from 1: likelihood of the data, then energies as well.

    Where the data are of another temperature than the run: energies alone, on the way to the run's
    and there. With another run's flow there is no likelihood, and energies go from its temperature.

    A phase may `end` earlier than planned.

    Attributes:
        lengths: Steps of each phase: of maximum likelihood alone; with energies, while the
            temperature goes from the data's to the run's; and there.
        data_k: Temperature of the data, K.
        final_k: The run's, K.
        learning_rate: Peak of the first phase.
        energy_learning_rate: Peak of the others.
        made_up: Whether the data are no simulation's.
        evaluate_every: Steps between evaluations.
        old: What the training begins with, if not with the data.
    """

    lengths: dict[Phase, int]
    data_k: float
    final_k: float
    learning_rate: float
    energy_learning_rate: float
    made_up: bool = False
    evaluate_every: int = 100
    old: OldFlow | None = None

    @classmethod
    def of(
        cls, config: Config, frames_k: float | None = None, old: OldFlow | None = None
    ) -> Schedule:
        """That of a config, with frames that say that they are of a temperature, or do not."""
        training = config.training
        data_k = config.data.temperature_k or frames_k or config.temperature_k
        with_energy = training.steps if old else round(training.steps * training.energy_fraction)
        annealed = (old.temperature_k if old else data_k) != config.temperature_k
        annealing = round(with_energy * training.anneal_fraction) if annealed else 0
        return cls(
            {
                "ml": training.steps - with_energy,
                "anneal": annealing,
                "kl": with_energy - annealing,
            },
            data_k,
            config.temperature_k,
            training.learning_rate,
            training.energy_learning_rate,
            config.data.path is None,
            training.evaluate_every,
            old,
        )

    @property
    def start_k(self) -> float:
        """Temperature of what the steps with energies begin with, K."""
        return self.old.temperature_k if self.old else self.data_k

    @property
    def base_k(self) -> float:
        """Temperature at which the flow's base has width 1, K."""
        return self.old.base_k if self.old else self.data_k

    @property
    def steps(self) -> int:
        return sum(self.lengths.values())

    def last_step(self, phase: Phase) -> int:
        """Last step of a phase; for an empty phase, that of the phase before."""
        return sum(self.lengths[name] for name in PHASES[: PHASES.index(phase) + 1])

    @property
    def data_apart(self) -> bool:
        """Whether the data, made up or of another temperature, serve the first phase alone."""
        return self.made_up or self.data_k != self.final_k

    def phase(self, step: int) -> Phase:
        """Phase of a step."""
        return next((phase for phase in PHASES if step <= self.last_step(phase)), "kl")

    def evaluates(self, step: int) -> bool:
        """Whether the model is judged after a step."""
        return step % self.evaluated_every(step) == 0 or self.ends_phase(step)

    def evaluated_every(self, step: int) -> int:
        """Steps between evaluations: fewer where the likelihood may end."""
        if not self.may_end_likelihood(step):
            return self.evaluate_every
        return min(self.evaluate_every, max(LEAST_EVALUATED_EVERY, self.lengths["ml"] // 20))

    def may_end_likelihood(self, step: int) -> bool:
        """Whether a step is of likelihood of a simulation's frames, with energies to follow."""
        return step <= self.last_step("ml") < self.steps and not self.made_up

    def end(self, phase: Phase, step: int) -> None:
        """A phase with this step; the later ones take the steps that it leaves, in proportion."""
        later = PHASES[PHASES.index(phase) + 1 :]
        left, total = self.last_step(phase) - step, sum(self.lengths[name] for name in later)
        more = {name: left * self.lengths[name] // total for name in later}
        more["kl"] += left - sum(more.values())
        self.lengths[phase] -= left
        for name in later:
            self.lengths[name] += more[name]

    def ends_phase(self, step: int) -> bool:
        """Whether a step is the last of its phase."""
        return step == self.steps or self.phase(step) != self.phase(step + 1)

    def data_weight(self, step: int, energy_weight: float) -> float:
        """The likelihood's share of a step's loss, the energies' being the rest."""
        if self.phase(step) == "ml":
            return 1.0
        return 0.0 if self.data_apart else 1 - energy_weight

    def temperature_k(self, step: int) -> float:
        """Temperature that a step learns, K; it goes from one to the other in equal ratios."""
        done, annealing = step - self.last_step("ml"), self.lengths["anneal"]
        if done <= 0:
            return self.start_k
        if done >= annealing:
            return self.final_k
        return self.start_k * (self.final_k / self.start_k) ** (done / annealing)

    def rate(self, step: int) -> float:
        """Learning rate: linear warm-up, then a cosine to near zero; anew with the energies."""
        first = self.lengths["ml"]
        if step <= first:
            peak, done, length = self.learning_rate, step, first
        else:
            peak, done, length = self.energy_learning_rate, step - first, self.steps - first
        warmup = min(1.0, done / min(WARMUP_STEPS, length))
        cosine = 0.5 * (1 + math.cos(math.pi * (done - 1) / length))
        return peak * warmup * (FINAL_RATE + (1 - FINAL_RATE) * cosine)
