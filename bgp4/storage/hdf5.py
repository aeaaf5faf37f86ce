"""Looking at an HDF5 file before anything reads it that trusts it.

mdtraj reads HDF5 through PyTables, which unpickles text attributes, so that a file could run code;
HDF5 itself lets a file refer to others, and claim sizes that it does not have.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from bgp4.errors import UserInputError

if TYPE_CHECKING:
    import h5py

__all__ = ["check_hdf5"]

MOST_BYTES_PER_BYTE = 2000
"""No compression makes more of a byte of the file, but a header can claim any size."""


def check_hdf5(path: Path) -> None:
    """Refuse a file that could run code, read other files, or claims sizes beyond its own.

    Raises:
        UserInputError: If it does, or is no HDF5 file.
    """
    import h5py

    size = path.stat().st_size
    try:
        with h5py.File(path) as file:
            reason = _in_group(file, size)
    except Exception as error:  # a damaged file raises whatever h5py meets in it
        what = " ".join(str(error).split())[:200] or type(error).__name__
        raise UserInputError(
            f"{path}: cannot be read ({what}); expected a whole HDF5 trajectory"
        ) from error
    if reason is not None:
        raise UserInputError(
            f"{path}: refused: {reason}; use only files from sources that you trust"
        )


def _in_group(group: h5py.Group, size: int) -> str | None:
    """What is wrong in a group, with what is in it, or None."""
    import h5py

    reason = _in_attributes(group)
    for name in group:
        if reason is not None:
            return reason
        link = group.get(name, getlink=True)
        if not isinstance(link, h5py.HardLink):
            return f"{group.name}/{name} is a link to elsewhere"
        found = group[name]
        inside = _in_group if isinstance(found, h5py.Group) else _in_dataset
        reason = inside(found, size)
    return reason


def _in_dataset(dataset: h5py.Dataset, size: int) -> str | None:
    if dataset.external or dataset.is_virtual:
        return f"{dataset.name} stores its values in another file"
    claimed = dataset.size * dataset.dtype.itemsize if dataset.size else 0
    if claimed > MOST_BYTES_PER_BYTE * size:
        return f"{dataset.name} claims {claimed:,} bytes in a file of {size:,}"
    return _in_attributes(dataset)


def _in_attributes(entry: h5py.Group | h5py.Dataset) -> str | None:
    """PyTables takes text that ends with a dot for a pickle.

    To call anything, a pickle needs a line break or a byte that is no printable ASCII. Other values
    are left alone: text of variable length lies in a heap, which HDF5 searches forever if damaged.
    """
    for name in entry.attrs:
        attribute = entry.attrs.get_id(name)
        if attribute.dtype.kind != "S" or attribute.shape != ():
            continue
        text = bytes(entry.attrs[name])
        if text.endswith(b".") and any(not 32 <= byte < 127 for byte in text):
            return f"its attribute {name} may be a pickle, which runs code when it is read"
    return None
