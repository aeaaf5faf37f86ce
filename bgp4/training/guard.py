"""Sees a training that diverges, by its gradients.

As a flow learns, its gradient shrinks; what grows to many times the least that it has been, and
stays there, won't come back by itself. Clipping doesn't see it: Adam's and Muon's steps are as
large with a gradient that is noise.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

__all__ = ["Guard"]

REMEMBERED_STEPS = 20
"""Steps over which the gradient's size is averaged, on a logarithmic scale."""

UNSETTLED_STEPS = 10
"""At the beginning, before gradients are judged."""

HEALTHY, DIVERGED = math.log(5), math.log(30)
"""How many times the least that it has been the gradient may be, or may not."""

EMPTY_STEPS = 10
"""So many steps in a row without a gradient, zero or not finite, are divergence as well."""


@dataclass
class Guard:
    """The size of the gradients of one loss.

    Attributes:
        steps: So many it has seen that had a gradient.
        level: Running mean of the norm's logarithm.
        least: Of the levels so far.
        empty_steps: Without a gradient, in a row until now.
    """

    steps: int = 0
    level: float = 0.0
    least: float = math.inf
    empty_steps: int = 0

    def add(self, norm: float) -> None:
        """One more step's gradient."""
        if not (math.isfinite(norm) and norm > 0):
            self.empty_steps += 1
            return
        self.steps, self.empty_steps = self.steps + 1, 0
        share = max(1 / REMEMBERED_STEPS, 1 / self.steps)
        self.level += share * (math.log(norm) - self.level)
        if self.steps >= UNSETTLED_STEPS:
            self.least = min(self.least, self.level)

    def go_back(self) -> None:
        """To an earlier model of the same loss, which knows what its gradients can be."""
        self.steps = self.empty_steps = 0

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
