"""Measured values beside an ensemble's: 3J couplings, NOE distances, averages of variables.

The file is CSV with the columns `name,value,error,unit`, a row for each measurement:

    name,value,error,unit
    3J(HN-HA) ALA2,7.2,0.3,Hz
    ALA2-H ALA2-HA,0.28,0.02,nm
    rg,0.29,0.01,nm
"""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from bgp4.answers.observables import averages, effective_distance, j_couplings
from bgp4.answers.variables import variable
from bgp4.answers.weighted import Estimate, Weighted
from bgp4.errors import UserInputError

__all__ = ["chi_squared", "computed", "read_measured", "refuse_other_units"]

COLUMNS = ("name", "value", "error", "unit")
UNITS = {"Å": ("nm", 0.1), "A": ("nm", 0.1), **{own: (own, 1.0) for own in ("nm", "nm²", "Hz", "")}}
"""Units of a file; each in ours, and how much that is."""


def read_measured(path: Path) -> list[Estimate]:
    """Read a file of measurements.

    Raises:
        UserInputError: If a column is missing, or a row has no number or an unknown unit.
    """
    if not path.is_file():
        raise UserInputError(f"{path}: no such file; expected CSV with {','.join(COLUMNS)}")
    with path.open(newline="", encoding="utf-8-sig") as file:
        reader = csv.DictReader(file)
        lacking = [name for name in COLUMNS if name not in (reader.fieldnames or ())]
        if lacking:
            raise UserInputError(
                f"{path}: expected the columns {','.join(COLUMNS)}, found no {lacking[0]}"
            )
        rows = [_measured(path, line, row) for line, row in enumerate(reader, 2)]
    if not rows:
        raise UserInputError(f"{path}: expected measurements, found none")
    return rows


def _measured(path: Path, line: int, row: dict[str, str | None]) -> Estimate:
    unit = (row["unit"] or "").strip()
    if unit not in UNITS:
        raise UserInputError(
            f"{path}: line {line}: expected Hz, nm, nm², Å or no unit, found {unit!r}"
        )
    own, factor = UNITS[unit]
    try:
        value, error = (factor * float(row[name] or "nan") for name in ("value", "error"))
    except ValueError:
        value = error = float("nan")
    if not (np.isfinite(value) and np.isfinite(error) and error > 0):
        raise UserInputError(
            f"{path}: line {line}: expected a value and an error above 0, found "
            f"{row['value']!r} and {row['error']!r}"
        )
    return Estimate((row["name"] or "").strip(), value, error, own)


def computed(
    names: Sequence[str], sample: Weighted, basis: Weighted, source: str
) -> list[Estimate]:
    """What an ensemble gives for measurements, in their order.

    Args:
        names: Of observables: 3J couplings and pairs of hydrogens as `bgp4 analyse` prints them,
            or variables.
        sample: The ensemble.
        basis: Of principal components.
        source: The file, for messages.

    Raises:
        UserInputError: If the molecule has no such observable.
    """
    couplings: dict[str, Estimate] = {}
    if any(name.startswith("3J") for name in names):
        couplings = {one.name: one for one in j_couplings(sample)}
    found = []
    for name in names:
        if name in couplings:
            found.append(couplings[name])
        elif name.startswith("3J"):
            raise UserInputError(
                f"{source}: {name!r}: the molecule has no such coupling; expected one of "
                f"{', '.join(couplings)}"
            )
        else:
            pair = effective_distance(sample, name)
            found.append(pair or averages(sample, [variable(name, sample.frames, basis)])[0])
    return found


def refuse_other_units(
    measured: Sequence[Estimate], estimates: Sequence[Estimate], source: str
) -> None:
    """Raise UserInputError if a measurement has another unit than what is compared with it."""
    for one, other in zip(measured, estimates, strict=True):
        if one.unit != other.unit:
            raise UserInputError(
                f"{source}: {one.name!r}: expected the unit {other.unit or 'of a number (empty)'}, "
                f"found {one.unit or 'none'}"
            )


def chi_squared(measured: Sequence[Estimate], estimates: Sequence[Estimate]) -> float:
    """Mean of (estimate - measurement)² over the variances of both, about 1 if they agree."""
    terms = [
        (one.value - other.value) ** 2 / (one.error**2 + other.error**2)
        for one, other in zip(estimates, measured, strict=True)
    ]
    return float(np.mean(terms))
