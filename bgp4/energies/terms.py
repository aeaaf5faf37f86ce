"""The terms of a force field as arrays, for the energies that need no OpenMM."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bgp4.energies.expressions import UnknownExpression

__all__ = ["ForceField", "GeneralisedBorn", "Neck", "UnsupportedForce"]

Array = NDArray[np.float64]
Indices = NDArray[np.int64]

COULOMB = 138.93545764438198
"""1 / (4 π ε0), kJ nm / (mol e²), CODATA 2018, as in OpenMM's NonbondedForce and GBSAOBCForce."""

OFFSET_NM = 0.009
PROBE_NM = 0.14

PAIR_POWERS = {-1: 1.0, -6: -1.0, -12: 1.0}
"""Powers of r in the energy of a pair, and the sign with which their coefficients are kept."""


class UnsupportedForce(ValueError):
    """Terms of a System that only OpenMM can evaluate; the message names all of them.

    Attributes:
        names: Each of them once.
    """

    def __init__(self, *names: str) -> None:
        self.names = tuple(dict.fromkeys(names))
        super().__init__(", ".join(self.names))


@dataclass(frozen=True)
class Neck:
    """What fills the neck between two atoms' spheres (Mongan et al., JCTC 3, 156 (2007)).

    Entry [i, j] is of atom i, descreened by atom j. At distance r it adds
    depth / (1 + 100 (r - distance)² + 3e5 (r - distance)⁶), up to the cutoff.

    Attributes:
        depth: (atoms, atoms), 1/nm, scaled.
        distance_nm: (atoms, atoms).
        cutoff_nm: (atoms, atoms), symmetric.
    """

    depth: Array
    distance_nm: Array
    cutoff_nm: Array

    def of_pairs(
        self,
        pairs: Indices,  # (pairs, 2)
    ) -> Array:  # (pairs, 5)
        """Depth and distance of the first atom, then of the second, and their cutoff."""
        i, j = pairs.T
        return np.stack(
            [
                *(self.depth[i, j], self.distance_nm[i, j]),
                *(self.depth[j, i], self.distance_nm[j, i]),
                self.cutoff_nm[i, j],
            ],
            axis=1,
        )


@dataclass(frozen=True)
class GeneralisedBorn:
    """Generalised Born solvation, as Amber has it.

    The integral Σ over the other atoms is that of Hawkins, Cramer, Truhlar (J. Phys. Chem. 100,
    19824), and ψ is the offset radius times Σ.

    Attributes:
        charges: (atoms,), e.
        offset_radius_nm: (atoms,), radius less the offset.
        scaled_radius_nm: (atoms,), offset radius times the screening factor.
        offset_nm: 0.009, or 0.0195141 in GBn2.
        tanh: (atoms, 3), α, β, γ of tanh(α ψ - β ψ² + γ ψ³) (Onufriev, Bashford, Case, Proteins 55,
            383); None if the radii are not rescaled (HCT).
        prefactor: Of q² / f, kJ nm / (mol e²), dielectrics included, negative.
        surface: Of the ACE surface term, kJ/(mol nm²), 4 π included; 0 without one.
        neck: Of GBn and GBn2.
    """

    charges: Array
    offset_radius_nm: Array
    scaled_radius_nm: Array
    offset_nm: float
    tanh: Array | None
    prefactor: float
    surface: float
    neck: Neck | None = None

    @property
    def radius_nm(self) -> Array:
        """(atoms,), of the spheres that the solvent does not enter."""
        return self.offset_radius_nm + self.offset_nm

    @property
    def surface_energy(self) -> Array:
        """(atoms,), kJ/mol, of an atom that is all in the solvent."""
        return self.surface * (self.radius_nm + PROBE_NM) ** 2


class ForceField:
    """Terms of a System: atom indices and parameters in nm, rad, kJ/mol and e; none at first.

    Attributes:
        bonds, bond_parameters: (bonds, 2) each; length, stiffness k of k/2 (r - length)².
        angles, angle_parameters: (angles, 3), (angles, 2); angle, stiffness.
        torsions, torsion_parameters: (torsions, 4), (torsions, 3); n, φ0, k of
            k (1 + cos(nφ - φ0)).
        impropers, improper_parameters: (impropers, 4), (impropers, 3); angle, stiffness, and the
            period p: the term is harmonic in the lesser of d and p - d with d = |φ - angle|.
        maps, map_parameters: (maps, 8), (maps, 2); the first four atoms have φ, the other four ψ;
            the map's first patch, and the patches along a side.
        patches: (patches, 16), Σ c[a, b] uᵃ vᵇ where u and v in [0, 1] say how far φ and ψ are
            through the patch; rows of patches are along ψ.
        pair_coefficients: (pairs, 3), of 1/r, -1/r⁶, 1/r¹² for each of `pairs`.
        born: Generalised Born solvation, if there is any.
    """

    def __init__(self, n_atoms: int) -> None:
        self.n_atoms = n_atoms
        self.bonds, self.bond_parameters = _none(2, 2)
        self.angles, self.angle_parameters = _none(3, 2)
        self.torsions, self.torsion_parameters = _none(4, 3)
        self.impropers, self.improper_parameters = _none(4, 3)
        self.maps, self.map_parameters = _none(8, 2)
        self.patches = np.zeros((0, 16))
        self.pair_coefficients = np.zeros((len(self.pairs), len(PAIR_POWERS)))
        self.born: GeneralisedBorn | None = None

    @property
    def pairs(self) -> Indices:
        """(pairs, 2), each two atoms once, the first before the second."""
        return np.stack(np.triu_indices(self.n_atoms, k=1), 1)

    def pair_index(
        self,
        atoms: Indices,  # (n, 2), in any order
    ) -> Indices:  # (n,)
        """Where in `pairs` two atoms are."""
        low, high = np.sort(atoms, axis=1).T
        return low * self.n_atoms - low * (low + 1) // 2 + high - low - 1

    def interacting_pairs(self) -> tuple[Indices, Array]:
        """`pairs` and their coefficients, without those that contribute nothing."""
        kept = self.pair_coefficients.any(axis=1) | (self.born is not None)
        return self.pairs[kept], self.pair_coefficients[kept]

    def add(self, kind: str, atoms: Indices, parameters: Array) -> None:
        """More terms of a kind: `bond`, `angle`, `torsion`, `improper` or `map`."""
        for name, more in ((f"{kind}s", atoms), (f"{kind}_parameters", parameters)):
            setattr(self, name, np.concatenate([getattr(self, name), more]))

    def add_pairs(
        self,
        atoms: Indices,  # (pairs, 2)
        series: Mapping[int, Any],
    ) -> None:
        """An energy Σ series[n] rⁿ of pairs, of which n = -1, -6 and -12 are understood.

        Raises:
            UnknownExpression: If there are others.
        """
        if set(series) - set(PAIR_POWERS):
            raise UnknownExpression("other powers of r")
        row = self.pair_index(atoms)
        for column, (n, sign) in enumerate(PAIR_POWERS.items()):
            np.add.at(self.pair_coefficients[:, column], row, sign * series.get(n, 0.0))


def _none(n_atoms: int, n_parameters: int) -> tuple[Indices, Array]:
    return np.zeros((0, n_atoms), np.int64), np.zeros((0, n_parameters))
