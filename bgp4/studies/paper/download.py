"""MNIST's files from public mirrors, each whole and checked."""

from __future__ import annotations

import gzip
import hashlib
import logging
import zlib
from collections.abc import Mapping, Sequence
from http.client import HTTPException
from pathlib import Path
from urllib.request import urlopen

from bgp4.errors import UserInputError
from bgp4.storage.files import atomic_write_bytes

__all__ = ["MIRRORS", "SHA256", "download_mnist"]

log = logging.getLogger(__name__)

MIRRORS = (
    "https://ossci-datasets.s3.amazonaws.com/mnist",
    "https://storage.googleapis.com/cvdf-datasets/mnist",
)

SHA256 = {
    "train-images-idx3-ubyte.gz": (
        "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db"
    ),
    "train-labels-idx1-ubyte.gz": (
        "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5"
    ),
    "t10k-images-idx3-ubyte.gz": (
        "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7"
    ),
    "t10k-labels-idx1-ubyte.gz": (
        "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2"
    ),
}
"""SHA-256 of the unpacked files: packing the same digits again changes the rest."""

TIMEOUT_S = 30


def download_mnist(
    folder: Path,
    mirrors: Sequence[str] = MIRRORS,
    sha256: Mapping[str, str] = SHA256,
) -> None:
    """Fetch the files that a folder lacks: all of them, or none.

    Raises:
        UserInputError: If no mirror has a file as it should be, or the folder can't be written.
    """
    missing = [name for name in sha256 if not (folder / name).is_file()]
    contents = {name: _fetch(name, mirrors, sha256[name]) for name in missing}
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, content in contents.items():
            atomic_write_bytes(folder / name, content)
    except OSError as error:
        raise UserInputError(f"{folder}: cannot be written: {error.strerror}") from error


def _fetch(name: str, mirrors: Sequence[str], sha256: str) -> bytes:
    """From the first mirror that has it as it should be."""
    failures = []
    for mirror in mirrors:
        url = f"{mirror.rstrip('/')}/{name}"
        log.info("fetching %s", url)
        try:
            with urlopen(url, timeout=TIMEOUT_S) as response:
                packed: bytes = response.read()
            found = hashlib.sha256(gzip.decompress(packed)).hexdigest()
        except (OSError, HTTPException, EOFError, zlib.error) as error:
            failures.append(f"{url}: {getattr(error, 'reason', error)}")
            continue
        if found == sha256:
            return packed
        failures.append(f"{url}: expected SHA256 {sha256} once unpacked, found {found}")
    raise UserInputError(f"MNIST can't be downloaded: {'; '.join(failures)}")
