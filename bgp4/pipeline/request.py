"""What a user asks of `bgp4 init` and `bgp4 run`, checked before any library is imported."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

from bgp4.errors import UserInputError

__all__ = ["KINDS", "MoleculeRequest", "RunRequest"]

KINDS = {
    **dict.fromkeys((".pdb", ".ent", ".cif", ".mmcif", ".pdbx"), "pdb"),
    **dict.fromkeys((".prmtop", ".parm7"), "prmtop"),
    **dict.fromkeys((".sdf", ".mol"), "sdf"),
    **{".top": "top", ".psf": "psf"},
}
"""Endings of a molecule's file, and the key of the config's `system` for each."""

BY_GAFF2 = (".sdf", ".mol", ".mol2")
BY_OPENFF = (".sdf", ".mol")
"""Files of ligands; the latter if a force field is named."""

CONSTRAINTS = ("HBonds", "AllBonds")
METHODS = ("flow", "md")

TEMPERATURES_K = (50.0, 1000.0)
"""Of an ensemble: up to that of the MD which training begins with."""


@dataclass(frozen=True)
class MoleculeRequest:
    """A molecule as a user names it.

    Attributes:
        source: A file or an openmmtools test system; None with a SMILES.
        smiles: Of a ligand.
        forcefield: OpenMM's XML names, or an OpenFF one's.
        xml: A serialised System instead.
        positions: Of a prmtop, top or psf.
        parameters: CHARMM's files for a psf.
        include_dir: Where a top finds files to include.
        temperature_k: Of the ensemble, K.
        max_atoms: Of more atoms a molecule is refused.
        constraints: Bonds at the System's lengths, HBonds or AllBonds.

    Raises:
        UserInputError: If there is neither a source nor a SMILES, or both, or a System that is made
            cannot have the constraints.
    """

    source: str | None = None
    smiles: str | None = None
    forcefield: tuple[str, ...] = ()
    xml: Path | None = None
    positions: Path | None = None
    parameters: tuple[Path, ...] = ()
    include_dir: Path | None = None
    temperature_k: float = 300.0
    max_atoms: int = 200
    constraints: str | None = None

    def __post_init__(self) -> None:
        if (self.source is None) == (self.smiles is None):
            raise UserInputError(
                "expected a file, a test system or --smiles SMILES, found "
                + ("none of them" if self.source is None else f"both {self.source} and --smiles")
            )
        if self.constraints not in (None, *CONSTRAINTS):
            raise UserInputError(
                f"--constraints: expected {' or '.join(CONSTRAINTS)}, found {self.constraints}"
            )
        if self.constraints and self.xml:
            raise UserInputError(
                "--constraints does not go with --xml: a serialised System keeps its own; make it "
                f"anew with constraints={self.constraints}, or leave --xml out"
            )
        _check_there(self.source)

    @property
    def stem(self) -> str:
        """What files about it are called."""
        return Path(self.source).stem if self.source else "ligand"

    @property
    def is_ligand(self) -> bool:
        """Whether GAFF2 is to parametrise it."""
        files = (self.xml, self.positions, self.include_dir, *self.parameters)
        return _is_ligand(self.source, self.smiles, self.forcefield, files)


@dataclass(frozen=True)
class RunRequest:
    """An ensemble as a user asks for it.

    Attributes:
        source: A molecule's file, a test system, a config, or a run folder; None with a SMILES.
        smiles: Of a ligand.
        folder: Where everything goes.
        effective: Effective samples that are wanted.
        hours: Of wall time, over all calls; as the plan says if None.
        temperature_k: Of the ensemble, K; the config's, or 300 K of a molecule, if None.
        method: Whether a flow is trained, or MD is all: `flow` or `md`.
        quiet: Whether to show no progress.

    Raises:
        UserInputError: If the budget or the method is none, or the source is missing.
    """

    source: str | None
    smiles: str | None
    folder: Path
    effective: int = 10_000
    hours: float | None = None
    temperature_k: float | None = None
    method: str = "flow"
    quiet: bool = False

    def __post_init__(self) -> None:
        if self.hours is not None and not (math.isfinite(self.hours) and self.hours > 0):
            raise UserInputError(f"--hours: expected a number above 0, found {self.hours:g}")
        if self.method not in METHODS:
            raise UserInputError(f"--method: expected flow or md, found {self.method}")
        kelvin, (coldest, hottest) = self.temperature_k, TEMPERATURES_K
        if kelvin is not None and not coldest <= kelvin <= hottest:
            raise UserInputError(
                f"--temperature: expected {coldest:g} to {hottest:g} K, found {kelvin:g}"
            )
        _ = self.molecule

    @property
    def named(self) -> str:
        """The source as the user wrote it."""
        return str(self.source or self.smiles)

    @property
    def molecule(self) -> MoleculeRequest:
        """As `bgp4 init` would be asked."""
        return MoleculeRequest(self.source, self.smiles, temperature_k=self.temperature_k or 300.0)


def _check_there(source: str | None) -> None:
    """A name with an ending is a file's, and a folder has a run; a test system has neither."""
    path = Path(source or "")
    if path.is_dir() and source and not (path / "config.yaml").is_file():
        raise UserInputError(
            f"{source}: expected a file, a test system or a run folder, found a folder without "
            "config.yaml"
        )
    if path.suffix.lower() in (*KINDS, *BY_GAFF2) and not path.exists():
        raise UserInputError(f"no such file: {source}")


def _is_ligand(
    source: str | None,
    smiles: str | None,
    forcefield: tuple[str, ...],
    files: tuple[Path | None, ...],
) -> bool:
    """Whether GAFF2 is to parametrise it: a SMILES, or a file with no force field named.

    Args:
        files: Of the options --xml, --positions, --include-dir and --parameters.

    Raises:
        UserInputError: If options do not go with it.
    """
    suffix = "" if source is None else Path(source).suffix.lower()
    if smiles is None and suffix not in BY_GAFF2:
        return False
    if forcefield and smiles is None and suffix in BY_OPENFF:
        return False
    if forcefield or any(files):
        raise UserInputError(
            f"init {source or '--smiles'}: it gets GAFF2 and AM1-BCC charges, with which "
            "--forcefield, --xml and --positions do not go; OpenFF takes an SDF file with "
            "--forcefield openff-2.2.1 --forcefield implicit/obc2.xml"
        )
    return True
