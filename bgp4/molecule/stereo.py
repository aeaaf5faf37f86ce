"""Stereo of a ligand, by RDKit: which of it a source leaves open, and what it is called.

Molecules are RDKit's; atoms are named by element and number, in their order.
"""

from __future__ import annotations

import re
from collections import Counter
from typing import Any

from bgp4.errors import UserInputError

__all__ = ["atom_names", "is_heavy", "open_stereo", "refuse_open_stereo", "stereo_labels"]


def atom_names(mol: Any) -> list[str]:
    """Element and number, in order: C1, C2, O1, H1."""
    count: Counter[str] = Counter()
    names = []
    for atom in mol.GetAtoms():
        symbol = re.sub(r"\W", "X", atom.GetSymbol())
        count[symbol] += 1
        names.append(f"{symbol}{count[symbol]}")
    return names


def is_heavy(atom: Any) -> bool:
    return bool(atom.GetAtomicNum() > 1)


def open_stereo(mol: Any) -> list[Any]:
    """Stereocentres and double bonds that a source leaves open.

    Double bonds of rings, which are small here, are cis; C=N-H changes by its proton; atoms in a
    line have none.
    """
    from rdkit import Chem

    return [
        item
        for item in Chem.FindPotentialStereo(mol)
        if item.specified == Chem.StereoSpecified.Unspecified and not _is_usual(mol, item)
    ]


def _is_usual(mol: Any, item: Any) -> bool:
    from rdkit import Chem

    if item.type != Chem.StereoType.Bond_Double:
        return False
    bond = mol.GetBondWithIdx(item.centeredOn)
    return bond.IsInRing() or any(
        atom.GetHybridization() == Chem.HybridizationType.SP
        or (atom.GetSymbol() == "N" and sum(map(is_heavy, atom.GetNeighbors())) == 1)
        for atom in (bond.GetBeginAtom(), bond.GetEndAtom())
    )


def refuse_open_stereo(mol: Any, source: str) -> None:
    """Where isomers differ by more than a mirror, they are different molecules.

    Raises:
        UserInputError: With the atoms, and the SMILES of one isomer.
    """
    from rdkit import Chem
    from rdkit.Chem.EnumerateStereoisomers import (
        EnumerateStereoisomers,
        StereoEnumerationOptions,
    )

    if mol.GetNumConformers():
        Chem.AssignStereochemistryFrom3D(mol)
    found = open_stereo(mol)
    centres = [item for item in found if item.type == Chem.StereoType.Atom_Tetrahedral]
    known = Chem.StereoSpecified.Specified
    others = any(item.specified == known for item in Chem.FindPotentialStereo(mol))
    if not found or (len(found) == len(centres) == 1 and not others):
        return
    names = atom_names(mol)
    words = [names[item.centeredOn] for item in centres]
    words += ["=".join(_ends(mol, item.centeredOn)) for item in found if item not in centres]
    one = next(iter(EnumerateStereoisomers(mol, StereoEnumerationOptions(maxIsomers=1))))
    raise UserInputError(
        f"{source}: the stereo of {', '.join(words)} is open, and the isomers are different "
        f"molecules; write it (@, @@, and / or \\ beside a double bond), for example "
        f"bgp4 init --smiles '{Chem.MolToSmiles(Chem.RemoveHs(one))}'"
    )


def _ends(mol: Any, bond: int) -> list[str]:
    names = atom_names(mol)
    found = mol.GetBondWithIdx(bond)
    return [names[found.GetBeginAtomIdx()], names[found.GetEndAtomIdx()]]


def stereo_labels(mol: Any) -> list[str]:
    """R and S, E and Z, by atom or bond: C2 R, C5=C6 E."""
    from rdkit import Chem
    from rdkit.Chem import rdCIPLabeler

    labelled = Chem.Mol(mol)
    rdCIPLabeler.AssignCIPLabels(labelled)
    names = atom_names(mol)
    found = [
        f"{names[atom.GetIdx()]} {atom.GetProp('_CIPCode')}"
        for atom in labelled.GetAtoms()
        if atom.HasProp("_CIPCode")
    ]
    return found + [
        f"{'='.join(_ends(mol, bond.GetIdx()))} {bond.GetProp('_CIPCode')}"
        for bond in labelled.GetBonds()
        if bond.HasProp("_CIPCode")
    ]
