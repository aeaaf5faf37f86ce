"""GAFF2 with AM1-BCC charges for a ligand, by AmberTools: antechamber, parmchk2 and tleap.

They are called as programs, because their licence (GPL) is not bgp4's. What comes out is an
ordinary prmtop with its positions, so that nothing later needs them.
"""

from __future__ import annotations

import logging
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

import numpy as np

from bgp4.errors import UserInputError
from bgp4.molecule.ligand import RESIDUE, Ligand
from bgp4.molecule.ligand_files import mol2_rows

__all__ = ["CITATIONS", "Gaff2", "parametrise_by_gaff2"]

log = logging.getLogger(__name__)

LIMIT_S = 3600.0
"""For each program; the minimisation by AM1 takes nearly all of it."""

STRETCHED = 1.3
"""A bond that AM1 leaves this much longer than it began is broken."""

PENALTY = 50.0
"""parmchk2's, of a parameter taken by analogy, from which on it is named."""

CITATIONS = (
    "GAFF2: Wang, Wolf, Caldwell, Kollman, Case, J. Comput. Chem. 25, 1157 (2004), version 2",
    "AM1-BCC: Jakalian, Jack, Bayly, J. Comput. Chem. 23, 1623 (2002)",
    "antechamber: Wang, Wang, Kollman, Case, J. Mol. Graph. Model. 25, 247 (2006)",
    "AmberTools: Case et al., J. Chem. Inf. Model. 63, 6183 (2023)",
)

PARMCHK2 = ("-i", "ligand.mol2", "-f", "mol2", "-s", "gaff2", "-o", "ligand.frcmod")

TLEAP = f"""\
source leaprc.gaff2
set default PBRadii mbondi2
loadamberparams ligand.frcmod
{RESIDUE} = loadmol2 ligand.mol2
saveamberparm {RESIDUE} ligand.prmtop ligand.inpcrd
quit
"""
"""Radii are those that OBC1 and OBC2 were made for."""


class Gaff2(NamedTuple):
    """A prmtop and its positions as texts, and the range of the charges in words."""

    prmtop: str
    inpcrd: str
    charges: str


def parametrise_by_gaff2(ligand: Ligand, log: Path) -> Gaff2:
    """Types, charges and parameters of a ligand with positions.

    Args:
        ligand: What `with_start_positions` returns.
        log: Where the programs' output is kept if one of them fails.

    Raises:
        UserInputError: If AmberTools is missing, or cannot parametrise it; with the reason.
    """
    from rdkit import Chem

    programs = {name: _program(name) for name in ("antechamber", "parmchk2", "tleap")}
    with tempfile.TemporaryDirectory(prefix="bgp4-gaff2-") as made:
        folder = Path(made)
        (folder / "ligand.mol").write_text(Chem.MolToMolBlock(ligand.mol))
        (folder / "tleap.in").write_text(TLEAP)
        at_work = _Programs(programs, folder, log, ligand.source)
        _make_mol2(ligand, at_work)
        at_work.run("parmchk2", *PARMCHK2, makes="ligand.frcmod")
        _check_analogies((folder / "ligand.frcmod").read_text(), ligand.source)
        at_work.run("tleap", "-f", "tleap.in", makes="ligand.prmtop")
        return Gaff2(
            (folder / "ligand.prmtop").read_text(),
            (folder / "ligand.inpcrd").read_text(),
            _range_of_charges(folder / "ligand.mol2"),
        )


def _make_mol2(ligand: Ligand, at_work: _Programs) -> None:
    """antechamber's mol2; twice, where AM1 breaks a bond or moves a proton."""
    arguments = ["-i", "ligand.mol", "-fi", "mdl", "-o", "ligand.mol2", "-fo", "mol2"]
    arguments += ["-at", "gaff2", "-c", "bcc", "-nc", str(ligand.charge), "-rn", RESIDUE]
    arguments += ["-dr", "no", "-pf", "y"]
    at_work.run("antechamber", *arguments, makes="ligand.mol2")
    broken = _broken_bond(ligand, at_work.folder / "sqm.pdb")
    if broken is None:
        return
    at_work.run("antechamber", *arguments, "-ek", "qm_theory='AM1', maxcyc=0", makes="ligand.mol2")
    log.warning(
        "%s: AM1, in vacuum, broke the bond %s when it minimised, as it does with zwitterions; the "
        "charges are those of the start conformation instead",
        *(ligand.source, broken),
    )


def _broken_bond(ligand: Ligand, minimised: Path) -> str | None:
    """A bond that is longer in the structure that the charges are of."""
    lines = [ln for ln in minimised.read_text().splitlines() if ln.startswith(("ATOM", "HETATM"))]
    xyz = np.array([[float(ln[i : i + 8]) for i in (30, 38, 46)] for ln in lines])
    start = 10 * ligand.positions_nm
    for a, b in ligand.bonds:
        now, then = (float(np.linalg.norm(r[a] - r[b])) for r in (xyz, start))
        if now > STRETCHED * then:
            return f"{ligand.names[a]}-{ligand.names[b]}"
    return None


def _check_analogies(frcmod: str, source: str) -> None:
    """What parmchk2 took from like terms; where it found none, there is no force field.

    Impropers are general ones in GAFF2, whose penalties say nothing.
    """
    missing = [ln.split("  ")[0] for ln in frcmod.splitlines() if "ATTN, need revision" in ln]
    if missing:
        raise UserInputError(
            f"{source}: GAFF2 has no parameters for {', '.join(missing[:4])}, nor any like them; "
            "parametrise it by other tools, and give a prmtop or a System (--xml)"
        )
    terms = frcmod.partition("IMPROPER")[0] + frcmod.partition("NONBON")[2]
    found = re.findall(r"^(\S+(?: ?-\S+)*).*penalty score= *([\d.]+)", terms, re.MULTILINE)
    far = sorted(((float(score), name) for name, score in found), reverse=True)
    if far and far[0][0] >= PENALTY:
        log.warning(
            "%s: terms of its force field that are taken from ones not very like them: %d "
            "(parmchk2's penalty up to %g, for %s)",
            *(source, sum(score >= PENALTY for score, _ in far), *far[0]),
        )


def _range_of_charges(mol2: Path) -> str:
    charges = [(float(row[8]), row[1]) for row in mol2_rows(mol2.read_text())]
    (low, lowest), (high, highest) = min(charges), max(charges)
    return f"AM1-BCC charges: {low:+.3f} ({lowest}) to {high:+.3f} ({highest})"


def _program(name: str) -> str:
    """Beside this Python, or on the PATH."""
    places = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    found = shutil.which(name, path=places)
    if found is None:
        raise UserInputError(
            f"{name} is not installed, of AmberTools, which makes a ligand's charges and types: "
            "pip install 'bgp4[ligand]' (on Linux x86-64 and macOS; elsewhere conda install -c "
            "conda-forge ambertools)"
        )
    return found


class _Programs(NamedTuple):
    """Runs them one after the other in a folder, and says why one failed."""

    paths: dict[str, str]
    folder: Path
    log: Path
    source: str

    def run(self, name: str, *arguments: str, makes: str) -> None:
        output, made = self.folder / f"{name}.out", self.folder / makes
        made.unlink(missing_ok=True)
        with output.open("wb") as file:
            ended = _run([self.paths[name], *arguments], self.folder, file)
        if ended == 0 and made.is_file():
            return
        text = output.read_text(errors="replace")
        quantum = self.folder / "sqm.out"
        text += quantum.read_text(errors="replace") if quantum.is_file() else ""
        self.log.write_text(text)
        why = f"it took more than {LIMIT_S / 60:g} minutes" if ended is None else _why(text)
        raise UserInputError(f"{self.source}: {name} failed: {why}; its output: {self.log}")


def _run(command: list[str], folder: Path, output: object) -> int | None:
    """Its exit status, or None if it was too slow; with all its children it ends when we do."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    process = subprocess.Popen(
        command,
        cwd=folder,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=output,  # type: ignore[call-overload]
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )
    try:
        return process.wait(LIMIT_S)
    except BaseException as error:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        if isinstance(error, subprocess.TimeoutExpired):
            return None
        raise


REASONS = {
    r"error while loading shared libraries: (\S+):": "a library of the system is missing: {0}; "
    "pip install 'bgp4[ligand]' brings an AmberTools that has it",
    r"(?:Unable to achieve|Convergence could not be achieved|did not converge)": "AM1 did not "
    "converge (sqm); check the charge and the geometry, or give an SDF file with another start",
    r"number of electrons is odd": "its number of electrons is odd; check hydrogens and charges",
    r"Could not find (?:bond|angle|torsion|vdW)[^\n]*": "{match}",
    r"No space left on device": "the disk is full",
}


def _why(text: str) -> str:
    for pattern, words in REASONS.items():
        if found := re.search(pattern, text):
            return words.format(*found.groups(), match=" ".join(found.group().split()))
    told = [ln.strip() for ln in text.splitlines() if re.search(r"error|fatal", ln, re.I)]
    return " ".join(told[-1:])[:200] or "it did not say why"
