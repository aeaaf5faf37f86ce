"""Trajectories that mdtraj reads, brought to a molecule: its atoms alone, in its order, whole."""

from __future__ import annotations

import logging
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from bgp4.errors import UserInputError
from bgp4.molecule.molecule import Molecule
from bgp4.molecule.reading import kind_by_content, why_unreadable
from bgp4.storage.hdf5 import check_hdf5

if TYPE_CHECKING:
    import mdtraj

__all__ = ["read_trajectory"]

log = logging.getLogger(__name__)

CARRIES_TOPOLOGY = {".h5", ".hdf5", ".lh5", ".pdb", ".pdb.gz", ".cif", ".gro"}


HDF5 = {".h5", ".hdf5", ".lh5"}

TRUSTING = {".xtc", ".trr"}
"""Formats whose readers trust sizes in the file, and crash where these are wrong."""

TRAJECTORIES = {".h5", ".xtc", ".trr", ".dcd", ".nc", ".pdb", ".gro"}
TEXT = {".mdcrd", ".crd", ".pdb", ".gro", ".xyz"}
"""The usual formats, and those that are text."""

LONGEST_READ_S = 600


CHUNK = 20_000
"""Frames read at a time."""


def read_trajectory(
    path: Path, molecule: Molecule, topology_path: Path | None = None
) -> NDArray[np.float32]:  # (frames, atoms, 3), nm
    """All frames of a file: the molecule alone, in its own order, out of any box.

    Atoms besides the molecule's are left out, and a molecule that a periodic box cuts is made
    whole; the log says so. Files are read in chunks, so that solvent takes no memory.

    Args:
        topology_path: Of a file that does not name its atoms; the molecule's atoms if None.

    Raises:
        UserInputError: If the file can't be read, is truncated, or doesn't have the molecule's
            atoms, once and in its order.
    """
    _check_kind(path)
    if _suffix(path) in HDF5:
        check_hdf5(path)
    if _suffix(path) in TRUSTING:
        _try_apart(path)
    own: slice | None = None
    n_cut = 0
    parts = []
    for chunk in _chunks(path, molecule, topology_path):
        own = _molecule_alone(path, chunk, molecule) if own is None else own
        whole, cut = _made_whole(chunk, own, molecule)
        parts.append(whole)
        n_cut += cut
    if n_cut:
        log.info("%s: made the molecule whole in %d frames", path, n_cut)
    frames = np.concatenate(parts) if parts else np.empty((0, molecule.n_atoms, 3), np.float32)
    _check_whole(path, len(frames))
    return frames


def _chunks(
    path: Path, molecule: Molecule, topology_path: Path | None
) -> Iterator[mdtraj.Trajectory]:
    import mdtraj

    options = {} if _suffix(path) in CARRIES_TOPOLOGY else {"top": molecule.topology}
    try:
        if topology_path is not None and options:
            options = {"top": mdtraj.load_topology(str(topology_path))}
        for chunk in mdtraj.iterload(str(path), chunk=CHUNK, **options):
            if chunk.topology is None:
                raise ValueError("it has no topology")
            yield chunk
    except Exception as error:  # mdtraj's readers raise whatever their libraries do
        if any(word in str(error).lower() for word in ("topology", "atoms", "xyz must be shape")):
            expected = (
                f"; expected {molecule.n_atoms} atoms; if it has other atoms too, name a "
                "topology file in config key data.topology"
            )
        else:
            expected = "; expected a whole trajectory in a format that mdtraj reads"
        reason = why_unreadable(path, error)
        raise UserInputError(f"{path}: cannot be read ({reason}){expected}") from error


def _check_kind(path: Path) -> None:
    """Refuse an empty file, and one that its ending says nothing right about."""
    from mdtraj.formats.registry import FormatRegistry

    if not path.is_file():  # a folder in some formats
        return
    if path.stat().st_size == 0:
        raise UserInputError(f"{path}: cannot be read: the file is empty (0 bytes); write it anew")
    suffix, kind = _suffix(path), kind_by_content(path)
    readers = set(FormatRegistry.loaders)
    if kind is not None and kind in readers - {suffix} and suffix in TEXT | (TRAJECTORIES - {kind}):
        raise UserInputError(
            f"{path}: cannot be read as {suffix}: by its content it is a {kind} file; rename it to "
            f"{path.with_suffix(kind).name}"
        )
    if suffix not in readers:
        raise UserInputError(
            f"{path}: mdtraj, which reads trajectories, has no reader for files that end in "
            f"{suffix or 'nothing'}; expected one of {', '.join(sorted(TRAJECTORIES & readers))}: "
            "convert it, for example by mdtraj.Trajectory(xyz_nm, topology).save('frames.h5')"
        )


def _try_apart(path: Path) -> None:
    """Refuse a file at which mdtraj's reader crashes or hangs, by reading it in a process apart."""
    code = "import sys, mdtraj; mdtraj.open(sys.argv[1]).read()"
    try:
        done = subprocess.run(
            [sys.executable, "-c", code, str(path)], capture_output=True, timeout=LONGEST_READ_S
        )
    except subprocess.TimeoutExpired:
        reason = f"its reader hung for {LONGEST_READ_S} s"
    else:
        if done.returncode >= 0:
            return
        reason = "its reader crashed"
    raise UserInputError(f"{path}: cannot be read ({reason}): the file is damaged; write it again")


def _suffix(path: Path) -> str:
    return "".join(path.suffixes[-2:] if path.suffix == ".gz" else path.suffixes[-1:]).lower()


def _check_whole(path: Path, n_frames: int) -> None:
    """A truncated DCD file reads as a shorter one; its header says how many frames it had."""
    if path.suffix.lower() != ".dcd":
        return
    with path.open("rb") as file:
        record, kind, frames = file.read(4), file.read(4), file.read(4)
    order: Literal["little", "big"] = "little" if record == b"T\0\0\0" else "big"
    expected = int.from_bytes(frames, order)
    if kind == b"CORD" and n_frames < expected:
        raise UserInputError(
            f"{path}: expected the {expected} frames of its header, found {n_frames}: truncated"
        )


def _molecule_alone(path: Path, trajectory: mdtraj.Trajectory, molecule: Molecule) -> slice:
    """The atoms that are the molecule's, one after the other, by name and element."""
    found = [_identity(atom) for atom in trajectory.topology.atoms]
    expected = [_identity(atom) for atom in molecule.topology.atoms]
    n, width = len(found), len(expected)
    starts = [i for i in range(n - width + 1) if found[i : i + width] == expected]
    if len(starts) == 1:
        (first,) = starts
        if n > width:
            log.info("%s: left out %s", path, _left_out(trajectory.topology, first, width))
        return slice(first, first + width)
    if starts:
        raise UserInputError(
            f"{path}: expected {molecule.name} once, found it {len(starts)} times; write one of "
            "them to a separate file with mdtraj's atom_slice"
        )
    raise UserInputError(f"{path}: {_difference(trajectory.topology, molecule)}")


def _difference(topology: mdtraj.Topology, molecule: Molecule) -> str:
    """How a file's atoms differ from the molecule's: number, virtual sites, names or order."""
    atoms, own = list(topology.atoms), list(molecule.topology.atoms)
    found, expected = map(_identity, atoms), map(_identity, own)
    names, own_names = Counter(found), Counter(expected)
    n, width = len(atoms), len(own)
    sites = [atom for atom in atoms if atom.element is None or atom.element.symbol == "VS"]
    if n != width:
        missing = [atom for atom in own if not names[_identity(atom)]]
        words = (
            f"expected the {width} atoms of {molecule.name}, found {n}, without a consecutive run "
            f"that matches {_words(molecule.topology)}"
        )
        if sites:
            words += f"; {len(sites)} of them are virtual sites (first {sites[0]})"
        if missing:
            words += f"; no atom of it is called {missing[0].name} as in {missing[0]}"
        elif n > width:
            words += "; all names are there, in another order"
        return f"{words}; write the molecule's atoms alone, in its order, with mdtraj's atom_slice"
    i = next(i for i in range(n) if _identity(atoms[i]) != _identity(own[i]))
    if names == own_names:
        return (
            f"atom order differs from {molecule.name}: atom {i} is {atoms[i]}, "
            f"expected {own[i]}; reorder the trajectory with mdtraj's atom_slice"
        )
    if [_identity(a)[1] for a in atoms] == [_identity(a)[1] for a in own]:
        return (
            f"atoms have other names than in {molecule.name}: atom {i} is {atoms[i].name}, "
            f"expected {own[i].name} ({own[i]}); their elements are the same in the same order: if "
            "only names differ, write the frames without names (mdtraj: "
            "trajectory.save('frames.dcd')), and they are read in the molecule's order"
        )
    return (
        f"other atoms than in {molecule.name}: atom {i} is {atoms[i]} "
        f"({_identity(atoms[i])[1] or 'no element'}), expected {own[i]} ({_identity(own[i])[1]}); "
        "give frames of this molecule, in its order of atoms"
    )


def _identity(atom: mdtraj.core.topology.Atom) -> tuple[str, str]:
    return atom.name, "" if atom.element is None else atom.element.symbol


def _words(topology: mdtraj.Topology) -> str:
    return ", ".join(str(atom) for atom in list(topology.atoms)[:3]) + ", ..."


def _left_out(topology: mdtraj.Topology, first: int, width: int) -> str:
    """How many atoms besides the molecule's, and of which residues."""
    others = [a for a in topology.atoms if not first <= a.index < first + width]
    names = dict.fromkeys(a.residue.name for a in others)
    shown = ", ".join(list(names)[:5]) + (", ..." if len(names) > 5 else "")
    return f"{len(others)} atoms of {shown}"


def _made_whole(
    chunk: mdtraj.Trajectory, own: slice, molecule: Molecule
) -> tuple[NDArray[np.float32], int]:
    """The molecule's positions such that no bond crosses the box, and how many frames were cut."""
    import mdtraj

    xyz = np.ascontiguousarray(chunk.xyz[:, own])
    if chunk.unitcell_vectors is None or not np.any(chunk.unitcell_vectors):
        return xyz, 0
    bonds = np.array([(a.index, b.index) for a, b in molecule.topology.bonds])
    half = chunk.unitcell_lengths.min(axis=1) / 2
    length = np.linalg.norm(xyz[:, bonds[:, 0]] - xyz[:, bonds[:, 1]], axis=2)
    cut = int((length > half[:, None]).any(axis=1).sum())
    if not cut:
        return xyz, 0
    alone = mdtraj.Trajectory(xyz, molecule.topology)
    alone.unitcell_vectors = chunk.unitcell_vectors
    return alone.make_molecules_whole(sorted_bonds=_outwards(bonds.tolist())).xyz, cut


def _outwards(bonds: list[list[int]]) -> NDArray[np.int32]:
    """Bonds such that each begins at an atom that is placed, (atoms - 1, 2)."""
    import networkx as nx

    return np.array(list(nx.bfs_edges(nx.Graph(bonds), bonds[0][0])), dtype=np.int32)
