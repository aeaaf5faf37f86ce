"""A topology as RDKit's molecule: RDKit finds orders of bonds and formal charges.

Topologies know elements and bonds alone. With all hydrogens there, these decide both, up to
resonance, given the net charge; the smallest one that fits is taken.
"""

from __future__ import annotations

from typing import Any

import mdtraj

from bgp4.errors import UserInputError
from bgp4.molecule.ligand_files import rdkits_words

__all__ = ["mol_from_topology"]

CHARGES = (0, 1, -1, 2, -2, 3, -3, 4, -4)
"""Net charges that are tried, in this order; half of them leave an odd number of electrons."""

MOST_TRIES = 20_000
"""Combinations of valences after which RDKit gives up."""


def mol_from_topology(topology: mdtraj.Topology, source: str) -> Any:
    """RDKit's molecule of the same atoms in the same order, without coordinates.

    Args:
        topology: With all bonds and hydrogens.
        source: What a message begins with.

    Raises:
        UserInputError: If RDKit is missing, or finds no orders.
    """
    try:
        from rdkit import Chem
    except ImportError as error:
        raise UserInputError(
            f"{source}: RDKit is not installed, which finds the orders of bonds: pip install "
            "'bgp4[ligand]'; a PDB file needs none"
        ) from error
    electrons = sum(atom.element.atomic_number for atom in topology.atoms)
    for charge in CHARGES:
        if (electrons - charge) % 2 == 0:
            found = _with_charge(Chem, topology, charge)
            if found is not None:
                return found
    raise UserInputError(
        f"{source}: no orders of its bonds fit its atoms, whatever its charge, or there are too "
        "many to try; write a PDB file, which needs none"
    )


def _with_charge(Chem: Any, topology: mdtraj.Topology, charge: int) -> Any:
    """None where no orders give this net charge."""
    from rdkit.Chem import rdDetermineBonds

    mol = Chem.RWMol()
    for own in topology.atoms:
        atom = Chem.Atom(own.element.symbol)
        atom.SetNoImplicit(True)
        mol.AddAtom(atom)
    for a, b in topology.bonds:
        mol.AddBond(a.index, b.index, Chem.BondType.SINGLE)
    try:
        with rdkits_words():
            rdDetermineBonds.DetermineBondOrders(
                mol, charge=charge, embedChiral=False, maxIterations=MOST_TRIES
            )
            Chem.SanitizeMol(mol)
    except ValueError:
        return None
    radicals = any(atom.GetNumRadicalElectrons() for atom in mol.GetAtoms())
    return None if radicals else mol.GetMol()
