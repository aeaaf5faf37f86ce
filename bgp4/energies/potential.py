"""A force field's energy as one vectorised torch function of many conformations.

Positions are (3, atoms, batch): the batch is the last dimension, so that every operation runs
along contiguous memory. From atoms to pairs and back go products with constant matrices of 0 and
±1, whose gradients are such products too: nothing is ever scattered.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from bgp4.energies.terms import ForceField, GeneralisedBorn
from bgp4.parallel.threads import threads

__all__ = ["Potential"]


class Potential(nn.Module):
    """E(x) in kJ/mol of positions (3, atoms, batch) in nm: (batch,), differentiable.

    Args:
        terms: What to evaluate.
        dtype: Of all arithmetic.
    """

    difference: Tensor
    bond: Tensor
    angle: Tensor
    torsion: Tensor
    improper: Tensor
    map: Tensor
    patches: Tensor
    pair: Tensor
    first: Tensor
    second: Tensor
    or_first: Tensor
    or_second: Tensor
    sr_first: Tensor
    sr_second: Tensor
    offset_radius: Tensor
    radius: Tensor
    solvation: Tensor
    self_solvation: Tensor
    surface: Tensor
    tanh: Tensor
    necks: Tensor

    def __init__(self, terms: ForceField, dtype: torch.dtype = torch.float64) -> None:
        super().__init__()
        self.terms = terms
        pairs, coefficients = terms.interacting_pairs()
        a = terms.angles.T
        turns = [terms.torsions, terms.impropers, terms.maps[:, :4], terms.maps[:, 4:]]
        t = np.concatenate(turns).T
        vectors = [
            terms.bonds,
            *(np.stack(v, 1) for v in ((a[1], a[0]), (a[1], a[2]))),
            *(np.stack(v, 1) for v in ((t[0], t[1]), (t[1], t[2]), (t[2], t[3]))),
            pairs,
        ]
        self.sizes, self.turns = [len(v) for v in vectors], [len(v) for v in turns]
        n = terms.n_atoms
        self._constant("difference", _difference_matrix(np.concatenate(vectors), n), dtype)
        self._columns("bond", terms.bond_parameters, dtype)
        self._columns("angle", terms.angle_parameters, dtype)
        self._columns("torsion", terms.torsion_parameters, dtype)
        self._columns("improper", terms.improper_parameters, dtype)
        self._columns("map", terms.map_parameters, dtype)
        self._constant("patches", terms.patches, dtype)
        self._columns("pair", coefficients, dtype)
        self.born = terms.born
        if terms.born is not None:
            self._set_born(terms.born, pairs, dtype)

    def forward(
        self,
        x: Tensor,  # (3, atoms, batch)
    ) -> Tensor:  # (batch,)
        d = torch.matmul(self.difference, x)
        bonds, a1, a2, t1, t2, t3, pairs = d.split(self.sizes, dim=1)
        energy = self._bond_energy(bonds) + self._angle_energy(a1, a2)
        torsions, impropers, phi, psi = _dihedrals(t1, t2, t3).split(self.turns)
        energy = energy + self._torsion_energy(torsions) + self._improper_energy(impropers)
        energy = energy + self._map_energy(phi, psi)
        return energy + self._pair_energy(pairs.square().sum(0))

    def evaluate(
        self,
        positions_nm: NDArray[np.float64],  # (batch, atoms, 3)
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:  # (batch,), (batch, atoms, 3)
        """Energies in kJ/mol and forces in kJ/mol/nm, on one thread."""
        with threads(1):
            energy, forces = self.energies_and_forces(torch.as_tensor(positions_nm))
        return energy.numpy(), forces.numpy()

    def energies_and_forces(
        self,
        positions_nm: Tensor,  # (batch, atoms, 3)
    ) -> tuple[Tensor, Tensor]:  # (batch,), (batch, atoms, 3)
        """Energies in kJ/mol and forces in kJ/mol/nm, float64, where the positions are."""
        centred = positions_nm.detach().double()
        centred = centred - centred.mean(1, keepdim=True)
        x = centred.permute(2, 1, 0).to(self.difference).contiguous()
        with torch.enable_grad():
            energy = self(x.requires_grad_())
            (gradient,) = torch.autograd.grad(energy.sum(), x)
        return energy.detach().double(), -gradient.double().permute(2, 1, 0).contiguous()

    def _bond_energy(self, d: Tensor) -> Tensor:
        length, stiffness = self.bond.unbind(1)
        r = d.square().sum(0).sqrt()
        return (0.5 * stiffness * (r - length).square()).sum(0)

    def _angle_energy(self, left: Tensor, right: Tensor) -> Tensor:
        equilibrium, stiffness = self.angle.unbind(1)
        dot = (left * right).sum(0)
        square = torch.linalg.cross(left, right, dim=0).square().sum(0)
        sine = square.clamp_min(1e-12).sqrt()  # as OpenMM does: in a line it has no slope
        return (0.5 * stiffness * (torch.atan2(sine, dot) - equilibrium).square()).sum(0)

    def _torsion_energy(self, angle: Tensor) -> Tensor:
        periodicity, phase, barrier = self.torsion.unbind(1)
        return (barrier * (1 + (periodicity * angle - phase).cos())).sum(0)

    def _improper_energy(self, angle: Tensor) -> Tensor:
        equilibrium, stiffness, period = self.improper.unbind(1)
        off = (angle - equilibrium).abs()
        return (0.5 * stiffness * torch.minimum(off, period - off).square()).sum(0)

    def _map_energy(self, phi: Tensor, psi: Tensor) -> Tensor:
        """Of bicubic patches, where each pair of angles is in one."""
        first, size = self.map.unbind(1)
        (u, row), (v, column) = (_in_patch(angle, size) for angle in (phi, psi))
        patch = self.patches[(first + row * size + column).long()]  # (maps, batch, 16)
        powers = torch.arange(4, device=u.device)
        c = patch.unflatten(2, (4, 4))
        return torch.einsum("mnab,mna,mnb->n", c, u[..., None] ** powers, v[..., None] ** powers)

    def _pair_energy(self, r2: Tensor) -> Tensor:
        coulomb, c6, c12 = self.pair.unbind(1)
        inverse = r2.rsqrt()
        inverse6 = inverse.square() ** 3
        energy = coulomb * inverse + inverse6 * (c12 * inverse6 - c6)
        if self.born is not None:
            born = self._born_radii(self.born, r2 * inverse, inverse)
            bb = (self.first @ born) * (self.second @ born)
            energy = energy + self.solvation * (r2 + bb * (-r2 / (4 * bb)).exp()).rsqrt()
            return energy.sum(0) + self._single_energy(born)
        return energy.sum(0)

    def _born_radii(self, model: GeneralisedBorn, r: Tensor, inverse: Tensor) -> Tensor:
        """Effective Born radii, (atoms, batch)."""
        of_first = _born_sum(r, inverse, self.or_first, self.sr_second)
        of_second = _born_sum(r, inverse, self.or_second, self.sr_first)
        if model.neck is not None:
            first, first_distance, second, second_distance, cutoff = self.necks.unbind(1)
            of_first = of_first + _neck(r, first, first_distance, cutoff)
            of_second = of_second + _neck(r, second, second_distance, cutoff)
        overlap = self.first.T @ of_first + self.second.T @ of_second
        if model.tanh is None:
            return 1 / (1 / self.offset_radius - overlap)
        psi = overlap * self.offset_radius
        alpha, beta, gamma = self.tanh.unbind(1)
        argument = psi * (alpha + psi * (gamma * psi - beta))
        return 1 / (1 / self.offset_radius - argument.tanh() / self.radius)

    def _single_energy(self, born: Tensor) -> Tensor:
        """Each atom's own solvation and surface terms."""
        surface = self.surface * (self.radius / born) ** 6
        return (self.self_solvation / born + surface).sum(0)

    def _set_born(
        self, born: GeneralisedBorn, pairs: NDArray[np.int64], dtype: torch.dtype
    ) -> None:
        i, j = pairs.T
        charge, offset, scaled = born.charges, born.offset_radius_nm, born.scaled_radius_nm
        one_hot = np.eye(len(charge))
        self._constant("first", one_hot[i], dtype)
        self._constant("second", one_hot[j], dtype)
        for name, values in (
            ("or_first", offset[i]),
            ("or_second", offset[j]),
            ("sr_first", scaled[i]),
            ("sr_second", scaled[j]),
            ("offset_radius", offset),
            ("radius", born.radius_nm),
            ("solvation", born.prefactor * charge[i] * charge[j]),
            ("self_solvation", 0.5 * born.prefactor * charge**2),
            ("surface", born.surface_energy),
        ):
            self._constant(name, values[..., None], dtype)
        if born.tanh is not None:
            self._columns("tanh", born.tanh, dtype)
        if born.neck is not None:
            self._columns("necks", born.neck.of_pairs(pairs), dtype)

    def _columns(self, name: str, table: NDArray[np.float64], dtype: torch.dtype) -> None:
        """Parameters as (terms, parameters, 1)."""
        self._constant(name, table[:, :, None], dtype)

    def _constant(self, name: str, values: NDArray[np.float64], dtype: torch.dtype) -> None:
        self.register_buffer(name, torch.as_tensor(values, dtype=dtype).contiguous())


def _born_sum(
    r: Tensor,  # (pairs, batch)
    inverse: Tensor,
    own: Tensor,  # (pairs, 1), offset radius of the atom that is descreened
    other: Tensor,  # (pairs, 1), scaled radius of the atom that descreens it
) -> Tensor:  # (pairs, batch)
    """Hawkins-Cramer-Truhlar pair integral (J. Phys. Chem. 100, 19824 (1996))."""
    reaches = r + other > own
    lower = torch.maximum((r - other).abs(), own)
    upper, lower = 1 / torch.where(reaches, r + other, lower), 1 / lower
    span = 0.25 * (r - other.square() * inverse) * (upper.square() - lower.square())
    integral = 0.5 * (lower - upper + span + 0.5 * inverse * (upper / lower).log())
    return torch.where(reaches, integral, 0.0)


def _neck(r: Tensor, depth: Tensor, distance: Tensor, cutoff: Tensor) -> Tensor:
    """What `Neck` adds to the integral, (pairs, batch)."""
    off = (r - distance).square()
    return torch.where(r <= cutoff, depth / (1 + 100 * off + 3e5 * off**3), 0.0)


def _dihedrals(b1: Tensor, b2: Tensor, b3: Tensor) -> Tensor:
    """Angles in [-π, π], (torsions, batch), of bonds (3, torsions, batch)."""
    n1, n2 = torch.linalg.cross(b1, b2, dim=0), torch.linalg.cross(b2, b3, dim=0)
    sine = (b1 * n2).sum(0) * b2.square().sum(0).sqrt()
    return torch.atan2(sine, (n1 * n2).sum(0))


def _in_patch(angle: Tensor, size: Tensor) -> tuple[Tensor, Tensor]:
    """How far through its patch an angle is, in [0, 1], and the patch's number."""
    patches = torch.where(angle < 0, angle + 2 * math.pi, angle) * (size / (2 * math.pi))
    number = torch.minimum(patches.detach().nan_to_num(0.0).floor(), size - 1)
    return patches - number, number


def _difference_matrix(pairs: NDArray[np.int64], n_atoms: int) -> NDArray[np.float64]:
    """Rows that take atom pairs[:, 0] from atom pairs[:, 1]."""
    rows = np.zeros((len(pairs), n_atoms))
    index = np.arange(len(pairs))
    rows[index, pairs[:, 1]] += 1
    rows[index, pairs[:, 0]] -= 1
    return rows
