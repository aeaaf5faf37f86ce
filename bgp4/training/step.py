"""One optimizer step, from batch to merged P4 layers, readable from top to bottom."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from bgp4.flows.generator import Conformations
from bgp4.kernels.transfer import numbers
from bgp4.p4 import P4Report, merge_step
from bgp4.training.generators import Generators
from bgp4.training.losses import batch_ess
from bgp4.training.objective import Objective
from bgp4.training.optimizer import TrainingOptimizer

__all__ = ["StepResult", "train_step"]


@dataclass(frozen=True)
class StepResult:
    """What one step did; losses are NaN where the phase has none.

    Attributes:
        ess: Kish's effective sample size of the batch, as a fraction of 1; NaN without weights.
    """

    loss: float
    nll: float
    kl: float
    gradient_norm: float
    ess: float
    skipped: bool
    log_weight: Tensor | None
    samples: Conformations | None
    p4: P4Report


def train_step(
    objective: Objective,
    optimizer: TrainingOptimizer,
    step: int,  # counted from 1
    rate: float,
    generators: Generators,
) -> StepResult:
    """Losses, gradients, optimizer at a learning rate, merges. A step whose gradient is not finite
    is skipped: to know that is the one look at numbers of the device, but for those of a merge.
    """
    model, ranks, merges = objective.model, objective.ranks, objective.merges
    loss, nll, energy = objective.losses(step, generators)
    optimizer.set_rate(rate)
    optimizer.zero_grad()
    loss.backward()
    ranks.sum_(p.grad for p in model.parameters() if p.grad is not None)
    gradients = [p.grad for p in model.parameters() if p.grad is not None]
    norm = torch.nn.utils.get_total_norm(gradients)
    of_device = {"loss": loss, "norm": norm}
    if nll is not None:
        of_device["nll"] = nll
    if energy is not None:
        of_device |= {"kl": energy.loss, "ess": batch_ess(energy.log_weight)}
    found = dict.fromkeys(("nll", "kl", "ess"), math.nan) | numbers(of_device)
    whole_loss, whole_nll, whole_kl = ranks.total(found["loss"], found["nll"], found["kl"])
    skipped = not (math.isfinite(whole_loss) and math.isfinite(found["norm"]))
    if not skipped:
        clip = objective.settings.gradient_clip
        torch.nn.utils.clip_grads_with_norm_(model.parameters(), clip, norm)
        optimizer.step()
    return StepResult(
        loss=whole_loss,
        nll=whole_nll,
        kl=whole_kl,
        gradient_norm=found["norm"],
        ess=found["ess"],
        skipped=skipped,
        log_weight=energy.log_weight if energy else None,
        samples=energy.samples if energy else None,
        p4=merge_step(model, optimizer.adam, step, merges, generators.p4),
    )
