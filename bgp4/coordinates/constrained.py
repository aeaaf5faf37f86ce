r"""Internal coordinates of a System with constrained bonds: their lengths are the System's.

Constrained MD samples exp(-E / kT) on the manifold of the conformations with these lengths, by its
own measure there. With the other internal coordinates q_s, rigid motion included, and their mass
metric M_ss, the momenta leave sqrt(det M_ss) (Fixman, Proc. Natl. Acad. Sci. 71, 3050 (1974)):

.. math:: dμ = \sqrt{\det M_{ss}}\, dq_s ∝ dR\, dΩ\, \prod b^2 \prod \sin θ\, \sqrt{\det Z}\, dq_s

with Z_ab = Σ_i ∇_i r_a · ∇_i r_b / m_i of the constrained lengths r_a, here relative to its
diagonal, which is constant. All densities are with respect to μ: a weight is exp(-E / kT) / q, as
it is without constraints. docs/theory.md has the derivation.
"""

from __future__ import annotations

import torch
from torch import Tensor

from bgp4.coordinates.internal import InternalCoordinates
from bgp4.molecule.constraints import Constraints
from bgp4.molecule.zmatrix import ZMatrix

__all__ = ["ConstrainedCoordinates", "internal_coordinates"]


class ConstrainedCoordinates(InternalCoordinates):
    """Bonds, angles and torsions, of which some bonds have one length each.

    `forward` gives these bonds the System's lengths, whatever the positions say: after `inverse`,
    that is a projection. Log-determinants have the factor sqrt(det Z) of the measure.

    Args:
        zmatrix: Which coordinates there are.
        constraints: Bonds of the Z-matrix, and masses.
    """

    lengths: Tensor
    _first: Tensor
    _second: Tensor
    _correlation: Tensor

    def __init__(self, zmatrix: ZMatrix, constraints: Constraints) -> None:
        super().__init__(zmatrix)
        column = zmatrix.distances
        columns = torch.tensor([column[int(i), int(j)] for i, j in constraints.pairs])
        fixed = torch.zeros(self.features, dtype=torch.bool)
        fixed[columns] = True
        lengths = torch.zeros(self.features, dtype=torch.float64)
        lengths[columns] = torch.as_tensor(constraints.lengths_nm)
        coupling = torch.as_tensor(constraints.coupling)
        width = coupling.diagonal().sqrt()
        for name, value in (
            ("fixed", fixed),
            ("lengths", lengths),
            ("_first", torch.as_tensor(constraints.pairs[:, 0])),
            ("_second", torch.as_tensor(constraints.pairs[:, 1])),
            ("_correlation", coupling / (width[:, None] * width)),
        ):  # all of it follows from the System, so that no checkpoint needs it
            self.register_buffer(name, value, persistent=False)

    def forward(
        self,
        inputs: Tensor,  # (batch, 3 atoms), nm
        context: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:  # (batch, 3 atoms - 6), (batch,)
        measured, _ = super().forward(inputs)
        assert self.fixed is not None
        q = torch.where(self.fixed, self.lengths.to(measured), measured)
        return q, -self._log_volume(q) - self.half_log_det(inputs)

    def inverse(
        self,
        inputs: Tensor,  # (batch, 3 atoms - 6)
        context: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:  # (batch, 3 atoms) in nm, (batch,)
        x, log_volume = super().inverse(inputs)
        return x, log_volume + self.half_log_det(x)

    def half_log_det(
        self,
        flat_nm: Tensor,  # (batch, 3 atoms)
    ) -> Tensor:  # (batch,)
        """½ ln det Z relative to the diagonal of Z; 0 where constrained bonds share no atom."""
        x = flat_nm.reshape(len(flat_nm), self.n_atoms, 3)
        along = torch.nn.functional.normalize(x[:, self._second] - x[:, self._first], dim=-1)
        z = self._correlation.to(along) * (along @ along.mT)
        return 0.5 * torch.linalg.slogdet(z).logabsdet


def internal_coordinates(
    zmatrix: ZMatrix, constraints: Constraints | None = None
) -> InternalCoordinates:
    """Those of a molecule; without constrained bonds, plain ones."""
    if constraints is None or not len(constraints):
        return InternalCoordinates(zmatrix)
    return ConstrainedCoordinates(zmatrix, constraints)
