"""The conformers of a run, for a table of its report."""

from __future__ import annotations

import logging
from typing import NamedTuple

import numpy as np

from bgp4.answers.conformers import conformers
from bgp4.answers.tables import with_error
from bgp4.answers.weighted import weighted
from bgp4.errors import UserInputError
from bgp4.report.result import RunResult

__all__ = ["ConformerRow", "conformer_rows"]

log = logging.getLogger(__name__)

MOST = 12
"""Conformers that a table has."""


class ConformerRow(NamedTuple):
    """A line of the table, in words.

    Attributes:
        torsions: Mean directions of those that tell conformers apart, or that it is all else.
        population: By weight, in percent, with its error.
        md: The same of MD frames.
        free_energy: Over the most populated one, kT.
    """

    torsions: str
    population: str
    md: str
    free_energy: str


def conformer_rows(run: RunResult) -> list[ConformerRow]:
    """Conformers of 1 % or more by torsions, the most populated first, and all else.

    None where no sample has a weight, or there are not two that are so populated.
    """
    if not np.isfinite(run.safe_log_weight).any():
        return []
    positions, kelvin = run.sample_positions_nm, run.temperature_k
    sample = weighted(positions, run.safe_log_weight, run.topology, kelvin)
    try:
        found = conformers(sample, most=MOST)
    except UserInputError as error:
        log.info("%s: no table of conformers: %s", run.name, error)
        return []
    if len(found) < 2:
        return []
    equal = np.zeros(len(run.data_positions_nm))
    md = weighted(run.data_positions_nm, equal, run.topology, kelvin)
    shares, errors = found.populations_of(md)
    free = [
        with_error(*both)
        for both in zip(found.free_energy_kt, found.free_energy_error_kt, strict=True)
    ]
    words = [*(found.describe(i) for i in range(len(found))), "all else"]
    return [
        ConformerRow(
            text,
            f"{with_error(100 * found.populations[i], 100 * found.errors[i])} %",
            f"{with_error(100 * shares[i], 100 * errors[i])} %",
            free[i] if i < len(found) else "",
        )
        for i, text in enumerate(words)
    ]
