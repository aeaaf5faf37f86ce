"""Files that a reader would not read: what they are, where they are wrong, and what to do.

Readers raise whatever goes wrong in them, a KeyError of a section for example. Here it becomes
words: the file, its line or section, what is missing, the next step.
"""

from __future__ import annotations

import re
from pathlib import Path

__all__ = ["kind_by_content", "why_unreadable"]

SECTIONS = (
    *("POINTERS", "ATOM_NAME", "CHARGE", "MASS", "ATOM_TYPE_INDEX", "NUMBER_EXCLUDED_ATOMS"),
    *("NONBONDED_PARM_INDEX", "RESIDUE_LABEL", "RESIDUE_POINTER", "BOND_FORCE_CONSTANT"),
    *("BOND_EQUIL_VALUE", "ANGLE_FORCE_CONSTANT", "ANGLE_EQUIL_VALUE", "DIHEDRAL_FORCE_CONSTANT"),
    *("DIHEDRAL_PERIODICITY", "DIHEDRAL_PHASE", "LENNARD_JONES_ACOEF", "LENNARD_JONES_BCOEF"),
    *("BONDS_INC_HYDROGEN", "BONDS_WITHOUT_HYDROGEN", "AMBER_ATOM_TYPE"),
)
"""Of a prmtop, without which there is no System."""

ALSO_CALLED = {
    ".prmtop": (".parm7", ".top"),
    ".nc": (".ncrst", ".ncdf", ".netcdf", ".rst7", ".rst", ".inpcrd"),
    ".h5": (".hdf5", ".lh5"),
}
"""Other endings of files of a kind."""

HEAD_BYTES = 64

COLUMNS = {"the residue": (22, 26), "x": (30, 38), "y": (38, 46), "z": (46, 54)}
"""Of a PDB file's atoms."""

BOX_COLUMNS = {
    "a": (6, 15),
    "b": (15, 24),
    "c": (24, 33),
    "α": (33, 40),
    "β": (40, 47),
    "γ": (47, 54),
}


def kind_by_content(path: Path) -> str | None:
    """What a file's first bytes say that it is, as the ending that readers expect; or None."""
    with path.open("rb") as file:
        head = file.read(HEAD_BYTES)
    if head.startswith(b"CDF"):
        return ".nc"
    if head.startswith(b"\x89HDF"):
        return ".h5"
    if head[4:8] == b"CORD":
        return ".dcd"
    if head.startswith(b"\x00\x00\x07\xcb"):
        return ".xtc"
    if head.startswith(b"\x00\x00\x07\xc9"):
        return ".trr"
    if head.startswith(b"\x93NUMPY"):
        return ".npy"
    if head.startswith(b"\x1f\x8b"):
        return ".gz"
    return ".prmtop" if head.startswith(b"%VERSION") else None


def why_unreadable(path: Path, error: Exception) -> str:
    """Words that go on from "cannot be read: "."""
    if path.stat().st_size == 0:
        return "the file is empty (0 bytes)"
    suffix = path.suffix.lower()
    kind = kind_by_content(path)
    if kind is not None and suffix not in (kind, *ALSO_CALLED.get(kind, ())):
        return f"by its content it is a {kind} file; rename it, or name another one"
    readers = {
        **dict.fromkeys((".prmtop", ".parm7", ".top"), _prmtop),
        **dict.fromkeys((".pdb", ".ent"), _pdb),
        **dict.fromkeys((".cif", ".mmcif", ".pdbx"), _cif),
        **dict.fromkeys((".inpcrd", ".rst7", ".rst", ".crd", ".restrt", ".mdcrd"), _restart),
    }
    if kind is None and suffix in readers:
        words = readers[suffix](path)
        if words:
            return words
    if kind == ".prmtop":
        return _prmtop(path) or _plain(error)
    return _plain(error)


def _plain(error: Exception) -> str:
    """A reader's words where they are a sentence; what Python calls the error says nothing."""
    text = " ".join(str(error).split())[:200]
    told = re.search(r"[a-z]{3,} [a-z]{2,} [a-z]{2,}", text) is not None
    foreign = re.search(
        r"NoneType|dict_keys|object has no|could not convert|can only convert|list index|"
        r"invalid literal|Traceback",
        text,
    )
    if isinstance(error, IndexError) or "index out of" in text:
        return "no atoms or frames found in it"
    if told and not foreign and not isinstance(error, (KeyError, AttributeError, TypeError)):
        return text
    return "its reader did not understand it: it is damaged, cut, or of another format"


def _prmtop(path: Path) -> str | None:
    text = path.read_text(errors="replace")
    if "%FLAG" not in text:
        return (
            "it has no %FLAG sections: a prmtop of before Amber 7, or no prmtop at all; write it "
            'anew (ParmEd: parm.save("new.prmtop"))'
        )
    found = set(re.findall(r"^%FLAG\s+(\S+)", text, re.MULTILINE))
    missing = [name for name in SECTIONS if name not in found]
    if missing:
        shown = ", ".join(missing[:5]) + (", ..." if len(missing) > 5 else "")
        return (
            f"sections are missing ({shown}); the prmtop is cut or damaged: write it anew by tleap "
            "or ParmEd"
        )
    return None


def _pdb(path: Path) -> str | None:
    """The first line whose numbers are none."""
    atoms = 0
    for number, line in enumerate(path.read_text(errors="replace").splitlines(), 1):
        record = line[:6].strip()
        atoms += record in ("ATOM", "HETATM")
        columns = COLUMNS if record in ("ATOM", "HETATM") else BOX_COLUMNS
        if record not in ("ATOM", "HETATM", "CRYST1"):
            continue
        for name, (start, end) in columns.items():
            if not _is_number(line[start:end]):
                advice = "leave the record out" if record == "CRYST1" else "write it anew"
                return (
                    f"line {number}, {record}: expected a number for {name} in columns {start + 1} "
                    f"to {end}, found {line[start:end]!r}; {advice}"
                )
    return None if atoms else "no ATOM or HETATM records in it"


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _cif(path: Path) -> str | None:
    text = path.read_text(errors="replace")
    if "_atom_site." in text:
        return None
    if "_chem_comp_atom." in text:
        return (
            "it is the definition of a chemical component (_chem_comp_atom), without a structure "
            "(_atom_site); take its SDF file, or a PDB file of the molecule"
        )
    if "_atom_site_" in text:
        return "it is a small-molecule CIF (a crystal), not an mmCIF; convert it to SDF or PDB"
    return "it has no atoms (no _atom_site)"


def _restart(path: Path) -> str | None:
    lines = path.read_text(errors="replace").splitlines()
    if len(lines) > 1 and len(re.findall(r"-?\d+\.\d{3}", lines[1])) > 6:
        return (
            "it looks like an ASCII trajectory (ten numbers a line), not a restart file; name a "
            "restart file (.rst7, .inpcrd) or a PDB file"
        )
    return None
