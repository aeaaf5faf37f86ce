"""MD frames through mdtraj, in nm, checked against the molecule; and their split."""

from __future__ import annotations

import hashlib
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from bgp4.config import DataConfig
from bgp4.errors import UserInputError
from bgp4.paths import find_data
from bgp4.system import Molecule
from bgp4.topology import peptide_torsions

if TYPE_CHECKING:
    import mdtraj

__all__ = ["Frames", "Made", "Split", "all_trans", "load_frames", "sha256", "split_blocks"]

log = logging.getLogger(__name__)

BLOCKS = 50
"""Contiguous blocks that are held out or not as a whole, because neighbours in time are alike."""

BOND_TOLERANCE = 2.0
"""A frame's bonds may be this factor longer or shorter than the molecule's."""


class Made(NamedTuple):
    """Of conformations that were made from the energy: what MD frames would say by themselves.

    Attributes:
        typical_kjmol: What a conformation of their temperature has, kJ/mol.
        calm_nm: Some that do not clash, (frames, atoms, 3), nm.
        n_evaluations: Energies that it took to make them.
    """

    typical_kjmol: float
    calm_nm: NDArray[np.floating]
    n_evaluations: int


@dataclass(frozen=True)
class Frames:
    """A trajectory of the molecule, or conformations made in its place.

    Attributes:
        path: Where it was read from, or None where it was made.
        positions_nm: (frames, atoms, 3), float32, nm.
        energy_kjmol: (frames,), kJ/mol, or None where the file has none.
        temperature_k: Of the simulation, K, or None where the file doesn't say.
        n_cis: Frames left out because of a cis peptide bond.
        made: Of conformations that are no simulation's.
    """

    path: Path | None
    positions_nm: NDArray[np.float32]
    energy_kjmol: NDArray[np.float64] | None
    temperature_k: float | None
    n_cis: int = 0
    made: Made | None = None


@dataclass(frozen=True)
class Split:
    """Frame indices for training and for judging."""

    train: NDArray[np.int64]
    heldout: NDArray[np.int64]


def load_frames(config: DataConfig, molecule: Molecule) -> Frames:
    """Read the config's trajectory and check it atom by atom against the molecule.

    Raises:
        UserInputError: If the file is missing, can't be read, has no frames, other atoms, values
            that are not finite, or bonds that are not this molecule's (Å taken for nm, another
            atom order).
    """
    if config.path is None:
        raise UserInputError(
            "config keys report.reference, data.path: expected frames, found none in either; "
            "name some in report.reference of the run's config.yaml"
        )
    path = find_data(config.path)
    if path is None:
        raise UserInputError(
            f"config key data.path: no such file: {config.path}; make one with `bgp4 simulate`"
        )
    trajectory = _read(path, molecule)
    _check_whole(path, trajectory.n_frames)
    _check_atoms(path, trajectory.topology, molecule)
    if trajectory.n_frames == 0:
        raise UserInputError(f"{path}: expected frames, found none")
    _check_positions(path, trajectory.xyz, molecule)
    energy, temperature = _energies(path, trajectory.n_frames)
    keep = np.arange(0, trajectory.n_frames, config.stride)
    n_cis = 0
    if config.peptide_bonds == "trans":
        trans = all_trans(trajectory.xyz[keep], trajectory.topology)
        n_cis = int((~trans).sum())
        keep = keep[trans]
        if n_cis:
            log.info("%s: left out %d frames with a cis peptide bond", path, n_cis)
        if not len(keep):
            raise UserInputError(
                f"{path}: every frame has a cis peptide bond; set data.peptide_bonds to any"
            )
    return Frames(
        path, trajectory.xyz[keep], None if energy is None else energy[keep], temperature, n_cis
    )


def split_blocks(n_frames: int, heldout_fraction: float, seed: int) -> Split:
    """Hold out whole blocks of the trajectory, chosen at random.

    Raises:
        UserInputError: If there are too few frames for both parts.
    """
    blocks = np.array_split(np.arange(n_frames), min(BLOCKS, n_frames))
    n_heldout = max(1, round(heldout_fraction * len(blocks)))
    if n_heldout >= len(blocks):
        raise UserInputError(
            f"config key data.heldout_fraction: {n_frames} frames leave none for training"
        )
    chosen = set(np.random.default_rng(seed).permutation(len(blocks))[:n_heldout].tolist())
    parts = [[b for i, b in enumerate(blocks) if (i in chosen) == held] for held in (False, True)]
    return Split(np.concatenate(parts[0]), np.concatenate(parts[1]))


def sha256(path: Path) -> str:
    """The file's SHA-256, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _read(path: Path, molecule: Molecule) -> mdtraj.Trajectory:
    import mdtraj

    carries_topology = path.suffix.lower() in {".h5", ".hdf5", ".pdb", ".cif", ".gro"}
    options = {} if carries_topology else {"top": molecule.topology}
    try:
        return mdtraj.load(str(path), **options)
    except Exception as error:  # mdtraj's readers raise whatever their libraries do
        if "topology" in str(error).lower() or "atoms" in str(error).lower():
            expected = f"; expected {molecule.n_atoms} atoms"
        else:
            expected = "; expected a whole trajectory in a format that mdtraj reads"
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise UserInputError(f"{path}: cannot be read ({reason}){expected}") from error


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


def _check_atoms(path: Path, topology: mdtraj.Topology | None, molecule: Molecule) -> None:
    if topology is None:
        raise UserInputError(
            f"{path}: expected the {molecule.n_atoms} atoms of {molecule.name}, found no topology"
        )
    if topology.n_atoms != molecule.n_atoms:
        raise UserInputError(
            f"{path}: expected the {molecule.n_atoms} atoms of {molecule.name}, "
            f"found {topology.n_atoms}"
        )
    pairs = zip(topology.atoms, molecule.topology.atoms, strict=True)
    for i, (found, expected) in enumerate(pairs):
        if (found.name, found.element) != (expected.name, expected.element):
            raise UserInputError(
                f"{path}: atoms in another order than {molecule.name}: atom {i} is {found}, "
                f"expected {expected}; reorder the trajectory with mdtraj's atom_slice"
            )


def _check_positions(path: Path, xyz: NDArray[np.float32], molecule: Molecule) -> None:
    finite = np.isfinite(xyz).all(axis=(1, 2))
    if not finite.all():
        raise UserInputError(
            f"{path}: frame {int(finite.argmin())} has coordinates that are not finite "
            f"({int((~finite).sum())} such frames); remove them"
        )
    i, j = np.array([(a.index, b.index) for a, b in molecule.topology.bonds]).T
    expected = np.linalg.norm(molecule.positions_nm[i] - molecule.positions_nm[j], axis=-1)
    ratio = np.linalg.norm(xyz[:, i] - xyz[:, j], axis=-1) / expected
    median = float(np.median(ratio))
    if 8 < median < 12:
        raise UserInputError(
            f"{path}: bonds are {median:.1f} times too long: coordinates look like Å; expected nm"
        )
    bad = (ratio > BOND_TOLERANCE) | (ratio < 1 / BOND_TOLERANCE)
    if bad.any():
        frame, bond = np.argwhere(bad)[0]
        atoms = list(molecule.topology.atoms)
        raise UserInputError(
            f"{path}: frame {frame}: bond {atoms[i[bond]]}-{atoms[j[bond]]} is "
            f"{ratio[frame, bond] * expected[bond]:.3f} nm long, expected about "
            f"{expected[bond]:.3f} nm; wrong units, another atom order or a broken molecule"
        )


def all_trans(
    positions_nm: NDArray[np.floating],  # (frames, atoms, 3)
    topology: mdtraj.Topology,
) -> NDArray[np.bool_]:  # (frames,)
    """Whether every peptide bond of a frame is trans, |ω| above 90°."""
    import mdtraj

    quadruples = peptide_torsions(topology)
    if not quadruples:
        return np.ones(len(positions_nm), dtype=bool)
    trajectory = mdtraj.Trajectory(positions_nm, topology)
    omega = np.abs(mdtraj.compute_dihedrals(trajectory, quadruples))
    trans: NDArray[np.bool_] = (omega > np.pi / 2).all(axis=1)
    return trans


def _energies(path: Path, n_frames: int) -> tuple[NDArray[np.float64] | None, float | None]:
    """What mdtraj's HDF5 convention keeps beside the frames."""
    if path.suffix.lower() not in {".h5", ".hdf5"}:
        return None, None
    import h5py

    with h5py.File(path) as file:
        energy = (
            np.asarray(file["potentialEnergy"], np.float64) if "potentialEnergy" in file else None
        )
        temperature = float(file["temperature"][0]) if "temperature" in file else None
    if energy is not None and (len(energy) != n_frames or not np.isfinite(energy).all()):
        raise UserInputError(f"{path}: potentialEnergy is not one finite value for each frame")
    return energy, temperature
