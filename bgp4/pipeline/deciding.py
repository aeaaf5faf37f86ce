"""What comes after a judgement: more training, a refinement, or the end."""

from __future__ import annotations

from enum import StrEnum
from typing import NamedTuple

from bgp4.pipeline.verdict import Grade, Judgement, Trust

__all__ = ["Next", "Situation", "next_step"]

GAIN = 1.1
"""By this factor a training has to raise the ESS, or another one is not worth its time."""

ENOUGH = 0.5
"""An ESS from which on a training has little to gain; heavy tails and small shares may remain."""

BY_TRAINING = (
    *("effective samples", "heaviest weight", "tail of the weights", "ESS as N grows"),
    *("coverage", "free energy from both ends"),
)
"""Checks that a better flow passes; so do states' shares."""


class Next(StrEnum):
    """What to do."""

    TRAIN = "train"
    REFINE = "refine"
    DONE = "done"


class Situation(NamedTuple):
    """What is known when it is decided.

    Attributes:
        judgement: Of the last training's samples.
        ess: Of each training's samples so far, fractions of 1.
        time_to_train: Whether the budget has room for a training that is worth it.
        time_to_refine: Whether it has room for a refinement.
    """

    judgement: Judgement
    ess: tuple[float, ...]
    time_to_train: bool
    time_to_refine: bool


def next_step(now: Situation) -> Next:
    """Training as long as it helps, refinement where it did not suffice."""
    if now.judgement.trust == Trust.CONVERGED or not _curable(now.judgement):
        return Next.DONE
    gained = len(now.ess) < 2 or now.ess[-1] > GAIN * now.ess[-2]
    if now.time_to_train and gained and now.ess[-1] < ENOUGH:
        return Next.TRAIN
    if now.time_to_refine:
        return Next.REFINE
    return Next.DONE


def _curable(judgement: Judgement) -> bool:
    off = [check.name for check in judgement.checks if check.grade != Grade.PASSED]
    return any(name in BY_TRAINING or name.startswith("state ") for name in off)
