"""Worker processes that share a batch, and what happens where one of them fails.

A worker that dies, gives no answer in time, or no longer finds an energy that it found before, is
replaced, and what it was working on is done again. What fails three times is done conformation by
conformation, and those that take a worker with them are rejected.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Iterator
from contextlib import suppress

import numpy as np
from numpy.typing import NDArray

from bgp4.energies.base import Evaluation
from bgp4.energies.worker import serve_energies
from bgp4.errors import RunError, UserInputError
from bgp4.parallel.processes import Child, start_child, stop_children

__all__ = ["WorkerPool", "available_cores"]

log = logging.getLogger(__name__)

Array = NDArray[np.float64]

START_TIMEOUT_S = 300.0
"""Importing OpenMM from a slow disk takes its time."""

MAX_FAILURES = 3
"""Failures of one part of a batch before its conformations are tried one by one."""

MAX_FAILURES_IN_A_ROW = 20
"""Failures of any workers without an answer in between: then it is not the conformations."""

CHUNK_BYTES = 2**17
"""Size of the positions sent at a time: less than a pipe holds, so that sending never waits."""


class _Failure(Exception):
    """A worker failed; the message says how."""


class WorkerPool:
    """OpenMM Contexts in processes of their own, one thread each.

    Args:
        system_xml: Serialised System.
        platform: OpenMM platform name.
        workers: Processes.
        timeout_s: Without an answer for so long, a worker is taken for hung.

    Raises:
        UserInputError: If a worker can't make its Context (an unknown platform, say).
        RunError: If a worker dies as it starts.
    """

    def __init__(self, system_xml: str, platform: str, workers: int, timeout_s: float) -> None:
        self.timeout_s = timeout_s
        self.n_replaced = 0
        self._failures_in_a_row = 0
        self._known: Array | None = None
        self._arguments = [(system_xml, platform, core) for core in _cores(workers)]
        self.children: list[Child] = []
        try:
            for arguments in self._arguments:
                self.children.append(start_child(serve_energies, *arguments))
            for child in self.children:
                _await_start(child)
        except BaseException:
            stop_children(self.children)
            raise

    def evaluate(
        self,
        positions: Array,  # (batch, atoms, 3), nm
    ) -> Evaluation:
        """Each worker's share of the batch from that worker, whatever the others do."""
        shares = np.array_split(positions, len(self.children))
        size = max(1, CHUNK_BYTES // positions[:1].nbytes)
        answers: list[list[Evaluation]] = [[] for _ in shares]
        for start in range(0, len(shares[0]), size):
            chunks = {i: s[start : start + size] for i, s in enumerate(shares) if start < len(s)}
            sent = time.monotonic()
            for i, chunk in chunks.items():
                self._send(i, chunk)
            for i, chunk in chunks.items():
                answers[i].append(self._answer(i, chunk, sent + self.timeout_s))
        return _joined([answer for of_worker in answers for answer in of_worker])

    def _send(self, i: int, part: Array) -> None:
        """A worker that has died is found out when its answer is asked for."""
        with suppress(OSError):
            self.children[i].pipe.send(part)

    def _answer(self, i: int, part: Array, deadline: float) -> Evaluation:
        """To a part that worker i was sent."""
        for attempt in range(MAX_FAILURES):
            if attempt:
                self._send(i, part)
                deadline = time.monotonic() + self.timeout_s
            try:
                return self._received(i, part, deadline)
            except _Failure as failure:
                self._replace(i, f"{failure}; its {len(part)} conformations are done again")
        return _joined([self._alone(i, part[k : k + 1]) for k in range(len(part))])

    def _alone(self, i: int, conformation: Array) -> Evaluation:
        """Energy of one conformation, (1, atoms, 3), rejected if the worker fails on it."""
        self._send(i, conformation)
        try:
            return self._received(i, conformation, time.monotonic() + self.timeout_s)
        except _Failure as failure:
            self._replace(i, f"{failure}; the conformation that it had is rejected")
            reason = {0: f"the OpenMM worker {failure}"}
            return Evaluation(np.full(1, np.nan), np.zeros_like(conformation), reason)

    def _received(self, i: int, part: Array, deadline: float) -> Evaluation:
        child = self.children[i]
        try:
            if not child.pipe.poll(max(0.0, deadline - time.monotonic())):
                raise _Failure(f"gave no answer in {self.timeout_s:g} s")
            answer = child.pipe.recv()
        except (EOFError, OSError) as error:
            raise _Failure(child.fate) from error
        if isinstance(answer, str):
            raise _Failure(answer)
        self._failures_in_a_row = 0
        evaluation = Evaluation(*answer)
        if self._known is None and len(evaluation.rejected) < len(part):
            self._known = part[int(np.isfinite(evaluation.energy_kjmol).argmax())]
        return evaluation

    def _replace(self, i: int, why: str) -> None:
        """A new worker in the place of one that failed.

        Raises:
            RunError: If none of the last ones gave an answer.
        """
        log.warning("OpenMM worker %d (process %d) %s", i, self.children[i].process.pid, why)
        self.n_replaced += 1
        self._failures_in_a_row += 1
        if self._failures_in_a_row >= MAX_FAILURES_IN_A_ROW:
            raise RunError(
                f"OpenMM's workers fail on any input, {self._failures_in_a_row} times in a "
                f"row; the last {why.partition(';')[0]}"
            )
        self.children[i].process.kill()
        stop_children([self.children[i]])
        self.children[i] = start_child(serve_energies, *self._arguments[i], self._known)
        _await_start(self.children[i])


def available_cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _cores(workers: int) -> list[int] | list[None]:
    """Each worker's core where there is one for each, else none in particular."""
    if hasattr(os, "sched_getaffinity") and workers == available_cores():
        return sorted(os.sched_getaffinity(0))
    return [None] * workers


def _await_start(child: Child) -> None:
    try:
        if not child.pipe.poll(START_TIMEOUT_S):
            raise RunError(f"an OpenMM worker has not started in {START_TIMEOUT_S:g} s")
        error = child.pipe.recv()
    except (EOFError, OSError) as lost:
        raise RunError(f"an OpenMM worker {child.fate} as it started") from lost
    if error is not None:
        raise UserInputError(f"config key energies.platform: {error}")


def _joined(answers: list[Evaluation]) -> Evaluation:
    energies, forces, _ = zip(*answers, strict=True)
    return Evaluation(np.concatenate(energies), np.concatenate(forces), dict(_rejected(answers)))


def _rejected(answers: list[Evaluation]) -> Iterator[tuple[int, str]]:
    start = 0
    for answer in answers:
        yield from ((start + i, why) for i, why in answer.rejected.items())
        start += len(answer.energy_kjmol)
