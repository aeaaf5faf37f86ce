"""history.csv: one row for each evaluation of a training, and the same in TensorBoard."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from bgp4.storage.files import append_text, atomic_write_text

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

__all__ = ["COLUMNS", "STATE", "History", "state_column"]

COLUMNS = (
    "step",
    "phase",
    "temperature_k",
    "loss",
    "nll",
    "kl",
    "heldout_log_likelihood",
    "ess",
    "gradient_norm",
    "learning_rate",
    "energy_evaluations",
    "rejected_energies",
    "skipped_steps",
    "p4_merges",
    "p4_residual",
    "wall_s",
)

STATE = "state: "
"""What the columns of states begin with: shares of the samples since the last row."""


def state_column(label: str) -> str:
    """The column of a state's share."""
    return STATE + label


class History:
    """The rows of a run.

    Args:
        path: history.csv.
        tensorboard: Folder of its event files, or None.
        states: Labels of the states whose shares each row has.

    Attributes:
        columns: `COLUMNS`, then the states'; of a run from before, those of its file.
        last: The row that was appended last, by its columns; empty before there is one.
    """

    def __init__(
        self, path: Path, tensorboard: Path | None = None, states: Iterable[str] = ()
    ) -> None:
        self.path = path
        self.columns = (*COLUMNS, *map(state_column, states))
        self.last: Mapping[str, object] = {}
        self._folder = tensorboard
        self._tensorboard: SummaryWriter | None = None

    def begin(self) -> None:
        """A new file, with its head."""
        atomic_write_text(self.path, _line(self.columns))
        self._open_tensorboard(None)

    def append(self, row: Mapping[str, object]) -> None:
        """A row by its columns; NaN is an empty cell."""
        self.last = row
        append_text(self.path, _line(_cell(row.get(name, "")) for name in self.columns))
        if self._tensorboard is not None:
            for name, value in row.items():
                if name != "step" and isinstance(value, int | float) and math.isfinite(value):
                    self._tensorboard.add_scalar(name, value, row["step"])
            self._tensorboard.flush()

    def drop_after(self, step: int) -> None:
        """Rows written after a checkpoint are made again by the run that goes on from it."""
        head, *rows = self.path.read_text(encoding="utf-8").splitlines(keepends=True)
        self.columns = tuple(next(csv.reader([head])))
        whole = [row for row in rows if row.endswith("\n")]
        kept = [row for row in whole if int(row.split(",", 1)[0]) <= step]
        atomic_write_text(self.path, "".join([head, *kept]))
        self._open_tensorboard(step + 1)

    def _open_tensorboard(self, first_step: int | None) -> None:
        """Event files; TensorBoard leaves out what earlier ones have from the first step on."""
        if self._folder is not None:
            from torch.utils.tensorboard import SummaryWriter

            self._tensorboard = SummaryWriter(str(self._folder), purge_step=first_step)

    def close(self) -> None:
        if self._tensorboard is not None:
            self._tensorboard.close()


def _line(cells: Iterable[object]) -> str:
    """A row of CSV."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerow(cells)
    return text.getvalue()


def _cell(value: object) -> object:
    return "" if isinstance(value, float) and math.isnan(value) else value
