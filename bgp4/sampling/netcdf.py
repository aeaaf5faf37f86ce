"""Trajectories in AMBER's NetCDF convention, version 1.0, written by scipy.

mdtraj's own writer takes netCDF4's C library, which crashes the process when the disk is full.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.io import netcdf_file

from bgp4.version import __version__

__all__ = ["AmberNetCDFFile"]


class AmberNetCDFFile:
    """A new file, to which `write` appends; frames are in memory until it is closed.

    Args:
        path: The file.
        n_atoms: Atoms of each frame.
    """

    def __init__(self, path: str, n_atoms: int) -> None:
        self._file = file = netcdf_file(path, "w", version=2)
        file.Conventions, file.ConventionVersion = "AMBER", "1.0"
        file.program, file.programVersion, file.title = "bgp4", __version__, "samples"
        for dimension, length in {"frame": None, "spatial": 3, "atom": n_atoms}.items():
            file.createDimension(dimension, length)
        file.createVariable("spatial", "c", ("spatial",))[:] = list("xyz")
        self._time = file.createVariable("time", "f", ("frame",))
        self._time.units = "picosecond"
        self._angstrom = file.createVariable("coordinates", "f", ("frame", "atom", "spatial"))
        self._angstrom.units = "angstrom"

    def write(
        self,
        angstrom: NDArray[np.floating],  # (frames, atoms, 3)
        time: NDArray[np.floating],  # (frames,), ps
    ) -> None:
        """Append frames."""
        first = len(self._time.data)
        frames = slice(first, first + len(time))
        self._time[frames], self._angstrom[frames] = time, angstrom

    def close(self) -> None:
        """Write the file; safe to call twice."""
        self._file.close()
