"""One writer at a time, of files and of run folders."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from bgp4.storage.lock import locked_output
from bgp4.training.run import RunFolder

__all__ = ["alone"]


@contextmanager
def alone(output: Path | None, runs: Sequence[RunFolder]) -> Iterator[None]:
    """The only one to write to a file and into run folders; of several ranks, the writer is."""
    from bgp4.parallel.ranks import is_writer

    with ExitStack() as held:
        if is_writer():
            if output is not None:
                held.enter_context(locked_output(output))
            for run in {run.path.resolve(): run for run in runs}.values():
                held.enter_context(run.locked())
        yield
