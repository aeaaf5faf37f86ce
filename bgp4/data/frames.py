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
from bgp4.data.one_file import FileFrames, read_file
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
    "Rung",
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


class Rung(NamedTuple):
    """Frames of another temperature than the rest.

    Attributes:
        temperature_k: Of the simulation, K.
        positions_nm: (frames, atoms, 3), float32, nm.
    """

    temperature_k: float
    positions_nm: NDArray[np.float32]


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
        cooler: Frames of a ladder's temperatures below `temperature_k`, the coldest first.
    """

    paths: tuple[Path, ...]
    positions_nm: NDArray[np.float32]
    energy_kjmol: NDArray[np.float64] | None
    temperature_k: float | None
    n_cis: int = 0
    made: Made | None = None
    constrained: tuple[tuple[int, int], ...] = ()
    lengths_set: bool = False
    cooler: tuple[Rung, ...] = ()

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
    parts, cooler = _at_one_temperature(
        [read_file(path, config, molecule) for path in _existing(config)], config
    )
    paths = tuple(part.path for part in parts)
    words = ", ".join(map(str, paths))
    positions, keep, n_cis = _chosen([part.positions_nm for part in parts], config, molecule, words)
    if n_cis:
        log.info(
            "%s: left out %d of %d frames, which have a cis peptide bond "
            "(config key data.peptide_bonds: trans)",
            *(", ".join(config.paths), n_cis, n_cis + len(keep)),
        )
    temperature_k = _temperature(parts, config)
    known = [part.energy_kjmol for part in parts if part.energy_kjmol is not None]
    energy = np.concatenate(known)[keep] if len(known) == len(parts) else None
    if energy is not None and not _of_molecule(energy, positions, molecule):
        log.warning("%s: its energies are not those of this System and are ignored", words)
        energy = None
    rungs = [
        Rung(kelvin, _chosen([part.positions_nm], config, molecule, f"{words} at {kelvin:g} K")[0])
        for kelvin, part in cooler
    ]
    return Frames(paths, positions, energy, temperature_k, n_cis, cooler=tuple(rungs))


def _at_one_temperature(
    parts: list[FileFrames], config: DataConfig
) -> tuple[list[FileFrames], list[tuple[float, FileFrames]]]:
    """Those of the data's temperature, and the cooler ones of a ladder, with their temperatures.

    Other files beside a ladder are of the data's temperature.

    Raises:
        UserInputError: If there are two ladders, or one lacks the data's temperature.
    """
    ladders = [part for part in parts if part.ladder_k]
    if not ladders:
        return parts, []
    if len(ladders) > 1:
        names = " and ".join(str(part.path) for part in ladders[:2])
        raise UserInputError(
            f"config key data.path: {names} have frames of several temperatures; expected one such "
            "file"
        )
    (ladder,) = ladders
    wanted = config.temperature_k or ladder.ladder_k[-1]
    if wanted not in ladder.ladder_k:
        known = ", ".join(f"{kelvin:g}" for kelvin in ladder.ladder_k)
        raise UserInputError(
            f"config key data.temperature_k: expected a temperature of {ladder.path} ({known} K), "
            f"found {wanted:g} K"
        )
    n = ladder.ladder_k.index(wanted)
    apart = ladder.apart()
    of_data = [apart[n] if part is ladder else part for part in parts]
    return of_data, list(zip(ladder.ladder_k[:n], apart[:n], strict=True))


def _chosen(
    parts: Sequence[NDArray[np.float32]],  # (frames, atoms, 3) each
    config: DataConfig,
    molecule: Molecule,
    words: str,
) -> tuple[NDArray[np.float32], NDArray[np.int64], int]:
    """Frames that the config asks for, their numbers, and how many a cis bond left out."""
    n = sum(map(len, parts))
    keep = np.arange(n)[config.start : config.stop : config.stride]
    if not len(keep):
        raise UserInputError(
            f"config key data.start: {words} has no frame from {config.start} on (found {n} frames)"
        )
    positions = (
        np.concatenate(parts)[keep]
        if len(parts) > 1
        else parts[0][config.start : config.stop : config.stride]
    )
    if config.peptide_bonds == "any":
        return positions, keep, 0
    trans = all_trans(positions, molecule.topology)
    if not trans.any():
        raise UserInputError(
            f"{words}: every frame has a cis peptide bond; set data.peptide_bonds to any"
        )
    return positions[trans], keep[trans], int((~trans).sum())


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


def _existing(config: DataConfig) -> list[Path]:
    if not config.paths:
        raise UserInputError(
            "config keys report.reference, data.path: expected frames, found none in either; "
            "name them in report.reference of the run's config.yaml"
        )
    return [existing_data(name, "data.path") for name in config.paths]


def _temperature(parts: Sequence[FileFrames], config: DataConfig) -> float | None:
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
