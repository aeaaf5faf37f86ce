"""MD frames that samples are compared with."""

from __future__ import annotations

from bgp4.config import Config
from bgp4.data.constrained import with_free_bonds
from bgp4.data.frames import Frames, load_frames
from bgp4.data.lengths import with_system_lengths
from bgp4.molecule.molecule import Molecule

__all__ = ["judging_frames"]


def judging_frames(config: Config, molecule: Molecule) -> Frames:
    """Frames of `report.reference`, or of the data, with the bonds that the run's System has.

    Raises:
        UserInputError: As `load_frames`.
    """
    data = config.judging_data
    frames = load_frames(data, molecule)
    kelvin = frames.temperature_k or data.temperature_k or config.temperature_k
    frames = with_system_lengths(frames, molecule)
    return with_free_bonds(frames, molecule, kelvin, config.seed)
