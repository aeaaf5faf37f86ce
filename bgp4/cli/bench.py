"""`bgp4 bench`: speeds, measured side by side."""

from __future__ import annotations

import importlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from bgp4.cli.logs import set_up_logging
from bgp4.errors import UserInputError
from bgp4.parallel.device import check_device
from bgp4.storage.files import atomic_write_text, check_folder

__all__ = ["bench_command"]

BENCHES = ("linear", "energy", "simulation", "sampling", "ensemble")
OF_A_RUN = ("sampling", "ensemble")


def bench_command(what: str, output: Path | None, run: Path, device: str) -> None:
    """`bgp4 bench`."""
    set_up_logging()
    check_device(device)
    if what not in BENCHES:
        raise UserInputError(f"bench: expected one of {', '.join(BENCHES)}, found {what}")
    if what == "ensemble" and device == "cuda":
        raise UserInputError("bench ensemble: it compares on CPUs alone; leave --device cuda out")
    if output is not None:
        check_folder(output)
    measure = getattr(importlib.import_module(f"bgp4.studies.bench.{what}"), f"bench_{what}")
    from bgp4.parallel.hardware import full_precision
    from bgp4.parallel.ranks import device_named
    from bgp4.studies.bench.machine import describe_machine, in_words

    chosen = device_named(device)
    machine = describe_machine(chosen)
    settings: dict[str, Any] = {} if what == "ensemble" else {"device": chosen}
    with full_precision():
        measured = measure(*[run] * (what in OF_A_RUN), **settings)
    text = json.dumps(measured | {"machine": machine}, indent=2) + "\n"
    if output is None:
        print(text, end="")
        return
    atomic_write_text(output, text)
    print(in_words(machine))
    for line in _ratios(measured.get("ratios", [])):
        print(line)
    print(f"wrote {output}")


def _ratios(rows: Any) -> Iterator[str]:
    """A line for each measured setting: what it is of, and each quotient."""
    for row in [rows] if isinstance(rows, dict) else rows:
        of = [f"{key} {value}" for key, value in row.items() if not isinstance(value, float)]
        found = [f"{key} {value:.3g}" for key, value in row.items() if isinstance(value, float)]
        yield ": ".join(", ".join(part) for part in (of, found) if part)
