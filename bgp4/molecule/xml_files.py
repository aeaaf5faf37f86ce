"""Force field files in OpenMM's XML: what OpenMM would leave out of them without a word."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from bgp4.errors import UserInputError

__all__ = ["force_field_folders", "refuse_skipped_sections", "warn_of_water_models"]

log = logging.getLogger(__name__)

NO_FORCES = {
    *("AtomTypes", "Residues", "Patches", "Include", "InitializationScript", "Script", "Info"),
    *("ResidueTemplateGenerator",),
}
"""Sections of a force field file that are no forces."""

LARGEST_BYTES = 500_000
"""Of a file with water and ions alone."""


def refuse_skipped_sections(names: tuple[str, ...]) -> None:
    """Refuse forces that OpenMM has no reader for: it skips them.

    Args:
        names: Of the files, as a config's `system.forcefield` has them.
    """
    from openmm.app import forcefield

    for path in _own_files(names):
        root = _parsed(path)
        if root is None:  # OpenMM has better words for that
            continue
        skipped = [e.tag for e in root if e.tag not in NO_FORCES | set(forcefield.parsers)]
        if skipped:
            raise UserInputError(
                f"config key system.forcefield: {path}: OpenMM knows no section "
                f"<{skipped[0]}> and would leave it out of the energy; name a force field that "
                "OpenMM reads, or make the System by the program that the file is for and give "
                "it by system.xml (bgp4 init FILE.pdb --xml SYSTEM.xml)"
            )


def _own_files(names: tuple[str, ...]) -> Iterator[Path]:
    """Those that are not OpenMM's, with what they include."""
    left = [Path(name) for name in names if Path(name).is_file()]
    seen: set[Path] = set()
    while left:
        path = left.pop(0)
        if path not in seen:
            seen.add(path)
            yield path
            root = _parsed(path)
            included = [] if root is None else [e.get("file", "") for e in root.iter("Include")]
            beside = [path.parent / name for name in included]
            left += [file for file in beside if file.is_file()]


def _parsed(path: Path) -> ElementTree.Element | None:
    try:
        return ElementTree.parse(path).getroot()
    except (ElementTree.ParseError, UnicodeDecodeError):
        return None


def warn_of_water_models(names: tuple[str, ...], system: Any) -> None:
    """Say that a water model without water does nothing, and that this is vacuum."""
    if any(_is_solvation(force) for force in system.getForces()):
        return
    for name in names:
        if (path := _found(name)) is not None and _is_water_model(path):
            log.warning(
                "config key system.forcefield: %s is a water model, and there is no water: the "
                "energies are of vacuum; for implicit solvent name implicit/obc2.xml in its place",
                name,
            )


def _is_solvation(force: Any) -> bool:
    return type(force).__name__ in (
        *("GBSAOBCForce", "CustomGBForce", "AmoebaGeneralizedKirkwoodForce"),
    )


def force_field_folders() -> list[Path]:
    """Where OpenMM looks for force field files: here, and where it and its plugins have theirs."""
    from openmm.app import forcefield

    return [Path(), *map(Path, forcefield._getDataDirectories())]


def _found(name: str) -> Path | None:
    """A force field file of the user's or of OpenMM's."""
    folders = force_field_folders()
    return next((folder / name for folder in folders if (folder / name).is_file()), None)


def _is_water_model(path: Path) -> bool:
    """Whether it has water, and nothing else but single atoms."""
    root = _parsed(path) if path.stat().st_size < LARGEST_BYTES else None
    if root is None:
        return False
    residues = {r.get("name"): len(r.findall("Atom")) for r in root.iter("Residue")}
    return "HOH" in residues and all(n == 1 or name == "HOH" for name, n in residues.items())
