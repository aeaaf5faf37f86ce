"""Progress of long work: a bar with an ETA on a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

__all__ = ["Report", "progress"]

Report = Callable[[int, str], None]
"""Called with how much is done and a few words on how it goes."""

LINE_EVERY_S = 15.0


@contextmanager
def progress(label: str, total: int) -> Iterator[Report]:
    """Show progress on stderr while the block runs."""
    if sys.stderr.isatty():
        with _bar(label, total) as report:
            yield report
    else:
        yield _lines(label, total)


@contextmanager
def _bar(label: str, total: int) -> Iterator[Report]:
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
    )

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("ETA"),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}"),
    )
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task(label, total=total, note="")

        def report(done: int, note: str = "") -> None:
            bar.update(task, completed=done, note=note)

        yield report


def _lines(label: str, total: int) -> Report:
    start = time.monotonic()
    last = start

    def report(done: int, note: str = "") -> None:
        nonlocal last
        now = time.monotonic()
        if now - last < LINE_EVERY_S and done < total:
            return
        last = now
        eta = (now - start) / max(done, 1) * (total - done)
        print(
            f"{label} {done}/{total}, ETA {eta:.0f} s {note}".rstrip(), file=sys.stderr, flush=True
        )

    return report
