"""MD frames through mdtraj, in nm, checked against the molecule; and their split."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from bgp4.config import DataConfig, existing_data
from bgp4.data.trajectories import CHUNK, read_trajectory
from bgp4.energies.reference import ReferenceEnergy
from bgp4.errors import UserInputError
from bgp4.molecule.molecule import Molecule
from bgp4.molecule.topology import peptide_torsions

if TYPE_CHECKING:
    import mdtraj

__all__ = [
    "FEWEST_FRAMES",
    "Frames",
    "Made",
    "Split",
    "all_trans",
    "begin_from_energies",
    "check_number",
    "load_frames",
    "split_blocks",
]

log = logging.getLogger(__name__)

BLOCKS = 50
"""Contiguous blocks that are held out or not as a whole, because neighbours in time are alike."""

FEWEST_FRAMES = 10
"""Of fewer, not even the width of one coordinate is known to a quarter."""

FRAMES_PER_COORDINATE = 5
"""With fewer, the widths in some directions are what these few frames happen to have."""

START_K = 1200.0
"""Where a training without frames may begin: everything turns there."""

COMPARED_FRAMES = 5
ENERGY_TOLERANCE_KJMOL = 0.1
"""Energies in a file are the molecule's if a few frames' are so near to OpenMM's."""

BOND_TOLERANCE = 2.0
"""A frame's bonds may be this factor longer or shorter than the molecule's."""


class Made(NamedTuple):
    """What conformations made from the energy need in addition, because no MD says it.

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
    """Trajectories of the molecule, or conformations made in their place.

    Attributes:
        paths: Where it was read from; none where it was made.
        positions_nm: (frames, atoms, 3), float32, nm.
        energy_kjmol: (frames,), kJ/mol, or None where the files have none of the molecule's.
        temperature_k: Of the simulation, K, or None where the files don't say.
        n_cis: Frames left out because of a cis peptide bond.
        made: Of conformations that are no simulation's.
        constrained: Bonds that the simulation had constrained, whose lengths were drawn instead.
        lengths_set: Whether the System's constrained bonds had other lengths in the simulation.
    """

    paths: tuple[Path, ...]
    positions_nm: NDArray[np.float32]
    energy_kjmol: NDArray[np.float64] | None
    temperature_k: float | None
    n_cis: int = 0
    made: Made | None = None
    constrained: tuple[tuple[int, int], ...] = ()
    lengths_set: bool = False

    @property
    def source(self) -> str:
        """The files, for messages."""
        return ", ".join(map(str, self.paths))


@dataclass(frozen=True)
class Split:
    """Frame indices for training and for judging."""

    train: NDArray[np.int64]
    heldout: NDArray[np.int64]


def load_frames(config: DataConfig, molecule: Molecule) -> Frames:
    """Read the config's trajectories and check them atom by atom against the molecule.

    Raises:
        UserInputError: If a file is missing, can't be read, has no frames, other atoms, values
            that are not finite, or bonds that are not this molecule's (Å taken for nm,
            another atom order); if files are of different temperatures; or if no frame is left.
    """
    parts = [_part(path, config, molecule) for path in _existing(config)]
    paths = tuple(part.path for part in parts)
    words = ", ".join(map(str, paths))
    keep = np.arange(sum(len(part.positions_nm) for part in parts))
    keep = keep[config.start : config.stop : config.stride]
    if not len(keep):
        n = sum(len(part.positions_nm) for part in parts)
        raise UserInputError(
            f"config key data.start: {words} has no frame from {config.start} on (found {n} frames)"
        )
    positions = (
        np.concatenate([p.positions_nm for p in parts])[keep]
        if len(parts) > 1
        else (parts[0].positions_nm[config.start : config.stop : config.stride])
    )
    n_cis = 0
    if config.peptide_bonds == "trans":
        trans = all_trans(positions, molecule.topology)
        n_cis = int((~trans).sum())
        positions, keep = positions[trans], keep[trans]
        if n_cis:
            named = ", ".join(config.paths)
            log.info(
                "%s: left out %d of %d frames, which have a cis peptide bond "
                "(config key data.peptide_bonds: trans)",
                *(named, n_cis, len(trans)),
            )
        if not len(keep):
            raise UserInputError(
                f"{words}: every frame has a cis peptide bond; set data.peptide_bonds to any"
            )
    temperature_k = _temperature(parts, config)
    known = [part.energy_kjmol for part in parts if part.energy_kjmol is not None]
    energy = np.concatenate(known)[keep] if len(known) == len(parts) else None
    if energy is not None and not _of_molecule(energy, positions, molecule):
        log.warning("%s: its energies are not those of this System and are ignored", words)
        energy = None
    return Frames(paths, positions, energy, temperature_k, n_cis)


def check_number(frames: Frames, molecule: Molecule, temperature_k: float) -> None:
    """Refuse frames of which next to nothing can be learned, and say of few what they lack.

    Args:
        temperature_k: Of the frames, K.
    """
    n, features = len(frames.positions_nm), 3 * molecule.n_atoms - 6 - len(molecule.constraints)
    words = frames.source
    if n < FEWEST_FRAMES:
        raise UserInputError(
            f"{words}: found {n} frame{'s' * (n != 1)}, expected {FEWEST_FRAMES} at the least, and "
            f"thousands to learn {features} coordinates from; simulate some by `bgp4 simulate`, or "
            f"{begin_from_energies(temperature_k)}"
        )
    if n < FRAMES_PER_COORDINATE * features:
        log.warning(
            "%s: %d frames for %d coordinates: these say where states are, but not how wide or how "
            "likely; only the steps with energies can learn that, and a report's comparison with "
            "so few says little; or %s",
            *(words, n, features, begin_from_energies(temperature_k)),
        )


def begin_from_energies(temperature_k: float) -> str:
    """Advice: how to do without frames of this temperature, K."""
    start_k = max(START_K, temperature_k)
    return f"begin from energies alone by --set data.path=null --set data.temperature_k={start_k:g}"


class _Part(NamedTuple):
    """All frames of one file, and what it says beside them, K as OpenMM reports them."""

    path: Path
    positions_nm: NDArray[np.float32]
    energy_kjmol: NDArray[np.float64] | None
    kelvin: NDArray[np.float64] | None  # (frames,)

    @property
    def temperature_k(self) -> float | None:
        """The ensemble's, where the file has one for all frames."""
        return None if self.kelvin is None or self.is_kinetic else float(self.kelvin[0])

    @property
    def is_kinetic(self) -> bool:
        """Whether it has each frame's kinetic temperature, which is not the ensemble's."""
        return self.kelvin is not None and bool(np.ptp(self.kelvin) > 1e-3)


def _existing(config: DataConfig) -> list[Path]:
    if not config.paths:
        raise UserInputError(
            "config keys report.reference, data.path: expected frames, found none in either; "
            "name them in report.reference of the run's config.yaml"
        )
    return [existing_data(name, "data.path") for name in config.paths]


def _part(path: Path, config: DataConfig, molecule: Molecule) -> _Part:
    topology = None if config.topology is None else existing_data(config.topology, "data.topology")
    positions_nm = read_trajectory(path, molecule, topology)
    if not len(positions_nm):
        raise UserInputError(f"{path}: expected frames, found none")
    for first in range(0, len(positions_nm), CHUNK):
        _check_positions(path, positions_nm[first : first + CHUNK], molecule, first)
    return _Part(path, positions_nm, *_energies(path, len(positions_nm)))


def _temperature(parts: Sequence[_Part], config: DataConfig) -> float | None:
    """That of all files, or None where one does not say it.

    Raises:
        UserInputError: If files are of different temperatures, or say that of each frame alone
            and the config does not say the ensemble's.
    """
    for part in parts:
        if config.temperature_k is not None or part.kelvin is None or not part.is_kinetic:
            continue
        found = part.kelvin
        raise UserInputError(
            f"config key data.temperature_k: expected the temperature of the simulation of "
            f"{part.path}: the file says each frame's kinetic one ({found.min():.0f} to "
            f"{found.max():.0f} K, mean {found.mean():.1f} K), which is not the ensemble's; set "
            "it to the thermostat's (--set data.temperature_k=300)"
        )
    known = [part for part in parts if part.temperature_k is not None]
    for part in known[1:]:
        if part.temperature_k != known[0].temperature_k:
            raise UserInputError(
                "config key data.path: expected frames of one temperature, found "
                f"{known[0].temperature_k:g} K in {known[0].path} and {part.temperature_k:g} K in "
                f"{part.path}"
            )
    return known[0].temperature_k if len(known) == len(parts) else None


def _of_molecule(
    energy_kjmol: NDArray[np.float64],  # (frames,)
    positions_nm: NDArray[np.float32],  # (frames, atoms, 3)
    molecule: Molecule,
) -> bool:
    """Whether a file's energies are those of the molecule's System, from a few frames."""
    some = np.linspace(0, len(energy_kjmol) - 1, COMPARED_FRAMES).astype(int)
    reference = ReferenceEnergy(molecule.system_xml, molecule.n_atoms, 300.0)
    found = reference.evaluate(positions_nm[some]).energy_kjmol
    return bool(np.abs(found - energy_kjmol[some]).max() < ENERGY_TOLERANCE_KJMOL)


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


def _energies(
    path: Path, n_frames: int
) -> tuple[NDArray[np.float64] | None, NDArray[np.float64] | None]:
    """What mdtraj's HDF5 convention keeps beside the frames: kJ/mol and K, (frames,) both."""
    if path.suffix.lower() not in {".h5", ".hdf5"}:
        return None, None
    import h5py

    with h5py.File(path) as file:
        energy, kelvin = (
            np.asarray(file[name], np.float64).ravel() if name in file else None
            for name in ("potentialEnergy", "temperature")
        )
    if energy is not None and (len(energy) != n_frames or not np.isfinite(energy).all()):
        raise UserInputError(f"{path}: potentialEnergy is not one finite value for each frame")
    if kelvin is not None and not (len(kelvin) and np.isfinite(kelvin).all() and kelvin.min() > 0):
        kelvin = None
    return energy, kelvin
