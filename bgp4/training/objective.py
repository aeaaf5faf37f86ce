"""What a step learns: the losses of its phase, at its temperature."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from bgp4.config import TrainingConfig
from bgp4.energies.base import Energy
from bgp4.flows.generator import BoltzmannGenerator
from bgp4.kernels.transfer import sent
from bgp4.p4 import P4Schedule, determinant_penalty
from bgp4.parallel.ranks import ALONE, Ranks
from bgp4.training.generators import Generators
from bgp4.training.losses import EnergyLoss, kl_loss, negative_log_likelihood
from bgp4.training.schedule import Schedule
from bgp4.training.torsions import TorsionFrames
from bgp4.units import kjmol_to_kt

__all__ = ["Batch", "Losses", "Objective"]


class Losses(NamedTuple):
    """Losses of a batch; None where the phase has none.

    Attributes:
        loss: What is differentiated, ().
        nll: Negative log-likelihood of frames, ().
        energy: Reverse KL of samples.
    """

    loss: Tensor
    nll: Tensor | None
    energy: EnergyLoss | None


class Batch(NamedTuple):
    """What a step learns from, on its device.

    Attributes:
        share: Of the frames' loss, the rest being that of energies.
        frames: (batch,), indices of frames of all ranks, or None.
        latent: (batch, features), latent samples of all ranks, or None.
        torsions: (batch, n_circular), of frames of about the step's temperature, or None.
        typical_kt: Mean energy of conformations at the data's temperature, in kT of the step's, ().
    """

    share: float
    frames: Tensor | None
    latent: Tensor | None
    torsions: Tensor | None
    typical_kt: Tensor


@dataclass
class Objective:
    """A flow, the frames and energies that it learns from, and how they are combined.

    Attributes:
        model: The flow.
        energy: Its temperature is set to each step's.
        x_train: Standardised frames, (frames, features).
        settings: Batch sizes, weights and caps.
        schedule: Phases and temperatures of the steps.
        typical_kjmol: Mean energy of conformations at the data's temperature, kJ/mol.
        torsions: What the steps with energies learn of torsions beside their samples' weights.
        ranks: Each has its share of a batch.
    """

    model: BoltzmannGenerator
    energy: Energy
    x_train: Tensor
    settings: TrainingConfig
    schedule: Schedule
    typical_kjmol: float = 0.0
    torsions: TorsionFrames | None = None
    ranks: Ranks = ALONE

    @property
    def merges(self) -> P4Schedule:
        """When P4 layers merge and refine."""
        return P4Schedule(
            merge_every=self.settings.merge_every, refine_every=self.settings.refine_every
        )

    def losses(self, step: int, generators: Generators) -> Losses:
        """Losses of a step, counted from 1, for one batch of frames, of samples, or of both.

        Data of another temperature than the run's have no part in the steps with energies. Each
        rank's losses are its terms of the whole batch's, so that their sums over the ranks, and
        those of the gradients, are the batch's.
        """
        return self.losses_of(self.draw(step, generators))

    def draw(self, step: int, generators: Generators) -> Batch:
        """All that a step's losses need of the host, at the step's temperature."""
        kelvin = self._go_to_temperature(step)
        settings, device = self.settings, self.model.device
        with_energy = self.schedule.phase(step) != "ml"
        share = self.schedule.data_weight(step, settings.energy_weight)
        frames = latent = torsions = None
        if share:
            size = settings.energy_batch_size if with_energy else settings.batch_size
            frames = torch.randint(len(self.x_train), (size,), generator=generators.data)
            frames = sent(frames, device)
        if with_energy:
            size = settings.energy_batch_size
            latent = self.model.draw_latent(size, generators.latent)
            if self.torsions is not None:
                torsions = self.torsions.draw(kelvin, size, generators.data)
        typical_kt = kjmol_to_kt(self.typical_kjmol, kelvin)
        typical = torch.full((), typical_kt, dtype=torch.float64, device=device)
        return Batch(share, frames, latent, torsions, typical)

    def losses_of(self, batch: Batch) -> Losses:
        """Those of a batch. Of two steps of a phase they are the same operations, on other tensors,
        and none of them waits for a device.
        """
        settings, ranks = self.settings, self.ranks
        nll = energy = None
        loss = torch.zeros((), device=self.model.device, dtype=self.model.dtype)
        if batch.frames is not None:
            size = len(batch.frames)
            x = self.x_train[batch.frames[ranks.share(size)]]
            nll = negative_log_likelihood(self.model, x) * (len(x) / size)
            loss = loss + batch.share * nll
        if batch.latent is not None:
            of_flow = (self.model, self.energy, settings, batch.latent)
            energy = kl_loss(*of_flow, ranks, batch.typical_kt, batch.torsions)
            loss = loss + (1 - batch.share) * energy.loss
        if settings.det_penalty:
            penalty = determinant_penalty(self.model, self.merges, settings.det_penalty)
            loss = loss + penalty / ranks.size
        return Losses(loss, nll, energy)

    def _go_to_temperature(self, step: int) -> float:
        """Energies and the flow's base at the step's temperature, K."""
        kelvin = self.schedule.temperature_k(step)
        self.energy.temperature_k = kelvin
        self.model.set_base_std(math.sqrt(kelvin / self.schedule.base_k))
        return kelvin
