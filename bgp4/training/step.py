"""One optimizer step, from batch to merged P4 layers, readable from top to bottom."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from bgp4.config import TrainingConfig
from bgp4.energies.base import REJECTED_ENERGY_KT
from bgp4.flows.generator import BoltzmannGenerator, Conformations
from bgp4.p4 import P4Report, P4Schedule, determinant_penalty, merge_step
from bgp4.parallel.ranks import ALONE, Ranks
from bgp4.training.losses import kl_loss, negative_log_likelihood
from bgp4.training.optimizer import TrainingOptimizer
from bgp4.training.schedule import Schedule

__all__ = ["Generators", "StepResult", "train_step"]


@dataclass(frozen=True)
class Generators:
    """Random numbers of a run, one stream for each use, so that a resumed run repeats them."""

    data: torch.Generator
    latent: torch.Generator
    p4: torch.Generator

    @classmethod
    def from_seed(cls, seed: int) -> Generators:
        streams = torch.randint(2**62, (3,), generator=torch.Generator().manual_seed(seed))
        return cls(*(torch.Generator().manual_seed(int(s)) for s in streams))


@dataclass(frozen=True)
class StepResult:
    """What one step did; losses are NaN where the phase has none."""

    loss: float
    nll: float
    kl: float
    gradient_norm: float
    skipped: bool
    log_weight: Tensor | None
    samples: Conformations | None
    p4: P4Report

    @property
    def ess(self) -> float:
        """Kish's effective sample size of the batch, as a fraction of 1; NaN without weights."""
        if self.log_weight is None:
            return math.nan
        known = self.log_weight[self.log_weight > -REJECTED_ENERGY_KT].double()
        if not len(known):
            return 0.0
        return 1 / (len(self.log_weight) * float(known.softmax(0).square().sum()))


def train_step(
    model: BoltzmannGenerator,
    optimizer: TrainingOptimizer,
    x_train: Tensor,  # (frames, features)
    energy: Callable[[Tensor], Tensor],  # at the step's temperature
    step: int,  # counted from 1
    settings: TrainingConfig,
    schedule: Schedule,
    rate: float,
    generators: Generators,
    ranks: Ranks = ALONE,
    typical_kt: float = 0.0,
) -> StepResult:
    """Losses, gradients, optimizer at a learning rate, merges. A step whose gradient is not finite
    is skipped.

    Data of another temperature than the run's have no part in the steps with energies. Each rank's
    losses are its terms of the whole batch's, so that their sums over the ranks, and those of the
    gradients, are the batch's.
    """
    merges = P4Schedule(merge_every=settings.merge_every, refine_every=settings.refine_every)
    with_energy = schedule.phase(step) != "ml"
    size = settings.energy_batch_size if with_energy else settings.batch_size
    nll = kl = None
    loss = torch.zeros((), device=model.device, dtype=model.dtype)
    if share := schedule.data_weight(step, settings.energy_weight):
        index = torch.randint(len(x_train), (size,), generator=generators.data)
        batch = x_train[index[ranks.share(size)]]
        nll = negative_log_likelihood(model, batch) * (len(batch) / size)
        loss = loss + share * nll
    if with_energy:
        kl = kl_loss(model, energy, settings, generators.latent, ranks, typical_kt)
        loss = loss + (1 - share) * kl.loss
    if settings.det_penalty:
        loss = loss + determinant_penalty(model, merges, settings.det_penalty) / ranks.size

    optimizer.set_rate(rate)
    optimizer.zero_grad()
    loss.backward()
    ranks.sum_(p.grad for p in model.parameters() if p.grad is not None)
    losses = (
        loss.item(),
        nll.item() if nll is not None else math.nan,
        kl.loss.item() if kl else math.nan,
    )
    whole_loss, whole_nll, whole_kl = ranks.total(*losses)
    gradients = [p.grad for p in model.parameters() if p.grad is not None]
    norm = torch.nn.utils.get_total_norm(gradients)
    skipped = not (math.isfinite(whole_loss) and math.isfinite(norm.item()))
    if not skipped:
        torch.nn.utils.clip_grads_with_norm_(model.parameters(), settings.gradient_clip, norm)
        optimizer.step()
    return StepResult(
        loss=whole_loss,
        nll=whole_nll,
        kl=whole_kl,
        gradient_norm=norm.item(),
        skipped=skipped,
        log_weight=kl.log_weight if kl else None,
        samples=kl.samples if kl else None,
        p4=merge_step(model, optimizer.adam, step, merges, generators.p4),
    )
