"""An energy worker with faults, which the first coordinate of a conformation asks for."""

from __future__ import annotations

import os
import signal
import time
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np

from bgp4.energies import worker

DIES, DIES_ONCE, HANGS_ONCE, GOES_MAD = 101.0, 102.0, 103.0, 104.0
ONCE = "BGP4_TEST_ONCE"
"""Environment variable: a file that is there until a fault has happened."""

mad = False
real = worker.evaluate_with


def serve(pipe: Connection, *arguments: Any) -> None:
    """`serve_energies`, with faults."""
    worker.evaluate_with = evaluate_with
    worker.serve_energies(pipe, *arguments)


def serve_and_die(pipe: Connection, *arguments: Any) -> None:
    """Start, and die of the first request."""
    pipe.send(None)
    pipe.recv()
    os._exit(3)


def evaluate_with(context: Any, positions: np.ndarray) -> worker.Answer:
    global mad
    asked = set(positions[:, 0, 0])
    if DIES in asked or (DIES_ONCE in asked and once()):
        os.kill(os.getpid(), signal.SIGKILL)
    if HANGS_ONCE in asked and once():
        time.sleep(1000)
    mad = mad or GOES_MAD in asked
    if mad:
        n = len(positions)
        return np.full(n, np.nan), np.zeros_like(positions), dict.fromkeys(range(n), "mad")
    return real(context, positions)


def once() -> bool:
    path = Path(os.environ[ONCE])
    there = path.exists()
    path.unlink(missing_ok=True)
    return there
