"""The run folder: what a training leaves behind and sampling and reports read.

RUN/config.yaml               the validated config, every default spelled out
RUN/molecule.json             the molecule, so that nothing outside the folder is needed
RUN/checkpoint.safetensors    latest state, and the best model so far
RUN/history.csv               one row per evaluation
RUN/run.json                  versions, seed, checksums, counts, wall times
RUN/samples.h5, RUN/report/   what `bgp4 sample` and `bgp4 report` add
RUN/.lock                     while a command writes here

A bundled model is such a folder, with the best model alone in its checkpoint; nothing is added.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bgp4.config import Config, dump_config, load_config
from bgp4.errors import UserInputError
from bgp4.storage.bundled import bundled_models, find_model, models_folder
from bgp4.storage.files import atomic_write_text, part_of, remove_leftovers
from bgp4.storage.lock import LOCK, locked_folder

if TYPE_CHECKING:
    from bgp4.molecule.molecule import Molecule

__all__ = ["RunFolder"]

BEFORE_CHECKPOINT = {LOCK, "config.yaml", "molecule.json", "run.json", "history.csv", "tensorboard"}
"""What a run folder may have before there is anything to go on with."""


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
        run = cls.reserve(path)
        run.begin(config, molecule)
        return run

    @classmethod
    def reserve(cls, path: Path) -> RunFolder:
        """Make a new run folder that has its lock's file alone, at once; or take over one that
        was left before its first checkpoint.

        Raises:
            UserInputError: If the path exists or can't be made.
        """
        cls.refuse_existing(path)
        part = part_of(path)
        try:
            if not path.exists():
                part.mkdir(parents=True, exist_ok=True)
                (part / LOCK).touch()
                part.rename(path)
        except OSError as error:
            raise UserInputError(f"{path}: cannot be written: {error.strerror}") from error
        return cls(path)

    def begin(self, config: Config, molecule: Molecule) -> None:
        """Write the config and the molecule of a new run.

        Raises:
            UserInputError: If another process has begun one here since it was reserved.
        """
        self.refuse_existing(self.path)
        (self.path / "run.json").unlink(missing_ok=True)  # of one that was left at once
        atomic_write_text(self.molecule_path, molecule.to_json())
        atomic_write_text(self.config_path, dump_config(config))

    @classmethod
    def refuse_existing(cls, path: Path) -> None:
        """Raise UserInputError if a new run can't have this path, before anything is computed."""
        if path.exists() and not cls(path)._was_left_at_once():
            raise UserInputError(
                f"{path}: the run folder exists; continue it with --resume or name another with "
                "--run"
            )

    def _was_left_at_once(self) -> bool:
        """Whether a run ended here before its first checkpoint, so that nothing can be lost."""
        names = {entry.name for entry in self.path.iterdir()} if self.path.is_dir() else set()
        parts = {name for name in names if name.startswith(".part.")}
        begun = bool(names & {LOCK, "config.yaml", "molecule.json"})
        return begun and names <= BEFORE_CHECKPOINT | parts

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Be the only one to write here while the block runs; what killed writers left goes.

        Raises:
            UserInputError: If another process is.
        """
        with locked_folder(self.path):
            remove_leftovers(self.path)
            yield

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
                f"{path}: not a run folder or a bundled model (bundled: {names}); {advice}"
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
    def molecule_path(self) -> Path:
        return self.path / "molecule.json"

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
        from bgp4.molecule.molecule import load_molecule, read_molecule

        if not self.molecule_path.is_file():
            return load_molecule(self.config().system)
        return read_molecule(self.molecule_path)

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
