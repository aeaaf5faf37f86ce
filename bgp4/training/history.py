"""history.csv: one row for each evaluation of a training, and the same in TensorBoard."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterable, Mapping
from pathlib import Path

from bgp4.files import append_text, atomic_write_text

__all__ = ["COLUMNS", "History"]

COLUMNS = (
    "step",
    "phase",
    "temperature_k",
    "loss",
    "nll",
    "kl",
    "heldout_log_likelihood",
    "ess",
    "phi_positive",
    "gradient_norm",
    "learning_rate",
    "energy_evaluations",
    "rejected_energies",
    "skipped_steps",
    "p4_merges",
    "p4_residual",
    "wall_s",
)


class History:
    """The rows of a run.

    Args:
        path: history.csv.
        tensorboard: Folder of its event files, or None.
    """

    def __init__(self, path: Path, tensorboard: Path | None = None) -> None:
        self.path = path
        self._tensorboard = None
        if tensorboard is not None:
            from torch.utils.tensorboard import SummaryWriter

            self._tensorboard = SummaryWriter(str(tensorboard))

    def begin(self) -> None:
        """A new file, with its head."""
        atomic_write_text(self.path, _line(COLUMNS))

    def append(self, row: Mapping[str, object]) -> None:
        """A row by the names of `COLUMNS`; NaN is an empty cell."""
        append_text(self.path, _line(_cell(row[name]) for name in COLUMNS))
        if self._tensorboard is not None:
            for name, value in row.items():
                if isinstance(value, int | float) and math.isfinite(value):
                    self._tensorboard.add_scalar(name, value, row["step"])

    def drop_after(self, step: int) -> None:
        """Rows written after a checkpoint are made again by the run that goes on from it."""
        head, *rows = self.path.read_text(encoding="utf-8").splitlines(keepends=True)
        whole = [row for row in rows if row.endswith("\n")]
        kept = [row for row in whole if int(row.split(",", 1)[0]) <= step]
        atomic_write_text(self.path, "".join([head, *kept]))

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
