"""Sample files: a trajectory that mdtraj reads, with weights in it or beside it."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import mdtraj
import numpy as np

from bgp4.errors import UserInputError
from bgp4.sampling.colvar import write_colvar
from bgp4.sampling.netcdf import AmberNetCDFFile
from bgp4.statistics.samples import Samples
from bgp4.storage.files import check_folder, check_whole_hdf5, replacing, written_by_others
from bgp4.storage.hdf5 import check_hdf5
from bgp4.version import __version__

__all__ = [
    "FORMATS",
    "check_format",
    "read_attributes",
    "read_samples",
    "read_topology",
    "refuse_to_lose",
    "sidecar",
    "write_samples",
]

FORMATS = (".h5", ".pdb", ".cif", ".dcd", ".xtc", ".nc")

FIELDS = ("log_weight", "energy_kt", "log_prob")
"""Per-frame arrays of the group /bgp4, and columns of the sidecar."""


def sidecar(path: Path) -> Path:
    """Where the weights of a format that can't hold them lie: samples.xtc, samples.weights.csv."""
    return path.with_suffix(".weights.csv")


def check_format(path: Path) -> None:
    """Raise UserInputError unless the file's suffix is one of FORMATS and its folder is there."""
    if path.suffix.lower() not in FORMATS:
        raise UserInputError(
            f"-o {path}: expected a file name that ends in {', '.join(FORMATS)}, "
            f"found {path.suffix or 'no suffix'}"
        )
    check_folder(path)


def refuse_to_lose(path: Path) -> None:
    """Raise UserInputError if a file of another kind, MD frames or a molecule, would be lost."""
    if path.exists() and not _has_samples(path):
        raise UserInputError(
            f"-o {path}: the file exists and is not a bgp4 sample file; move it or name another"
        )


def _has_samples(path: Path) -> bool:
    """Whether a file has its weights in it or beside it, as no other program's does."""
    if path.suffix.lower() != ".h5":
        return sidecar(path).is_file()
    import h5py

    try:
        with h5py.File(path) as file:
            return "bgp4/log_prob" in file
    except OSError:
        return False


def write_samples(
    path: Path,
    chunks: Iterable[Samples],
    topology: mdtraj.Topology,
    attributes: dict[str, Any],
    colvar: Path | None = None,
) -> list[Path]:
    """Write chunks of samples as they come, under the final name only once they are whole.

    Args:
        path: .h5 (weights inside), or another of FORMATS (weights in a CSV file beside it).
        chunks: As `generate` makes them.
        topology: Of the molecule.
        attributes: Kept with an .h5 file, in its group /bgp4; `temperature_k` is among them.
        colvar: Where to write the weights in PLUMED's columns as well.

    Returns:
        The files written.
    """
    check_format(path)
    beside = [] if path.suffix.lower() == ".h5" else [sidecar(path)]
    beside += [] if colvar is None else [colvar]
    with replacing(path) as part, ExitStack() as tables:
        fields = _write_frames(part, chunks, topology, path)
        if path.suffix.lower() == ".h5":
            with written_by_others(path):
                _append_fields(part, fields, attributes)
                check_whole_hdf5(part)
        for table in beside:
            target = tables.enter_context(replacing(table))
            if table == colvar:
                log_weight, energy_kt, log_prob = fields
                kelvin = attributes["temperature_k"]
                write_colvar(target, log_weight, energy_kt, log_prob, kelvin)
            else:
                rows = np.column_stack(fields)
                np.savetxt(target, rows, delimiter=",", header=",".join(FIELDS), comments="")
        if beside:
            path.unlink(missing_ok=True)  # frames of before never stand beside these weights
    return [path, *beside]


def read_samples(path: Path) -> Samples:
    """Read an .h5 sample file.

    Raises:
        UserInputError: If it is not one.
    """
    import h5py

    check_hdf5(path)
    try:
        with h5py.File(path) as file:
            group = file["bgp4"]
            return Samples(
                np.asarray(file["coordinates"], np.float32),
                np.asarray(group["log_prob"], np.float64),
                np.asarray(group["energy_kt"], np.float64),
            )
    except (OSError, KeyError) as error:
        raise UserInputError(f"{path}: not a sample file of bgp4 ({error})") from error


def read_topology(path: Path) -> mdtraj.Topology:
    """The molecule of an .h5 sample file."""
    with mdtraj.formats.HDF5TrajectoryFile(str(path)) as file:
        return file.topology


def read_attributes(path: Path) -> dict[str, Any]:
    """What `write_samples` kept with an .h5 file: temperature, seed, run, whether unbiased."""
    import h5py

    with h5py.File(path) as file:
        return {
            name: value.decode("unicode_escape") if isinstance(value, bytes) else value
            for name, value in file["bgp4"].attrs.items()
        }


def _write_frames(
    part: Path, chunks: Iterable[Samples], topology: mdtraj.Topology, path: Path
) -> list[np.ndarray]:
    """Frames to the part of a path; the per-frame fields come back, in the order of FIELDS."""
    kept: list[list[np.ndarray]] = [[] for _ in FIELDS]
    with written_by_others(path):
        writer = _Writer(part, topology)
    try:
        for chunk in chunks:
            with written_by_others(path):
                writer.write(chunk.positions_nm)
            for values, name in zip(kept, FIELDS, strict=True):
                values.append(getattr(chunk, name))
    except BaseException:
        with suppress(Exception):  # of what could not be written, closing says the same again
            writer.file.close()
        raise
    with written_by_others(path):
        writer.file.close()
    return [np.concatenate(values) for values in kept]


class _Writer:
    """A file of the suffix, mdtraj's but for .nc, to which `write` appends positions in nm."""

    def __init__(self, path: Path, topology: mdtraj.Topology) -> None:
        self.topology = topology
        self.suffix = path.suffix.lower()
        files = {
            ".h5": mdtraj.formats.HDF5TrajectoryFile,
            ".dcd": mdtraj.formats.DCDTrajectoryFile,
            ".xtc": mdtraj.formats.XTCTrajectoryFile,
            ".pdb": mdtraj.formats.PDBTrajectoryFile,
            ".cif": mdtraj.formats.PDBxTrajectoryFile,
        }
        self.file: Any
        if self.suffix == ".nc":
            self.file = AmberNetCDFFile(str(path), topology.n_atoms)
        else:
            self.file = files[self.suffix](str(path), "w")
        if self.suffix == ".h5":
            self.file.topology = topology
        self.frames = 0

    def write(self, positions_nm: np.ndarray) -> None:
        n = np.arange(self.frames, self.frames + len(positions_nm))
        if self.suffix == ".pdb":
            for i, frame in zip(n, positions_nm, strict=True):
                self.file.write(10 * frame, self.topology, modelIndex=i + 1)
        elif self.suffix == ".cif":
            for frame in positions_nm:
                self.file.write(frame, self.topology)
        elif self.suffix == ".xtc":
            self.file.write(positions_nm, time=n.astype(np.float32), step=n.astype(np.int32))
        elif self.suffix == ".nc":
            self.file.write(10 * positions_nm, time=n.astype(np.float32))
        elif self.suffix == ".dcd":
            self.file.write(10 * positions_nm)
        else:
            self.file.write(positions_nm)
        self.frames += len(positions_nm)


def _append_fields(path: Path, fields: list[np.ndarray], attributes: dict[str, Any]) -> None:
    import h5py

    with h5py.File(path, "a") as file:
        group = file.create_group("bgp4")
        for name, values in zip(FIELDS, fields, strict=True):
            group.create_dataset(name, data=values)
        for name, value in {**attributes, "bgp4": __version__}.items():
            group.attrs[name] = _fixed(value) if isinstance(value, str) else value


def _fixed(text: str) -> np.bytes_:
    """ASCII of fixed length, which lies in the attribute and in no heap that may be damaged."""
    return np.bytes_(text.encode("unicode_escape"))
