"""`bgp4 reproduce`: figures of the P4Inv paper."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from bgp4.cli.logs import set_up_logging

__all__ = ["reproduce_command"]


def reproduce_command(
    figures: Sequence[str], output: Path, quick: bool, data: Path | None, download: bool
) -> None:
    """`bgp4 reproduce`."""
    set_up_logging()
    from bgp4.studies.paper.figure import reproduce

    for line in reproduce(figures, output, quick, data, download):
        print(line, flush=True)
