"""Whether two descriptions are of one molecule: the same atoms in one order, and the same bonds
held.
"""

from __future__ import annotations

from itertools import zip_longest
from typing import TYPE_CHECKING

import numpy as np

from bgp4.errors import UserInputError
from bgp4.molecule.topology import atom_label, bond_names

if TYPE_CHECKING:
    import mdtraj

    from bgp4.molecule.constraints import Constraints

__all__ = ["refuse_other_atoms", "refuse_other_constraints"]

SAME_NM, SAME_DA = 1e-6, 1e-3
"""How far lengths and masses of constrained bonds may be apart."""


def refuse_other_atoms(
    expected: mdtraj.Topology, found: mdtraj.Topology, what: str, whose: str
) -> None:
    """Compare names and elements; residues may be called otherwise, as HIS and HIE are.

    Args:
        what: Has the atoms found, for the message.
        whose: Atoms are expected, for the message.

    Raises:
        UserInputError: If any atom is another.
    """
    same = "write them in its order with `bgp4 sample RUN -n 1 -o molecule.pdb`"
    if found.n_atoms != expected.n_atoms:
        raise UserInputError(
            f"{what}: expected the {expected.n_atoms} atoms of {whose}, found {found.n_atoms}; "
            "name the same molecule"
        )
    for ours, theirs in zip_longest(expected.atoms, found.atoms):
        if (ours.name, ours.element) != (theirs.name, theirs.element):
            raise UserInputError(
                f"{what}: expected the atoms of {whose} in their order, whose atom "
                f"{ours.index + 1} is {atom_label(expected, ours.index)} "
                f"({ours.element.symbol}), found {atom_label(found, theirs.index)} "
                f"({theirs.element.symbol}); {same}"
            )


def refuse_other_constraints(
    expected: Constraints, found: Constraints, topology: mdtraj.Topology, what: str, whose: str
) -> None:
    """Compare constrained bonds, their lengths, and the masses that enter their measure.

    Raises:
        UserInputError: If the one density is on another manifold than the other.
    """
    ours, theirs = set(expected.bonds), set(found.bonds)
    if ours != theirs:
        holds = f"holds {bond_names(topology, expected.bonds)}" if ours else "holds no bond"
        other = bond_names(topology, found.bonds) if theirs else "none"
        raise UserInputError(
            f"{what}: expected the constraints of {whose}, which {holds}, found {other}; set "
            "system.constraints as there"
        )
    if not ours:
        return
    lengths = [
        dict(zip(map(tuple, c.pairs.tolist()), c.lengths_nm, strict=True))
        for c in (expected, found)
    ]
    for bond in expected.bonds:
        one, other = (of[bond] for of in lengths)
        if abs(one - other) > SAME_NM:
            raise UserInputError(
                f"{what}: expected the constrained bond {bond_names(topology, [bond])} of {whose}, "
                f"{one:.6f} nm long, found {other:.6f} nm; hold it at the same length, or train a "
                "run of its own"
            )
    held = sorted({atom for bond in ours for atom in bond})
    off = np.abs(expected.masses - found.masses)[held]
    if (off > SAME_DA).any():
        atom = held[int(off.argmax())]
        raise UserInputError(
            f"{what}: expected the masses of {whose}, which constrained bonds depend on, found "
            f"{found.masses[atom]:g} Da of {atom_label(topology, atom)} instead of "
            f"{expected.masses[atom]:g} Da; leave hydrogens as heavy as there"
        )
