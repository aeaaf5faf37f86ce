"""What a user asks of a sampling, checked before any library is imported."""

from __future__ import annotations

import math
from dataclasses import dataclass

from bgp4.errors import UserInputError

__all__ = ["SampleRequest"]


@dataclass(frozen=True)
class SampleRequest:
    """A sampling of a trained model.

    Attributes:
        n: Conformations; with `effective`, at most so many.
        weights: Whether to compute energies and log-weights.
        seed: Of the samples.
        temperature_k: Of the weights, K; the run's if None.
        device: auto, cpu or cuda.
        check_energies: Whether OpenMM weighs, and the batched energies are compared with it.
        unbiased: Whether the conformations are states of a Metropolis chain, of equal weights (see
            `bgp4.sampling.unbiased`), instead of the flow's samples.
        refine: Whether they are states of many chains that also move by MD, of equal weights (see
            `bgp4.sampling.refined`).
        effective: Effective samples after which to stop; n conformations if None.

    Raises:
        UserInputError: If the temperature is none, or options contradict each other.
    """

    n: int
    weights: bool = True
    seed: int = 0
    temperature_k: float | None = None
    device: str = "auto"
    check_energies: bool = False
    unbiased: bool = False
    refine: bool = False
    effective: int | None = None

    def __post_init__(self) -> None:
        kelvin = self.temperature_k
        if kelvin is not None and not (math.isfinite(kelvin) and kelvin > 0):
            raise UserInputError(f"--temperature: expected K above 0, found {kelvin:g}")
        weighing = {
            "--temperature": kelvin is not None,
            "--check-energies": self.check_energies,
            "--unbiased": self.unbiased,
            "--refine": self.refine,
            "--effective": self.effective is not None,
        }
        for option, asked in weighing.items():
            if asked and not self.weights:
                raise UserInputError(
                    f"{option}: --no-weights gives no energies; leave one of the two out"
                )
        chosen = [o for o in ("--unbiased", "--refine", "--effective") if weighing[o]]
        if len(chosen) > 1:
            raise UserInputError(f"{chosen[1]}: it does not go with {chosen[0]}; leave one out")
