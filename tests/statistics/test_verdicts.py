"""Verdicts on shares, against binomial probabilities worked out by hand."""

from __future__ import annotations

from bgp4.statistics.verdicts import Verdict, chirality_verdict, departs, share_verdict
from tests.for_each import for_each

NAN = float("nan")


@for_each(
    ("share", "n", "data_share", "expected"),
    [
        (0.05, 1000, 0.05, Verdict.AS_DATA),
        (0.025, 100_000, 0.05, Verdict.AS_DATA),
        (0.1, 100_000, 0.05, Verdict.AS_DATA),
        (0.02, 1000, 0.05, Verdict.UNDER),
        (0.2, 1000, 0.05, Verdict.OVER),
        (0.0, 1000, 0.05, Verdict.LOST),
        (0.0, 20, 0.05, Verdict.UNSURE),
        (0.15, 20, 0.05, Verdict.UNSURE),
        (0.3, 1000, 0.0, Verdict.UNSEEN),
        (0.0, 1000, 0.0, Verdict.UNSEEN),
        (NAN, 1000, 0.05, None),
        (0.1, 1000, NAN, None),
        (0.0, 0, 0.05, None),
    ],
)
def test_verdicts(share: float, n: int, data_share: float, expected: Verdict | None) -> None:
    assert share_verdict(share, n, data_share) is expected


def test_chance_is_let_off_up_to_its_probability() -> None:
    """None of n samples has the state with probability 0.95^n."""
    assert 0.95**134 > 1e-3 > 0.95**135
    assert [departs(0.0, n, 0.05) for n in (100, 200)] == [False, True]


def test_hands() -> None:
    assert chirality_verdict(0.0) is Verdict.AS_DATA
    assert chirality_verdict(1e-4) is Verdict.MIRRORED
    assert chirality_verdict(NAN) is None
