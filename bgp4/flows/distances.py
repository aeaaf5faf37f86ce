"""How far atoms are from each other at given torsions: what linear variables depend on."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from bgp4.coordinates import InternalCoordinates, Standardise
from bgp4.flows.linear import Linear
from bgp4.flows.neighbours import bonds_apart

__all__ = ["Distances"]

APART = 3
"""Bonds beyond which the distance of two atoms depends on torsions."""

CONTACT_NM, LEAST_NM = 0.3, 0.1
"""A distance's unit, and the least that is told from zero: mean conformations may overlap."""


class Distances(nn.Module):
    """Features of the conformation with given circular variables and the mean of all others.

    They are one layer of `units` on the inverse distances of all atoms more than three bonds apart.

    Args:
        coordinates, standardise: Of the generator, which moves and stores them.
        units: Of the layer.
    """

    _pairs: Tensor

    def __init__(
        self, coordinates: InternalCoordinates, standardise: Standardise, units: int
    ) -> None:
        super().__init__()
        self.units = units
        self._geometry = (coordinates, standardise)  # a tuple, so not this module's to store
        turned = torch.from_numpy(bonds_apart(coordinates.zmatrix) > APART)
        pairs = turned.triu().flatten().nonzero().flatten()
        self.register_buffer("_pairs", pairs, persistent=False)
        self.layer = nn.Sequential(Linear(len(pairs), units), nn.SiLU())

    def forward(
        self,
        t: Tensor,  # (batch, n_circular)
    ) -> Tensor:  # (batch, units)
        coordinates, standardise = self._geometry
        mean = t.new_zeros(len(t), standardise.n_linear)
        q, _ = standardise.inverse(torch.cat([mean, t], dim=1).double())
        atoms = coordinates.inverse(q)[0].unflatten(1, (-1, 3))
        apart_nm = torch.cdist(atoms, atoms, compute_mode="donot_use_mm_for_euclid_dist")
        of_pairs = apart_nm.flatten(1).index_select(1, self._pairs)
        closeness = CONTACT_NM / of_pairs.clamp_min(LEAST_NM)
        features: Tensor = self.layer(closeness.nan_to_num().to(t.dtype))  # a ring may not close
        return features
