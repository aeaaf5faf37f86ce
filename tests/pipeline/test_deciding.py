"""What comes after a judgement."""

from __future__ import annotations

import pytest

from bgp4.pipeline.deciding import Next, Situation, next_step
from bgp4.pipeline.verdict import Check, Grade, Judgement


def situation(name: str, grade: Grade, **changes: object) -> Situation:
    judgement = Judgement((Check(name, grade, "Words."),))
    values = {"ess": (0.02,), "time_to_train": True, "time_to_refine": True}
    return Situation(judgement, **(values | changes))


@pytest.mark.parametrize(
    ("name", "grade", "changes", "expected"),
    [
        ("effective samples", Grade.PASSED, {}, Next.DONE),
        ("effective samples", Grade.WEAK, {}, Next.TRAIN),
        ("tail of the weights", Grade.FAILED, {}, Next.TRAIN),
        ("state φ > 0", Grade.FAILED, {}, Next.TRAIN),
        ("reference", Grade.WEAK, {}, Next.DONE),
        ("chirality", Grade.FAILED, {}, Next.DONE),
        ("effective samples", Grade.WEAK, {"ess": (0.02, 0.04)}, Next.TRAIN),
        ("effective samples", Grade.WEAK, {"ess": (0.02, 0.021)}, Next.REFINE),
        ("tail of the weights", Grade.WEAK, {"ess": (0.7,)}, Next.REFINE),
        ("effective samples", Grade.WEAK, {"time_to_train": False}, Next.REFINE),
        (
            *("effective samples", Grade.WEAK),
            {"time_to_train": False, "time_to_refine": False},
            Next.DONE,
        ),
    ],
)
def test_what_is_next(name, grade, changes, expected) -> None:
    assert next_step(situation(name, grade, **changes)) == expected
