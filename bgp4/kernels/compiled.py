"""C++ sources, compiled once for this machine where they are first used.

``CXX`` names the compiler and ``CXXFLAGS`` adds to its options, as for any C++ program:
``CXXFLAGS=-march=x86-64-v3`` makes kernels for all nodes of a cluster, ``CXX=none`` does without.
"""

from __future__ import annotations

import hashlib
import logging
import os
import platform
import shlex
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

from bgp4.storage.bundled import cache_folder

__all__ = ["load_compiled"]

log = logging.getLogger(__name__)

Library = TypeVar("Library")

TARGET = "-mcpu=native" if platform.machine() in ("arm64", "aarch64") else "-march=native"
FLAGS = (
    *("-std=c++17", "-O3", TARGET, "-ffp-contract=fast", "-fPIC", "-shared", "-pthread"),
    *("-fno-math-errno", "-fno-trapping-math", "-fno-signed-zeros"),
)


def load_compiled(
    source: Path,
    load: Callable[[str], Library],
    otherwise: str,
    flags: Sequence[str] = (),
    depends: Sequence[Path] = (),
) -> Library | None:
    """A shared library of `source`, from the user's cache if it is there; None where that fails.

    Args:
        load: Opens a library, or raises OSError.
        otherwise: What happens without it, for the log.
        flags: For the compiler, beyond :data:`FLAGS`.
        depends: Files that the library depends on, besides `source`.
    """
    compiler = _compiler()
    if compiler is None:
        named = os.environ.get("CXX") or "g++ or clang++"
        log.warning("no C++ compiler (%s): %s", named, otherwise)
        return None
    of_user = shlex.split(os.environ.get("CXXFLAGS", ""))
    arguments = [*FLAGS, str(source), *flags, *of_user]
    try:
        return load(str(_compiled(compiler, source, arguments, depends)))
    except subprocess.CalledProcessError as error:
        words = error.stderr.decode(errors="replace").splitlines() or [str(error)]
        reason = next((line for line in words if "error" in line), words[-1])
        log.warning("%s can't be compiled: %s: %s", source.name, otherwise, reason)
    except OSError as error:
        log.warning("%s can't be compiled: %s: %s", source.name, otherwise, error)
    return None


def _compiler() -> list[str] | None:
    """The command that compiles: what CXX says, else g++ or clang++; None where it is not there."""
    named = shlex.split(os.environ.get("CXX", ""))
    choices = [named] if named else [["g++"], ["clang++"]]
    return next((choice for choice in choices if shutil.which(choice[0])), None)


def _compiled(
    compiler: Sequence[str], source: Path, arguments: Sequence[str], depends: Sequence[Path]
) -> Path:
    """The library's file, named by all that it depends on: files, compiler, flags and CPU."""
    resolved = _output(*compiler, "-fsyntax-only", "-###", *arguments)
    contents = b"".join(path.read_bytes() for path in (source, *depends))
    name = hashlib.sha256(contents + resolved).hexdigest()[:16]
    path = _writable_folder() / f"{source.stem}-{name}.so"
    if not path.exists():
        with tempfile.TemporaryDirectory(dir=path.parent) as folder:
            made = Path(folder) / path.name
            log.info("compiling %s for this machine, once", source.name)
            _output(*compiler, *arguments, "-o", str(made))
            made.replace(path)
    return path


def _output(*command: str) -> bytes:
    """What a command prints to stderr, where compilers tell what they do."""
    return subprocess.run(command, capture_output=True, check=True).stderr


def _writable_folder() -> Path:
    """The user's cache, or a folder for this process alone where that can't be written."""
    folder = cache_folder()
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:
        return Path(tempfile.mkdtemp(prefix="bgp4-"))
    return folder
