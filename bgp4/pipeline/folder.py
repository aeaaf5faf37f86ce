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
from collections.abc import Callable, Iterator
from contextlib import contextmanager
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

LEAST_DONE = 0.02
"""Of a stage, before its pace says how long the rest takes."""


@dataclass
class Status:
    """What status.json says.

    Attributes:
        source: The molecule, config or run folder that was given.
        begun_in: The folder of the first call, from which all paths count.
        temperature_k: Of the ensemble, K; None before there is a config.
        stage: One of `STAGES`.
        progress: What the stage is at, in words.
        results: What each stage left, in words.
        planned_left_s: Seconds that are left by the plan, for MD, training and reference; None if
            that is not known.
        stopped: Why nothing goes on: the words of an error, or `interrupted`; None while it does,
            and when it is done.
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
    begun_in: str = ""
    temperature_k: float | None = None
    stage: str = "propose"
    progress: str = ""
    results: dict[str, str] = field(default_factory=dict)
    planned_left_s: float | None = None
    stopped: str | None = None
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

    @property
    def expected_s(self) -> dict[str, float]:
        """Seconds that stages should take; of MD alone none is known before it runs."""
        return {} if self.method == "md" else self.plan_s


@dataclass
class EnsembleFolder:
    """Paths of the folder, and its status, written as it changes.

    Attributes:
        changed: Called when a stage begins or ends.
    """

    path: Path
    status: Status
    changed: Callable[[], None] = lambda: None
    _written_s: float = 0.0
    _stage_began_s: float = field(default_factory=time.monotonic)
    _before_s: tuple[float, float] = (0.0, 0.0)
    _heard_first: tuple[float, float] | None = None

    @classmethod
    def open(cls, path: Path, source: str) -> EnsembleFolder:
        """A new folder, or one to go on with.

        Raises:
            UserInputError: If it is something else, or of another molecule.
        """
        folder = cls(path, Status(source, str(Path.cwd())))
        if folder.status_path.is_file():
            folder.status = folder._read()
            folder._check_same(source)
        elif path.exists() and not folder._is_ours(source):
            raise UserInputError(
                f"-o {path}: expected a new folder, or one that `bgp4 run` made; name another"
            )
        return folder

    def _is_ours(self, source: str) -> bool:
        """Whether it is empty, or has what stages leave but no status."""
        if not self.path.is_dir():
            return False
        ours = (self.training(1).config_path, self.path / f"{Path(source).stem}.yaml")
        return not any(self.path.iterdir()) or any(path.is_file() for path in ours)

    def _check_same(self, source: str) -> None:
        old = self.status
        if old.begun_in not in ("", str(Path.cwd())):
            raise UserInputError(
                f"-o {self.path}: it was begun in {old.begun_in}, from which its paths count; go "
                "on from there"
            )
        if Path(old.source).resolve() != Path(source).resolve():
            raise UserInputError(
                f"-o {self.path}: it is of {old.source}, found {source}; go on with that or name "
                "another folder"
            )

    def _read(self) -> Status:
        try:
            found = json.loads(self.status_path.read_text(encoding="utf-8"))
            return Status(**{key: value for key, value in dict(found).items() if key != "bgp4"})
        except (ValueError, TypeError) as error:
            raise UserInputError(
                f"{self.status_path}: not a status of this version ({error}); remove the file: "
                "what else the folder has is taken up"
            ) from error

    def is_done(self, request: RunRequest) -> bool:
        """Whether an earlier call has done all that is asked for."""
        status = self.status
        same = (
            request.hours in (None, status.hours)
            and request.effective == status.effective_asked
            and request.method == status.method
            and request.temperature_k in (None, status.temperature_k)
        )
        return status.stage == "done" and same and Path(str(status.ensemble)).is_file()

    @property
    def status_path(self) -> Path:
        return self.path / "status.json"

    def training(self, round_: int) -> RunFolder:
        """Run folder of a training, counted from 1."""
        return RunFolder(self.path / ("train" if round_ == 1 else f"train_{round_}"))

    def title(self, round_: int) -> str:
        """What a report calls a training: the folder has the molecule's name."""
        name = self.path.resolve().name
        return name if round_ == 1 else f"{name}, training {round_}"

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """One stage, whose time counts even if it is interrupted."""
        status = self.status
        status.stage, status.progress, status.stopped = name, "", None
        self._stage_began_s = time.monotonic()
        self._before_s = status.wall_s, status.wall_s_by_stage.get(name, 0.0)
        self._heard_first = None
        self._count()
        self._write_if_begun()
        self.changed()
        try:
            yield
        finally:
            self._count()
            self._write_if_begun()
            self.changed()

    def stop(self, why: str) -> None:
        """Say that nothing goes on."""
        self.status.stopped = why
        self._write_if_begun()

    def _count(self, share: float = 0.0) -> None:
        """The time of the stage so far, of which a share is done, and the time that is left."""
        status, (whole, of_stage) = self.status, self._before_s
        left_s = self._planned_left_s(share)
        status.wall_s = round(whole + self.in_stage_s, 1)
        status.wall_s_by_stage[status.stage] = round(of_stage + self.in_stage_s, 1)
        status.planned_left_s = round(left_s, 1) if left_s else None

    def _planned_left_s(self, share: float) -> float:
        """Of this stage, by its pace once that shows, and of those that have not begun."""
        status, spent_s, expected = self.status, self.in_stage_s, self.status.expected_s
        begun = {status.stage, *status.wall_s_by_stage}
        coming = [s for name, s in expected.items() if name not in begun]
        here = max(expected.get(status.stage, 0.0) - self._before_s[1] - spent_s, 0.0)
        if share > 0 and status.stage in expected:
            if self._heard_first is None or share < self._heard_first[1]:
                self._heard_first = spent_s, share
            since_s, done = spent_s - self._heard_first[0], share - self._heard_first[1]
            if done > LEAST_DONE:
                here = since_s / done * (1 - share)
        return sum(coming) + here

    def _write_if_begun(self) -> None:
        """Before there is a config, nothing is left behind."""
        if self.status.temperature_k is not None:
            self.write()

    @property
    def left_s(self) -> float:
        """What is left of the budget, within a stage."""
        return 3600 * (self.status.hours or 0.0) - self._before_s[0] - self.in_stage_s

    @property
    def in_stage_s(self) -> float:
        """Since the stage began."""
        return time.monotonic() - self._stage_began_s

    def write(self) -> None:
        """Write status.json."""
        content = json_ready({"bgp4": __version__, **asdict(self.status)})
        atomic_write_text(self.status_path, json.dumps(content, indent=2) + "\n")
        self._written_s = time.monotonic()

    def heard(self, label: str, done: int, total: int, note: str) -> None:
        """Progress, which status.json gets every few seconds."""
        self.status.progress = f"{label} {done}/{total} {note}".rstrip()
        self._count(done / total if total else 0.0)
        if time.monotonic() - self._written_s >= WRITE_EVERY_S:
            self.write()
