"""An independent simulation to judge by: parallel tempering that starts elsewhere.

Each stack starts from other torsions than the simulation that the flow learned from, so that a
mode which neither data nor flow have may show. It is as long as its own statistical error asks for.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from pathlib import Path

from bgp4.config import Config, dump_config, load_config
from bgp4.dynamics.into_file import is_interrupted, simulated
from bgp4.dynamics.simulate import (
    Simulation,
    begin_folder,
    remove_folder,
    work_folder,
    write_trajectory,
)
from bgp4.molecule.molecule import Molecule
from bgp4.molecule.zmatrix import ZMatrix
from bgp4.pipeline.evidence import evidence_of_chains
from bgp4.pipeline.proposal import ladder
from bgp4.statistics.chains import LARGEST_R_HAT
from bgp4.storage.files import atomic_write_text

__all__ = ["ENOUGH_DRAWS", "make_reference", "reference_config"]

FIRST_SHARE = 0.25
"""Of the config's frames: how many are made before the first look at the error."""

LONGEST = 16
"""Times the config's frames, at most."""

ENOUGH_DRAWS = 400.0
"""Independent frames behind each state's share that are enough."""


def reference_config(config: Config, zmatrix: ZMatrix) -> Config:
    """That of the independent simulation: a ladder, other starts, another seed."""
    config = config.of_reference
    settings = config.simulate
    temperatures = settings.temperatures_k or tuple(
        [config.temperature_k, *map(float, ladder(zmatrix, config.temperature_k)[1:])]
    )
    first = max(round(settings.frames * FIRST_SHARE), settings.stacks)
    update = {"temperatures_k": temperatures, "starts": "turned", "frames": first}
    simulate = settings.model_copy(update=update)
    return config.model_copy(update={"simulate": simulate, "seed": config.seed + 1})


def make_reference(
    config: Config,
    molecule: Molecule,
    output: Path,
    has_time: Callable[[float], bool],
    wanted: float = ENOUGH_DRAWS,
    to_go_on: bool = False,
) -> None:
    """Simulate until the error is small or time is short, and write the trajectory.

    What an earlier call has begun is gone on with.

    Args:
        config: As the run's.
        molecule: Its molecule.
        output: The trajectory.
        has_time: Whether there is time for so many seconds more.
        wanted: Independent frames behind each state's share and the mean energy.
        to_go_on: Whether another call may ask for more: it may be as long as there is time, and
            keeps what it needs to go on.
    """
    one = reference_config(config, molecule.zmatrix)
    most = math.inf if to_go_on else LONGEST * config.simulate.frames
    folder = work_folder(output)
    if is_interrupted(output):
        one = load_config(str(folder / "config.yaml"))
    else:
        begin_folder(output, one)
    while True:
        started = time.monotonic()
        simulation = simulated(one, folder)
        frames, taken_s = one.simulate.frames, time.monotonic() - started
        if 2 * frames > most or not has_time(taken_s) or _enough(simulation, one, molecule, wanted):
            break
        one = _of_length(one, 2 * frames)
        atomic_write_text(folder / "config.yaml", dump_config(one))
    write_trajectory(output, simulation, molecule, one)
    if not to_go_on:
        remove_folder(output)


def _of_length(config: Config, frames: int) -> Config:
    simulate = config.simulate.model_copy(update={"frames": frames})
    return config.model_copy(update={"simulate": simulate})


def _enough(simulation: Simulation, config: Config, molecule: Molecule, wanted: float) -> bool:
    """Whether energy and states that are not rare have enough independent frames, and the chains
    agree.
    """
    found = evidence_of_chains(
        *(config, molecule, simulation.positions_nm, simulation.energy_kjmol),
        *(round(wanted), config.simulate.stacks),
    )
    return found.r_hat <= LARGEST_R_HAT and found.effective >= wanted
