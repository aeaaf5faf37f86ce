"""What an ensemble is worth: a verdict from evidence, and its reasons, one plain sentence each.

A verdict is as good as the worst of its checks, so that none is better than the evidence.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

from bgp4.pipeline.verdict import Check, Grade, Judgement, effective_words
from bgp4.statistics.chains import LARGEST_R_HAT
from bgp4.statistics.verdicts import SIGNIFICANCE, share_p_value

__all__ = ["Evidence", "StateEvidence", "disagrees", "judge"]

FEWEST_EFFECTIVE = 200
"""Effective samples below which not even an error bar can be trusted."""

HEAVY, TOO_HEAVY = 0.02, 0.1
"""Share of all weight that one sample may hold."""

LONG_TAIL, TOO_LONG_TAIL = 0.7, 1.0
"""Of the weights' Pareto shape: above the first their errors are too small, above the second
they have no mean (see `bgp4.statistics.tail`)."""

FALLING = 0.5
"""The ESS of all samples, relative to that of their first quarter; weights without a mean have
less and less."""

OFF_SHARE, OFF_FACTOR = 0.05, 2.0
"""A state's share is off by so much, or by this factor: too much for any use. Less is said."""

UNCOVERED = 0.01
"""Share of the reference where the flow's density is too low to be sampled."""

BLIND = 0.3
"""Share of the reference that chance may leave uncovered, above which coverage says nothing."""

OFF_KT, FAR_OFF_KT, SIGMAS = 0.1, 0.5, 4.0
"""Two estimates of a free energy agree within the first or within so many standard errors."""

MIRRORED = 1e-3
"""Weight of the wrong chirality."""

FEW_DRAWS = 50.0
"""Independent conformations of a reference below which it confirms little."""

REFERENCE_R_HAT = 1.1


class StateEvidence(NamedTuple):
    """A state's share of an ensemble and of an independent reference.

    Attributes:
        label: Of the state.
        share: By weight.
        error: Its standard error.
        n: Independent samples that are worth as much for this share.
        md_share: Of the reference's frames.
        md_draws: Independent ones among these.
        both_ends_kt: -ln(P / (1 - P)) from samples and frames within the state and outside, which
            does not depend on how often the reference crossed; NaN if unknown.
        both_ends_error_kt: Its standard error.
    """

    label: str
    share: float
    error: float
    n: float
    md_share: float
    md_draws: float
    both_ends_kt: float = math.nan
    both_ends_error_kt: float = math.nan

    @property
    def confirmed_by_both_ends(self) -> bool:
        """Whether the weights' share is that of both ends, within errors that say something."""
        p, q = self.share, 1 - self.share
        if not (p > 0 and q > 0 and math.isfinite(self.both_ends_kt + self.both_ends_error_kt)):
            return False
        own_kt, own_error_kt = math.log(q / p), self.error / (p * q)
        error_kt = math.hypot(own_error_kt, self.both_ends_error_kt)
        off_kt = abs(own_kt - self.both_ends_kt)
        return error_kt <= FAR_OFF_KT and off_kt <= max(OFF_KT, SIGMAS * error_kt)


@dataclass(frozen=True)
class Evidence:
    """What is known of an ensemble.

    Attributes:
        asked: Effective samples that a user wants.
        n_samples: Of the flow, or states of chains.
        effective: What these are worth.
        ess_clipped: Of a flow's samples without the heaviest weights, a fraction of 1.
        largest_weight: Share of all weight.
        tail: Shape of the weights' tail, NaN if unknown.
        growth: ESS relative to that of the first quarter of the samples.
        states: Shares of states.
        free_energies_kt: -ln Z by weights and by both ends, each with its error; empty if unknown.
        uncovered: Share of the reference's frames that weigh more than any sample; NaN if unknown.
        uncovered_draws: Independent frames behind it.
        mirrored: Weight of samples with the wrong chirality.
        reference_r_hat: Of the reference's chains; NaN without a reference.
        r_hat: Of the ensemble's chains; NaN for a flow's own samples.
        is_md: Whether the ensemble is MD itself, which needs no other reference.
    """

    asked: int
    n_samples: int
    effective: float
    ess_clipped: float = math.nan
    largest_weight: float = 0.0
    tail: float = math.nan
    growth: float = 1.0
    states: tuple[StateEvidence, ...] = ()
    free_energies_kt: tuple[tuple[float, float], ...] = ()
    uncovered: float = math.nan
    uncovered_draws: float = 0.0
    mirrored: float = 0.0
    reference_r_hat: float = math.nan
    r_hat: float = math.nan
    is_md: bool = False

    @property
    def is_of_chains(self) -> bool:
        """Whether the ensemble is that of chains, of equal weights."""
        return not math.isnan(self.r_hat)

    @property
    def ess(self) -> float:
        """A fraction of 1."""
        return self.effective / self.n_samples if self.n_samples else 0.0


def judge(evidence: Evidence) -> Judgement:
    """All checks of an ensemble.

    >>> judge(Evidence(asked=1000, n_samples=2000, effective=10)).trust
    <Trust.NOT: 'not to be trusted'>
    """
    return Judgement(tuple(check for look in CHECKS for check in look(evidence)))


def _graded(value: float, weak: float, failed: float) -> Grade:
    """The larger the worse."""
    if value > failed:
        return Grade.FAILED
    return Grade.WEAK if value > weak else Grade.PASSED


def _effective(evidence: Evidence) -> Iterator[Check]:
    effective, asked = evidence.effective, evidence.asked
    enough = effective >= 0.99 * asked
    grade = Grade.PASSED if enough else Grade.WEAK
    words = f"{effective_words(effective)} of {asked:,} asked for"
    if not enough and effective < FEWEST_EFFECTIVE:
        grade, words = Grade.FAILED, f"{words}, too few for an error bar"
    yield Check("effective samples", grade, f"{words}.")


def _weights(evidence: Evidence) -> Iterator[Check]:
    if evidence.is_of_chains:
        return
    heaviest = evidence.largest_weight
    grade = _graded(heaviest, HEAVY, TOO_HEAVY)
    yield Check("heaviest weight", grade, f"One sample holds {heaviest:.1%} of all weight.")
    if not math.isnan(evidence.tail):
        grade = _graded(evidence.tail, LONG_TAIL, TOO_LONG_TAIL)
        about = {
            Grade.PASSED: "averages have a variance",
            Grade.WEAK: "error bars are too small",
            Grade.FAILED: "averages depend on samples that were not drawn",
        }[grade]
        words = f"The tail of the weights has the shape {evidence.tail:.2f}: {about}."
        yield Check("tail of the weights", grade, words)
    falls = evidence.growth < FALLING
    words = f"The ESS of all samples is {evidence.growth:.2f} times that of a quarter of them"
    words += ": it falls as more are drawn." if falls else "."
    yield Check("ESS as N grows", Grade.WEAK if falls else Grade.PASSED, words)


def _chains(evidence: Evidence) -> Iterator[Check]:
    if evidence.is_of_chains:
        agree = evidence.r_hat <= LARGEST_R_HAT
        words = "agree" if agree else "do not agree"
        yield Check(
            "chains",
            Grade.PASSED if agree else Grade.FAILED,
            f"The ensemble's chains {words}: R-hat {evidence.r_hat:.3f}.",
        )


def _reference(evidence: Evidence) -> Iterator[Check]:
    """Whether there is something to judge by."""
    if evidence.is_md:
        few = [s.label for s in evidence.states if s.share > UNCOVERED and s.n < FEW_DRAWS]
        yield from _length(few, "simulation")
        return
    if math.isnan(evidence.reference_r_hat):
        words = "There is no independent simulation: a mode that the flow never saw would not show."
        yield Check("reference", Grade.WEAK, words)
        return
    agrees = evidence.reference_r_hat <= REFERENCE_R_HAT
    words = (
        f"The reference's chains {'agree' if agrees else 'do not agree'}: R-hat "
        f"{evidence.reference_r_hat:.2f}."
    )
    yield Check("reference", Grade.PASSED if agrees else Grade.WEAK, words)
    visited = [s for s in evidence.states if max(s.share, s.md_share) > UNCOVERED]
    yield from _length([s.label for s in visited if s.md_draws < FEW_DRAWS], "reference")


def _length(few: list[str], what: str) -> Iterator[Check]:
    """Whether a simulation has too few independent frames for the shares of some states."""
    if few:
        words = (
            f"The {what} has fewer than {FEW_DRAWS:.0f} independent conformations for the share of "
            f"{_listed(few)}."
        )
        yield Check(f"length of the {what}", Grade.WEAK, words)


def _listed(labels: list[str], most: int = 4) -> str:
    more = len(labels) - most
    return ", ".join(labels[:most]) + (f" and {more} others" if more > 0 else "")


def _states(evidence: Evidence) -> Iterator[Check]:
    if evidence.is_md:
        return
    for state in evidence.states:
        grade = _grade_of(state, len(evidence.states))
        words = (
            f"{state.label} has {_percent(state.share)} ± {_percent(state.error)} by weight and "
            f"{_percent(state.md_share)} in the reference."
        )
        doubtful = not evidence.reference_r_hat <= REFERENCE_R_HAT or state.md_draws < FEW_DRAWS
        if grade == Grade.FAILED and doubtful and state.confirmed_by_both_ends:
            grade = Grade.WEAK
            words = f"{words[:-1]}, which crosses too seldom; BAR agrees with the weights."
        yield Check(f"state {state.label}", grade, words)


def _percent(share: float) -> str:
    return f"{100 * share:.2g} %" if share < 0.095 else f"{100 * share:.1f} %"


def disagrees(state: StateEvidence, tests: int) -> bool:
    """Whether both shares differ beyond chance, of several that are judged together.

    By Fisher's exact test of the counts that they are worth. Where there is nothing to compare
    with, they do not: another check says that.
    """
    if math.isnan(state.md_share) or state.md_draws < 2 or state.n < 1:
        return False
    p = share_p_value(state.share, state.n, state.md_share, state.md_draws)
    return p < SIGNIFICANCE / tests


def _grade_of(state: StateEvidence, tests: int) -> Grade:
    if not disagrees(state, tests):
        return Grade.PASSED
    minor = sorted(min(share, 1 - share) for share in (state.share, state.md_share))
    far = abs(state.share - state.md_share) > OFF_SHARE or minor[1] > OFF_FACTOR * minor[0]
    return Grade.FAILED if far else Grade.WEAK


def _coverage(evidence: Evidence) -> Iterator[Check]:
    """Frames of the reference where samples would weigh more than all of those that there are."""
    share, draws = evidence.uncovered, evidence.uncovered_draws
    if math.isnan(share):
        return
    from scipy.stats import binomtest

    by_chance = min(3 * max(evidence.largest_weight, 1 / max(evidence.n_samples, 1)), 1.0)
    counted = min(round(share * draws), max(round(draws), 1))
    test = binomtest(counted, max(round(draws), 1), by_chance, alternative="greater")
    words = f"{_percent(share)} of the reference lies where the flow hardly ever samples"
    if test.pvalue < SIGNIFICANCE:
        grade = Grade.FAILED if share > UNCOVERED else Grade.WEAK
    elif by_chance > BLIND:
        grade = Grade.WEAK
        words += ", which means nothing beside so heavy a sample"
    else:
        grade = Grade.PASSED
        words += ", no more than chance explains"
    yield Check("coverage", grade, f"{words}.")


def _free_energy(evidence: Evidence) -> Iterator[Check]:
    if len(evidence.free_energies_kt) != 2:
        return
    (own, own_error), (bar, bar_error) = evidence.free_energies_kt
    off, error = abs(own - bar), math.hypot(own_error, bar_error)
    grade = Grade.PASSED
    if off > max(OFF_KT, SIGMAS * error):
        grade = Grade.FAILED if off > FAR_OFF_KT else Grade.WEAK
    words = (
        f"The free energy is {own:.3f} ± {own_error:.3f} kT by weights and {bar:.3f} ± "
        f"{bar_error:.3f} kT with the reference (BAR)."
    )
    yield Check("free energy from both ends", grade, words)


def _chirality(evidence: Evidence) -> Iterator[Check]:
    if math.isnan(evidence.mirrored):
        return
    grade = _graded(evidence.mirrored, 0.0, MIRRORED)
    words = f"{_percent(evidence.mirrored)} of the weight has the wrong chirality."
    yield Check("chirality", grade, words)


CHECKS: tuple[Callable[[Evidence], Iterator[Check]], ...] = (
    _effective,
    _weights,
    _chains,
    _reference,
    _states,
    _coverage,
    _free_energy,
    _chirality,
)
