"""Estimates side by side: of the flow's samples, of MD, measured. As text and as CSV."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from typing import NamedTuple

from bgp4.answers.weighted import Estimate

__all__ = ["Row", "as_csv", "as_text", "paired", "with_error"]

ROUNDING = 1e-9
"""Errors that are so small a share of the value are rounding."""


class Row(NamedTuple):
    """An estimate, and what it is compared with.

    Attributes:
        own: From the samples.
        md: The same from MD frames; None where there is none.
        measured: The same from an experiment; None where there is none.
    """

    own: Estimate
    md: Estimate | None = None
    measured: Estimate | None = None


COLUMNS = {"own": "samples", "md": "MD", "measured": "measured"}


def paired(
    own: Sequence[Estimate],
    md: Sequence[Estimate] | None = None,
    measured: Sequence[Estimate] | None = None,
) -> list[Row]:
    """Rows of the samples' estimates, with MD's and measured ones of the same names."""
    others = [{one.name: one for one in every or ()} for every in (md, measured)]
    return [Row(one, *(other.get(one.name) for other in others)) for one in own]


def with_error(value: float, error: float) -> str:
    """A value with as many digits as its error has, of which two are shown.

    >>> with_error(7.10016, 0.01714)
    '7.100 ± 0.017'
    """
    if not ROUNDING * abs(value) < error < float("inf"):
        return f"{value:.6g}" + (" ± unknown" if error == float("inf") else "")
    digits = max(0, 1 - int(f"{error:.1e}".split("e")[1]))
    return f"{value:.{digits}f} ± {error:.{digits}f}"


def as_text(rows: Sequence[Row]) -> str:
    """Lines for a terminal, columns aligned."""
    named = {key: title for key, title in COLUMNS.items() if any(getattr(r, key) for r in rows)}
    cells = [["", *named.values()]]
    for row in rows:
        every = [getattr(row, key) for key in named]
        unit = f", {row.own.unit}" if row.own.unit else ""
        found = [with_error(one.value, one.error) if one else "" for one in every]
        cells.append([f"{row.own.name}{unit}", *found])
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    lines = ("  ".join(c.ljust(w) for c, w in zip(cell, widths, strict=True)) for cell in cells)
    return "\n".join(f"  {line}".rstrip() for line in lines)


def as_csv(rows: Sequence[Row]) -> str:
    """name, unit, then value and error from the samples, from MD and measured, or empty."""
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    ends = [f"{title}_{end}" for title in ("", "md", "measured") for end in ("value", "error")]
    table.writerow(["name", "unit", *(end.removeprefix("_") for end in ends)])
    for row in rows:
        numbers = [(f"{one.value:.8g}", f"{one.error:.3g}") if one else ("", "") for one in row]
        table.writerow([row.own.name, row.own.unit, *(text for pair in numbers for text in pair)])
    return text.getvalue()
