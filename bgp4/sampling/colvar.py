"""Weights in columns, for PLUMED and for whoever loads text: a COLVAR file beside a trajectory.

PLUMED's units are kJ/mol and ps, and `time` is the frame's index, as in a trajectory without times.
The weights are those of a bias: `REWEIGHT_BIAS` takes exp(bias / kT), so that column is
kT (log_weight - its maximum).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bgp4.errors import UserInputError
from bgp4.storage.files import check_folder
from bgp4.units import kt_to_kjmol

__all__ = ["check_colvar", "write_colvar"]

FIELDS = ("time", "energy", "log_prob", "log_weight", "bgp4.bias")
HEADER = "#! FIELDS " + " ".join(FIELDS)

Array = NDArray[np.float64]


def check_colvar(path: Path, others: Sequence[Path]) -> None:
    """Raise UserInputError if the folder is missing, or another file would be lost.

    Args:
        others: What else is to be written.
    """
    check_folder(path, "--colvar")
    if path.resolve() in [other.resolve() for other in others]:
        raise UserInputError(f"--colvar {path}: expected another file than that of -o")
    if path.exists() and not _is_ours(path):
        raise UserInputError(
            f"--colvar {path}: the file exists and bgp4 did not write it; move it or name another"
        )


def _is_ours(path: Path) -> bool:
    if not path.is_file():
        return False
    with path.open("rb") as file:
        return file.read(len(HEADER) + 1) == f"{HEADER}\n".encode()


def write_colvar(
    path: Path,
    log_weight: Array,  # (n,)
    energy_kt: Array,  # (n,)
    log_prob: Array,  # (n,)
    temperature_k: float,
) -> None:
    """Write one line for each conformation."""
    bias = kt_to_kjmol(log_weight - log_weight.max(), temperature_k)
    energy = kt_to_kjmol(energy_kt, temperature_k)
    rows = np.column_stack([np.arange(len(bias)), energy, log_prob, log_weight, bias])
    header = f"{HEADER}\n#! SET temperature_k {temperature_k:.10g}"
    with path.open("w", encoding="utf-8") as file:
        np.savetxt(file, rows, fmt=["%d", *["%.10g"] * 4], header=header, comments="")
