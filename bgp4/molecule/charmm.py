"""CHARMM structures (.psf) with their parameter files, read by OpenMM."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bgp4.errors import UserInputError
from bgp4.molecule.reading import why_unreadable

__all__ = ["read_psf"]

TOPOLOGY, PARAMETERS, STREAM = "topology", "parameters", "stream"

ENDINGS = {
    **dict.fromkeys((".rtf", ".top"), TOPOLOGY),
    **dict.fromkeys((".prm", ".par"), PARAMETERS),
    ".str": STREAM,
}
"""What a file of CHARMM's is by its ending; the ending .inp says nothing."""

ATOM = re.compile(r"<Atom \d+; (-?\d+) (\S+) \[(\S+): ([^\]]+)\]>")
"""How OpenMM shows an atom: its residue's number and name, its name and its type."""


def read_psf(path: Path, parameters: tuple[Path, ...], constraints: Any = None) -> tuple[Any, Any]:
    """The System, in vacuum, and openmm.app's topology.

    Args:
        parameters: CHARMM's files, in any order.
        constraints: OpenMM's constant.

    Raises:
        UserInputError: If a file cannot be read, or parameters are missing.
    """
    from openmm import app

    _refuse_drude(path)
    try:
        psf = app.CharmmPsfFile(str(path))
    except Exception as error:
        raise UserInputError(f"{path}: cannot be read: {why_unreadable(path, error)}") from error
    read = _parameters(parameters)
    try:
        system = psf.createSystem(
            read, nonbondedMethod=app.NoCutoff, constraints=constraints, rigidWater=False
        )
    except Exception as error:
        raise UserInputError(f"{path}: {_missing(error, parameters)}") from error
    return system, psf.topology


def _refuse_drude(path: Path) -> None:
    with path.open(errors="replace") as file:
        flags = file.readline().split()
    if flags[:1] == ["PSF"] and "DRUDE" in flags:
        raise UserInputError(
            f"{path}: it is a PSF of the Drude polarisable force field, whose particles without "
            "mass are not supported; make one of the additive CHARMM force field"
        )


def _parameters(files: tuple[Path, ...]) -> Any:
    """OpenMM's set: atom types first, streams of several kinds last."""
    from openmm import app

    found = app.CharmmParameterSet()
    readers: dict[str, Callable[[str], None]] = {
        TOPOLOGY: found.readTopologyFile,
        PARAMETERS: found.readParameterFile,
        STREAM: found.readStreamFile,
    }
    kinds = [(_kind(file), file) for file in files]
    for kind in readers:
        for file in (file for own, file in kinds if own == kind):
            try:
                readers[kind](str(file))
            except Exception as error:
                raise UserInputError(f"{file}: {_unread(file, error)}") from error
    return found


def _kind(file: Path) -> str:
    """By the ending, or the start of the name where the ending is .inp (top_, par_)."""
    suffix = file.suffix.lower()
    by_name = {"top": TOPOLOGY, "par": PARAMETERS}.get(file.name.lower()[:3])
    kind = by_name if suffix == ".inp" else ENDINGS.get(suffix)
    if kind is None:
        raise UserInputError(
            f"{file}: expected a CHARMM file that ends in .prm, .par (parameters), .rtf (atom "
            f"types) or .str (both), found {file.name!r}; rename it to what it is"
        )
    return kind


def _unread(file: Path, error: Exception) -> str:
    lacking = re.search(r"Atom type (\S+) not present", str(error))
    if lacking:
        return (
            f"the atom type {lacking[1]} is declared in no MASS line; name the topology file that "
            "goes with it (.rtf) too: --parameters, config key system.parameters"
        )
    return f"cannot be read: {why_unreadable(file, error)}"


def _missing(error: Exception, parameters: tuple[Path, ...]) -> str:
    """Which atoms, and which types of theirs, these files lack."""
    text = " ".join(str(error).split())
    files = ", ".join(str(file) for file in parameters)
    advice = "name the file that has them too (--parameters, config key system.parameters)"
    one = re.search(r"Could not find atom type for (\S+)", text)
    if one:
        return f"the atom type {one[1]} is not in {files}; {advice}"
    atoms = ATOM.findall(text)
    if atoms:
        kind = re.search(r"<(\w+);", text)
        names = "-".join(f"{residue}{number}-{name}" for number, residue, name, _ in atoms)
        return (
            f"the {kind[1].lower() if kind else 'term'} {names} (atom types "
            f"{', '.join(row[-1] for row in atoms)}) has no parameters in {files}; {advice}"
        )
    return f"OpenMM cannot make a System of it and {files} ({text}); {advice}"
