"""Start positions of a prmtop, top or psf: from restart, PDB, GRO, CHARMM or NetCDF files."""

from __future__ import annotations

import logging
import re
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bgp4.errors import UserInputError
from bgp4.molecule.reading import kind_by_content, why_unreadable

__all__ = ["positions_beside"]

log = logging.getLogger(__name__)

NM_PER_ANGSTROM = 0.1

STRUCTURES = (".pdb", ".ent", ".cif", ".mmcif", ".pdbx", ".gro")


def positions_beside(
    path: Path, topology: Any, source: str
) -> NDArray[np.float64]:  # (atoms, 3), nm
    """Those of a file's first frame.

    Args:
        topology: openmm.app's.
        source: The file that it is of.

    Raises:
        UserInputError: If it cannot be read, or is of other atoms.
    """
    expected = _atoms(topology)
    try:
        found, own = _read(path)
    except UserInputError:
        raise
    except Exception as error:  # readers raise whatever goes wrong in them
        raise UserInputError(f"{path}: cannot be read: {why_unreadable(path, error)}") from error
    if len(found) != len(expected):
        raise UserInputError(
            f"{path}: expected positions of the {len(expected)} atoms of {source}, found "
            f"{len(found)}; take the same atoms away from both (cpptraj: strip, gmx: trjconv, or "
            "ParmEd)"
        )
    for i, (one, other) in enumerate(zip(expected, own or expected, strict=True)):
        if one[0] != other[0] and one[1][:1] != other[1][:1]:  # elements may be guessed
            raise UserInputError(
                f"{path}: atom {i} is {' '.join(other)}, and {' '.join(one)} in {source}; give "
                "both in the same order of atoms"
            )
    return found


def _atoms(topology: Any) -> list[tuple[str, str]]:
    """Name and element of each."""
    return [(a.name, "" if a.element is None else a.element.symbol) for a in topology.atoms()]


def _named(names: list[str]) -> list[tuple[str, str]]:
    """The same of names alone: an element begins with the first letter (1HH3 is a hydrogen)."""
    return [(name, name.lstrip("0123456789")[:1].upper()) for name in names]


def _read(path: Path) -> tuple[NDArray[np.float64], list[tuple[str, str]] | None]:
    """Positions in nm, and names and elements where the file has them."""
    from openmm import app, unit

    if kind_by_content(path) == ".nc":
        return _netcdf(path), None
    if path.suffix.lower() in STRUCTURES:
        return _structure(path)
    if _is_charmm(path):
        crd = app.CharmmCrdFile(str(path))
        found = np.asarray(crd.positions.value_in_unit(unit.nanometer), np.float64)
        return found, _named(crd.attype)
    read = app.AmberInpcrdFile(str(path))
    return np.asarray(read.getPositions(asNumpy=True)._value, np.float64), None


def _is_charmm(path: Path) -> bool:
    """Whether, after a title of lines with a star and the number of atoms, names follow."""
    with path.open(errors="replace") as file:
        lines = [line.strip() for line in islice(file, 100)]
    own = [line for line in lines if line and not line.startswith("*")]
    return lines[:1] != own[:1] and bool(re.search("[A-DF-Z]", "".join(own[1:2])))


def _structure(path: Path) -> tuple[NDArray[np.float64], list[tuple[str, str]] | None]:
    import mdtraj
    from openmm import app

    if path.suffix.lower() == ".gro":
        gro = mdtraj.load(str(path))
        return gro.xyz[0].astype(np.float64), _named([a.name for a in gro.topology.atoms])
    reader = app.PDBFile if path.suffix.lower() in (".pdb", ".ent") else app.PDBxFile
    read = reader(str(path))
    return np.asarray(read.getPositions(asNumpy=True)._value, np.float64), _atoms(read.topology)


def _netcdf(path: Path) -> NDArray[np.float64]:
    """Of Amber's NetCDF: a restart file, or the first frame of a trajectory."""
    from scipy.io import netcdf_file

    with netcdf_file(str(path), mmap=False) as file:
        if "coordinates" not in file.variables:
            raise UserInputError(f"{path}: expected coordinates, found none in this NetCDF file")
        found = np.asarray(file.variables["coordinates"].data, np.float64)
    if found.ndim == 3:
        if not len(found):
            raise UserInputError(f"{path}: expected frames, found none")
        log.info("%s: a trajectory of %d frames; positions are its first's", path, len(found))
        found = found[0]
    return found * NM_PER_ANGSTROM
