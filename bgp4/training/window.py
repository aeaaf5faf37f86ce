"""What the steps since the last evaluation add to the next row of history."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from bgp4.flows.generator import Conformations
from bgp4.statistics.weights import kish
from bgp4.training.losses import batch_weights
from bgp4.training.monitor import StateMonitor
from bgp4.training.step import StepResult

__all__ = ["Window"]

NUMBERS = ("loss", "nll", "kl", "gradient_norm", "p4_residual")


@dataclass
class Window:
    """Steps that no row of history tells of yet; a checkpoint keeps them.

    Args:
        monitor: Counts the samples in each state.
    """

    monitor: StateMonitor
    _numbers: list[tuple[float, ...]] = field(default_factory=list)
    _log_weights: list[Tensor] = field(default_factory=list)
    _samples: list[Conformations] = field(default_factory=list)
    _counted: NDArray[np.int64] | int = 0

    def __len__(self) -> int:
        return len(self._numbers)

    def add(self, result: StepResult) -> None:
        """One more step."""
        numbers = (result.loss, result.nll, result.kl, result.gradient_norm)
        self._numbers.append((*numbers, result.p4.worst_residual))
        if result.log_weight is not None:
            self._log_weights.append(result.log_weight)
        if result.samples is not None:
            self._samples.append(result.samples)

    def clear(self) -> None:
        """After an evaluation."""
        self._numbers, self._log_weights = [], []
        self._samples, self._counted = [], 0

    def mean(self, name: str) -> float:
        """Mean of one of `NUMBERS` over the steps where it is finite; NaN where it never is."""
        finite = [value for value in self._column(name) if math.isfinite(value)]
        return sum(finite) / len(finite) if finite else math.nan

    def largest(self, name: str) -> float:
        """Largest value of one of `NUMBERS`."""
        return max(self._column(name))

    def ess(self) -> float:
        """Kish's effective sample size of all samples, as a fraction of 1; NaN without any.

        Each step's weights are normalised by themselves, for each has its own flow.
        """
        if not self._log_weights:
            return math.nan
        weights = [batch_weights(log_weight.cpu()) for log_weight in self._log_weights]
        weight = torch.cat(weights)
        return kish(float(weight.sum()), float(weight.square().sum()), len(weight))

    def state_counts(self) -> NDArray[np.int64]:  # (states + 1,)
        """How many of this rank's samples are in each state and, last, how many there are."""
        self._counted = self._counted + self.monitor.count(self._samples)
        self._samples = []
        return self._counted

    def tensors(self) -> dict[str, Tensor]:
        """What `restore` needs; nothing where there are no steps."""
        kept = {}
        if self._numbers:
            kept["numbers"] = torch.tensor(self._numbers, dtype=torch.float64)
            counts = self.state_counts().tolist()
            kept["states"] = torch.tensor(self.monitor.ranks.total(*counts)).long()
        if self._log_weights:
            kept["log_weight"] = torch.stack([values.cpu() for values in self._log_weights])
        return kept

    def restore(self, tensors: dict[str, Tensor]) -> None:
        """The window that `tensors` is of. Counts are added up over ranks, so one takes them."""
        self.clear()
        if not tensors:
            return
        self._numbers = [tuple(row) for row in tensors["numbers"].tolist()]
        self._log_weights = list(tensors["log_weight"]) if "log_weight" in tensors else []
        if self.monitor.ranks.is_writer and "states" in tensors:
            self._counted = tensors["states"].numpy()

    def _column(self, name: str) -> list[float]:
        index = NUMBERS.index(name)
        return [row[index] for row in self._numbers]
