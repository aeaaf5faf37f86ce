"""MNIST from its IDX files (LeCun, Cortes, Burges, http://yann.lecun.com/exdb/mnist)."""

from __future__ import annotations

import gzip
import struct
import zlib
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from bgp4.errors import UserInputError
from bgp4.storage.bundled import cache_folder
from bgp4.studies.paper.download import SHA256

__all__ = ["FILES", "Digits", "check_files", "default_folder", "load_mnist"]

FILES = tuple(SHA256)
"""Images and labels to train on, images and labels to test on."""

SIDE = 28
CLASSES = 10


class Digits(NamedTuple):
    """Images of digits.

    Attributes:
        images: Pixels between 0 and 1, (n, 784), float32.
        labels: (n,), int64.
    """

    images: Tensor
    labels: Tensor


def default_folder() -> Path:
    """Where a download goes, and is found again."""
    return cache_folder() / "mnist"


def check_files(folder: Path) -> None:
    """Raise UserInputError where a folder lacks one of the files."""
    missing = [name for name in FILES if not (folder / name).is_file()]
    if missing:
        raise UserInputError(
            f"MNIST: {folder}: missing {', '.join(missing)}; name their folder with "
            "--data DIR, or download them (11 MB) with --download"
        )


def load_mnist(
    folder: str | None,
) -> tuple[Digits, Digits]:
    """The digits to train on and those to test on; from `default_folder` without a folder.

    Raises:
        UserInputError: If a file is missing, or is not what it should be.
    """
    home = default_folder() if folder is None else Path(folder)
    check_files(home)
    paths = [home / name for name in FILES]
    return _digits(*paths[:2]), _digits(*paths[2:])


def read_idx(path: Path, dimensions: int) -> NDArray[np.uint8]:
    """A gzipped IDX file of bytes: 0, 0, 8, dimensions; each dimension in 4 bytes; the values.

    Raises:
        UserInputError: If the file is not of this format, or cut off.
    """
    try:
        content = gzip.decompress(path.read_bytes())
    except (OSError, EOFError, zlib.error) as error:
        raise UserInputError(f"{path}: not a whole gzip file: {error}") from error
    start = 4 + 4 * dimensions
    magic = bytes([0, 0, 8, dimensions])
    if content[:4] != magic or len(content) < start:
        found = content[:4].hex() or "nothing"
        raise UserInputError(f"{path}: expected IDX magic {magic.hex()}, found {found}")
    shape = struct.unpack(f">{dimensions}I", content[4:start])
    values = np.frombuffer(content, np.uint8, offset=start)
    if values.size != np.prod(shape, dtype=object):
        raise UserInputError(f"{path}: expected shape {shape}, found {values.size} values")
    return values.reshape(shape)


def _digits(images_path: Path, labels_path: Path) -> Digits:
    images, labels = read_idx(images_path, 3), read_idx(labels_path, 1)
    if images.shape != (len(labels), SIDE, SIDE) or not len(labels):
        raise UserInputError(
            f"{images_path}: expected shape {(len(labels), SIDE, SIDE)} for {len(labels)} labels, "
            f"found {images.shape}"
        )
    if labels.max() >= CLASSES:
        raise UserInputError(f"{labels_path}: expected labels 0 to 9, found {labels.max()}")
    pixels = torch.from_numpy(images.reshape(len(labels), -1).astype(np.float32) / 255)
    return Digits(pixels, torch.from_numpy(labels.astype(np.int64)))
