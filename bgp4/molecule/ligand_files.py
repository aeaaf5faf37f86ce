"""SMILES, SDF and MOL2 as RDKit reads them, and in words why it does not."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from bgp4.errors import UserInputError

__all__ = ["mol2_rows", "mol_from_file", "mol_from_smiles"]

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
    with _rdkits_words() as said:
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
def _rdkits_words() -> Iterator[list[str]]:
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
    with _rdkits_words():
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
    with _rdkits_words() as said:
        drawn = Chem.MolFromMolBlock(records[0], sanitize=False, removeHs=False)
    if drawn is None:
        raise UserInputError(f"{path}: cannot be read: {_one_line(said)}")
    _refuse_problems(Chem, drawn, str(path))
    return Chem.MolFromMolBlock(records[0], removeHs=False)


def _mol2(Chem: Any, text: str, path: Path) -> Any:
    """By its SYBYL atom types, from which RDKit also takes the charges."""
    way = f"convert it: obabel {path} -O {path.stem}.sdf -h"
    _refuse_several(len(re.findall(r"^@<TRIPOS>MOLECULE", text, re.MULTILINE)), path)
    columns = mol2_rows(text)
    other = next((row[5] for row in columns if len(row) > 5 and not SYBYL.match(row[5])), None)
    if other is not None:
        raise UserInputError(
            f"{path}: expected SYBYL's atom types, such as C.3, found {other!r}, as GAFF has them; "
            f"convert it: antechamber -i {path} -fi mol2 -o {path.stem}_sybyl.mol2 -fo mol2 "
            "-at sybyl -dr no"
        )
    with _rdkits_words() as said:
        drawn = Chem.MolFromMol2Block(text, sanitize=False, removeHs=False)
        mol = None if drawn is None else Chem.MolFromMol2Block(text, removeHs=False)
    if drawn is None:
        raise UserInputError(f"{path}: cannot be read: {_one_line(said)}; {way}")
    if mol is None:
        _refuse_problems(Chem, drawn, str(path))
        raise UserInputError(f"{path}: cannot be read: {_one_line(said)}; {way}")
    _refuse_other_charge(Chem, mol, columns, path)
    return mol


def mol2_rows(text: str) -> list[list[str]]:
    """The columns of a MOL2's atoms: number, name, x, y, z in Å, type, residue twice, charge."""
    found = text.partition("@<TRIPOS>ATOM")[2].partition("@<TRIPOS>")[0]
    return [line.split() for line in found.splitlines() if line.strip()]


def _refuse_other_charge(Chem: Any, mol: Any, columns: list[list[str]], path: Path) -> None:
    """Partial charges that add up to another ion's than atom types and bonds say."""
    own = [float(row[8]) for row in columns if len(row) > 8]
    formal = Chem.GetFormalCharge(mol)
    if any(own) and abs(sum(own) - formal) > 0.5:
        raise UserInputError(
            f"{path}: its charges add up to {sum(own):+.2f}, its atom types and bonds to "
            f"{formal:+d}; check the hydrogens, or give an SDF file with formal charges"
        )


def _one_line(said: list[str]) -> str:
    """RDKit's own words, without its stack."""
    text = " ".join(" ".join(said).split())
    inner = re.search(r"Violation (.+?) Violation occurred", text)
    return (inner.group(1) if inner else text)[:200] or "RDKit does not understand it"
