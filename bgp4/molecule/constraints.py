"""A System's constrained bonds: which they are, how long, and how the masses couple them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from bgp4.errors import UserInputError
from bgp4.molecule.topology import atom_label, bond_graph, bond_names

if TYPE_CHECKING:
    import mdtraj

    from bgp4.molecule.zmatrix import ZMatrix

__all__ = ["Constraints", "check_constraints", "constrained_pairs", "constraints_of"]

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Constraints:
    """Constrained bonds of a System.

    Attributes:
        pairs: (bonds, 2), their atoms, the lower index first.
        lengths_nm: (bonds,), nm.
        masses: (atoms,), of all atoms, Da.
    """

    pairs: NDArray[np.int64]
    lengths_nm: Array
    masses: Array

    def __len__(self) -> int:
        return len(self.pairs)

    @property
    def bonds(self) -> tuple[tuple[int, int], ...]:
        """The pairs as tuples, in ascending order."""
        return tuple(sorted((int(i), int(j)) for i, j in self.pairs))

    @property
    def difference(self) -> Array:
        """(bonds, atoms), what takes each bond's first atom from its second."""
        matrix = np.zeros((len(self), len(self.masses)))
        bond = np.arange(len(self))
        matrix[bond, self.pairs[:, 1]], matrix[bond, self.pairs[:, 0]] = 1.0, -1.0
        return matrix

    @cached_property
    def coupling(self) -> Array:
        """(bonds, bonds), of `difference` D and masses m: D m⁻¹ Dᵀ, 1/Da.

        Bonds couple where they share an atom. With unit vectors e along the bonds,
        Z_ab = coupling_ab e_a · e_b.
        """
        matrix: Array = (self.difference / self.masses) @ self.difference.T
        return matrix


def constraints_of(system: Any) -> Constraints:
    """The constraints of an OpenMM System."""
    rows = [system.getConstraintParameters(i) for i in range(system.getNumConstraints())]
    return Constraints(
        np.array([sorted(row[:2]) for row in rows], np.int64).reshape(-1, 2),
        np.array([row[2]._value for row in rows], np.float64),
        np.array([system.getParticleMass(i)._value for i in range(system.getNumParticles())]),
    )


def constrained_pairs(system: Any) -> set[tuple[int, int]]:
    """Atoms of each constraint of an OpenMM System, the lower index first."""
    return set(constraints_of(system).bonds)


HBONDS = {
    "xml": "make the System anew with constraints=HBonds",
    "top": "take them out of [ constraints ] and [ settles ], and set system.constraints to HBonds",
}
"""By kind of source, what leaves constraints to hydrogen alone."""


def check_constraints(
    topology: mdtraj.Topology, system: Any, zmatrix: ZMatrix, name: str, kind: str = "pdb"
) -> None:
    """Refuse constraints that are no coordinate of the Z-matrix, which can leave the flow.

    Args:
        kind: Of the source, as `SystemConfig.kind` has it; advice goes with it.
    """
    advice = HBONDS.get(kind, "set system.constraints to HBonds")
    pairs = sorted(constrained_pairs(system))
    graph = bond_graph(topology)
    between = [pair for pair in pairs if not graph.has_edge(*pair)]
    if between:
        words = "-".join(atom_label(topology, i) for i in between[0])
        raise UserInputError(
            f"config key system: {name}: {len(between)} of {len(pairs)} constraints hold atoms "
            f"that are not bonded (first {words}), as HAngles and rigid water do; constrained "
            f"bonds alone are supported: {advice}"
        )
    closing = [pair for pair in pairs if pair not in zmatrix.distances]
    if closing:
        raise UserInputError(
            f"config key system: {name}: the constrained bond {bond_names(topology, closing[:1])} "
            "is no coordinate of the Z-matrix, which leaves a bond of each small or flat ring to "
            f"the energy; {advice}, or name it in system.zmatrix if it is in no ring"
        )
