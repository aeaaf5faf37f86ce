"""What the gradients of the steps so far say of the next one: how large it may be, or that the
training diverges.

Clipping can't see to that: Adam's and Muon's steps are as large where a gradient is noise.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

__all__ = ["Guard"]

REMEMBERED_STEPS = 20
"""Steps over which sizes of gradients (on a logarithmic scale) and ESS are averaged."""

UNSETTLED_STEPS = 10
"""At the beginning, before gradients are judged."""

HEALTHY, DIVERGED = math.log(5), math.log(30)
"""How many times the least that it has been the gradient may be, or may not."""

EMPTY_STEPS = 10
"""So many steps in a row without a gradient, zero or not finite, are divergence as well."""

SHORTEST = 0.1
"""Shortest step, in units of its full length."""


@dataclass
class Guard:
    """The gradients of one loss, and the weights of its batches.

    As a flow learns, its gradient shrinks. One that grows to many times the least that it has been,
    and stays there, won't come back by itself.

    Attributes:
        steps: So many it has seen that had a gradient.
        level: Running mean of the norm's logarithm.
        least: Of the levels so far.
        empty_steps: Without a gradient, in a row until now.
        weighed: Batches with weights so far.
        ess: Running mean of their effective sample sizes, as fractions of 1.
    """

    steps: int = 0
    level: float = 0.0
    least: float = math.inf
    empty_steps: int = 0
    weighed: int = 0
    ess: float = 0.0

    def add(self, norm: float, ess: float = math.nan) -> None:
        """One more step: its gradient's norm, and its batch's ESS, or NaN without weights."""
        if math.isfinite(ess):
            self.weighed += 1
            self.ess += _share(self.weighed) * (ess - self.ess)
        if not (math.isfinite(norm) and norm > 0):
            self.empty_steps += 1
            return
        self.steps, self.empty_steps = self.steps + 1, 0
        self.level += _share(self.steps) * (math.log(norm) - self.level)
        if self.steps >= UNSETTLED_STEPS:
            self.least = min(self.least, self.level)

    def step_length(self, full_step_ess: float) -> float:
        """Factor of the learning rate, which goes with the root of ESS until that is enough.

        So does the gradient's signal, in units of its noise: of n samples n ESS count.
        """
        if not self.weighed or self.ess >= full_step_ess:
            return 1.0
        return max(math.sqrt(self.ess / full_step_ess), SHORTEST)

    def go_back(self) -> None:
        """To an earlier model of the same loss, which knows what its gradients can be."""
        self.steps = self.empty_steps = self.weighed = 0

    @property
    def growth(self) -> float:
        """Logarithm of how many times its least the gradient is."""
        return self.level - self.least if self.steps and self.least < math.inf else 0.0

    @property
    def healthy(self) -> bool:
        """Whether the model is one to go back to."""
        return self.growth < HEALTHY and not self.empty_steps

    @property
    def diverged(self) -> bool:
        """Whether it's time to."""
        grown = self.steps >= UNSETTLED_STEPS and self.growth > DIVERGED
        return grown or self.empty_steps >= EMPTY_STEPS

    def __str__(self) -> str:
        if self.empty_steps >= EMPTY_STEPS:
            return f"no gradient in {self.empty_steps} steps"
        return f"its gradient is {math.exp(self.growth):.0f} times what it was"


def _share(n: int) -> float:
    """Weight of the n-th value in a running mean."""
    return max(1 / REMEMBERED_STEPS, 1 / n)
