"""Files that appear under their name whole or not at all, whenever the process or machine dies.

What is being written is hidden: `.part.NAME` beside NAME. A killed process may leave one; it is
never read, and the next to write there replaces or removes it.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

__all__ = [
    "append_text",
    "atomic_write_bytes",
    "atomic_write_text",
    "part_of",
    "put_in_place",
    "remove_leftovers",
    "replacing",
]


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
