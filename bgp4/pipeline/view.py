"""What a terminal shows of `bgp4 run`: every stage, what it left, and how long the rest takes."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from bgp4.parallel.screen import on_terminal, screen
from bgp4.pipeline.cost import duration
from bgp4.pipeline.folder import STAGES, EnsembleFolder

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

__all__ = ["StagesView", "stages_shown"]

BY_MD = ("propose", "plan", "simulate", "judge")
"""Stages without a flow."""

IF_NEEDED = "refine"
"""A stage that is shown when it comes."""


@contextmanager
def stages_shown(folder: EnsembleFolder, quiet: bool) -> Iterator[bool]:
    """Draw the stages while the block runs, if a terminal is all that there is to write to.

    Gives whether it does, so that nobody prints the same a second time.
    """
    if quiet or not (on_terminal() and sys.stdout.isatty()):
        yield False
        return
    with drawn_stages(folder):
        yield True


@contextmanager
def drawn_stages(folder: EnsembleFolder, console: Console | None = None) -> Iterator[None]:
    """The same on any console."""
    with screen(StagesView(folder).frame, console, with_stdout=console is None) as opened:
        folder.changed = opened.draw
        try:
            yield
        finally:
            folder.changed = lambda: None


class StagesView:
    """The stages of a folder, read from its status; the view of the work at hand is among them."""

    def __init__(self, folder: EnsembleFolder) -> None:
        self.folder = folder

    def frame(self, inner: RenderableType | None) -> RenderableType:
        """One row for each stage, the view below that which runs, and the time that is left."""
        from rich.console import Group
        from rich.padding import Padding

        before, after = self._rows()
        at_hand = [] if inner is None else [Padding(inner, (0, 0, 0, 4))]
        return Group(self._head(), before, *at_hand, after, self._foot())

    def _head(self) -> str:
        status = self.folder.status
        kelvin = "" if status.temperature_k is None else f", {status.temperature_k:g} K"
        return (
            f"[bold]{status.source}[/bold]{kelvin}, "
            f"{status.effective_asked:,} effective samples asked for"
        )

    def _rows(self) -> tuple[RenderableType, RenderableType]:
        """Up to the stage that runs, and after it."""
        from rich.table import Table

        status = self.folder.status
        order = BY_MD if status.method == "md" else STAGES[:-1]
        at = order.index(status.stage) if status.stage in order else len(order)
        tables = []
        for part in (order[: at + 1], order[at + 1 :]):
            table = Table.grid(padding=(0, 1), expand=True)
            for style, ratio in (("green", None), (None, None), (None, None), ("dim", 1)):
                table.add_column(style=style, ratio=ratio, no_wrap=True, overflow="ellipsis")
            for name in part:
                if name != IF_NEEDED or name == status.stage or name in status.results:
                    table.add_row(*self._row(name))
            tables.append(table)
        return tables[0], tables[1]

    def _row(self, name: str) -> tuple[str, str, str, str]:
        """Mark, stage, time, and what it left."""
        status = self.folder.status
        spent, planned = status.wall_s_by_stage.get(name), status.expected_s.get(name, 0.0)
        expected = f"about {duration(planned)}" if planned else ""
        words = status.results.get(name, "")
        if spent is None:
            return " ", f"{name:9s}", 7 * " ", expected
        if name == status.stage:
            whole = f"of {expected}" if expected and spent <= planned else words
            return "▸", f"{name:9s}", f"{duration(spent):7s}", whole
        return "✓", f"{name:9s}", f"{duration(spent):7s}", words

    def _foot(self) -> str:
        status = self.folder.status
        left = f", about {duration(status.planned_left_s)} left" if status.planned_left_s else ""
        budget = "" if status.hours is None else f", budget {duration(3600 * status.hours)}"
        return f"[dim]{duration(status.wall_s)} so far{left}{budget}[/dim]"
