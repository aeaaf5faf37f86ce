"""One trajectory file: its frames, checked, and what it says of their energies and temperatures."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from bgp4.config import DataConfig, existing_data
from bgp4.data.trajectories import CHUNK, read_trajectory
from bgp4.errors import UserInputError
from bgp4.molecule.molecule import Molecule

__all__ = ["FileFrames", "read_file"]

BOND_TOLERANCE = 2.0
"""A frame's bonds may be this factor longer or shorter than the molecule's."""


class FileFrames(NamedTuple):
    """All frames of one file, and what it says beside them, K as OpenMM reports them.

    Frames of a ladder come temperature after temperature, as many of each.
    """

    path: Path
    positions_nm: NDArray[np.float32]
    energy_kjmol: NDArray[np.float64] | None
    kelvin: NDArray[np.float64] | None  # (frames,)
    ladder_k: tuple[float, ...] = ()

    def apart(self) -> list[FileFrames]:
        """One for each temperature of a ladder."""
        n = len(self.ladder_k)
        positions = np.split(self.positions_nm, n)
        energies = np.split(self.energy_kjmol, n) if self.energy_kjmol is not None else [None] * n
        kelvin = (np.full(len(positions[0]), k) for k in self.ladder_k)
        return [FileFrames(self.path, *of) for of in zip(positions, energies, kelvin, strict=True)]

    @property
    def temperature_k(self) -> float | None:
        """The ensemble's, where the file has one for all frames."""
        return None if self.kelvin is None or self.is_kinetic else float(self.kelvin[0])

    @property
    def is_kinetic(self) -> bool:
        """Whether it has each frame's kinetic temperature, which is not the ensemble's."""
        return self.kelvin is not None and bool(np.ptp(self.kelvin) > 1e-3)


def read_file(path: Path, config: DataConfig, molecule: Molecule) -> FileFrames:
    """All of a file's frames, checked one by one.

    Raises:
        UserInputError: As `bgp4.data.frames.load_frames`, of one file.
    """
    topology = None if config.topology is None else existing_data(config.topology, "data.topology")
    positions_nm = read_trajectory(path, molecule, topology)
    if not len(positions_nm):
        raise UserInputError(f"{path}: expected frames, found none")
    for first in range(0, len(positions_nm), CHUNK):
        _check_positions(path, positions_nm[first : first + CHUNK], molecule, first)
    return FileFrames(path, positions_nm, *_energies(path, len(positions_nm)))


def _check_positions(
    path: Path,
    xyz: NDArray[np.float32],  # (frames, atoms, 3), nm
    molecule: Molecule,
    first: int,  # number of the first frame
) -> None:
    finite = np.isfinite(xyz).all(axis=(1, 2))
    if not finite.all():
        raise UserInputError(
            f"{path}: frame {first + int(finite.argmin())} has coordinates that are not finite "
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
            f"{path}: frame {first + frame}: bond {atoms[i[bond]]}-{atoms[j[bond]]} is "
            f"{ratio[frame, bond] * expected[bond]:.3f} nm long, expected about "
            f"{expected[bond]:.3f} nm; wrong units, another atom order, a broken molecule "
            "or one that a box cuts, which the file does not have (gmx trjconv -pbc whole, cpptraj "
            "autoimage)"
        )


def _energies(
    path: Path, n_frames: int
) -> tuple[NDArray[np.float64] | None, NDArray[np.float64] | None, tuple[float, ...]]:
    """What mdtraj's HDF5 convention keeps beside the frames: kJ/mol and K, (frames,) both.

    And the temperatures of a ladder, if it is one's.
    """
    if path.suffix.lower() not in {".h5", ".hdf5"}:
        return None, None, ()
    import h5py

    with h5py.File(path) as file:
        energy, kelvin = (
            np.asarray(file[name], np.float64).ravel() if name in file else None
            for name in ("potentialEnergy", "temperature")
        )
        own = file["bgp4"].attrs if "bgp4" in file else {}
        ladder = np.atleast_1d(own.get("temperatures_k", ()))
    ladder_k = tuple(map(float, ladder)) if ladder.dtype.kind in "fi" and len(ladder) > 1 else ()
    if energy is not None and (len(energy) != n_frames or not np.isfinite(energy).all()):
        raise UserInputError(f"{path}: potentialEnergy is not one finite value for each frame")
    if kelvin is not None and not (len(kelvin) and np.isfinite(kelvin).all() and kelvin.min() > 0):
        kelvin = None
    if ladder_k and n_frames % len(ladder_k):
        raise UserInputError(
            f"{path}: expected as many frames of each of its {len(ladder_k)} temperatures, found "
            f"{n_frames} in all: damaged; simulate it again"
        )
    return energy, kelvin, ladder_k
