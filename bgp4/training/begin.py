"""What is checked of a training before its libraries are imported, so that a refusal is quick."""

from __future__ import annotations

from pathlib import Path

from bgp4.config import Config, existing_data, refuse_changes
from bgp4.parallel.device import check_device
from bgp4.training.run import RunFolder

__all__ = ["default_run", "train_run"]

FREE_ON_RESUME = ("energies", "report", "training.checkpoint_s", "training.tensorboard")
"""Config sections and keys that may differ when a training is resumed: no result changes."""


def default_run(config_name: str) -> Path:
    """Where a config's run goes if nothing else is said: runs/NAME."""
    return Path("runs") / Path(config_name).stem


def train_run(config: Config, path: Path, resume: bool, device: str) -> RunFolder:
    """Train a new run, or resume one that was started with the same config.

    Raises:
        UserInputError: If the folder, the device or the config won't do.
    """
    check_device(device)
    if resume:
        old = RunFolder.open(path).config()
        refuse_changes(old, config, FREE_ON_RESUME, str(path), "start a new run with --run")
    else:
        RunFolder.refuse_existing(path)
    for name in config.data.paths:
        existing_data(name, "data.path")
    from bgp4.training.train import train

    return train(config, path, resume, device)
