"""A simulation into a trajectory file, by way of a work folder from which it can go on."""

from __future__ import annotations

import logging
from pathlib import Path

from bgp4.config import Config, load_config, refuse_changes
from bgp4.dynamics.simulate import (
    FREE_ON_RESUME,
    Simulation,
    begin_folder,
    config_of,
    remove_folder,
    simulate,
    work_folder,
    write_trajectory,
)
from bgp4.errors import UserInputError
from bgp4.molecule.molecule import load_molecule
from bgp4.parallel.interrupt import way_on
from bgp4.parallel.progress import progress

__all__ = ["finish", "is_interrupted", "simulate_into"]

log = logging.getLogger(__name__)


def finish(config: Config, output: Path) -> None:
    """Of a simulation that was ended after its trajectory was written, nothing else is left to do.

    Raises:
        UserInputError: If the trajectory is of another config.
    """
    refuse_changes(config_of(output), config, FREE_ON_RESUME, f"-o {output}", "move the file away")
    remove_folder(output)


def is_interrupted(output: Path) -> bool:
    """Whether there is a simulation to go on with."""
    return (work_folder(output) / "config.yaml").is_file()


def simulate_into(config: Config, output: Path, resume: bool, device: str = "cpu") -> Simulation:
    """Simulate, and write the trajectory.

    Args:
        resume: Whether to go on with an interrupted simulation.
        device: cpu or cuda.

    Raises:
        UserInputError: If there is none, or it is of another config, or there is one and `resume`
            is false; or as `simulate`.
    """
    folder = work_folder(output)
    if resume:
        _check_interrupted(folder, config, output)
    else:
        begin_folder(output, config)
    try:
        simulation = simulated(config, folder, device)
    except UserInputError:
        if not resume:
            remove_folder(output)
        raise
    except KeyboardInterrupt:
        log.info("stopped; continue with %s", way_on())
        raise
    write_trajectory(output, simulation, load_molecule(config.system), config)
    remove_folder(output)
    return simulation


def simulated(config: Config, folder: Path, device: str = "cpu") -> Simulation:
    """Simulate in a work folder, with its progress shown."""
    with progress("simulating", 100) as report:
        return simulate(config, lambda done, n: report(100 * done // n, ""), folder, device)


def _check_interrupted(folder: Path, config: Config, output: Path) -> None:
    """There is a simulation to go on with, and it is of this config."""
    begun = folder / "config.yaml"
    if not begun.is_file():
        raise UserInputError(
            f"-o {output}: no interrupted simulation is there; start it without --resume"
        )
    old = load_config(str(begun))
    refuse_changes(old, config, FREE_ON_RESUME, f"-o {output}", "name another file")
