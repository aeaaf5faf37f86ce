"""Random numbers of a run."""

from __future__ import annotations

from dataclasses import dataclass

import torch

__all__ = ["Generators"]


@dataclass(frozen=True)
class Generators:
    """Random numbers of a run, one stream for each use, so that a resumed run repeats them."""

    data: torch.Generator
    latent: torch.Generator
    p4: torch.Generator

    @classmethod
    def from_seed(cls, seed: int) -> Generators:
        streams = torch.randint(2**62, (3,), generator=torch.Generator().manual_seed(seed))
        return cls(*(torch.Generator().manual_seed(int(s)) for s in streams))
