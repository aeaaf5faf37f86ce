"""Why a force field has no template for a residue, in words, and what to do about it.

OpenMM compares a residue with the template that is nearest of all, which may be of another
molecule. Here it is compared with those of its own name, and what is blamed is what is wrong:
guessed elements, a name that the force field does not have, missing atoms, bonds.
"""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from bgp4.molecule.xml_files import force_field_folders

__all__ = ["explain_missing", "explain_several"]

SHOWN = 5

USUAL = {"H", "C", "N", "O", "S", "P", "F"}
"""Elements that a name's first letter may stand for without doubt."""

HALOGENS = {"Cl", "Br", "I"}

ALIASES = {
    "HIS": ("HID", "HIE", "HIP"),
    "CYS": ("CYX", "CYM"),
    "ASP": ("ASH",),
    "GLU": ("GLH",),
    "LYS": ("LYN",),
}

D_NAMES = {
    **{"DAL": "ALA", "DAR": "ARG", "DSG": "ASN", "DAS": "ASP", "DCY": "CYS", "DGN": "GLN"},
    **{"DGL": "GLU", "DHI": "HIS", "DIL": "ILE", "DLE": "LEU", "DLY": "LYS", "MED": "MET"},
    **{"DPN": "PHE", "DPR": "PRO", "DSN": "SER", "DTH": "THR", "DTR": "TRP", "DTY": "TYR"},
    **{"DVA": "VAL"},
}
"""Residues of the other hand, whose parameters are those of the usual one."""

CLOSED_NM = 0.17
"""From the first N to the last C of a ring, head to tail."""


class _Lack(NamedTuple):
    """What a residue lacks and has besides a template's atoms; heavy ones by name."""

    heavy: list[str]
    hydrogens: int
    besides: list[str]

    @property
    def size(self) -> int:
        return 10 * len(self.heavy) + 10 * len(self.besides) + abs(self.hydrogens)


def explain_missing(
    force_field: Any,
    topology: Any,
    positions_nm: NDArray[np.float64],  # (atoms, 3)
    names: tuple[str, ...],
    source: str,
    openmms_words: str,
) -> str:
    """One line on the residues that no template fits, and the next step.

    Args:
        force_field: openmm.app's.
        topology: openmm.app's.
        names: The force field's files.
        source: The file of the structure.
        openmms_words: What OpenMM says of the first such residue.
    """
    unmatched = force_field.getUnmatchedResidues(topology)
    files = ", ".join(names)
    lines = _atom_lines(source)
    wrong = _guessed_elements(unmatched, lines) or _numbers_twice(lines)
    if wrong:
        return wrong
    unknown = [r for r in unmatched if not _templates(force_field, r)]
    if unknown:
        return _unknown(unknown, files, {r.name for r in topology.residues()})
    lacks = [(r, _lack(force_field, r)) for r in unmatched]
    heavy = [(r, lack) for r, lack in lacks if lack.heavy]
    if heavy:
        return _missing_heavy(heavy, source)
    besides = [(r, lack) for r, lack in lacks if lack.besides]
    if besides:
        return _atoms_besides(besides, files)
    short = [(r, lack) for r, lack in lacks if lack.hydrogens > 0]
    if short:
        return _missing_hydrogens(short, source)
    many = [(r, lack) for r, lack in lacks if lack.hydrogens < 0]
    if many:
        return _hydrogens_too_many(many, files)
    ring = _head_to_tail(topology, positions_nm)
    if ring:
        return ring
    loose = _atoms_without_bonds(unmatched)
    if loose:
        return loose
    return _ends(unmatched, files, openmms_words)


def explain_several(reason: str, topology: Any, names: tuple[str, ...]) -> str | None:
    """Of a residue that several templates fit; None if this is not the reason."""
    found = re.search(r"matching templates found for residue (\d+) \(\w*\): (.*?)\.?$", reason)
    if found is None:
        return None
    residue = list(topology.residues())[int(found.group(1))]
    templates = [name.strip() for name in found.group(2).split(",")]
    where = [f"{name} of {_file_with(name, names) or 'the same file'}" for name in templates]
    return (
        f"residue {_label(residue)} fits several templates, which differ: {' and '.join(where)}; "
        "leave the file out of system.forcefield that this molecule does not need"
    )


def _label(residue: Any) -> str:
    return f"{residue.name}{residue.id}"


def _labels(residues: list[Any]) -> str:
    shown = ", ".join(map(_label, residues[:SHOWN])) + (", ..." if len(residues) > SHOWN else "")
    return f"residue {shown}" if len(residues) == 1 else f"residues {shown}"


def _symbol(atom: Any) -> str:
    return "" if atom.element is None else str(atom.element.symbol)


def _guessed_elements(unmatched: list[Any], lines: list[_Line]) -> str | None:
    """Elements that no molecule has, from a name or from columns that hold something else."""
    given = {line.serial: line for line in lines}
    for residue in unmatched:
        for atom in residue.atoms():
            line, symbol = given.get(atom.id), _symbol(atom)
            own = line is not None and line.element.capitalize() == symbol != ""
            if line is None or symbol in USUAL or (own and symbol in HALOGENS):
                continue
            read = f"read as {atom.element.name}" if symbol else "not read as any element"
            if own:
                why = f"columns 77-78, where elements stand, have {line.element!r}"
            else:
                had = repr(line.element) if line.element else "none"
                why = f"the file has {had} in columns 77-78, and it is guessed from the name"
            return (
                f"line {line.number}: atom {line.name} of residue {_label(residue)} is {read}: "
                f"{why}; write each atom's element there, or save the file anew by the program "
                "that made it"
            )
    return None


class _Line(NamedTuple):
    """An atom's line of a PDB file, by columns."""

    number: int
    serial: str
    name: str
    residue: str
    place: str  # chain, residue's number and insertion code
    element: str


def _atom_lines(source: str) -> list[_Line]:
    """Of the first model of a PDB file without atoms in other locations; none of other files."""
    path = Path(source)
    if not source.lower().endswith((".pdb", ".ent")) or not path.is_file():
        return []
    found = []
    for number, line in enumerate(path.read_text(errors="replace").splitlines(), 1):
        if line.startswith("ENDMDL"):
            break
        if line.startswith(("ATOM  ", "HETATM")) and line[16:17] in (" ", "", "A"):
            parts = (line[6:11], line[12:16], line[17:20], line[21:27], line[76:78])
            found.append(_Line(number, *(part.strip() for part in parts)))
    return found


def _numbers_twice(lines: list[_Line]) -> str | None:
    """Residues of one number in a chain: molecules that nothing divides."""
    seen: dict[str, _Line] = {}
    for line in lines:
        other = seen.setdefault(line.place, line)
        if other.residue != line.residue:
            return (
                f"lines {other.number} and {line.number}: residue number {line.place.split()[-1]} "
                f"is both {other.residue} and {line.residue} in one chain: several molecules "
                "without chain names between them; keep one molecule, or number its residues "
                "one by one"
            )
    return None


def _templates(force_field: Any, residue: Any) -> list[Any]:
    """Those of a residue's name: within a chain, at its ends, and of other protonations."""
    found = []
    for name in (residue.name, *ALIASES.get(residue.name, ())):
        ends = (name, f"N{name}", f"C{name}", f"{name}3", f"{name}5", f"{name}N")
        found += [force_field._templates[end] for end in ends if end in force_field._templates]
    return found


def _unknown(unknown: list[Any], files: str, names: set[str]) -> str:
    """Names that the force field does not have, `names` being those of all residues."""
    which = f"{_labels(unknown)} {'is' if len(unknown) == 1 else 'are'} not in {files}"
    bare = next((r for r in unknown if _has_no_bonds(r)), None)
    if bare is not None:
        which += (
            f", and {_label(bare)} has no bonds, since OpenMM does not know its name: give them "
            "(in a PDB file: CONECT records)"
        )
    usual = next((r for r in unknown if r.name in D_NAMES), None)
    if usual is not None:
        return (
            f"{which}; {usual.name} has the parameters of {D_NAMES[usual.name]}: rename it to that"
        )
    other = _file_with(unknown[0].name, ())
    family = re.match(r"[a-z]+\d*", other or "")
    if other is not None and family is not None and family.group() in files:
        return f"{which}; {other} has {unknown[0].name}: name it by --forcefield, too"
    if other is not None and all(_file_with(name, (other,)) for name in names):
        return (
            f"{which}; {other} has {'it' if len(names) == 1 else 'all residues'}: name it by "
            "--forcefield, in the place of the others, with a solvent model"
        )
    return (
        f"{which}; a modified residue or a ligand needs parameters of its own: a force field file "
        "that has it (--forcefield), a prmtop, a serialised System (--xml) or, for a small "
        "molecule alone, its SMILES (bgp4 init --smiles) or its SDF or MOL2 file"
    )


def _has_no_bonds(residue: Any) -> bool:
    return len(list(residue.atoms())) > 1 and not list(residue.internal_bonds())


def _file_with(template: str, names: tuple[str, ...]) -> str | None:
    """A force field file that has a template: of these or, if none are given, of OpenMM's."""
    words = f'<Residue name="{template}"'
    for folder in force_field_folders():
        own = [folder / name for name in names]
        included = [file.parent / name for file in own for name in _includes(file)]
        every = [] if names or folder == Path() else sorted(folder.glob("amber1[49]*/*.xml"))
        every += [] if names or folder == Path() else sorted(folder.glob("charmm36*.xml"))
        for path in [*own, *included, *every]:
            if path.is_file() and words in re.sub(
                r"<Residue [^>]*?name=", "<Residue name=", path.read_text()
            ):
                return str(path.relative_to(folder))
    return None


def _includes(path: Path) -> list[str]:
    """Files that a small file, which has nothing else, includes."""
    if not path.is_file() or path.stat().st_size > 10_000:
        return []
    return re.findall(r'<Include file="([^"]+)"', path.read_text())


def _lack(force_field: Any, residue: Any) -> _Lack:
    """Against the nearest template of its own name."""
    found = [_against(template, residue) for template in _templates(force_field, residue)]
    return min(found, key=lambda lack: lack.size)


def _against(template: Any, residue: Any) -> _Lack:
    own = [atom for atom in residue.atoms() if _symbol(atom)]
    ours = Counter(_symbol(atom) for atom in own)
    theirs = Counter(str(a.element.symbol) for a in template.atoms if a.element is not None)
    short, extra = theirs - ours, ours - theirs
    names = {atom.name for atom in own}
    their_names = {atom.name for atom in template.atoms}
    heavy = [
        a.name
        for a in template.atoms
        if a.element is not None
        and a.element.symbol in short
        and a.element.symbol != "H"
        and a.name not in names
    ]
    besides = [
        a.name
        for a in own
        if _symbol(a) in extra and _symbol(a) != "H" and a.name not in their_names
    ]
    return _Lack(heavy, theirs["H"] - ours["H"], besides)


def _some(names: list[str]) -> str:
    return ", ".join(names[:SHOWN]) + (", ..." if len(names) > SHOWN else "")


def _which(found: list[tuple[Any, _Lack]], of_one: str, of_many: str) -> str:
    """The residues, and the verb that goes with their number."""
    return f"{_labels([r for r, _ in found])} {of_one if len(found) == 1 else of_many}"


def _missing_heavy(found: list[tuple[Any, _Lack]], source: str) -> str:
    residue, lack = found[0]
    return (
        f"{_which(found, 'lacks', 'lack')} heavy atoms "
        f"({_label(residue)}: {_some(lack.heavy)}), hydrogens or not; add all that is missing: "
        f"pdbfixer {source} --add-atoms=all --output=NEW.pdb"
    )


def _missing_hydrogens(found: list[tuple[Any, _Lack]], source: str) -> str:
    residue, lack = found[0]
    atoms = f"{lack.hydrogens} H atom{'s' * (lack.hydrogens != 1)}"
    return (
        f"{_which(found, 'lacks', 'lack')} hydrogens "
        f"({_label(residue)}: missing {atoms}); add them: pdbfixer {source} "
        "--add-atoms=hydrogen --output=NEW.pdb"
    )


def _hydrogens_too_many(found: list[tuple[Any, _Lack]], files: str) -> str:
    residue, lack = found[0]
    return (
        f"{_which(found, 'has', 'have')} more hydrogens "
        f"than any form of it in {files} ({_label(residue)}: {-lack.hydrogens} more); check its "
        "protonation and the ends of the chain"
    )


def _atoms_besides(found: list[tuple[Any, _Lack]], files: str) -> str:
    residue, lack = found[0]
    return (
        f"{_which(found, 'has', 'have')} atoms that "
        f"{residue.name} in {files} has not ({_label(residue)}: {_some(lack.besides)}): caps "
        "within a residue (CHARMM's patches) or a modification; make caps residues of their own "
        "(ACE, NME), or name the force field that the file was made for (--forcefield "
        "charmm36.xml), or give a System of it by --xml"
    )


def _head_to_tail(topology: Any, positions_nm: NDArray[np.float64]) -> str | None:
    """A peptide whose last C is bonded to its first N."""
    for chain in topology.chains():
        residues = list(chain.residues())
        first = next((a for a in residues[0].atoms() if a.name == "N"), None)
        last = next((a for a in residues[-1].atoms() if a.name == "C"), None)
        if len(residues) < 2 or first is None or last is None:
            continue
        apart = float(np.linalg.norm(positions_nm[first.index] - positions_nm[last.index]))
        if apart < CLOSED_NM:
            return (
                f"N of {_label(residues[0])} and C of {_label(residues[-1])} are {apart:.3f} nm "
                f"apart: a peptide closed head to tail, a ring of {3 * len(residues)} atoms or "
                "more; rings of up to 8 atoms are supported, because nothing but the energy closes "
                "a ring"
            )
    return None


def _atoms_without_bonds(unmatched: list[Any]) -> str | None:
    """Atoms whose names OpenMM does not know, in residues that it knows."""
    for residue in unmatched:
        bonded = {a.index for bond in residue.bonds() for a in bond}
        loose = [a for a in residue.atoms() if a.index not in bonded]
        if loose:
            names = [a.name for a in loose]
            last = "; the second oxygen of a C terminus is OXT" * ("O" in map(_symbol, loose))
            return (
                f"{_some(names)} of residue {_label(residue)} "
                f"{'has' if len(loose) == 1 else 'have'} no bonds, since {residue.name} has no "
                f"atom of that name: rename{last}, or give the bonds (in a PDB file: CONECT "
                "records)"
            )
    return None


def _ends(unmatched: list[Any], files: str, openmms_words: str) -> str:
    """Atoms are all there: what is left is bonds between residues, and the chain's ends."""
    which = f"{_labels(unmatched)} {'has' if len(unmatched) == 1 else 'have'}"
    if "externally bonded" in openmms_words or "terminal capping" in openmms_words:
        return (
            f"{which} all atoms, but not the bonds to the next residue that {files} expects: a "
            "chain that is cut or has no end; add caps (ACE, NME) or the terminal atoms (pdbfixer "
            "--add-atoms=all), or the bonds that are missing (in a PDB file: CONECT records)"
        )
    return (
        f"{which} no parameters in {files} ({openmms_words}); check its bonds (in a PDB file: "
        "CONECT records) and name, or give a prmtop or a serialised System (--xml)"
    )
