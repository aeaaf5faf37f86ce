"""The folder of `bgp4 run`: what each stage leaves there, and how far it is.

DIR/NAME.yaml              the proposed config
DIR/NAME_1000k.h5          MD to learn from
DIR/NAME_300k.h5           an independent simulation to judge by
DIR/train, DIR/train_2     run folders, each with its samples and its report
DIR/status.json            the stage, the verdict and its reasons
DIR/.lock                  while a command writes here
"""

from __future__ import annotations

import json
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from bgp4.errors import UserInputError
from bgp4.pipeline.request import RunRequest
from bgp4.report.metrics import json_ready
from bgp4.storage.files import atomic_write_text
from bgp4.training.run import RunFolder
from bgp4.version import __version__

__all__ = ["STAGES", "EnsembleFolder", "Status"]

STAGES = (
    *("propose", "plan", "simulate", "train", "sample", "reference", "judge", "refine", "report"),
    "done",
)
"""In the order in which they come; training and what follows it may come again."""

WRITE_EVERY_S = 5.0


@dataclass
class Status:
    """What status.json says.

    Attributes:
        source: The molecule, config or run folder that was given.
        temperature_k: Of the ensemble, K; None before there is a config.
        stage: One of `STAGES`.
        progress: What the stage is at, in words.
        effective_asked: Effective samples that are wanted.
        method: Whether a flow is trained, or MD is all.
        hours: The budget of wall time; None before there is a plan.
        plan_s: Seconds that stages are expected to take.
        steps: Of the first training; None before there is a plan.
        wall_s: Seconds of all stages, over all calls.
        wall_s_by_stage: The same by stage.
        verdict: `converged`, `usable` or `not to be trusted`; None before there is one.
        reasons: Why it is no better.
        remarks: What is weak beside that.
        checks: All checks, each with its grade.
        states: Shares of states, with errors and the reference's.
        n_samples: Of the ensemble.
        effective_samples: What these are worth.
        ess_raw: Of the flow's samples, a fraction of 1.
        ess_clipped: The same without the heaviest weights.
        rounds: ESS, energies and wall time of each training.
        parallel_tempering_s: What parallel tempering alone would take for as many effective
            samples, by the reference's time and draws; None if it was not made here.
        reference: Frames that it was judged by.
        ensemble: The file of the ensemble.
        report: The page.
    """

    source: str
    temperature_k: float | None = None
    stage: str = "propose"
    progress: str = ""
    effective_asked: int = 10_000
    method: str = "flow"
    hours: float | None = None
    plan_s: dict[str, float] = field(default_factory=dict)
    steps: int | None = None
    wall_s: float = 0.0
    wall_s_by_stage: dict[str, float] = field(default_factory=dict)
    verdict: str | None = None
    reasons: list[str] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)
    checks: list[dict[str, str]] = field(default_factory=list)
    states: list[dict[str, Any]] = field(default_factory=list)
    n_samples: int | None = None
    effective_samples: float | None = None
    ess_raw: float | None = None
    ess_clipped: float | None = None
    rounds: list[dict[str, Any]] = field(default_factory=list)
    parallel_tempering_s: float | None = None
    reference: str | None = None
    ensemble: str | None = None
    report: str | None = None


@dataclass
class EnsembleFolder:
    """Paths of the folder, and its status, written as it changes."""

    path: Path
    status: Status
    _written_s: float = 0.0

    @classmethod
    def open(cls, path: Path, source: str) -> EnsembleFolder:
        """A new folder, or one to go on with.

        Raises:
            UserInputError: If it is something else, or of another molecule.
        """
        folder = cls(path, Status(source))
        if folder.status_path.is_file():
            folder.status = folder._read()
            if folder.status.source != source:
                raise UserInputError(
                    f"-o {path}: it is of {folder.status.source}, found {source}; go on with that "
                    "or name another folder"
                )
        elif path.exists() and (not path.is_dir() or any(path.iterdir())):
            raise UserInputError(
                f"-o {path}: expected a new folder, or one that `bgp4 run` made; name another"
            )
        return folder

    def _read(self) -> Status:
        try:
            found = json.loads(self.status_path.read_text(encoding="utf-8"))
            found.pop("bgp4", None)
            return Status(**found)
        except (ValueError, TypeError) as error:
            raise UserInputError(
                f"{self.status_path}: not a status of this version ({error}); move the file away: "
                "what the folder has is taken up without it"
            ) from error

    def is_done(self, request: RunRequest) -> bool:
        """Whether an earlier call has done all that is asked for."""
        status = self.status
        same = request.hours in (None, status.hours) and request.effective == status.effective_asked
        return status.stage == "done" and same and request.method == status.method

    @property
    def status_path(self) -> Path:
        return self.path / "status.json"

    def training(self, round_: int) -> RunFolder:
        """Run folder of a training, counted from 1."""
        return RunFolder(self.path / ("train" if round_ == 1 else f"train_{round_}"))

    def write(self) -> None:
        """Write status.json."""
        content = json_ready({"bgp4": __version__, **asdict(self.status)})
        atomic_write_text(self.status_path, json.dumps(content, indent=2) + "\n")
        self._written_s = time.monotonic()

    def heard(self, label: str, done: int, total: int, note: str) -> None:
        """Progress, which status.json gets every few seconds."""
        self.status.progress = f"{label} {done}/{total} {note}".rstrip()
        if time.monotonic() - self._written_s >= WRITE_EVERY_S:
            self.write()
