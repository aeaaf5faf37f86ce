"""GROMACS topologies (.top): their preprocessor's commands here, the rest by OpenMM's reader."""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from bgp4.errors import UserInputError
from bgp4.molecule.reading import why_unreadable

__all__ = ["read_top"]

USUAL_FOLDERS = ("/usr/share/gromacs/top", "/usr/local/gromacs/share/gromacs/top")
"""Where installations of GROMACS keep their force fields."""

NOT_READ = {
    *("position_restraints", "distance_restraints", "dihedral_restraints", "angle_restraints"),
    *("angle_restraints_z", "orientation_restraints", "pairs_nb", "polarization"),
    *("water_polarization", "thole_polarization", "intermolecular_interactions"),
}
"""Sections with energy that OpenMM's reader passes over."""

PARTICLES = "ASVDB"
"""Particle types: atom, shell, virtual site."""

EXCLUDED_BONDS = 3
"""Atoms of up to so many bonds between them interact by `[ pairs ]` alone (nrexcl)."""


class Line(NamedTuple):
    """A line with its comment taken away, and where it stands."""

    file: Path
    number: int
    text: str

    @property
    def place(self) -> str:
        return f"{self.file}, line {self.number}"


@dataclass
class MoleculeType:
    """What a `[ moleculetype ]` has to be asked for apart from OpenMM.

    Attributes:
        bonds_excluded: nrexcl.
        atoms: Fields of each line of `[ atoms ]`.
        pairs: Atoms of `[ pairs ]`, from 0, the lower one first.
    """

    start: Line
    bonds_excluded: str
    atoms: list[list[str]] = field(default_factory=list)
    pairs: set[tuple[int, int]] = field(default_factory=set)


def read_top(path: Path, include_dir: Path | None, constraints: Any = None) -> tuple[Any, Any]:
    """The System, in vacuum, and openmm.app's topology of a whole .top.

    Args:
        include_dir: Where to look for included files before GROMACS's own folders.
        constraints: OpenMM's constant.

    Raises:
        UserInputError: If it cannot be read, or OpenMM's reader would read something else.
    """
    from openmm import app

    try:
        lines = list(_Preprocessor(_folders(include_dir)).lines(path))
    except UnicodeDecodeError as error:
        raise UserInputError(f"{path}: cannot be read: {why_unreadable(path, error)}") from error
    placed = list(_in_sections(lines))
    sections = [(section, line) for section, line in placed if not line.text.startswith(("#", "*"))]
    _refuse_what_is_not_read(sections)
    main = _largest(path, sections)
    with tempfile.TemporaryDirectory() as folder:
        flat = Path(folder) / "flat.top"
        flat.write_text("".join(f"{text}\n" for text in _flat(placed)))
        try:
            top = app.GromacsTopFile(str(flat))
            system = top.createSystem(
                nonbondedMethod=app.NoCutoff, constraints=constraints, rigidWater=False
            )
        except Exception as error:  # a KeyError of a type, for example
            raise UserInputError(f"{path}: {_words(error, lines, sections, main)}") from error
    if system.getNumParticles() == len(main.atoms):
        _leave_out_unlisted_pairs(system, main.pairs)
    return system, top.topology


def _folders(include_dir: Path | None) -> list[Path]:
    """Where included files may be, apart from the folder of the file that asks for them."""
    named = os.environ.get("GMXLIB", "").split(os.pathsep)
    data = os.environ.get("GMXDATA")
    found = [include_dir, *named, Path(data) / "top" if data else "", *USUAL_FOLDERS]
    return list(dict.fromkeys(Path(folder) for folder in found if folder))


class _Preprocessor:
    """Carries out #include and #ifdef; #define stays for OpenMM, which replaces names."""

    def __init__(self, folders: list[Path]) -> None:
        self.folders = folders
        self.defined = {"FLEXIBLE"}  # bonds of rigid water, as OpenMM reads a .top
        self.taken: list[bool] = []  # of each open #ifdef

    def lines(self, path: Path, asking: tuple[Path, ...] = ()) -> Iterator[Line]:
        """Those that count, of a file and of the files that it includes."""
        outer = len(self.taken)
        for line in _joined(path):
            command, _, rest = line.text.partition(" ")
            if not command.startswith("#"):
                if all(self.taken):
                    yield line
            elif command in ("#ifdef", "#ifndef", "#else", "#endif"):
                self._branch(line, command, rest, outer)
            elif all(self.taken):
                yield from self._carry_out(line, command, rest, (*asking, path))
        if len(self.taken) > outer:
            raise UserInputError(f"{path}: #ifdef without #endif; the file is cut or damaged")

    def _branch(self, line: Line, command: str, name: str, outer: int) -> None:
        if command in ("#ifdef", "#ifndef"):
            self.taken.append((name.strip() in self.defined) == (command == "#ifdef"))
        elif len(self.taken) == outer:
            raise UserInputError(f"{line.place}: {command} without #ifdef")
        elif command == "#else":
            self.taken[-1] = not self.taken[-1]
        else:
            self.taken.pop()

    def _carry_out(
        self, line: Line, command: str, rest: str, asking: tuple[Path, ...]
    ) -> Iterator[Line]:
        words = rest.split()
        if command not in ("#include", "#define", "#undef") or not words:
            raise UserInputError(
                f"{line.place}: expected #include, #define, #undef or #ifdef with a name, found "
                f"{line.text!r}"
            )
        if command == "#include":
            file = self._found(rest.strip(' \t"<>'), line)
            if file in asking:
                raise UserInputError(f"{line.place}: {file} includes itself")
            yield from self.lines(file, asking)
            return
        (self.defined.add if command == "#define" else self.defined.discard)(words[0])
        yield line

    def _found(self, name: str, line: Line) -> Path:
        folders = list(dict.fromkeys([line.file.parent, *self.folders]))
        found = next((f / name for f in folders if (f / name).is_file()), None)
        if found is None:
            shown = ", ".join(str(folder) for folder in folders)
            raise UserInputError(
                f"{line.place}: no file {name} to include in {shown}; name the folder that has it "
                "with --include-dir (config key system.include_dir), for force fields share/"
                "gromacs/top of GROMACS"
            )
        return found


def _joined(path: Path) -> Iterator[Line]:
    """Lines without comments; one that ends in a backslash goes on in the next."""
    text = ""
    for number, raw in enumerate(path.read_text().splitlines(), 1):
        text += raw.partition(";")[0].strip()
        if text.endswith("\\"):
            text = f"{text[:-1]} "
        elif text:
            yield Line(path, number, text.replace("\t", " "))
            text = ""


def _in_sections(lines: list[Line]) -> Iterator[tuple[str, Line]]:
    """Each line with the section that it is in."""
    section = ""
    for line in lines:
        if line.text.startswith("["):
            section = line.text.strip("[] ")
        yield section, line


def _flat(placed: list[tuple[str, Line]]) -> Iterator[str]:
    """As OpenMM's reader takes them, with all fields of each atom type."""
    for section, line in placed:
        plain = section != "atomtypes" or line.text.startswith(("[", "#", "*"))
        yield line.text if plain else _whole_atom_type(line.text.split())


def _whole_atom_type(words: list[str]) -> str:
    """Name, bonded type, atomic number, mass, charge, particle type, parameters.

    A bonded type that is left out is the atom's, an atomic number 0: its element is the mass's.
    OpenMM's reader takes a mass or charge of one digit for the particle type of a short line.
    """
    place = next((i for i in (3, 4, 5) if words[i : i + 1] and words[i] in PARTICLES), 5)
    optional = words[1 : place - 2]
    bonded = next((word for word in optional if word[0].isalpha()), words[0])
    number = next((word for word in optional if word.isdigit()), "0")
    mass, *others = words[place - 2 :] or [""]
    return " ".join([words[0], bonded, number, f"{mass}.0" if mass.isdigit() else mass, *others])


def _refuse_what_is_not_read(sections: list[tuple[str, Line]]) -> None:
    for section, line in sections:
        if section in NOT_READ and not line.text.startswith("["):
            raise UserInputError(
                f"{line.place}: OpenMM's reader passes over [ {section} ], so the energy would "
                "lack it; take it out of the .top (#define POSRES, for example)"
            )


def _largest(path: Path, sections: list[tuple[str, Line]]) -> MoleculeType:
    """Of the types that `[ molecules ]` names, the one with most atoms: any other is solvent."""
    types: dict[str, MoleculeType] = {}
    named: list[str] = []
    for section, line in sections:
        words = line.text.split()
        if line.text.startswith("["):
            continue
        if section == "moleculetype":
            last = types[words[0]] = MoleculeType(line, (*words, "")[1])
        elif section == "atoms" and types:
            last.atoms.append(words)
        elif section == "pairs" and types and len(words) > 1 and "".join(words[:2]).isdigit():
            a, b = sorted(int(word) - 1 for word in words[:2])
            last.pairs.add((a, b))
        elif section == "molecules":
            named.append(words[0])
    found = [types[name] for name in named if name in types]
    if not found or not any(section == "defaults" for section, _ in sections):
        lacks = "[ molecules ]" if not found else "[ defaults ]"
        raise UserInputError(
            f"{path}: {lacks} is missing, or names no [ moleculetype ] of it; expected the .top of "
            "a whole system, which includes its .itp files and those of its force field"
        )
    largest = max(found, key=lambda one: len(one.atoms))
    if len(largest.atoms) > EXCLUDED_BONDS and largest.bonds_excluded != str(EXCLUDED_BONDS):
        raise UserInputError(
            f"{largest.start.place}: expected nrexcl {EXCLUDED_BONDS}, found "
            f"{largest.bonds_excluded or 'none'}; OpenMM's reader has no other exclusions"
        )
    return largest


def _words(
    error: Exception, lines: list[Line], sections: list[tuple[str, Line]], main: MoleculeType
) -> str:
    """What OpenMM's reader says, with the line, atoms and types that it is about."""
    text = " ".join(str(error).split())
    kind = str(error.args[0]) if isinstance(error, KeyError) and error.args else None
    for section, line in sections if kind else ():
        if section == "atoms" and kind in line.text.split()[1:2]:
            return (
                f"the atom type {kind} ({line.place}) is in no [ atomtypes ] of the .top and of "
                "the files that it includes; include the force field that it was made for"
            )
    missing = re.fullmatch(r"No parameters specified for (\w+): ([\d, ]+)", text)
    if missing is not None:
        found = [main.atoms[int(i) - 1] for i in missing[2].split(",")]
        return (
            f"the {missing[1]} {'-'.join(f'{row[3]}{row[2]}-{row[4]}' for row in found)} (atom "
            f"types {', '.join(row[1] for row in found)}) has no parameters in [ {missing[1]}types "
            "]; include the force field that it was made for, or write them into the line"
        )
    said, _, quoted = text.partition("line: ")
    place = next(
        (line.place for line in lines if quoted and line.text.split() == quoted.split()), ""
    )
    if quoted:
        return f"{said}line {quoted!r}{f' ({place})' if place else ''}"
    if "No pair parameters" in text or "Unknown molecule" in text or "irtual sites" in text:
        return text
    return (
        f"OpenMM's reader did not understand it ({type(error).__name__}: {text}); it is damaged, "
        "or its force field has terms that OpenMM does not read"
    )


def _leave_out_unlisted_pairs(system: Any, listed: set[tuple[int, int]]) -> None:
    """Atoms three bonds apart that are not in `[ pairs ]` do not interact; OpenMM scales them."""
    import openmm

    for force in system.getForces():
        if isinstance(force, openmm.NonbondedForce):
            for i in range(force.getNumExceptions()):
                a, b, *_ = force.getExceptionParameters(i)
                if (min(a, b), max(a, b)) not in listed:
                    force.setExceptionParameters(i, a, b, 0.0, 1.0, 0.0)
        elif force.getName() == "LennardJonesExceptions":
            for i in range(force.getNumBonds()):
                a, b, _ = force.getBondParameters(i)
                if (min(a, b), max(a, b)) not in listed:
                    force.setBondParameters(i, a, b, [0.0, 0.0])
