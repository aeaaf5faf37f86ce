"""Sequential Monte Carlo from a flow to the Boltzmann density, to compare with `--refine`.

A population of the flow's samples goes through densities q^(1 - b) exp(-b u), b from 0 to 1 (Neal,
Stat. Comput. 11, 125 (2001); Del Moral, Doucet, Jasra, J. R. Stat. Soc. B 68, 411 (2006)). Each b
is the one that leaves `KEEP` of the effective sample size; the population is then resampled, and
moved once by Hamiltonian Monte Carlo on the density at hand, whose gradient needs the flow's.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import brentq
from torch import Tensor

from bgp4.energies.base import Energy
from bgp4.flows.generator import BoltzmannGenerator
from bgp4.sampling import moves
from bgp4.sampling.generate import TrainedRun, generate
from bgp4.statistics.samples import REJECTED_ENERGY_KT, concatenated
from bgp4.statistics.weights import effective_sample_size, normalised_weights

Array = NDArray[np.float64]

KEEP = 0.9
PART = 512
"""Conformations whose log-density is computed at a time."""


class Bridge:
    """The reduced energy b u - (1 - b) log q, as `MolecularDynamics` asks for it."""

    def __init__(self, model: BoltzmannGenerator, energy: Energy) -> None:
        self.model, self.energy, self.b = model, energy, 0.0

    @property
    def temperature_k(self) -> float:
        return self.energy.temperature_k

    def log_prob(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """log q and its gradient, part by part."""
        values, slopes = [], []
        for part in x.split(PART):
            part = part.clone().requires_grad_()
            value = self.model.log_prob_xyz(part)
            (slope,) = torch.autograd.grad(value.sum(), part)
            values.append(value.detach())
            slopes.append(slope)
        return torch.cat(values), torch.cat(slopes)

    def reduced(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """(batch,), (batch, atoms, 3)."""
        u, slope_u = self.energy.reduced(x)
        log_q, slope_q = self.log_prob(x)
        value = self.b * u - (1 - self.b) * log_q
        slope = self.b * slope_u - (1 - self.b) * slope_q
        lost = ~(value.isfinite() & slope.isfinite().all(dim=(1, 2)))
        value[lost], slope[lost] = REJECTED_ENERGY_KT, 0.0
        return value, slope


def population(
    trained: TrainedRun, energy: Energy, n: int, seed: int
) -> tuple[NDArray[Any], float, int]:
    """n conformations of equal weight, (n, atoms, 3), the log of their normalising constant over
    the flow's, and how many densities they went through.
    """
    rng = np.random.default_rng(seed)
    made = concatenated(list(generate(trained.model, n, seed, energy)))
    x, u, log_q = made.positions_nm.astype(np.float64), made.energy_kt, made.log_prob
    bridge = Bridge(trained.model, energy)
    md = moves.MolecularDynamics(bridge, trained.molecule.constraints, rng)  # type: ignore[arg-type]
    log_z, steps = 0.0, 0
    while bridge.b < 1:
        rate = np.where(u < REJECTED_ENERGY_KT, -u - log_q, -REJECTED_ENERGY_KT)
        b = _next(rate, bridge.b)
        log_weight = (b - bridge.b) * rate
        log_z += float(np.logaddexp.reduce(log_weight) - np.log(n))
        chosen = rng.choice(n, size=n, p=normalised_weights(log_weight))
        x, u, log_q, bridge.b = x[chosen], u[chosen], log_q[chosen], b
        moved = md(x, b * u - (1 - b) * log_q)
        x = np.where(moved.accepted[:, None, None], moved.positions_nm, x)
        md.tune(float(moved.accepted.mean()))
        at = torch.from_numpy(x)
        u, log_q = energy.reduced(at)[0].numpy(), bridge.log_prob(at)[0].numpy()
        steps += 1
    return x, log_z, steps


def _next(rate: Array, b: float) -> float:
    """The b that leaves `KEEP` of the effective sample size, or 1."""

    def surplus(to: float) -> float:
        return effective_sample_size((to - b) * rate) - KEEP

    return 1.0 if surplus(1.0) >= 0 else float(brentq(surplus, b, 1.0))
