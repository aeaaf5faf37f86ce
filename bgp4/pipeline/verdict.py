"""A verdict: the checks that it follows from, each with its grade, and what it says in words."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

__all__ = ["Check", "Grade", "Judgement", "Trust", "effective_words"]


class Trust(StrEnum):
    """The verdict on an ensemble."""

    CONVERGED = "converged"
    USABLE = "usable"
    NOT = "not to be trusted"


class Grade(StrEnum):
    """The result of one check."""

    PASSED = "passed"
    WEAK = "weak"
    FAILED = "failed"


class Check(NamedTuple):
    """One look at the evidence.

    Attributes:
        name: Of what was looked at.
        grade: How it came out.
        words: A sentence that says so.
    """

    name: str
    grade: Grade
    words: str


@dataclass(frozen=True)
class Judgement:
    """Checks, and the verdict that follows from them."""

    checks: tuple[Check, ...]

    @property
    def trust(self) -> Trust:
        """As good as the worst check."""
        grades = {check.grade for check in self.checks}
        if Grade.FAILED in grades:
            return Trust.NOT
        return Trust.USABLE if Grade.WEAK in grades else Trust.CONVERGED

    @property
    def reasons(self) -> list[str]:
        """Why it is no better: what failed, else what is weak."""
        worst = Grade.FAILED if self.trust == Trust.NOT else Grade.WEAK
        return [check.words for check in self.checks if check.grade == worst]

    @property
    def remarks(self) -> list[str]:
        """What is weak beside what failed."""
        if self.trust != Trust.NOT:
            return []
        return [check.words for check in self.checks if check.grade == Grade.WEAK]

    @property
    def words(self) -> str:
        """The verdict, and the checks that are not passed by name."""
        by_grade = {
            grade: ", ".join(check.name for check in self.checks if check.grade == grade)
            for grade in (Grade.FAILED, Grade.WEAK)
        }
        off = "; ".join(f"{grade}: {names}" for grade, names in by_grade.items() if names)
        return f"{self.trust} ({off})" if off else str(self.trust)


def effective_words(effective: float) -> str:
    """A number of effective samples.

    >>> effective_words(1.2), effective_words(12345.6)
    ('1 effective sample', '12,346 effective samples')
    """
    n = round(effective)
    return f"{n:,} effective {'sample' if n == 1 else 'samples'}"
