"""What a command logs, on stderr."""

from __future__ import annotations

import logging
import os
import sys
import warnings

__all__ = ["set_up_logging"]


class _ToStderr(logging.StreamHandler):  # type: ignore[type-arg]
    """To what is stderr at the time: a live view puts lines above itself."""

    def emit(self, record: logging.LogRecord) -> None:
        self.stream = sys.stderr
        super().emit(record)


def set_up_logging(quiet: bool = False) -> None:
    """Our log on stderr, if `quiet` its warnings alone; other libraries' notices, which are not
    about the user's work, off.
    """
    logging.basicConfig(level=logging.ERROR, format="%(message)s", handlers=[_ToStderr()])
    logging.getLogger("bgp4").setLevel(logging.WARNING if quiet else logging.INFO)
    warnings.filterwarnings("ignore", module=r"(mdtraj|openmmtools|pymbar|nflows)")
    os.environ.setdefault("PYTHONWARNINGS", "ignore")  # for the worker processes
