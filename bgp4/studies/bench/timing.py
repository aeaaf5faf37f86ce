"""How often something can be done in a second."""

from __future__ import annotations

import time
from collections.abc import Callable

__all__ = ["per_second"]


def per_second(work: Callable[[], object], amount: int, seconds: float) -> float:
    """Repeat for at least so many seconds; `amount` is what one call does."""
    done, start = 0, time.perf_counter()
    while time.perf_counter() - start < seconds:
        work()
        done += amount
    return done / (time.perf_counter() - start)
