"""What a terminal shows of a training: where it is, how well it goes, how long it takes."""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import pairwise
from typing import TYPE_CHECKING

from bgp4.energies.base import Energy
from bgp4.parallel.progress import progress
from bgp4.parallel.ranks import ALONE, Ranks
from bgp4.training.checkpoint import Counters
from bgp4.training.history import History
from bgp4.training.schedule import Schedule
from bgp4.training.step import StepResult

if TYPE_CHECKING:
    from rich.console import RenderableType

__all__ = ["Show", "TrainingView", "training_view"]

Show = Callable[[int, str, StepResult], None]
"""Called after each step with its number, a few words on how it goes, and its result."""

SPEED_S = 20.0
"""Speeds are those of the last so many seconds."""

RECENT = 20
"""Losses and ESS are means over so many steps."""

POINTS = 200
"""Points of each curve; twice as many are thinned to every other one."""

BLOCKS = "▁▂▃▄▅▆▇█"


class Curve:
    """The course of a number, thinned as it grows long."""

    def __init__(self) -> None:
        self.values: list[float] = []
        self._recent: deque[float] = deque(maxlen=RECENT)
        self._every = 1
        self._since = 0

    @property
    def recent(self) -> float:
        """Mean of its last values, NaN without any."""
        return sum(self._recent) / len(self._recent) if self._recent else math.nan

    def add(self, value: float) -> None:
        """Its next value; what is not finite is left out."""
        if not math.isfinite(value):
            return
        self._recent.append(value)
        self._since += 1
        if self._since >= self._every:
            self.values.append(value)
            self._since = 0
        if len(self.values) >= 2 * POINTS:
            self.values = self.values[::2]
            self._every *= 2

    def blocks(self, width: int = 24) -> str:
        """As a row of blocks, each the mean of its part, from the lowest to the highest of all."""
        if len(self.values) < 2:
            return ""
        means = _means(self.values, min(width, len(self.values)))
        low, high = min(means), max(means)
        scale = (len(BLOCKS) - 1) / (high - low) if high > low else 0.0
        return "".join(BLOCKS[round((mean - low) * scale)] for mean in means)


@contextmanager
def training_view(
    schedule: Schedule,
    counters: Counters,
    energy: Energy,
    history: History,
    ranks: Ranks = ALONE,
) -> Iterator[Show]:
    """Show a training on stderr while the block runs: this view on a terminal, else plain lines."""
    view = TrainingView(schedule, counters, energy, history, ranks.size)
    with progress("training", schedule.steps, ranks.is_writer, view) as report:

        def show(step: int, note: str, result: StepResult) -> None:
            view.add(step, result)
            report(step, note)

        yield show


@dataclass
class TrainingView:
    """The numbers of a running training, and how they look.

    It reads the counters, the energy and the last row of the history where these are, and keeps
    nothing but curves and speeds.

    Args:
        n_ranks: How many processes evaluate energies as this one does.
    """

    schedule: Schedule
    counters: Counters
    energy: Energy
    history: History
    n_ranks: int = 1
    clock: Callable[[], float] = time.monotonic
    step: int = 0
    note: str = ""
    loss: Curve = field(default_factory=Curve)
    ess: Curve = field(default_factory=Curve)
    _marks: deque[tuple[float, int, int]] = field(default_factory=deque)

    def __post_init__(self) -> None:
        self.step = self.counters.step
        self._mark()

    def add(self, step: int, result: StepResult) -> None:
        """One more step."""
        if step > 1 and self.schedule.phase(step) != self.schedule.phase(step - 1):
            self.loss = Curve()
            self._marks.clear()
        self.step = step
        self.loss.add(result.loss)
        if result.log_weight is not None:
            self.ess.add(result.ess)
        self._mark()

    def _mark(self) -> None:
        now = self.clock()
        self._marks.append((now, self.step, self.energy.n_evaluations))
        while len(self._marks) > 2 and self._marks[0][0] < now - SPEED_S:
            self._marks.popleft()

    def speeds(self) -> tuple[float, float]:
        """Steps and energy evaluations per second, NaN before there are two steps."""
        (start, first, before), (end, last, after) = self._marks[0], self._marks[-1]
        if end <= start:
            return math.nan, math.nan
        return (last - first) / (end - start), self.n_ranks * (after - before) / (end - start)

    def heard(self, done: int | None, note: str) -> None:
        """What else is done between two steps."""
        self.note = note if done is None else ""

    def render(self) -> RenderableType:
        """Rows of a label and its value, under a bar."""
        from rich.console import Group
        from rich.progress_bar import ProgressBar
        from rich.table import Table

        head = Table.grid(padding=(0, 1), expand=True)
        head.add_column(no_wrap=True)
        head.add_column(ratio=1)
        head.add_column(no_wrap=True, justify="right")
        done, total = self.step, self.schedule.steps
        bar = ProgressBar(total=total, completed=done)
        head.add_row("training", bar, f"{done:,}/{total:,}  {self.eta()}")
        rows = Table.grid(padding=(0, 2))
        rows.add_column(style="dim", no_wrap=True)
        rows.add_column(no_wrap=True)
        rows.add_column(no_wrap=True, style="cyan")
        for name, value, curve in self.rows():
            rows.add_row(f"  {name}", value, curve)
        return Group(head, rows)

    def rows(self) -> Iterator[tuple[str, str, str]]:
        """Each label, its value, and its curve or nothing."""
        yield "phase", self.phase(), ""
        yield "loss", _number(self.loss.recent, "{:.2f}"), self.loss.blocks()
        yield "held-out log-likelihood", self.heldout(), ""
        yield "ESS", _number(self.ess.recent, "{:.1%}"), self.ess.blocks()
        yield "merges", self.merges(), ""
        yield "energies", self.energies(), ""
        if self.note:
            yield "now", self.note, ""

    def phase(self) -> str:
        """What is learned now, and of which temperature."""
        schedule, step = self.schedule, max(self.step, 1)
        kelvin = f"{schedule.temperature_k(step):.0f} K"
        if schedule.phase(step) == "ml":
            frames = "made-up conformations" if schedule.made_up else "frames"
            return f"likelihood of {frames}, {kelvin}"
        if schedule.phase(step) == "anneal":
            return f"energies, {kelvin} on the way from {schedule.start_k:.0f} to " + (
                f"{schedule.final_k:.0f} K"
            )
        return (
            f"likelihood and energies, {kelvin}" if self.frames_serve() else f"energies, {kelvin}"
        )

    def frames_serve(self) -> bool:
        """Whether there are frames of what is learned now."""
        return self.schedule.phase(max(self.step, 1)) == "ml" or not self.schedule.data_apart

    def heldout(self) -> str:
        """Held-out log-likelihood of the last evaluation, if frames are what is learned."""
        if not self.frames_serve():
            return "no frames of this temperature"
        return _number(self.history.last.get("heldout_log_likelihood"), "{:.2f}")

    def merges(self) -> str:
        """How many of P4Inv's merges were accepted."""
        accepted, rejected = self.counters.p4_merges, self.counters.p4_rejected
        if not accepted + rejected:
            return "none yet"
        return f"{accepted / (accepted + rejected):.1%} of {accepted + rejected:,} accepted"

    def energies(self) -> str:
        """How many were evaluated, and how many are each second."""
        total = max(self.counters.energy_evaluations, self.energy.n_evaluations)
        if not total:
            return "none yet"
        _, speed = self.speeds()
        words = f"{total:,}"
        if speed > 0:
            words += f", {speed:,.0f} per second"
        if self.counters.rejected_energies:
            words += f", {self.counters.rejected_energies:,} rejected"
        return words

    def eta(self) -> str:
        """Time left at this phase's speed; steps with energies, where these come, take longer."""
        left, (speed, _) = self.schedule.steps - self.step, self.speeds()
        if left == 0:
            return "done"
        if not speed > 0:
            return "ETA -:--"
        slower = self.step < self.schedule.lengths["ml"] < self.schedule.steps
        return f"ETA {'over ' if slower else ''}{_clock(left / speed)}"


def _means(values: Sequence[float], n: int) -> list[float]:
    """Means of n parts, in order."""
    bounds = [round(i * len(values) / n) for i in range(n + 1)]
    parts = [values[a:b] for a, b in pairwise(bounds)]
    return [sum(part) / len(part) for part in parts]


def _number(value: object, form: str) -> str:
    known = isinstance(value, float) and math.isfinite(value)
    return form.format(value) if known else "—"


def _clock(seconds: float) -> str:
    minutes, s = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{s:02d}" if hours else f"{minutes}:{s:02d}"
