"""Files that appear under their name whole or not at all, whenever the process or machine dies.

What is being written is hidden: `.part.NAME` beside NAME. A killed process may leave one; it is
never read, and the next to write there replaces or removes it.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bgp4.errors import UserInputError

__all__ = [
    "append_text",
    "atomic_write_bytes",
    "atomic_write_text",
    "check_folder",
    "check_whole_hdf5",
    "part_of",
    "put_in_place",
    "refuse_existing",
    "remove_leftovers",
    "replacing",
    "sha256",
    "written_by_others",
]


def check_folder(path: Path, option: str = "-o") -> None:
    """Raise UserInputError unless the folder is there that an output is to go to."""
    if not path.parent.is_dir():
        raise UserInputError(f"{option} {path}: no such folder: {path.parent}")


def refuse_existing(path: Path) -> None:
    """Raise UserInputError if an output would take the place of a file."""
    if path.exists():
        raise UserInputError(f"-o {path}: the file exists; move it away or name another")


def sha256(path: Path) -> str:
    """The file's SHA-256, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def part_of(path: Path) -> Path:
    """Where a file or folder is made before it gets its name.

    >>> part_of(Path("runs/samples.h5")).name
    '.part.samples.h5'
    """
    return path.with_name(f".part.{path.name}")


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary path to write to; it becomes `path` when the block ends without an error."""
    part = part_of(path)
    try:
        yield part
        put_in_place(part, path)
    finally:
        part.unlink(missing_ok=True)


def put_in_place(part: Path, path: Path) -> None:
    """Give a finished file its name, once its content is on the disk."""
    _sync(part, os.O_RDWR)
    os.replace(part, path)
    _sync_folder(path.parent)


def atomic_write_text(path: Path, text: str) -> None:
    """Write a whole file or none of it."""
    atomic_write_bytes(path, text.encode())


def atomic_write_bytes(path: Path, content: bytes) -> None:
    """Write a whole file or none of it."""
    with replacing(path) as part:
        part.write_bytes(content)


@contextmanager
def written_by_others(path: Path) -> Iterator[None]:
    """What a library raises while it writes a file, in one line.

    Raises:
        UserInputError: Whatever it raised; libraries have no common error for a full disk.
    """
    try:
        yield
    except Exception as error:
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise UserInputError(
            f"{path}: cannot be written ({reason}); is the disk full, or the folder read-only?"
        ) from error


def check_whole_hdf5(path: Path) -> None:
    """Raise OSError if a file ends before it should, which its writer may not have noticed."""
    import h5py

    h5py.File(path).close()


def append_text(path: Path, text: str) -> None:
    """Append to a file, and wait until the disk has it; a crash may leave a part of the text."""
    with path.open("a", newline="", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())


def remove_leftovers(folder: Path) -> None:
    """Remove what killed writers left in a folder; only for who holds its lock."""
    for part in folder.glob(".part.*"):
        if part.is_file():
            part.unlink(missing_ok=True)


def _sync(path: Path, flags: int) -> None:
    descriptor = os.open(path, flags)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _sync_folder(path: Path) -> None:
    """The name itself; Windows can't open folders and does this by itself."""
    if os.name == "posix":
        _sync(path, os.O_RDONLY)
