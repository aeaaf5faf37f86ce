"""One optimizer step, from batch to merged P4 layers, readable from top to bottom."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from bgp4.config import TrainingConfig
from bgp4.distributed import ALONE, Ranks
from bgp4.flows.generator import BoltzmannGenerator, Conformations
from bgp4.p4 import P4Report, P4Schedule, determinant_penalty, merge_step
from bgp4.training.losses import kl_loss, negative_log_likelihood

__all__ = ["Generators", "StepResult", "learning_rate", "likelihood_steps", "train_step"]

WARMUP_STEPS = 100
FINAL_RATE = 0.02
"""The cosine schedule ends at this share of the learning rate."""


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


def likelihood_steps(settings: TrainingConfig) -> int:
    """Steps of pure maximum likelihood; those after it have the energy loss as well."""
    return settings.steps - round(settings.steps * settings.energy_fraction)


def learning_rate(step: int, settings: TrainingConfig) -> float:
    """Of step 1, 2, ...: linear warm-up, then a cosine to near zero; anew for each phase."""
    first = likelihood_steps(settings)
    if step <= first:
        peak, done, length = settings.learning_rate, step, first
    else:
        peak, done, length = settings.energy_learning_rate, step - first, settings.steps - first
    warmup = min(1.0, done / min(WARMUP_STEPS, length))
    cosine = 0.5 * (1 + math.cos(math.pi * (done - 1) / length))
    return peak * warmup * (FINAL_RATE + (1 - FINAL_RATE) * cosine)


def train_step(
    model: BoltzmannGenerator,
    optimizer: torch.optim.Optimizer,
    x_train: Tensor,  # (frames, features)
    energy: Callable[[Tensor], Tensor],
    step: int,  # counted from 1
    settings: TrainingConfig,
    generators: Generators,
    ranks: Ranks = ALONE,
) -> StepResult:
    """Losses, gradients, optimizer, merges. A step whose gradient is not finite is skipped.

    Each rank's losses are its terms of the whole batch's, so that their sums over the ranks, and
    those of the gradients, are the batch's.
    """
    schedule = P4Schedule(merge_every=settings.merge_every, refine_every=settings.refine_every)
    with_energy = step > likelihood_steps(settings)
    size = settings.energy_batch_size if with_energy else settings.batch_size
    index = torch.randint(len(x_train), (size,), generator=generators.data)
    batch = x_train[index[ranks.share(size)]]

    nll = loss = negative_log_likelihood(model, batch) * (len(batch) / size)
    kl = None
    if with_energy:
        kl = kl_loss(model, energy, settings, generators.latent, ranks)
        loss = (1 - settings.energy_weight) * nll + settings.energy_weight * kl.loss
    if settings.det_penalty:
        loss = loss + determinant_penalty(model, schedule, settings.det_penalty) / ranks.size

    for group in optimizer.param_groups:
        group["lr"] = learning_rate(step, settings)
    optimizer.zero_grad()
    loss.backward()
    ranks.sum_(p.grad for p in model.parameters() if p.grad is not None)
    losses = (loss.item(), nll.item(), kl.loss.item() if kl else math.nan)
    whole_loss, whole_nll, whole_kl = ranks.total(*losses)
    norm = torch.nn.utils.clip_grad_norm_(model.parameters(), settings.gradient_clip)
    skipped = not (math.isfinite(whole_loss) and math.isfinite(norm.item()))
    if not skipped:
        optimizer.step()
    return StepResult(
        loss=whole_loss,
        nll=whole_nll,
        kl=whole_kl,
        gradient_norm=norm.item(),
        skipped=skipped,
        log_weight=kl.log_weight if kl else None,
        samples=kl.samples if kl else None,
        p4=merge_step(model, optimizer, step, schedule, generators.p4),
    )
