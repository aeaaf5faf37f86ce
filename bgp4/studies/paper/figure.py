"""What every reproduced figure has: a claim, checks with their bars, numbers, a picture, a verdict.

A figure is a module of this package with `CLAIM`, `FULL` and `QUICK` (settings, frozen dataclasses)
and `run(settings, report, folder) -> Outcome`; what takes long may be kept in the folder, to be
taken up again.
"""

from __future__ import annotations

import importlib
import json
import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal, Protocol, cast

import numpy as np
import torch
from matplotlib.figure import Figure

from bgp4.data.provenance import versions
from bgp4.errors import UserInputError
from bgp4.parallel.progress import Report, progress
from bgp4.report.style import png_bytes, svg_bytes
from bgp4.storage.files import atomic_write_bytes, atomic_write_text
from bgp4.studies.paper.download import download_mnist
from bgp4.studies.paper.mnist import check_files, default_folder
from bgp4.version import __version__

__all__ = ["FIGURES", "Check", "Outcome", "reproduce", "verdict"]

FIGURES = tuple(f"fig{i}" for i in range(1, 11))
RESULT = "result.json"

Verdict = Literal["holds", "partly", "fails"]


@dataclass(frozen=True)
class Check:
    """One thing that must hold.

    Attributes:
        what: In words, its bar included.
        value: What was found.
        holds: Whether it does.
    """

    what: str
    value: Any
    holds: bool


@dataclass(frozen=True)
class Outcome:
    """What a figure's run found.

    Attributes:
        checks: What must hold, and whether it does.
        numbers: Everything measured, as plain data.
        figure: The picture.
    """

    checks: tuple[Check, ...]
    numbers: dict[str, Any]
    figure: Figure


class FigureModule(Protocol):
    """A module that makes one figure."""

    CLAIM: str
    FULL: Any
    QUICK: Any

    def run(self, settings: Any, report: Report, folder: Path) -> Outcome: ...


def reproduce(
    names: Sequence[str],
    folder: Path,
    quick: bool = False,
    mnist: Path | None = None,
    download: bool = False,
) -> Iterator[str]:
    """Make figures into folder/NAME/{NAME.png, NAME.svg, result.json}.

    A figure whose result.json stands there from the same settings and version is not made again.

    Args:
        names: Some of `FIGURES`, or "all".
        folder: Made where it is missing.
        quick: Small settings, to see that everything works.
        mnist: Folder with MNIST's IDX files, for figure 10; by default that of downloads.
        download: Fetch those files first, where the folder lacks them.

    Yields:
        One line of verdict for each figure. With "all", before them that figure 10 is left out,
        where MNIST is not to be had; after them how many there are.

    Raises:
        UserInputError: If a name is unknown, the folder can't be made, or data that were named, or
            the data of a figure that was named, are missing.
    """
    chosen = _chosen(names)
    if download and "fig10" in chosen:
        download_mnist(mnist or default_folder())
    if mnist is not None and not mnist.is_dir():
        raise UserInputError(f"--data {mnist}: no such folder")
    if "fig10" in chosen and (lack := _lack_of_mnist(folder / "fig10", quick, mnist)):
        if mnist is not None or "fig10" in names:
            raise lack
        chosen.remove("fig10")
        yield f"fig10 is left out: {lack}"
    torch.set_num_threads(1)  # for small matrices a second thread costs more than it brings
    for name in chosen:
        yield _make(name, folder / name, quick, mnist)
    if "all" in names:
        yield f"{len(chosen)} of {len(FIGURES)} figures are in {folder}"


def verdict(checks: Sequence[Check]) -> Verdict:
    """`holds` where all checks do, `fails` where none does, else `partly`.

    >>> verdict([Check("a", 1, True), Check("b", 2, False)])
    'partly'
    """
    kept = [check.holds for check in checks]
    return "holds" if all(kept) else "partly" if any(kept) else "fails"


def _chosen(names: Sequence[str]) -> list[str]:
    unknown = [name for name in names if name not in (*FIGURES, "all")]
    if unknown or not names:
        found = unknown[0] if unknown else "none"
        raise UserInputError(f"reproduce: expected fig1 to fig10 or all, found {found}")
    return [name for name in FIGURES if name in names or "all" in names]


def _lack_of_mnist(folder: Path, quick: bool, mnist: Path | None) -> UserInputError | None:
    """What is missing to make figure 10; None where nothing is, or the figure is there."""
    if _made(folder, _module_and_settings("fig10", quick, mnist)[1]) is not None:
        return None
    try:
        check_files(mnist or default_folder())
    except UserInputError as lack:
        return lack
    return None


def _module_and_settings(name: str, quick: bool, mnist: Path | None) -> tuple[FigureModule, Any]:
    module = cast(FigureModule, importlib.import_module(f"bgp4.studies.paper.{name}"))
    settings = module.QUICK if quick else module.FULL
    if mnist is not None and hasattr(settings, "data"):
        settings = replace(settings, data=str(mnist))
    return module, settings


def _make(name: str, folder: Path, quick: bool, mnist: Path | None) -> str:
    module, settings = _module_and_settings(name, quick, mnist)
    done = _made(folder, settings)
    if done is None:
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UserInputError(f"-o {folder}: cannot be made: {error.strerror}") from error
        wall_s, cpu_s = time.perf_counter(), time.process_time()
        with progress(name, 100) as report:
            outcome = module.run(settings, report, folder)
        wall_s, cpu_s = time.perf_counter() - wall_s, time.process_time() - cpu_s
        done = _result(name, module.CLAIM, settings, outcome, wall_s, cpu_s)
        atomic_write_bytes(folder / f"{name}.png", png_bytes(outcome.figure))
        atomic_write_bytes(folder / f"{name}.svg", svg_bytes(outcome.figure))
        atomic_write_text(folder / RESULT, json.dumps(done, indent=2) + "\n")
    return f"{name}: {done['verdict']} - {done['sentence']} ({folder / RESULT})"


def _result(
    name: str, claim: str, settings: Any, outcome: Outcome, wall_s: float, cpu_s: float
) -> dict[str, Any]:
    kept = sum(check.holds for check in outcome.checks)
    sentence = f"{kept} of {len(outcome.checks)} hold: " + "; ".join(
        f"{check.what}: {_words(check.value)}{'' if check.holds else ' (does not hold)'}"
        for check in outcome.checks
    )
    return {
        "figure": name,
        "claim": claim,
        "verdict": verdict(outcome.checks),
        "sentence": sentence,
        "checks": [_plain(asdict(check)) for check in outcome.checks],
        "numbers": _plain(outcome.numbers),
        "settings": _plain(asdict(settings)),
        "versions": versions(),
        "wall_s": round(wall_s, 1),
        "cpu_s": round(cpu_s, 1),
    }


def _made(folder: Path, settings: Any) -> dict[str, Any] | None:
    """The result of a figure that is there from these settings and this version."""
    try:
        result = dict(json.loads((folder / RESULT).read_text(encoding="utf-8")))
    except (OSError, ValueError):
        return None
    made_from = (result["settings"], result["versions"]["bgp4"])
    return result if made_from == (_plain(asdict(settings)), __version__) else None


def _words(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _plain(value: Any) -> Any:
    """As JSON has it: lists and numbers; what is not finite as text."""
    if isinstance(value, dict):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(v) for v in value]
    if isinstance(value, np.ndarray | np.generic):
        return _plain(value.tolist())
    if isinstance(value, complex):
        return [value.real, value.imag]
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return value
