"""`bgp4 simulate`: a config in, frames that train or judge a flow out."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

from bgp4.cli.logs import set_up_logging
from bgp4.config import Config, load_config, refuse_changes
from bgp4.errors import UserInputError
from bgp4.parallel.progress import progress
from bgp4.storage.bundled import is_bundled_data
from bgp4.storage.files import check_folder, refuse_existing
from bgp4.storage.lock import locked_output
from bgp4.training.begin import default_run

__all__ = ["simulate_command"]

log = logging.getLogger(__name__)


def simulate_command(
    config_name: str,
    output: Path | None,
    resume: bool,
    overrides: Sequence[str],
    reference: bool = False,
) -> None:
    """`bgp4 simulate`."""
    set_up_logging()
    config = load_config(config_name, overrides)
    output = output or (_reference_path(config) if reference else _simulated_path(config))
    config = config if reference else config.of_data
    if output.suffix not in (".h5", ".hdf5"):
        raise UserInputError(f"-o {output}: expected a file name that ends in .h5")
    check_folder(output)
    if not resume:
        refuse_existing(output)
    with locked_output(output):
        if output.exists():
            _finish_simulation(config, output)
        else:
            _simulate(config, config_name, output, resume)


def _finish_simulation(config: Config, output: Path) -> None:
    """It was ended after its trajectory was written: there is nothing left to do but this."""
    from bgp4.dynamics.simulate import FREE_ON_RESUME, config_of, remove_folder

    refuse_changes(config_of(output), config, FREE_ON_RESUME, f"-o {output}", "move the file away")
    remove_folder(output)
    print(f"{output} is complete")


def _simulate(config: Config, config_name: str, output: Path, resume: bool) -> None:
    """Into a work folder, from which the trajectory is made in the end."""
    from bgp4.dynamics.simulate import (
        begin_folder,
        remove_folder,
        simulate,
        work_folder,
        write_trajectory,
    )
    from bgp4.molecule.molecule import load_molecule

    folder = work_folder(output)
    if resume:
        _check_interrupted(folder, config, output)
    else:
        begin_folder(output, config)
    try:
        with progress("simulating", 100) as report:
            simulation = simulate(config, lambda done, n: report(100 * done // n, ""), folder)
    except UserInputError:
        if not resume:
            remove_folder(output)
        raise
    except KeyboardInterrupt:
        log.info("stopped; continue with --resume")
        raise
    write_trajectory(output, simulation, load_molecule(config.system), config)
    remove_folder(output)
    accepted = ", ".join(f"{a:.2f}" for a in simulation.acceptance)
    print(
        f"wrote {output} ({len(simulation.positions_nm)} frames at {config.temperature_k:g} K"
        + (f", exchange acceptance {accepted})" if accepted else ")")
        + _next_step(config, config_name, str(output))
    )


def _next_step(config: Config, config_name: str, output: str) -> str:
    """After frames that train, or judge, a run."""
    if output in config.data.paths:
        return f"; next: bgp4 train --config {config_name}"
    judges = output == config.report.reference
    return f"; next: bgp4 report {default_run(config_name)}" * judges


def _simulated_path(config: Config) -> Path:
    """Where a config's frames are expected, unless these came with bgp4."""
    paths = config.data.paths
    own = len(paths) == 1 and not is_bundled_data(paths[0])
    return Path(paths[0]) if own else Path("data.h5")


def _reference_path(config: Config) -> Path:
    """Where the frames are expected that a report compares with."""
    name = config.report.reference
    if name is None or is_bundled_data(name):
        raise UserInputError(
            f"config key report.reference: expected the file to write, found {name}; "
            "name one there, or with -o"
        )
    return Path(name)


def _check_interrupted(folder: Path, config: Config, output: Path) -> None:
    """There is a simulation to go on with, and it is of this config."""
    begun = folder / "config.yaml"
    if not begun.is_file():
        raise UserInputError(
            f"-o {output}: no interrupted simulation is there; start it without --resume"
        )
    from bgp4.dynamics.simulate import FREE_ON_RESUME

    old = load_config(str(begun))
    refuse_changes(old, config, FREE_ON_RESUME, f"-o {output}", "name another file")
