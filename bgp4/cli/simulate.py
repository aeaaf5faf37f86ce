"""`bgp4 simulate`: a config in, frames that train or judge a flow out."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from bgp4.cli.logs import set_up_logging
from bgp4.config import Config, load_config
from bgp4.errors import UserInputError
from bgp4.parallel.device import check_device
from bgp4.storage.bundled import is_bundled_data
from bgp4.storage.files import check_folder, refuse_existing
from bgp4.storage.lock import locked_output
from bgp4.training.begin import default_run

__all__ = ["simulate_command"]


def simulate_command(
    config_name: str,
    output: Path | None,
    resume: bool,
    overrides: Sequence[str],
    reference: bool = False,
    device: str = "cpu",
) -> None:
    """`bgp4 simulate`."""
    set_up_logging()
    check_device(device)
    config = load_config(config_name, overrides)
    output = output or (_reference_path(config) if reference else _simulated_path(config))
    config = config.of_reference if reference else config.of_data
    if output.suffix not in (".h5", ".hdf5"):
        raise UserInputError(f"-o {output}: expected a file name that ends in .h5")
    check_folder(output)
    if not resume:
        refuse_existing(output)
    from bgp4.dynamics.into_file import finish, simulate_into
    from bgp4.parallel.ranks import device_named

    with locked_output(output):
        if output.exists():
            finish(config, output)
            print(f"{output} is complete")
            return
        simulation = simulate_into(config, output, resume, device_named(device).type)
    accepted = ", ".join(f"{a:.2f}" for a in simulation.acceptance)
    print(
        f"wrote {output} ({simulation.words}"
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
