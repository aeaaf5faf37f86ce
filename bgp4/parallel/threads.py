"""Who uses the cores: whole pieces of work side by side, each of them on one thread of torch.

torch shares out each operation among its threads, which wait for each other by spinning. Ours are
small, and where a core is busy or only half of one, as with hyper-threads, such waits can take
forty times as long as the work. A piece by itself waits for nobody, and its result does not depend
on how many there are.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

import torch

__all__ = ["in_threads", "threads"]

T = TypeVar("T")
R = TypeVar("R")


@contextmanager
def threads(n: int | None) -> Iterator[int]:
    """torch's operations on n threads, within; None leaves them. Gives the number before.

    That is `OMP_NUM_THREADS` or what `torch.set_num_threads` was told, else the number of cores
    that the process may use.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(n or before)
    try:
        yield before
    finally:
        torch.set_num_threads(before)


def in_threads(function: Callable[[T], R], items: Iterable[T]) -> Iterator[R]:
    """`function` of each item, in order: as many at a time as torch has threads, each on one.

    Items are taken as they are needed, so that few results wait in memory.
    """
    with threads(1) as n, ThreadPoolExecutor(n) as pool:
        begun: deque[Future[R]] = deque()
        for item in items:
            begun.append(pool.submit(function, item))
            if len(begun) > n:
                yield begun.popleft().result()
        while begun:
            yield begun.popleft().result()
