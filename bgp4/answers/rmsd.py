"""RMSD of heavy atoms after superposition, the least over permutations of equivalent atoms."""

from __future__ import annotations

from math import prod

import mdtraj
import numpy as np
from numpy.typing import NDArray

from bgp4.errors import UserInputError
from bgp4.molecule.symmetry import products, symmetries

__all__ = ["SymmetricRMSD"]

Array = NDArray[np.float64]

MOST = 64
"""Permutations that are tried; atoms that more of them would move are left out."""

FEWEST_ATOMS = 4


class SymmetricRMSD:
    """RMSD between conformations of a molecule, nm.

    Args:
        topology: Of the molecule.
        positions_nm: (atoms, 3), a conformation, whose handedness equivalent atoms keep.

    Raises:
        UserInputError: If almost all atoms are equivalent in too many ways.
    """

    def __init__(self, topology: mdtraj.Topology, positions_nm: NDArray[np.floating]) -> None:
        groups = sorted(symmetries(topology, positions_nm), key=len)
        heavy = np.array([a.index for a in topology.atoms if a.element.symbol != "H"], dtype=int)
        while prod(map(len, groups)) > MOST:
            moved = (groups.pop() != np.arange(topology.n_atoms)).any(axis=0)
            heavy = heavy[~moved[heavy]]
        if len(heavy) < FEWEST_ATOMS and len(heavy) < sum(
            a.element.symbol != "H" for a in topology.atoms
        ):
            raise UserInputError(
                f"RMSD: expected at most {MOST} permutations of equivalent atoms, found more; "
                "take torsions instead"
            )
        self.atoms = heavy
        self.permutations = np.unique(products(groups, topology.n_atoms)[:, heavy], axis=0)

    def centred(self, frames: mdtraj.Trajectory) -> mdtraj.Trajectory:
        """The atoms that count, for `to`, in the order of `atoms`."""
        own = mdtraj.Trajectory(frames.xyz[:, self.atoms], None)
        own.center_coordinates()
        return own

    def to(
        self,
        centred: mdtraj.Trajectory,  # n frames
        positions_nm: NDArray[np.floating],  # (atoms, 3)
    ) -> Array:  # (n,)
        """RMSD of each conformation from one."""
        return self._of_each(centred, positions_nm).min(axis=0)

    def superposed(self, frames: mdtraj.Trajectory) -> mdtraj.Trajectory:
        """The conformations as they lie best on the first one."""
        made = mdtraj.Trajectory(frames.xyz.copy(), frames.topology)
        first = frames.xyz[0]
        best = self._of_each(self.centred(frames), first).argmin(axis=0)
        for place, row in enumerate(best):
            one = made[place].superpose(
                frames[0], atom_indices=self.atoms, ref_atom_indices=self.permutations[row]
            )
            made.xyz[place] = one.xyz[0]
        return made

    def _of_each(
        self, centred: mdtraj.Trajectory, positions_nm: NDArray[np.floating]
    ) -> Array:  # (permutations, n)
        found = []
        for row in self.permutations:
            reference = mdtraj.Trajectory(positions_nm[None, row], None)
            reference.center_coordinates()
            found.append(mdtraj.rmsd(centred, reference, precentered=True))
        return np.array(found, dtype=np.float64)
