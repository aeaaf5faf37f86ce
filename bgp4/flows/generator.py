"""The Boltzmann generator: latent Gaussian and circles ↔ standardised ↔ internal ↔ Cartesian.

Densities carry the space they belong to in their name: `log_prob_x` (standardised variables),
`log_prob_ic` (internal coordinates), `log_prob_xyz` (Cartesian, rigid motion factored out).
"""

from __future__ import annotations

import copy
import math
from typing import NamedTuple

import torch
from torch import Tensor, nn

from bgp4.coordinates import InternalCoordinates, Standardise
from bgp4.flows.torsions_first import TorsionsFirst
from bgp4.kernels.transfer import sent
from bgp4.p4 import P4InvLinear, p4_layers

__all__ = ["BoltzmannGenerator", "Conformations", "in_double_precision"]


class Conformations(NamedTuple):
    """What the flow generated.

    Attributes:
        positions_nm: (batch, atoms, 3), float64, nm.
        log_prob_xyz: (batch,), the log-density that goes with them, float64.
        possible: (batch,), False where the internal coordinates belong to no conformation: a bond
            not positive, an angle outside (0, π).
        overshoot: (batch,), rad²; where it is not zero, the conformation has another x as well
            (see `Standardise.overshoot`).
    """

    positions_nm: Tensor
    log_prob_xyz: Tensor
    possible: Tensor
    overshoot: Tensor

    @property
    def valid(self) -> Tensor:
        """(batch,), whether `log_prob_xyz` is the density of the conformation."""
        return self.possible & (self.overshoot == 0)


class BoltzmannGenerator(nn.Module):
    """A flow between a simple base and a molecule's conformations.

    The base is normal for linear variables and uniform for circular ones. The normal's standard
    deviation, `base_std`, is 1 at the temperature of the data, sqrt(T / T_data) at others, so that
    what is harmonic at fixed circular variables is right at any temperature (Dibak et al., Phys.
    Rev. Research 4, L042005, 2022).

    Args:
        coordinates: Cartesian to internal.
        standardise: Internal to standardised variables, fitted on the training data.
        transform: Standardised to latent.
    """

    base_std: Tensor

    def __init__(
        self, coordinates: InternalCoordinates, standardise: Standardise, transform: TorsionsFirst
    ) -> None:
        super().__init__()
        self.coordinates = coordinates
        self.standardise = standardise
        self.transform = transform
        self.register_buffer("base_std", torch.ones((), dtype=torch.float64))

    @property
    def device(self) -> torch.device:
        return next(self.transform.parameters()).device

    @property
    def dtype(self) -> torch.dtype:
        """Precision of the transform; coordinates and standardisation are always float64."""
        return next(self.transform.parameters()).dtype

    def standardised(
        self,
        positions_nm: Tensor,  # (batch, atoms, 3)
    ) -> tuple[Tensor, Tensor]:  # (batch, features), (batch,)
        """Standardised variables x and log |det ∂x/∂(Cartesian)|, both float64."""
        positions = positions_nm.to(self.device, torch.float64)
        q, logabsdet_q = self.coordinates(positions.flatten(1))
        x, logabsdet_x = self.standardise(q)
        return x, logabsdet_q + logabsdet_x

    def log_prob_x(
        self,
        x: Tensor,  # (batch, features)
    ) -> Tensor:  # (batch,)
        """Log-density of standardised variables."""
        z, logabsdet = self.transform(x.to(self.dtype))
        return self.log_prob_base(z) + logabsdet

    def log_prob_xyz(
        self,
        positions_nm: Tensor,  # (batch, atoms, 3)
    ) -> Tensor:  # (batch,)
        """Cartesian log-density modulo rigid motion, in nm^-(3 atoms - 6) up to the frame."""
        x, logabsdet = self.standardised(positions_nm)
        return self.log_prob_x(x) + logabsdet

    def generate(self, n: int, generator: torch.Generator) -> Conformations:
        """Draw n conformations, differentiable with respect to the flow's parameters."""
        return self.from_latent(self.draw_latent(n, generator))

    def from_latent(
        self,
        z: Tensor,  # (batch, features)
    ) -> Conformations:
        """The conformations that latent variables stand for."""
        x, logabsdet = self.transform.inverse(z)
        log_prob_x = self.log_prob_base(z) - logabsdet
        return self.conformations(x.double(), log_prob_x.double())

    def conformations(
        self,
        x: Tensor,  # (batch, features)
        log_prob_x: Tensor,  # (batch,)
    ) -> Conformations:
        """Positions and Cartesian log-densities of standardised variables."""
        q, logabsdet_q = self.standardise.inverse(x)
        flat, logabsdet_xyz = self.coordinates.inverse(q)
        return Conformations(
            flat.unflatten(1, (-1, 3)),
            log_prob_x - logabsdet_q - logabsdet_xyz,
            self.coordinates.valid(q),
            self.standardise.overshoot(x),
        )

    def set_base_std(self, std: float) -> None:
        """Set the standard deviation of the base's normal variables."""
        self.base_std.fill_(std)

    def draw_latent(self, n: int, generator: torch.Generator) -> Tensor:
        """n samples of the base, (n, features), drawn on the host: a seed draws the same ones for
        any device.
        """
        n_linear, n_circular = self.standardise.n_linear, self.standardise.n_circular
        normal = torch.randn(n, n_linear, generator=generator, dtype=torch.float64)
        share = torch.rand(n, n_circular, generator=generator, dtype=torch.float64)
        drawn = sent(torch.cat([normal, 2 * math.pi * share - math.pi], dim=1), self.device)
        normal, angles = drawn.split([n_linear, n_circular], dim=1)
        return torch.cat([normal * self.base_std, angles], dim=1).to(self.dtype)

    def log_prob_base(
        self,
        z: Tensor,  # (batch, features)
    ) -> Tensor:  # (batch,)
        """Log-density of latent variables."""
        normal = z[:, : self.standardise.n_linear] / self.base_std.to(z.dtype)
        constant = -(0.5 * math.log(2 * math.pi) + self.base_std.log()) * normal.shape[1]
        constant = constant - math.log(2 * math.pi) * self.standardise.n_circular
        return constant.to(z.dtype) - 0.5 * normal.square().sum(1)


def in_double_precision(model: BoltzmannGenerator) -> BoltzmannGenerator:
    """A float64 copy, whose P4 inverses and determinants are recomputed to float64 accuracy."""
    double = copy.deepcopy(model).double()
    for layer in p4_layers(double):
        if isinstance(layer, P4InvLinear):
            layer.recompute()
    return double.eval()
