"""Torsions of frames at several temperatures, from which a step draws those of its own."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from bgp4.kernels.transfer import sent

__all__ = ["TorsionFrames"]


@dataclass(frozen=True)
class TorsionFrames:
    """Frames of parallel tempering, of which the flow's circular variables learn while it cools.

    The samples' own weights say little of torsions while few of them count, and states that are
    rare among them disappear. These frames are the ensemble's at each temperature of a ladder.
    Between two of these, a batch has some of each, in the shares that interpolate the logarithm of
    its temperature.

    Attributes:
        torsions: Standardised circular variables, temperature after temperature, (frames,
            n_circular).
        first: Where each temperature's begin, and the end, (temperatures + 1,).
        temperatures_k: Ascending, K.
    """

    torsions: Tensor
    first: tuple[int, ...]
    temperatures_k: tuple[float, ...]

    @classmethod
    def of(
        cls,
        rungs: Sequence[tuple[float, Tensor]],  # K and (frames, n_circular), ascending
    ) -> TorsionFrames:
        """All rungs of a ladder, two or more."""
        kelvin, torsions = zip(*rungs, strict=True)
        first = (0, *np.cumsum([len(t) for t in torsions]).tolist())
        return cls(torch.cat(torsions), first, kelvin)

    def draw(self, kelvin: float, n: int, generator: torch.Generator) -> Tensor:
        """Torsions of n frames of a temperature, or of its two neighbours, (n, n_circular).

        Beyond the ladder's ends they are of the end.
        """
        rungs = np.arange(len(self.temperatures_k))
        place = float(np.interp(math.log(kelvin), np.log(self.temperatures_k), rungs))
        low = min(math.floor(place), len(rungs) - 2)
        n_high = round(n * (place - low))
        some = [self._index(low, n - n_high, generator), self._index(low + 1, n_high, generator)]
        return self.torsions[sent(torch.cat(some), self.torsions.device)]

    def _index(self, rung: int, n: int, generator: torch.Generator) -> Tensor:
        start, end = self.first[rung : rung + 2]
        return torch.randint(start, end, (n,), generator=generator)
