"""Frames for a System with constrained bonds: the lengths of these bonds are the System's.

Frames of MD with the same constraints have them, up to a file's rounding, and stay as they are. In
others, of free bonds for example, the bonds get these lengths, and all other internal coordinates
stay as they are.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray

from bgp4.coordinates import InternalCoordinates, internal_coordinates
from bgp4.data.frames import Frames
from bgp4.molecule.constraints import Constraints
from bgp4.molecule.molecule import Molecule
from bgp4.molecule.topology import bond_names

__all__ = ["bond_lengths", "projected", "with_system_lengths"]

log = logging.getLogger(__name__)

SAME_NM = 7e-4
"""Root mean square of a length's deviations, below which it is the System's: XTC's rounding to
0.001 nm makes 0.0004, a free bond to hydrogen has 0.003 at 300 K."""

AT_A_TIME = 20_000


def with_system_lengths(frames: Frames, molecule: Molecule) -> Frames:
    """The frames, with the System's lengths at its constrained bonds.

    Where they had others, the log says so, and the energies of a file are none of theirs.
    """
    constraints = molecule.constraints
    if not len(constraints) or _largest_deviation_nm(frames.positions_nm, constraints) < SAME_NM:
        return frames
    log.warning(
        "%s: frames of MD without the System's constraints (%s): these bonds get the System's "
        "lengths, the energies of the file are not used, and what MD says of the rest is not "
        "quite of this ensemble",
        frames.source,
        bond_names(molecule.topology, constraints.bonds),
    )
    coordinates = internal_coordinates(molecule.zmatrix, constraints)
    positions = np.empty_like(frames.positions_nm)
    for first in range(0, len(positions), AT_A_TIME):
        part = slice(first, first + AT_A_TIME)
        flat = torch.as_tensor(frames.positions_nm[part]).double().flatten(1)
        positions[part] = projected(coordinates, flat).unflatten(1, (-1, 3)).numpy()
    return replace(frames, positions_nm=positions, energy_kjmol=None, lengths_set=True)


def projected(
    coordinates: InternalCoordinates,
    flat_nm: torch.Tensor,  # (batch, 3 atoms)
) -> torch.Tensor:  # (batch, 3 atoms)
    """Conformations with their fixed columns set; as they are where there are none."""
    if coordinates.fixed is None:
        return flat_nm
    q, _ = coordinates(flat_nm)
    positions: torch.Tensor = coordinates.inverse(q)[0]
    return positions


def _largest_deviation_nm(
    positions_nm: NDArray[np.floating],  # (frames, atoms, 3)
    constraints: Constraints,
) -> float:
    """Root mean square over the frames, of the constrained bond where it is largest."""
    off = bond_lengths(positions_nm, constraints.pairs) - constraints.lengths_nm
    return float(np.sqrt(np.square(off).mean(axis=0)).max())


def bond_lengths(
    positions_nm: NDArray[np.floating],  # (frames, atoms, 3)
    bonds: Iterable[Sequence[int]],
) -> NDArray[np.float64]:  # (frames, bonds), nm
    """In float64, a bond at a time."""
    return np.stack(
        [
            np.linalg.norm(positions_nm[:, i].astype(float) - positions_nm[:, j], axis=1)
            for i, j in bonds
        ],
        axis=1,
    )
