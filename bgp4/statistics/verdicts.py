"""The judgement on collapsed modes: is a state's share among samples that of the data?

Reverse KL fakes its effective sample size by dropping a mode, so the shares of states are compared
with the data's, in training as in reports, raw and by weight.
"""

from __future__ import annotations

import math
from enum import StrEnum

__all__ = [
    "FACTOR",
    "SIGNIFICANCE",
    "Verdict",
    "chirality_verdict",
    "departs",
    "share_p_value",
    "share_verdict",
]

FACTOR = 2.0
"""A share that is this many times the data's, or its inverse, is off."""

SIGNIFICANCE = 1e-3
"""And only if chance would bring it so far with less than this probability."""


class Verdict(StrEnum):
    """What a share says of its state."""

    AS_DATA = "as in the data"
    UNDER = "under-sampled"
    OVER = "over-sampled"
    LOST = "lost"
    UNSURE = "too few samples to tell"
    UNSEEN = "not in the data"
    MIRRORED = "mirrored"


def departs(
    share: float,
    n: float,  # samples behind the share, the effective ones if they are weighted
    data_share: float,
    tests: int = 1,  # shares that are judged together
    data_n: float | None = None,  # independent frames behind the data's; it is exact if None
) -> bool:
    """Whether a share is off by more than `FACTOR`, and not by chance.

    Of several shares judged together, none is off by chance with more than `SIGNIFICANCE`.

    >>> departs(0.01, 1000, 0.05), departs(0.03, 1000, 0.05), departs(0.0, 20, 0.05)
    (True, False, False)
    >>> departs(0.5, 1000, 0.2, data_n=1000), departs(0.5, 1000, 0.2, data_n=15)
    (True, False)
    """
    from scipy.stats import binomtest

    if _near(share, data_share):
        return False
    if data_n is None:
        p = binomtest(round(share * n), max(round(n), 1), min(data_share, 1.0)).pvalue
    else:
        p = share_p_value(share, n, data_share, data_n)
    return bool(p < SIGNIFICANCE / tests)


def share_p_value(share: float, n: float, data_share: float, data_n: float) -> float:
    """Of both shares being the same, by Fisher's exact test of the counts that they are worth."""
    from scipy.stats import fisher_exact

    sides = ((share, n), (data_share, data_n))
    return float(fisher_exact([[round(s * m), round((1 - s) * m)] for s, m in sides])[1])


def share_verdict(
    share: float, n: float, data_share: float, tests: int = 1, data_n: float | None = None
) -> Verdict | None:
    """The verdict on a share (arguments as of `departs`); None where there is none.

    >>> print(share_verdict(0.01, 1000, 0.05))
    under-sampled
    """
    if math.isnan(share) or math.isnan(data_share) or n == 0:
        return None
    if data_share == 0:
        return Verdict.UNSEEN
    if not departs(share, n, data_share, tests, data_n):
        return Verdict.AS_DATA if _near(share, data_share) else Verdict.UNSURE
    if share == 0:
        return Verdict.LOST
    return Verdict.UNDER if share < data_share else Verdict.OVER


def _near(share: float, data_share: float) -> bool:
    return data_share > 0 and 1 / FACTOR <= share / data_share <= FACTOR


def chirality_verdict(
    share: float,  # of mirrored samples
) -> Verdict | None:
    """Data have one hand alone, so that any sample of the other is too many."""
    if math.isnan(share):
        return None
    return Verdict.MIRRORED if share > 0 else Verdict.AS_DATA
