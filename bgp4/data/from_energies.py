r"""Where a training without MD frames begins: conformations made from the energy alone.

At a minimum q0 of the energy, in internal coordinates, each bond, angle and stiff torsion gets a
normal distribution of the width

.. math:: σ_i = \sqrt{kT / u''_{ii}}, \qquad u''_{ii} = ∂²E/∂q_i²,

which of all products of normal distributions is the nearest to exp(-E/kT) by reverse KL, as far as
E is harmonic. The torsions that turn are uniform on the circle: those about bonds outside rings
whose torsion terms, on a rigid turn of the molecule, have no high barrier. Handedness and peptide
bonds are thus those of the minimum.
"""

from __future__ import annotations

import numpy as np
import torch
from networkx import Graph, bridges
from numpy.typing import NDArray
from scipy.optimize import minimize
from torch import Tensor

from bgp4.coordinates import InternalCoordinates, internal_coordinates
from bgp4.data.frames import Frames, Made, all_trans
from bgp4.data.lengths import projected
from bgp4.energies.base import Energy
from bgp4.energies.reference import ReferenceEnergy, torsions_alone
from bgp4.errors import UserInputError
from bgp4.molecule.molecule import Molecule
from bgp4.units import kt_in_kjmol

__all__ = ["conformations_from_energy", "minimised", "torsion_barriers", "widths"]

CONFORMATIONS = 4096
CALM = 16

BARRIER_KT = 4.0
"""Torsions whose terms have a higher barrier than this at the start's temperature do not turn."""

TURNS = 36
"""Points of the circle at which the terms are evaluated."""

GRADIENT_KJMOL_NM = 1.0
"""No component of the force is larger at what is taken for a minimum."""

STEP = (1e-4, 1e-3, 1e-3)
"""Steps of the finite differences: bonds in nm, angles and torsions in rad."""

NARROWEST = (5e-4, 5e-3, 5e-3)
WIDEST = (0.02, 0.3, 0.35)
"""Bounds of the widths, alike. Stiff torsions stay on their side of the circle."""


def conformations_from_energy(
    molecule: Molecule, temperature_k: float, trans: bool, seed: int
) -> Frames:
    """Conformations to begin with, in the place of MD frames of this temperature.

    Args:
        trans: Whether to insist on trans peptide bonds.

    Raises:
        UserInputError: If there is no minimum near the molecule's positions, or one with a cis
            peptide bond.
    """
    kt = kt_in_kjmol(temperature_k)
    coordinates = internal_coordinates(molecule.zmatrix, molecule.constraints)
    energy = ReferenceEnergy(molecule.system_xml, molecule.n_atoms, temperature_k)
    lowest_kjmol, positions_nm = minimised(energy, molecule)
    if trans and not all_trans(positions_nm[None], molecule.topology).all():
        raise UserInputError(
            f"config key data.peptide_bonds: expected trans, but {molecule.name} has a cis peptide "
            "bond at the nearest minimum; set it to any, or use other start positions"
        )
    centre, _ = coordinates(torch.as_tensor(positions_nm).reshape(1, -1))
    barriers, n_turns = torsion_barriers(molecule, coordinates, centre[0])
    circles = barriers < BARRIER_KT * kt
    width = widths(energy, coordinates, centre[0], kt)
    free = torch.ones_like(circles) if coordinates.fixed is None else ~coordinates.fixed
    width = width * free

    rng = np.random.default_rng(seed)
    calm = centre + width * torch.as_tensor(rng.normal(size=(CONFORMATIONS, len(width))))
    angle = torch.as_tensor(rng.uniform(-np.pi, np.pi, calm.shape))
    calm = torch.where(circles, centre, calm)
    calm = calm[coordinates.valid(calm)]
    turned = torch.where(circles, angle[: len(calm)], calm)
    made = Made(
        typical_kjmol=lowest_kjmol + kt * int(free.sum()) / 2,
        calm_nm=_positions(coordinates, calm[:CALM]),
        n_evaluations=energy.n_evaluations + n_turns,
    )
    return Frames((), _positions(coordinates, turned), None, temperature_k, made=made)


def minimised(energy: Energy, molecule: Molecule) -> tuple[float, NDArray[np.float64]]:
    """The minimum next to the molecule's positions: kJ/mol, and nm, (atoms, 3).

    Constrained bonds have their lengths there.

    Raises:
        UserInputError: If the energy is not finite there.
    """
    coordinates = internal_coordinates(molecule.zmatrix, molecule.constraints)

    def value_and_slope(flat: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        x = torch.as_tensor(flat).reshape(1, -1).requires_grad_()
        held = projected(coordinates, x)
        result = energy.evaluate(held.detach().numpy().reshape(1, -1, 3))
        gradient = torch.as_tensor(-result.forces_kjmol_nm).reshape(1, -1)
        (slope,) = torch.autograd.grad(held, x, gradient)
        return float(result.energy_kjmol[0]), slope.numpy().ravel()

    options = {"gtol": GRADIENT_KJMOL_NM, "ftol": 1e-12, "maxiter": 10_000, "maxfun": 20_000}
    found = minimize(
        value_and_slope, molecule.positions_nm.ravel(), jac=True, method="L-BFGS-B", options=options
    )
    if not np.isfinite(found.fun):
        raise UserInputError(
            f"config key system: the energy of {molecule.name} is not finite near its start "
            "positions, where a run without data begins"
        )
    minimum = projected(coordinates, torch.as_tensor(found.x).reshape(1, -1))
    return float(found.fun), minimum.numpy().reshape(-1, 3)


def torsion_barriers(
    molecule: Molecule,
    coordinates: InternalCoordinates,
    centre: Tensor,  # (features,), of a minimum
) -> tuple[Tensor, int]:
    """How much the torsion terms rise and fall on a turn of each column, (features,), kJ/mol; and
    how often they were evaluated. Infinite of columns that turn nothing.

    A turn about a bond outside rings, which its first child's torsion makes, is rigid: all that
    changes of the torsion terms is those about this bond.
    """
    bonds = [(a.index, b.index) for a, b in molecule.topology.bonds]
    acyclic = {frozenset(bond) for bond in bridges(Graph(bonds))}
    bonded = {frozenset(bond) for bond in bonds}
    terms = ReferenceEnergy(torsions_alone(molecule.system_xml), molecule.n_atoms, 300.0)
    barriers = torch.full((len(centre),), torch.inf, dtype=torch.float64)
    start = len(centre) - len(coordinates.zmatrix.rows)
    for column, row in enumerate(coordinates.zmatrix.rows, start):
        _, _, hinge, torsion = row.partners
        proper = frozenset((hinge, torsion)) in bonded and not row.bends and not row.ear
        if proper and frozenset((row.bond, row.angle)) in acyclic:
            turned = centre.repeat(TURNS, 1)
            turned[:, column] = torch.linspace(-np.pi, np.pi, TURNS + 1)[:-1]
            profile = terms.evaluate(_positions(coordinates, turned)).energy_kjmol
            barriers[column] = float(np.ptp(profile))
    return barriers, terms.n_evaluations


def widths(
    energy: Energy,
    coordinates: InternalCoordinates,
    centre: Tensor,  # (features,)
    kt_kjmol: float,
) -> Tensor:  # (features,), nm and rad
    """√(kT / curvature) along each internal coordinate by itself, within bounds."""
    step, narrowest, widest = (_by_kind(coordinates, kind) for kind in (STEP, NARROWEST, WIDEST))
    moves = torch.cat([torch.zeros(1, len(step)), torch.diag(step), -torch.diag(step)])
    found = energy.evaluate(_positions(coordinates, centre + moves, np.float64)).energy_kjmol
    (there, *_), (up, down) = found[:1], found[1:].reshape(2, -1)
    curvature = torch.as_tensor(up + down - 2 * there) / step**2
    width = (kt_kjmol / curvature.clamp_min(1e-12)).sqrt()
    return width.clamp(narrowest, widest)


def _by_kind(
    coordinates: InternalCoordinates,
    values: tuple[float, float, float],  # of bonds, angles, torsions
) -> Tensor:  # (features,)
    n = coordinates.n_atoms
    found = torch.tensor(values).double().repeat_interleave(torch.tensor([n - 1, n - 2, n - 3]))
    found[coordinates.distances] = values[0]
    return found


def _positions(
    coordinates: InternalCoordinates,
    q: Tensor,  # (batch, features)
    dtype: type = np.float32,
) -> NDArray[np.floating]:  # (batch, atoms, 3), nm
    flat, _ = coordinates.inverse(q)
    return flat.unflatten(1, (-1, 3)).numpy().astype(dtype)
