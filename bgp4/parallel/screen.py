"""A live drawing on a terminal's stderr: one place, in which each piece of work shows its view.

No thread draws it, so nothing moves while a kernel runs and nothing is drawn after a piece ended.
The cursor stays visible, so that no way to end a program hides it.
"""

from __future__ import annotations

import math
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from rich.console import Console, RenderableType
    from rich.live import Live

__all__ = ["Bar", "Frame", "Report", "Screen", "View", "drawn", "on_terminal", "screen"]

Report = Callable[[int | None, str], None]
"""Called with how much is done (None: as much as before) and a few words on how it goes."""

REFRESH_S = 0.25


class View(Protocol):
    """What a terminal shows of one piece of work."""

    def heard(self, done: int | None, note: str) -> None:
        """Its progress, as of `Report`."""

    def render(self) -> RenderableType:
        """How it looks now."""


Frame = Callable[["RenderableType | None"], "RenderableType"]
"""What stands around the view of the work that is done now, if there is one."""


class Screen:
    """A frame and the view in it, drawn again and again in the same place."""

    def __init__(self, live: Live, frame: Frame) -> None:
        self.live = live
        self.frame = frame
        self.view: View | None = None
        self._drawn_s = 0.0

    def show(self, view: View) -> None:
        """From now on; the first that is heard of its work is drawn at once."""
        self.view = view
        self.draw()
        self._drawn_s = -math.inf

    def draw(self) -> None:
        """As it is now."""
        self.live.update(self.frame(self.view.render() if self.view else None), refresh=True)
        self._drawn_s = time.monotonic()

    def draw_again(self) -> None:
        """The same, if some time has passed."""
        if time.monotonic() - self._drawn_s >= REFRESH_S:
            self.draw()


_screen: ContextVar[Screen | None] = ContextVar("screen", default=None)


def on_terminal() -> bool:
    """Whether stderr is a terminal that can draw over what it has shown."""
    return sys.stderr.isatty() and os.environ.get("TERM") not in ("dumb", "unknown")


@contextmanager
def screen(
    frame: Frame, console: Console | None = None, with_stdout: bool = False
) -> Iterator[Screen]:
    """Draw while the block runs; what was drawn last stays.

    Args:
        frame: Around each view.
        console: Where; None is stderr.
        with_stdout: Whether what is printed goes above it too: if stdout is the same terminal.
    """
    from rich.console import Console
    from rich.live import Live

    console = console or Console(stderr=True)
    live = Live(console=console, auto_refresh=False, redirect_stdout=with_stdout)
    with live:
        console.show_cursor(True)
        opened = Screen(live, frame)
        token = _screen.set(opened)
        try:
            yield opened
        finally:
            _screen.reset(token)
            opened.draw()


@contextmanager
def drawn(view: View, console: Console | None = None) -> Iterator[Report]:
    """Draw a view while the block runs, in the screen that is open or in one of its own."""
    with ExitStack() as stack:
        shared = _screen.get()
        on = shared or stack.enter_context(screen(_alone, console))
        on.show(view)

        def report(done: int | None, note: str = "") -> None:
            view.heard(done, note)
            on.draw_again()

        try:
            yield report
        finally:
            if shared:
                shared.view = None


def _alone(view: RenderableType | None) -> RenderableType:
    return view or ""


class Bar:
    """A bar with an ETA."""

    def __init__(self, label: str, total: int) -> None:
        from rich.progress import (
            BarColumn,
            MofNCompleteColumn,
            Progress,
            TextColumn,
            TimeRemainingColumn,
        )

        self.progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("ETA"),
            TimeRemainingColumn(),
            TextColumn("{task.fields[note]}"),
            auto_refresh=False,
        )
        self.task = self.progress.add_task(label, total=total, note="")

    def heard(self, done: int | None, note: str) -> None:
        """Its progress, as of `Report`."""
        self.progress.update(self.task, completed=done, note=note)

    def render(self) -> RenderableType:
        """How it looks now."""
        return self.progress.get_renderable()
