"""One writer at a time, by a lock of the operating system, which ends with its process.

The lock's file may stay behind a killed process; the lock does not.
"""

from __future__ import annotations

import errno
import logging
import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from typing import IO

from bgp4.errors import UserInputError

__all__ = ["LOCK", "locked", "locked_folder", "locked_output"]

log = logging.getLogger(__name__)

LOCK = ".lock"
"""Name of a folder's lock file."""


def locked_folder(folder: Path) -> AbstractContextManager[None]:
    """Hold the lock of a folder while the block runs; see `locked`."""
    return locked(folder / LOCK, str(folder))


def locked_output(path: Path) -> AbstractContextManager[None]:
    """Hold the lock of a file that is going to be written while the block runs; see `locked`."""
    return locked(path.with_name(f".{path.name}.lock"), str(path))


@contextmanager
def locked(path: Path, what: str) -> Iterator[None]:
    """Hold the lock of the file `path`, which is made and removed, while the block runs.

    Raises:
        UserInputError: If another process holds it; `what` is named.
    """
    file = _acquired(path, what)
    try:
        yield
    finally:
        _release(file, path)


def _acquired(path: Path, what: str) -> IO[str]:
    """The lock of a file that is still there: its last holder may have removed it."""
    while True:
        file = _opened(path, what)
        try:
            _lock(file)
        except OSError as error:
            holder = _holder(file)
            file.close()
            if error.errno in (errno.EWOULDBLOCK, errno.EACCES, errno.EDEADLK):
                raise UserInputError(
                    f"{what}: another bgp4{holder} is writing there; wait until it ends"
                ) from None
            raise
        if _is_file_of(file, path):
            break
        file.close()
    file.truncate(0)
    file.write(str(os.getpid()))
    file.flush()
    return file


def _opened(path: Path, what: str) -> IO[str]:
    try:
        return path.open("a+", encoding="utf-8")
    except OSError as error:
        raise UserInputError(f"{what}: cannot be written: {error.strerror}") from error


def _release(file: IO[str], path: Path) -> None:
    if os.name == "posix":
        path.unlink(missing_ok=True)
        file.close()
        return
    file.close()
    with suppress(OSError):
        path.unlink()


def _is_file_of(file: IO[str], path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(file.fileno()), path.stat())
    except FileNotFoundError:
        return False


def _holder(file: IO[str]) -> str:
    with suppress(OSError, ValueError):
        file.seek(0)
        return f" (process {int(file.read())})"
    return ""


if os.name == "posix":
    import fcntl

    def _lock(file: IO[str]) -> None:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno not in (errno.ENOLCK, errno.ENOTSUP):
                raise
            log.warning("%s: this disk has no locks; run only one bgp4 that writes here", file.name)

else:
    import msvcrt

    def _lock(file: IO[str]) -> None:
        file.seek(2**20)  # beyond the text, which others may read
        msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined]
