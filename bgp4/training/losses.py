"""The two losses: negative log-likelihood of data, and reverse KL divergence to the energy."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from bgp4.config import TrainingConfig
from bgp4.distributed import ALONE, Ranks
from bgp4.energies.base import REJECTED_ENERGY_KT
from bgp4.energies.regularize import keep_lowest, smooth_cap
from bgp4.flows.generator import BoltzmannGenerator, Conformations

__all__ = ["EnergyLoss", "kl_loss", "negative_log_likelihood"]


def negative_log_likelihood(
    model: BoltzmannGenerator,
    x: Tensor,  # (batch, features)
) -> Tensor:  # ()
    """-E_data[log q(x)] in standardised variables."""
    return -model.log_prob_x(x).mean()


WINDOW_KT_PER_RAD2 = 100.0
"""Energy of a torsion beyond its cut, where samples have no weight: it draws them back."""


class EnergyLoss(NamedTuple):
    """Reverse KL of a batch.

    Attributes:
        loss: E_q[u(x) + log q(x)], capped and without the worst; KL(q || p) up to log Z; (). Of
            several ranks, each has its own terms of the sum.
        log_weight: -u - log q of the whole batch, before capping, (batch,), detached.
        samples: What the flow generated on this rank.
    """

    loss: Tensor
    log_weight: Tensor
    samples: Conformations


def kl_loss(
    model: BoltzmannGenerator,
    energy: Callable[[Tensor], Tensor],  # (batch, atoms, 3) nm -> (batch,) kT
    settings: TrainingConfig,
    generator: torch.Generator,
    ranks: Ranks = ALONE,
) -> EnergyLoss:
    """Generate a batch and weigh it by its energies (Noé et al. 2019, the KL or energy loss)."""
    size = settings.energy_batch_size
    mine = ranks.share(size)
    samples = model.from_latent(model.draw_latent(size, generator)[mine])
    energy_kt = energy(samples.positions_nm)
    windowed_kt = energy_kt + WINDOW_KT_PER_RAD2 * samples.overshoot
    windowed_kt = torch.where(samples.possible, windowed_kt, REJECTED_ENERGY_KT)
    log_weight = -torch.where(samples.valid, energy_kt, REJECTED_ENERGY_KT) - samples.log_prob_xyz
    all_kt, all_log_weight = ranks.gather(torch.stack([windowed_kt, log_weight], 1), size).unbind(1)
    keep = keep_lowest(all_kt, settings.energy_drop_fraction) & (all_kt < REJECTED_ENERGY_KT)
    per_sample = smooth_cap(windowed_kt, settings.energy_cap_kt) + samples.log_prob_xyz
    loss = torch.where(keep[mine], per_sample, 0).sum() / keep.sum().clamp_min(1)
    return EnergyLoss(loss, all_log_weight, samples)
