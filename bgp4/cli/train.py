"""`bgp4 train`: a config in, a run folder out."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from bgp4.cli.logs import set_up_logging
from bgp4.config import load_config
from bgp4.storage.bundled import find_data
from bgp4.training.begin import default_run, train_run

__all__ = ["train_command"]


def train_command(
    config_name: str,
    run: Path | None,
    resume: bool,
    device: str,
    overrides: Sequence[str],
    start: Path | None = None,
) -> None:
    """`bgp4 train`."""
    set_up_logging()
    config = load_config(config_name, overrides)
    folder = train_run(config, run or default_run(config_name), resume, device, start)
    from bgp4.parallel.ranks import is_writer

    if not is_writer():
        return
    info = folder.info()
    heldout = info["log_likelihood_heldout"]
    words = "" if heldout is None else f" with held-out log-likelihood {heldout:.2f}"
    reference = config.report.reference
    to_make = reference is not None and find_data(reference) is None
    simulate = f"bgp4 simulate --config {config_name} --reference, and " * to_make
    print(
        f"wrote {folder.path} (best model{words} at step {info['best_step']}); "
        f"next: {simulate}bgp4 report {folder.path}"
    )
