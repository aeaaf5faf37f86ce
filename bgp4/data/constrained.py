"""Frames of MD with constrained bonds: what they don't know is drawn from the force field.

A bond that SHAKE, LINCS or SETTLE hold has one length in every frame, up to a file's rounding, and
so no density that a flow could learn. Where the System has a harmonic term for it, the bond gets
the lengths that this term by itself has at the frames' temperature,

.. math:: p(r) ∝ r² \\exp(-k (r - r_0)² / 2 kT),

and all other internal coordinates stay as they are. It is where the flow begins; energies know
the rest.
"""

from __future__ import annotations

import logging
from dataclasses import replace

import mdtraj
import numpy as np
import torch
from numpy.typing import NDArray

from bgp4.coordinates import InternalCoordinates
from bgp4.data.frames import FEWEST_FRAMES, Frames, begin_from_energies
from bgp4.data.lengths import bond_lengths
from bgp4.errors import UserInputError
from bgp4.molecule.bonds import HarmonicBond, harmonic_bonds
from bgp4.molecule.molecule import Molecule
from bgp4.molecule.topology import atom_label, bond_names, bond_pairs, bonded_angles
from bgp4.units import kt_in_kjmol

__all__ = ["draw_lengths", "with_free_bonds"]

log = logging.getLogger(__name__)

SMALL_SPREAD = 1 / 3
"""A bond is constrained whose spread is below this share of its term's width. XTC's rounding to
0.001 nm alone is a seventh of an X-H bond's width at 300 K."""

RIGID_RAD_300K = 0.01
"""An angle with a smaller spread is constrained; it goes with the root of the temperature. The
stiffest of small rings have 0.02 at 300 K, and rounding of XTC makes 0.005."""

BLOCK_FRAMES = 50
BLOCKS = 10
"""One file of several may be the constrained one, so the spread is that of each block."""

GRID_POINTS = 4001
GRID_WIDTHS = 9.0

Array = NDArray[np.float64]


def with_free_bonds(frames: Frames, molecule: Molecule, temperature_k: float, seed: int) -> Frames:
    """The frames, with lengths drawn for the bonds that their simulation had constrained.

    The log says so. Energies of a file are then none of these conformations'.

    Args:
        temperature_k: Of the frames, K.

    Raises:
        UserInputError: If angles are rigid too, or a constrained bond has no harmonic term.
    """
    if len(frames.positions_nm) < FEWEST_FRAMES:  # a spread may be small by chance
        return frames
    terms = harmonic_bonds(molecule)
    found = _constrained(frames, molecule, terms, temperature_k)
    _refuse_rigid_angles(frames, molecule, temperature_k)
    if not found:
        return frames
    positions = _redrawn(frames.positions_nm, molecule, found, terms, temperature_k, seed)
    log.warning(
        "%s: %d of %d bonds do not vary: frames of constrained MD (%s); their lengths are drawn "
        "from the System's harmonic terms at %g K, in training and held-out frames alike, and "
        "reports do not compare them",
        frames.source,
        len(found),
        molecule.topology.n_bonds,
        bond_names(molecule.topology, found),
        temperature_k,
    )
    return replace(frames, positions_nm=positions, energy_kjmol=None, constrained=tuple(found))


def _constrained(
    frames: Frames,
    molecule: Molecule,
    terms: dict[tuple[int, int], HarmonicBond],
    temperature_k: float,
) -> list[tuple[int, int]]:
    """Bonds of the molecule whose spread in the frames is far below their term's width.

    Those that the System constrains do not count.
    """
    bonds = sorted(set(bond_pairs(molecule.topology)) - set(molecule.constraints.bonds))
    if not bonds:
        return []
    spread = _least_spread(bond_lengths(frames.positions_nm, bonds))
    usual = float(np.median([term.k for term in terms.values()])) if terms else 2.5e5
    k = np.array([terms[pair].k if pair in terms else usual for pair in bonds])
    stiff = spread < SMALL_SPREAD * np.sqrt(kt_in_kjmol(temperature_k) / k)
    found = [pair for pair, yes in zip(bonds, stiff, strict=True) if yes]
    missing = [pair for pair in found if pair not in terms]
    if missing:
        raise UserInputError(
            f"{frames.source}: the bond {bond_names(molecule.topology, missing[:1])} does not "
            "vary (constrained MD), and the System has no harmonic term to draw its length from; "
            f"{begin_from_energies(temperature_k)}"
        )
    return found


def _least_spread(values: Array) -> Array:
    """Standard deviation of each column in the block of frames where it is least."""
    blocks = np.array_split(values, int(np.clip(len(values) // BLOCK_FRAMES, 1, BLOCKS)))
    spread: Array = np.min([block.std(axis=0) for block in blocks], axis=0)
    return spread


def _refuse_rigid_angles(frames: Frames, molecule: Molecule, temperature_k: float) -> None:
    """Angles that do not vary are no MD's of this System; nothing says how they would."""
    angles = bonded_angles(molecule.topology)
    trajectory = mdtraj.Trajectory(frames.positions_nm, molecule.topology)
    some = np.linspace(0, len(frames.positions_nm) - 1, 2000).astype(int)
    few = trajectory[np.unique(some)]
    spread = _least_spread(mdtraj.compute_angles(few, angles, periodic=False).astype(float))
    rigid = np.flatnonzero(spread < RIGID_RAD_300K * np.sqrt(temperature_k / 300))
    if len(rigid):
        names = "-".join(atom_label(molecule.topology, i) for i in angles[int(rigid[0])])
        raise UserInputError(
            f"{frames.source}: {len(rigid)} of {len(angles)} angles do not vary (first {names}): "
            "models, or MD with constrained angles or virtual sites, which has no density there; "
            "expected MD with constraints on bonds at most, or "
            f"{begin_from_energies(temperature_k)}"
        )


def _redrawn(
    positions_nm: NDArray[np.float32],  # (frames, atoms, 3)
    molecule: Molecule,
    constrained: list[tuple[int, int]],
    terms: dict[tuple[int, int], HarmonicBond],
    temperature_k: float,
    seed: int,
) -> NDArray[np.float32]:
    """Positions with new lengths of these bonds, and all other internal coordinates kept."""
    coordinates = InternalCoordinates(molecule.zmatrix)
    rng = np.random.default_rng(seed)
    columns = molecule.zmatrix.distances
    drawn = positions_nm.copy()
    lengths = {
        columns[pair]: draw_lengths(terms[pair], temperature_k, len(drawn), rng)
        for pair in constrained
        if pair in columns
    }
    for first in range(0, len(drawn), 20_000):
        part = slice(first, first + 20_000)
        q, _ = coordinates(torch.as_tensor(positions_nm[part]).double().flatten(1))
        for column, length in lengths.items():
            q[:, column] = torch.as_tensor(length[part])
        drawn[part] = coordinates.inverse(q)[0].unflatten(1, (-1, 3)).numpy()
    return drawn


def draw_lengths(
    bond: HarmonicBond, temperature_k: float, n: int, rng: np.random.Generator
) -> Array:  # (n,), nm
    """Independent lengths of density r² exp(-k (r - r0)² / 2kT)."""
    width = np.sqrt(kt_in_kjmol(temperature_k) / bond.k)
    low = max(bond.length_nm - GRID_WIDTHS * width, 1e-3 * bond.length_nm)
    r = np.linspace(low, bond.length_nm + GRID_WIDTHS * width, GRID_POINTS)
    density = r**2 * np.exp(-0.5 * ((r - bond.length_nm) / width) ** 2)
    below = np.concatenate([[0.0], np.cumsum((density[1:] + density[:-1]) / 2)])
    return np.interp(rng.uniform(size=n), below / below[-1], r)
