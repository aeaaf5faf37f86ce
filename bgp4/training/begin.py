"""What is checked of a training before its libraries are imported, so that a refusal is quick."""

from __future__ import annotations

from pathlib import Path

from bgp4.config import Config, differences, existing_data, refuse_changes
from bgp4.errors import UserInputError
from bgp4.parallel.device import check_device
from bgp4.training.run import RunFolder

__all__ = ["default_run", "train_run"]

FREE_ON_RESUME = ("energies", "report", "training.checkpoint_s", "training.tensorboard")
"""Config sections and keys that may differ when a training is resumed: no result changes."""


def default_run(config_name: str) -> Path:
    """Where a config's run goes if nothing else is said: runs/NAME."""
    return Path("runs") / Path(config_name).stem


def train_run(
    config: Config, path: Path, resume: bool, device: str, start: Path | None = None
) -> RunFolder:
    """Train a new run, or resume one that was started with the same config.

    Args:
        config: Of the run.
        path: Its folder.
        resume: Whether to go on from its checkpoint.
        device: auto, cpu or cuda.
        start: A run folder or bundled model whose flow a new run begins with.

    Raises:
        UserInputError: If the folder, the device or the config won't do.
    """
    check_device(device)
    old_run = None if start is None else _old_run(start, config, resume)
    if resume:
        old = RunFolder.open(path).config()
        refuse_changes(old, config, FREE_ON_RESUME, str(path), "start a new run with --run")
    else:
        RunFolder.refuse_existing(path)
    for name in config.data.paths:
        existing_data(name, "data.path")
    from bgp4.training.train import train

    return train(config, path, resume, device, old_run)


def _old_run(start: Path, config: Config, resume: bool) -> RunFolder:
    """The run to begin with, whose flow is of the same kind."""
    if resume:
        raise UserInputError("--from: it does not go with --resume, whose run has begun already")
    run = RunFolder.find(start)
    differing = differences(run.config().model, config.model)
    for key, (theirs, ours) in differing.items():
        raise UserInputError(
            f"--from {start}: config key model.{key} is {ours!r}, expected {theirs!r}, as in that "
            "run, whose flow is taken; set it so"
        )
    if config.training.energy_fraction == 0:
        raise UserInputError(
            f"--from {start}: config key training.energy_fraction is 0, expected more: the flow "
            "learns from energies"
        )
    return run
