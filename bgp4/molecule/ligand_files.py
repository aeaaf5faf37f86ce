"""SMILES, SDF and MOL2 as RDKit reads them, and in words why it does not."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from bgp4.errors import UserInputError

__all__ = ["mol2_rows", "mol_from_file", "mol_from_smiles", "rdkits_words"]

SYBYL = re.compile(r"[A-Z][a-z]?(\.\w+)?$")
"""An atom type of SYBYL's, C.3 for example; GAFF's begin with a small letter."""


def mol_from_smiles(smiles: str, source: str) -> Any:
    """RDKit's molecule; hydrogens that are written as atoms are no atoms of it.

    Raises:
        UserInputError: If RDKit is missing, or does not understand it.
    """
    Chem = _chem(source)
    parameters = Chem.SmilesParserParams()
    parameters.sanitize = False
    with rdkits_words() as said:
        drawn = Chem.MolFromSmiles(smiles.strip(), parameters)
    if drawn is None:
        raise UserInputError(f"{source}: cannot be read: {_why_not_smiles(said)}")
    _refuse_problems(Chem, drawn, source)
    return Chem.MolFromSmiles(smiles.strip())


def mol_from_file(path: Path) -> Any:
    """RDKit's molecule, with the file's hydrogens and coordinates.

    Raises:
        UserInputError: If RDKit is missing or does not understand it, or it has several molecules.
    """
    Chem = _chem(str(path))
    try:
        text = path.read_text(errors="replace")
    except OSError as error:
        raise UserInputError(f"{path}: cannot be read: {error.strerror}") from error
    return _mol2(Chem, text, path) if path.suffix.lower() == ".mol2" else _sdf(Chem, text, path)


def _chem(source: str) -> Any:
    try:
        from rdkit import Chem
    except ImportError as error:
        raise UserInputError(
            f"{source}: RDKit is not installed, which reads ligands: pip install 'bgp4[ligand]'"
        ) from error
    return Chem


@contextmanager
def rdkits_words() -> Iterator[list[str]]:
    """What RDKit would write to stderr within the block."""
    from rdkit import rdBase

    said: list[str] = []
    handler = logging.Handler()
    handler.emit = lambda record: said.append(  # type: ignore[method-assign]
        re.sub(r"^\[[\d:]+\] ?", "", record.getMessage())
    )
    logger = logging.getLogger("rdkit")
    rdBase.LogToPythonLogger()
    before = (logger.handlers, logger.propagate)
    logger.handlers, logger.propagate = [handler], False
    try:
        yield said
    finally:
        logger.handlers, logger.propagate = before
        rdBase.LogToCppStreams()


def _why_not_smiles(said: list[str]) -> str:
    text = " ".join(said)
    reason = re.search(r"SMILES Parse Error: (.+?) (?:while parsing|for input)", text)
    place = re.search(r"around position (\d+)", text)
    return (reason.group(1) if reason else "RDKit does not understand it") + (
        f", near character {place.group(1)}" if place else ""
    )


def _refuse_problems(Chem: Any, mol: Any, source: str) -> None:
    """Valences that no atom has, and rings that are not aromatic."""
    with rdkits_words():
        problems = Chem.DetectChemistryProblems(mol)
    for problem in problems:
        if problem.GetType() == "AtomValenceException":
            atom = mol.GetAtomWithIdx(problem.GetAtomIdx())
            valence = re.search(r"C?, ?(\d+), is greater", problem.Message())
            bonds = f"a valence of {valence.group(1)}" if valence else "more bonds"
            raise UserInputError(
                f"{source}: atom {problem.GetAtomIdx() + 1}, {atom.GetSymbol()}, has {bonds}, more "
                "than it can have; check its bonds and its charge"
            )
        if problem.GetType() in ("KekulizeException", "AtomKekulizeException"):
            raise UserInputError(
                f"{source}: no single and double bonds fit its aromatic ring; write an aromatic "
                "nitrogen that has a hydrogen as [nH], or single and double bonds themselves"
            )
        raise UserInputError(f"{source}: {' '.join(problem.Message().split())[:200]}")


def _refuse_several(molecules: int, path: Path) -> None:
    if molecules == 0:
        raise UserInputError(f"{path}: expected a molecule, found none in it")
    if molecules > 1:
        raise UserInputError(
            f"{path}: expected one molecule, found {molecules}; keep one: obabel {path} -O "
            f"{path.stem}_{path.suffix} -m writes each into a file of its own"
        )


def _sdf(Chem: Any, text: str, path: Path) -> Any:
    records = [record for record in text.split("$$$$") if record.strip()]
    _refuse_several(len(records), path)
    with rdkits_words() as said:
        drawn = Chem.MolFromMolBlock(records[0], sanitize=False, removeHs=False)
    if drawn is None:
        raise UserInputError(f"{path}: cannot be read: {_one_line(said)}")
    _refuse_problems(Chem, drawn, str(path))
    return Chem.MolFromMolBlock(records[0], removeHs=False)


def _mol2(Chem: Any, text: str, path: Path) -> Any:
    """By elements, neighbours and net charge, from which RDKit finds the orders of the bonds.

    Programs disagree on the orders that they write: of aromatic rings, carboxylates, amidines.
    """
    from rdkit.Chem import rdDetermineBonds

    _refuse_several(len(re.findall(r"^@<TRIPOS>MOLECULE", text, re.MULTILINE)), path)
    rows, bonds = mol2_rows(text), _section(text, "BOND")
    way = f"obabel {path} -O {path.stem}.sdf -h"
    try:
        _check_counts(text, len(rows), len(bonds))
        mol = _atoms_and_neighbours(Chem, rows, bonds, path)
    except (IndexError, ValueError, RuntimeError) as error:  # RuntimeError: RDKit's, of elements
        if isinstance(error, UserInputError):
            raise
        raise UserInputError(
            f"{path}: cannot be read: its ATOM and BOND sections are cut or not a MOL2's; write it "
            "anew, or give an SDF file"
        ) from error
    _refuse_missing_hydrogens(mol, rows, path, way)
    charge = _net_charge(rows)
    try:
        with rdkits_words():
            rdDetermineBonds.DetermineBondOrders(mol, charge=charge)
            Chem.SanitizeMol(mol)
    except ValueError as error:
        raise UserInputError(
            f"{path}: no orders of its bonds give its net charge of {charge:+d}, the sum of its "
            f"charges; check its hydrogens and charges, or convert it: {way}"
        ) from error
    return mol.GetMol()


def _check_counts(text: str, atoms: int, bonds: int) -> None:
    """Raise ValueError unless a MOL2 has as many as it says at its beginning."""
    said = re.search(r"@<TRIPOS>MOLECULE[^\n]*\n[^\n]*\n\s*(\d+)\s+(\d+)", text)
    if said is not None and (int(said[1]), int(said[2])) != (atoms, bonds):
        raise ValueError("counts")


def _atoms_and_neighbours(
    Chem: Any, rows: list[list[str]], bonds: list[list[str]], path: Path
) -> Any:
    other = next((row[5] for row in rows if not SYBYL.match(row[5])), None)
    if other is not None:
        raise UserInputError(
            f"{path}: expected SYBYL's atom types, such as C.3, found {other!r}, as GAFF has them; "
            f"convert it: antechamber -i {path} -fi mol2 -o {path.stem}_sybyl.mol2 -fo mol2 "
            "-at sybyl -dr no"
        )
    mol = Chem.RWMol()
    conformer = Chem.Conformer(len(rows))
    for i, row in enumerate(rows):
        with rdkits_words():
            atom = Chem.Atom(row[5].partition(".")[0])
        atom.SetNoImplicit(True)
        conformer.SetAtomPosition(mol.AddAtom(atom), [float(x) for x in row[2:5]])
        if int(row[0]) != i + 1:
            raise ValueError("numbers")
    for bond in bonds:
        if bond[3] != "nc":  # not connected
            mol.AddBond(int(bond[1]) - 1, int(bond[2]) - 1, Chem.BondType.SINGLE)
    conformer.Set3D(True)
    mol.AddConformer(conformer)
    return mol


def _refuse_missing_hydrogens(mol: Any, rows: list[list[str]], path: Path, way: str) -> None:
    """Which would be taken for double bonds; a carbon of type C.3 has four neighbours."""
    for row, atom in zip(rows, mol.GetAtoms(), strict=True):
        if row[5] == "C.3" and atom.GetDegree() < 4:
            raise UserInputError(
                f"{path}: {row[1]} is a C.3 with {atom.GetDegree()} neighbours: hydrogens are "
                f"missing; add them: {way}"
            )


def _net_charge(rows: list[list[str]]) -> int:
    """The sum of the partial charges or, without any, of those that SYBYL's types have."""
    charges = [float(row[8]) for row in rows if len(row) > 8]
    if any(charges):
        return round(sum(charges))
    types = [row[5] for row in rows]
    return types.count("N.4") + types.count("C.cat") - types.count("O.co2") // 2


def mol2_rows(text: str) -> list[list[str]]:
    """The columns of a MOL2's atoms: number, name, x, y, z in Å, type, residue twice, charge."""
    return _section(text, "ATOM")


def _section(text: str, name: str) -> list[list[str]]:
    found = text.partition(f"@<TRIPOS>{name}")[2].partition("@<TRIPOS>")[0]
    return [line.split() for line in found.splitlines() if line.strip()]


def _one_line(said: list[str]) -> str:
    """RDKit's own words, without its stack."""
    text = " ".join(" ".join(said).split())
    inner = re.search(r"Violation (.+?) Violation occurred", text)
    return (inner.group(1) if inner else text)[:200] or "RDKit does not understand it"
