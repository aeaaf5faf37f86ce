r"""The two losses: negative log-likelihood of data, and reverse KL divergence to the energy.

The energy loss KL(q || p) = E_q[u + log q] + log Z, with u = -log p - log Z the energy less the
log-volume of the coordinates, has two parts, q(x) = q(t) q(y | t), with a gradient each that
vanishes sample by sample where q = p, and so has little noise near there.

Linear variables y = y(z; θ) given the circular ones t: the path gradient, which leaves out the part
of zero mean in which log q depends on θ at fixed y (Roeder et al., arXiv 1703.09194; for flows
Vaitl et al., arXiv 2207.08219),

.. math:: E_q\left[ \frac{\partial y(z; θ)}{\partial θ} \cdot
          \frac{\partial}{\partial y} \left(u + \log q(y | t)\right) \right].

Circular variables t: forward KL(p || q) by the samples' own normalised weights w, less its value at
equal weights, whose mean is zero as well. It covers the modes that reverse KL drops, and knows
their shares, which the path gradient does not feel across a barrier,

.. math:: -\sum_i \left(w_i - \tfrac1n\right) \frac{\partial}{\partial θ} \log q(t_i).

Frames of the step's temperature say more of torsions while few samples count. With such frames, the
weights have the batch's ESS as their share, and the mean of -log q(t) over the frames has the rest.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from bgp4.config import TrainingConfig
from bgp4.energies.regularize import clip_norm, smooth_cap
from bgp4.flows.generator import BoltzmannGenerator, Conformations
from bgp4.parallel.ranks import ALONE, Ranks
from bgp4.statistics.samples import REJECTED_ENERGY_KT

__all__ = ["EnergyLoss", "batch_ess", "batch_weights", "kl_loss", "negative_log_likelihood"]


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
        loss: E_q[u(x) + log q(x)], capped and without what has no energy; KL(q || p) up to log Z;
            (). NaN where nothing has one. Its gradient is that of the module's docstring, not
            autograd's of the value. Of several ranks, each has its own terms of the sum.
        log_weight: -u - log q of the whole batch, before capping, (batch,), detached.
        samples: What the flow generated on this rank, without gradient.
    """

    loss: Tensor
    log_weight: Tensor
    samples: Conformations


def kl_loss(
    model: BoltzmannGenerator,
    energy: Callable[[Tensor], Tensor],  # (batch, atoms, 3) nm -> (batch,) kT
    settings: TrainingConfig,
    z: Tensor,  # (batch, features), latent samples of all ranks
    ranks: Ranks = ALONE,
    typical_kt: Tensor | float = 0.0,  # ()
    torsions: Tensor | None = None,  # (batch, n_circular), of frames, for all ranks
) -> EnergyLoss:
    """Generate a batch and weigh it by its energies (Noé et al. 2019, the KL or energy loss).

    The cap is that of the energy above `typical_kt`.
    """
    size = len(z)
    mine = ranks.share(size)
    flow = model.transform
    z_y, z_t = flow.split(z[mine])
    with torch.no_grad():
        t, logabsdet_t = flow.circular.inverse(z_t)
    context = flow.context(t)
    y, logabsdet_y = flow.linear.inverse(z_y, context)
    x = torch.cat([y.detach(), t], dim=1).double().requires_grad_()
    log_prob_x = model.log_prob_base(torch.cat([z_y, z_t], 1)) - logabsdet_y - logabsdet_t

    samples = model.conformations(x, log_prob_x.detach().double())
    energy_kt = energy(samples.positions_nm)
    windowed_kt = smooth_cap(energy_kt, typical_kt + settings.energy_cap_kt)
    windowed_kt = windowed_kt + WINDOW_KT_PER_RAD2 * samples.overshoot
    per_sample = windowed_kt + samples.log_prob_xyz
    (slope,) = torch.autograd.grad(per_sample.sum(), x)
    slope = flow.split(slope)[0].to(y) + _slope_of_log_prob_y(model, y, t, context)
    slope = clip_norm(slope, settings.energy_slope_clip)

    usable = samples.possible & (energy_kt < REJECTED_ENERGY_KT) & slope.isfinite().all(1)
    n_usable = usable.sum(dtype=x.dtype)
    ranks.sum_([n_usable])
    value = torch.where(usable, per_sample.detach(), 0).sum() / n_usable  # NaN where none is
    log_weight = -energy_kt - samples.log_prob_xyz
    log_weight = torch.where(samples.valid & usable, log_weight, -REJECTED_ENERGY_KT).detach()
    all_log_weight = ranks.gather(log_weight, size)
    along_path = torch.where(usable[:, None], y * slope, 0).sum() / n_usable.to(y)
    surplus = all_log_weight.softmax(0)[mine] - 1 / size
    weighted = -(surplus.to(t) * flow.circular(t)[1]).sum()
    if torsions is not None:
        trusted = batch_ess(all_log_weight).to(t)
        of_frames = -flow.circular(torsions[mine])[1].sum() / len(torsions)
        weighted = trusted * weighted + (1 - trusted) * of_frames
    gradient = along_path + weighted
    detached = Conformations(*(part.detach() for part in samples))
    return EnergyLoss(value + gradient - gradient.detach(), all_log_weight, detached)


def _slope_of_log_prob_y(
    model: BoltzmannGenerator,
    y: Tensor,  # (batch, n_linear)
    t: Tensor,  # (batch, n_circular)
    context: Tensor,  # (batch, features), of t
) -> Tensor:  # (batch, n_linear)
    """∂ log q(y | t)/∂y at fixed parameters."""
    flow = model.transform
    y = y.detach().requires_grad_()
    z_y, logabsdet = flow.linear(y, context.detach())
    log_prob = model.log_prob_base(torch.cat([z_y, t], dim=1)) + logabsdet
    (slope,) = torch.autograd.grad(log_prob.sum(), y)
    return slope


def batch_weights(
    log_weight: Tensor,  # (batch,)
) -> Tensor:  # (batch,), float64
    """Weights of sum 1, or all zero where every sample was rejected."""
    log_weight = log_weight.double()
    usable = log_weight > -REJECTED_ENERGY_KT
    return log_weight.where(usable, -math.inf).softmax(0).where(usable, 0.0)


def batch_ess(
    log_weight: Tensor,  # (batch,)
) -> Tensor:  # ()
    """Kish's effective sample size of a batch, as a fraction of 1; 0 where all were rejected."""
    squares = batch_weights(log_weight).square().sum()
    return torch.where(squares > 0, 1 / (len(log_weight) * squares), 0.0)
