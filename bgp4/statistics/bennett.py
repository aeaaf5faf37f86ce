"""Free-energy differences from both ends: the flow's samples and MD frames (Bennett 1976).

Within a state A the flow has the normalised density q / Q_A, Q_A its share of A, and MD has
exp(-u) / Z_A. With the work v = u + log q, the difference D_A = -ln(Z_A / Q_A) solves

    sum over samples in A of 1 / (1 + exp(M + v - D)) =
        sum over frames in A of 1 / (1 + exp(-M - v + D)),      M = ln(n_samples / n_frames),

the acceptance ratio of least variance. For two states,

    -ln(Z_A / Z_B) = D_A - D_B - ln(Q_A / Q_B),

with the samples' shares for Q. How many frames lie in which state does not enter, so MD need not
have crossed between them often; but the flow must not have been trained on these frames, for its
density is too high at those that it was.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq
from scipy.special import expit

from bgp4.statistics.weights import FreeEnergy, bootstrap_error, resampling_counts

__all__ = ["End", "bennett", "two_ended", "two_ended_difference"]

Array = NDArray[np.float64]


class End(NamedTuple):
    """Conformations of one end, the flow's or MD's.

    Attributes:
        work_kt: (n,), u + log q = -log_weight, finite.
        first: (n,), which of them lie in the first state; the others lie in the second.
    """

    work_kt: Array
    first: NDArray[np.bool_]


def bennett(
    forward_kt: Array,  # (n,), work v of the flow's samples
    reverse_kt: Array,  # (m,), the same work v of MD frames
    forward_counts: Array | None = None,  # (n,), how often each counts; once if None
    reverse_counts: Array | None = None,  # (m,)
) -> float:
    """D = -ln(Z / Q) in kT by Bennett's acceptance ratio.

    With work v = D everywhere, as a perfect flow has it, that is the answer:

    >>> round(bennett(np.full(3, 2.5), np.full(5, 2.5)), 9)
    2.5

    Raises:
        ValueError: If one side is empty.
    """
    n = np.ones(len(forward_kt)) if forward_counts is None else forward_counts
    m = np.ones(len(reverse_kt)) if reverse_counts is None else reverse_counts
    if not (n.sum() > 0 and m.sum() > 0):
        raise ValueError("Bennett's acceptance ratio needs samples of both ends")
    shift = math.log(n.sum() / m.sum())

    def imbalance(d: float) -> float:  # rises from -m to n
        return float(n @ expit(d - shift - forward_kt) - m @ expit(reverse_kt + shift - d))

    every = np.concatenate([forward_kt[n > 0], reverse_kt[m > 0]])
    reach = abs(shift) + 1
    low, high = float(every.min()) + shift - reach, float(every.max()) + shift + reach
    return float(brentq(imbalance, low, high))


def two_ended(
    samples_kt: Array,  # (accepted,), work of the flow's samples
    n_samples: int,
    frames_kt: Array,  # (m,), work of MD frames in time order
    repeats: int,
    rng: np.random.Generator,
    blocks: int,
) -> tuple[float, float]:
    """-ln Z in kT from both ends, and its bootstrap error.

    Q is the share of the flow's samples that were accepted, so that -ln Z = D - ln Q.

    Args:
        samples_kt: Of those accepted, independent.
        n_samples: All of them, the rejected ones too.
        frames_kt: Of frames that did not train the flow.
        repeats: Bootstrap replicates, of samples one by one and of frames by blocks.
        rng: Source of the replicates.
        blocks: As in `resampling_counts`.
    """
    share = math.log(len(samples_kt) / n_samples)
    replicates = [
        bennett(
            samples_kt,
            frames_kt,
            resampling_counts(len(samples_kt), rng).astype(float),
            resampling_counts(len(frames_kt), rng, blocks).astype(float),
        )
        for _ in range(repeats)
    ]
    value = bennett(samples_kt, frames_kt) - share
    return value, float(bootstrap_error(np.array(replicates)))


def two_ended_difference(
    samples: End, frames: End, repeats: int, rng: np.random.Generator, blocks: int
) -> FreeEnergy:
    """-ln(Z_first / Z_second) in kT from both ends, with its bootstrap error.

    NaN, with the state as `missing`, where a state has no sample or no frame.

    Args:
        samples: The flow's, independent.
        frames: MD's, in time order.
        repeats: Bootstrap replicates, of the samples one by one and of the frames by blocks.
        rng: Source of the replicates.
        blocks: As in `resampling_counts`.
    """
    difference = _difference_of_counts(samples, frames)
    value = difference(np.ones(len(samples.first)), np.ones(len(frames.first)))
    if np.isnan(value):
        lacks_first = not (samples.first.any() and frames.first.any())
        return FreeEnergy(np.nan, np.inf, "first" if lacks_first else "second")
    replicates = np.array(
        [
            difference(
                resampling_counts(len(samples.first), rng).astype(float),
                resampling_counts(len(frames.first), rng, blocks).astype(float),
            )
            for _ in range(repeats)
        ]
    )
    lost = np.where(np.isnan(replicates), np.inf, replicates)
    return FreeEnergy(value, float(bootstrap_error(lost)), None)


def _difference_of_counts(samples: End, frames: End) -> Callable[[Array, Array], float]:
    """The difference as a function of how often each sample and frame counts; NaN if lost."""
    states = [(samples.first, frames.first), (~samples.first, ~frames.first)]

    def difference(n: Array, m: Array) -> float:
        shares = [n[inside].sum() for inside, _ in states]
        if not (all(shares) and all(m[inside].sum() for _, inside in states)):
            return math.nan
        d_first, d_second = (
            bennett(samples.work_kt[own], frames.work_kt[md], n[own], m[md]) for own, md in states
        )
        return d_first - d_second - math.log(shares[0] / shares[1])

    return difference
