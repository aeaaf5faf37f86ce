"""Flows, priors and energies of bgp4 as bgflow's, and bgflow's energies as ours.

What goes the other way in bgflow: a flow's `forward` is latent → data, with the log-determinant of
that direction; a batch of positions is flat, (batch, 3 atoms) in nm; what there is one of for each
conformation has shape (batch, 1). Energies are in kT on both sides, and a density is an energy too,
-log p. bgflow's `temperature` is relative, 1 for what the model was made for.

    import bgp4
    from bgp4.interop.bgflow import boltzmann_generator

    model = bgp4.load("ala2")
    theirs = boltzmann_generator(model.flow, model.potential)
    x, log_weight = theirs.sample(1000, with_log_weights=True)

A bgflow that asks for `numpy.infty`, which NumPy 2 removed, is content with
`numpy.infty = numpy.inf` before its import.
"""

from __future__ import annotations

from typing import Any

import bgflow
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from bgp4.energies import base
from bgp4.energies.base import Evaluation
from bgp4.flows.generator import BoltzmannGenerator
from bgp4.statistics.samples import REJECTED_ENERGY_KT
from bgp4.units import kt_to_kjmol

__all__ = ["EnergyFromBgflow", "Flow", "Prior", "Target", "boltzmann_generator"]

NOT_FINITE = "energy or forces are not finite"


def boltzmann_generator(
    generator: BoltzmannGenerator, energy: base.Energy
) -> bgflow.BoltzmannGenerator:
    """Ours as a whole of theirs, with its prior and its target."""
    return bgflow.BoltzmannGenerator(Prior(generator), Flow(generator), Target(energy))


class Flow(bgflow.Flow):
    """Our generator as a bgflow flow: latent variables ↔ flat positions in nm.

    A z whose conformation is impossible, or has another z as well (see `Conformations.valid`), gets
    the log-determinant -1e6, and so no weight. P4 layers are merged by `bgp4.p4.merge_step`, also
    where bgflow trains.
    """

    def __init__(self, generator: BoltzmannGenerator) -> None:
        super().__init__()
        self.generator = generator

    def _forward(
        self,
        z: Tensor,  # (batch, features)
        **_: Any,
    ) -> tuple[Tensor, Tensor]:  # x (batch, 3 atoms), log |det ∂x/∂z| (batch, 1)
        z = z.to(self.generator.dtype)
        made = self.generator.from_latent(z)
        dlogp = self.generator.log_prob_base(z).double() - made.log_prob_xyz
        dlogp = torch.where(made.valid, dlogp, -REJECTED_ENERGY_KT)
        return made.positions_nm.flatten(1), dlogp[:, None]

    def _inverse(
        self,
        x: Tensor,  # (batch, 3 atoms)
        **_: Any,
    ) -> tuple[Tensor, Tensor]:  # z (batch, features), log |det ∂z/∂x| (batch, 1)
        standardised, logabsdet = self.generator.standardised(x.unflatten(1, (-1, 3)))
        z, logabsdet_z = self.generator.transform(standardised.to(self.generator.dtype))
        return z, (logabsdet + logabsdet_z)[:, None]


class Prior(bgflow.Energy, bgflow.Sampler):
    """The base of our generator: normal linear variables, then uniform circular ones.

    At a relative temperature τ the normal ones are wider by sqrt(τ). Samples come from torch's
    global generator: after `torch.manual_seed(seed)` they are those of `bgp4 sample --seed seed`.
    """

    def __init__(self, generator: BoltzmannGenerator) -> None:
        super().__init__(generator.standardise.features)
        self.generator = generator

    def _energy(
        self,
        z: Tensor,  # (batch, features)
    ) -> Tensor:  # (batch, 1)
        return -self.generator.log_prob_base(z)[:, None]

    def _sample(self, n_samples: int) -> Tensor:  # (n_samples, features)
        return self.generator.draw_latent(n_samples, torch.default_generator)

    def _sample_with_temperature(self, n_samples: int, temperature: float) -> Tensor:
        z = self._sample(n_samples)
        n_linear = self.generator.standardise.n_linear
        return torch.cat([z[:, :n_linear] * temperature**0.5, z[:, n_linear:]], dim=1)


class Target(bgflow.Energy):
    """Our energy as a bgflow energy: flat positions in nm → kT, with forces, but not their own."""

    def __init__(self, potential: base.Energy) -> None:
        super().__init__(3 * potential.n_atoms)
        self.potential = potential

    def _energy(
        self,
        x: Tensor,  # (..., 3 atoms)
    ) -> Tensor:  # (..., 1)
        energy_kt = self.potential(x.reshape(-1, self.potential.n_atoms, 3))
        return energy_kt.reshape(*x.shape[:-1], 1)


class EnergyFromBgflow(base.Energy):
    """A bgflow energy as ours: (batch, atoms, 3) in nm → (batch,) in kT, differentiable once.

    Args:
        energy: In kT, of positions in nm, either flat or (atoms, 3), on the CPU.
        temperature_k: That of its kT, K.
    """

    def __init__(self, energy: bgflow.Energy, temperature_k: float) -> None:
        super().__init__(energy.event_shape.numel() // 3, temperature_k)
        self.theirs = energy
        self._made_for_k = temperature_k

    def _evaluate(self, positions: NDArray[np.float64]) -> Evaluation:
        x = torch.as_tensor(positions).reshape(-1, *self.theirs.event_shape)
        with torch.no_grad():
            energy_kt = self.theirs.energy(x).reshape(-1).double().numpy()
        force = self.theirs.force(x).detach().double().reshape(positions.shape).numpy()
        bad = ~(np.isfinite(energy_kt) & np.isfinite(force).all(axis=(1, 2)))
        return Evaluation(
            kt_to_kjmol(np.where(bad, np.nan, energy_kt), self._made_for_k),
            kt_to_kjmol(np.where(bad[:, None, None], 0.0, force), self._made_for_k),
            {int(i): NOT_FINITE for i in np.flatnonzero(bad)},
        )
