"""Progress of long work: a bar with an ETA on a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from contextvars import ContextVar

from bgp4.parallel.screen import Bar, Report, View, drawn, on_terminal

__all__ = ["Listener", "Report", "followed", "progress", "silent"]

Listener = Callable[[str, int, int, str], None]
"""Called with a label, how much is done, of how much, and a few words."""

LINE_EVERY_S = 15.0


_outer: ContextVar[Report | None] = ContextVar("progress", default=None)
_listener: ContextVar[Listener | None] = ContextVar("listener", default=None)
_quiet: ContextVar[bool] = ContextVar("quiet", default=False)


@contextmanager
def followed(listener: Listener, quiet: bool = False) -> Iterator[None]:
    """Tell a listener of all progress within the block, and show none of it if `quiet`."""
    tokens = _listener.set(listener), _quiet.set(quiet)
    try:
        yield
    finally:
        _listener.reset(tokens[0])
        _quiet.reset(tokens[1])


@contextmanager
def progress(
    label: str,
    total: int,
    shown: bool = True,
    view: View | None = None,
) -> Iterator[Report]:
    """Show progress on stderr while the block runs; within another's block, in its note.

    Args:
        label: What is being done.
        total: Of how much.
        shown: Whether to show anything.
        view: What a terminal shows instead of the bar.
    """
    outer = _outer.get()
    with ExitStack() as stack:
        if outer is not None:
            report = _inner(outer, label, total)
        elif not shown or _quiet.get():
            report = silent
        elif on_terminal():
            report = stack.enter_context(drawn(view or Bar(label, total)))
        else:
            report = _lines(label, total)
        listener = _listener.get()
        if listener is not None and outer is None and shown:
            report = _heard(report, listener, label, total)
        token = _outer.set(report)
        try:
            yield report
        finally:
            _outer.reset(token)


def _inner(outer: Report, label: str, total: int) -> Report:
    def report(done: int | None, note: str = "") -> None:
        outer(None, f"{label} {done}/{total} {note}".rstrip())

    return report


def _heard(shown: Report, listener: Listener, label: str, total: int) -> Report:
    before = 0

    def report(done: int | None, note: str = "") -> None:
        nonlocal before
        before = before if done is None else done
        listener(label, before, total, note)
        shown(done, note)

    return report


def silent(done: int | None, note: str = "") -> None:
    """Show nothing."""


def _lines(label: str, total: int) -> Report:
    start = time.monotonic()
    last, before = start, 0

    def report(done: int | None, note: str = "") -> None:
        nonlocal last, before
        done = before = before if done is None else done
        now = time.monotonic()
        if now - last < LINE_EVERY_S and done < total:
            return
        last = now
        left = max((now - start) / done * (total - done), 0.0) if done else None
        eta = "" if left is None else f", ETA {left:.0f} s"
        print(f"{label} {done}/{total}{eta} {note}".rstrip(), file=sys.stderr, flush=True)

    return report
