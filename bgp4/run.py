"""The run folder: what a training leaves behind and sampling and reports read.

RUN/config.yaml               the validated config, every default spelled out
RUN/molecule.json             the molecule, so that nothing outside the folder is needed
RUN/checkpoint.safetensors    latest state, and the best model so far
RUN/history.csv               one row per evaluation
RUN/run.json                  versions, seed, counts, wall times
RUN/samples.h5, RUN/report/   what `bgp4 sample` and `bgp4 report` add

A bundled model is such a folder, with the best model alone in its checkpoint; nothing is added.
"""

from __future__ import annotations

import json
import os
import platform
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bgp4 import __version__
from bgp4.config import Config, dump_config, load_config
from bgp4.errors import UserInputError
from bgp4.paths import bundled_models, find_model, models_folder

if TYPE_CHECKING:
    from bgp4.system import Molecule

__all__ = ["RunFolder", "atomic_write_bytes", "atomic_write_text", "provenance", "versions"]

_PACKAGES = ("torch", "openmm", "openmmtools", "mdtraj", "nflows", "numpy")


@dataclass(frozen=True)
class RunFolder:
    """Paths of a run folder, and its small files."""

    path: Path

    @classmethod
    def create(cls, path: Path, config: Config, molecule: Molecule) -> RunFolder:
        """Make a new run folder.

        Raises:
            UserInputError: If the path exists or can't be made.
        """
        cls.refuse_existing(path)
        try:
            path.mkdir(parents=True)
            atomic_write_text(path / "config.yaml", dump_config(config))
            atomic_write_text(path / "molecule.json", molecule.to_json())
        except OSError as error:
            raise UserInputError(f"{path}: cannot be written: {error.strerror}") from error
        return cls(path)

    @staticmethod
    def refuse_existing(path: Path) -> None:
        """Raise UserInputError if a new run can't have this path, before anything is computed."""
        if path.exists():
            raise UserInputError(
                f"{path}: the run folder exists; go on with it by --resume or name another by --run"
            )

    @classmethod
    def open(cls, path: Path) -> RunFolder:
        """An existing run folder.

        Raises:
            UserInputError: If it is not one.
        """
        run = cls(path)
        for file in (run.config_path, run.checkpoint_path):
            if not file.is_file():
                raise UserInputError(
                    f"{path}: not a run folder with a checkpoint (no {file.name}); "
                    "make one with `bgp4 train`"
                )
        return run

    @classmethod
    def find(cls, path: Path) -> RunFolder:
        """An existing run folder or, where there is no such path, the bundled model of that name.

        Raises:
            UserInputError: If it is neither.
        """
        if path.exists():
            return cls.open(path)
        bundled = find_model(str(path))
        if bundled is None:
            names = ", ".join(bundled_models()) or "none"
            there = Path("runs") / path
            advice = f"did you mean {there}?" if there.is_dir() else "make a run with `bgp4 train`"
            raise UserInputError(
                f"{path}: not a run folder, nor a bundled model (these are: {names}); {advice}"
            )
        return cls.open(bundled)

    @property
    def is_bundled(self) -> bool:
        """Whether this is a model that came with bgp4, to which nothing is added."""
        return self.path.resolve().parent == models_folder().resolve()

    @property
    def config_path(self) -> Path:
        return self.path / "config.yaml"

    @property
    def checkpoint_path(self) -> Path:
        return self.path / "checkpoint.safetensors"

    @property
    def history_path(self) -> Path:
        return self.path / "history.csv"

    @property
    def samples_path(self) -> Path:
        return self.path / "samples.h5"

    @property
    def report_path(self) -> Path:
        return self.path / "report"

    def config(self) -> Config:
        return load_config(str(self.config_path))

    def molecule(self) -> Molecule:
        """The molecule that was trained; in folders without one, that of the config."""
        from bgp4.system import load_molecule, molecule_from_json

        path = self.path / "molecule.json"
        if not path.is_file():
            return load_molecule(self.config().system)
        return molecule_from_json(path.read_text(encoding="utf-8"), path)

    def info(self) -> dict[str, Any]:
        """run.json, or an empty mapping before there is one."""
        path = self.path / "run.json"
        if not path.is_file():
            return {}
        try:
            info = json.loads(path.read_text(encoding="utf-8"))
        except ValueError as error:
            raise UserInputError(f"{path}: expected JSON: {error}") from error
        return dict(info)

    def update_info(self, **entries: Any) -> None:
        """Merge entries into run.json, atomically; mappings are merged one level deep."""
        info = self.info()
        for key, value in entries.items():
            if isinstance(value, dict) and isinstance(info.get(key), dict):
                value = {**info[key], **value}
            info[key] = value
        atomic_write_text(self.path / "run.json", json.dumps(info, indent=2) + "\n")


def atomic_write_text(path: Path, text: str) -> None:
    """Write a whole file or none of it."""
    atomic_write_bytes(path, text.encode())


def atomic_write_bytes(path: Path, content: bytes) -> None:
    """Write a whole file or none of it."""
    temporary = path.with_name(path.name + ".part")
    try:
        temporary.write_bytes(content)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def provenance(config: Config) -> dict[str, Any]:
    """Versions, machine and seed, for run.json."""
    return {
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
        "seed": config.seed,
        "platform": f"{platform.system()} {platform.machine()}, Python {platform.python_version()}",
        "versions": versions(),
    }


def versions() -> dict[str, str]:
    """Of this package and of those that results depend on."""
    return {"bgp4": __version__} | {name: metadata.version(name) for name in _PACKAGES}
