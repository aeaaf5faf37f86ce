"""Processes that work for this one, started by `spawn`, and end with it however it ends."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection, wait
from types import ModuleType
from typing import Any, NamedTuple

__all__ = ["Child", "end_with_parent", "start_child", "stop_children"]

PATIENCE_S = 5.0
"""How long a process may take to end by itself."""


class Child(NamedTuple):
    """A process and this side of its pipe."""

    process: Any
    pipe: Connection

    @property
    def fate(self) -> str:
        """How it ended: `died (SIGKILL)`, `ended with exit code 1`, or `is alive`."""
        self.process.join(timeout=PATIENCE_S)
        code = self.process.exitcode
        if code is None:
            return "is alive"
        if code < 0:
            return f"died ({signal.Signals(-code).name})"
        return f"ended with exit code {code}"


def start_child(target: Callable[..., None], *arguments: Any) -> Child:
    """Start `target(pipe, *arguments)`, a function of a module, which calls `end_with_parent`."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=target, args=(theirs, *arguments), daemon=True)
    with _without_main(), _deaf_to_ctrl_c():
        process.start()
    theirs.close()
    return Child(process, ours)


@contextmanager
def _without_main() -> Iterator[None]:
    """Hide `__main__`, which spawn would run again in the new process.

    What runs there is imported by its own name. A notebook's `__main__` is no file that could be
    run again, and a script's may have no guard against it.
    """
    hidden = sys.modules["__main__"]
    sys.modules["__main__"] = ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = hidden


@contextmanager
def _deaf_to_ctrl_c() -> Iterator[None]:
    """Processes that start within the block never hear Ctrl-C, which is their parent's; it hears
    what came meanwhile at the block's end.
    """
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def end_with_parent() -> None:
    """End this process when its parent has, in whatever it is; Ctrl-C is the parent's to hear."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=_end_after, args=(parent.sentinel,), daemon=True).start()


def stop_children(children: Iterable[Child], patience_s: float = PATIENCE_S) -> None:
    """Close their pipes, wait for their end, and kill those that don't."""
    kept = list(children)
    for child in kept:
        child.pipe.close()
    for child in kept:
        child.process.join(timeout=patience_s)
        if child.process.is_alive():
            child.process.kill()
            child.process.join()


def _end_after(sentinel: int) -> None:
    wait([sentinel])
    os._exit(1)
