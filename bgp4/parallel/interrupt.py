"""Ctrl-C at a place of one's choice."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

__all__ = ["deferred_interrupt", "gone_on_with", "way_on"]

_way_on: ContextVar[str] = ContextVar("way_on", default="--resume")


def way_on() -> str:
    """What goes on with work that was interrupted."""
    return _way_on.get()


@contextmanager
def gone_on_with(words: str) -> Iterator[None]:
    """What `way_on` says within the block."""
    token = _way_on.set(words)
    try:
        yield
    finally:
        _way_on.reset(token)


@contextmanager
def deferred_interrupt() -> Iterator[Callable[[], bool]]:
    """Within the block, the function that it gets says whether Ctrl-C was pressed.

    KeyboardInterrupt could come in the middle of a file, or inside a library's callback, where it
    would be lost; here who works raises it, once what is to be kept is. A second Ctrl-C is not
    deferred.
    """
    if threading.current_thread() is not threading.main_thread():
        yield lambda: False
        return
    asked = threading.Event()

    def note(number: int, frame: Any) -> None:
        asked.set()
        signal.signal(signal.SIGINT, before)

    before = signal.signal(signal.SIGINT, note)
    try:
        yield asked.is_set
    finally:
        signal.signal(signal.SIGINT, before)
