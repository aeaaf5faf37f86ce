"""What a user asks of a sampling or a reweighting, checked before any library is imported."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

from bgp4.errors import UserInputError

__all__ = ["ReweighRequest", "SampleRequest"]


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
        colvar: A file that gets the weights in PLUMED's columns as well.

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
    colvar: Path | None = None

    def __post_init__(self) -> None:
        _check_temperature(self.temperature_k)
        weighing = {
            "--temperature": self.temperature_k is not None,
            "--check-energies": self.check_energies,
            "--unbiased": self.unbiased,
            "--refine": self.refine,
            "--effective": self.effective is not None,
            "--colvar": self.colvar is not None,
        }
        for option, asked in weighing.items():
            if asked and not self.weights:
                raise UserInputError(
                    f"{option}: --no-weights gives no energies; leave one of the two out"
                )
        chosen = [o for o in ("--unbiased", "--refine", "--effective") if weighing[o]]
        if len(chosen) > 1:
            raise UserInputError(f"{chosen[1]}: it does not go with {chosen[0]}; leave one out")


@dataclass(frozen=True)
class ReweighRequest:
    """Samples of a run, weighted by another energy.

    Attributes:
        system: A config, whose System and temperature are those of the weights.
        energy: A function of the user's instead, `file.py:name`.
        ase: An ASE calculator instead, `module:Class`.
        temperature_k: Of the weights, K; the config's or the run's if None.
        samples: An .h5 file with the run's samples; new ones are drawn if None.
        n: Conformations to draw.
        seed: Of these, and of the resampling.
        resample: Conformations of equal weight to draw by the weights, or None.
        device: auto, cpu or cuda.
        colvar: A file that gets the weights in PLUMED's columns as well.

    Raises:
        UserInputError: If there is nothing to reweigh by, or options contradict each other.
    """

    system: str | None = None
    energy: str | None = None
    ase: str | None = None
    temperature_k: float | None = None
    samples: Path | None = None
    n: int | None = None
    seed: int = 0
    resample: int | None = None
    device: str = "auto"
    colvar: Path | None = None

    def __post_init__(self) -> None:
        energies = {"--system": self.system, "--energy": self.energy, "--ase": self.ase}
        chosen = [option for option, value in energies.items() if value is not None]
        if len(chosen) > 1:
            raise UserInputError(f"{chosen[1]}: it does not go with {chosen[0]}; leave one out")
        if not chosen and self.temperature_k is None and self.resample is None:
            raise UserInputError(
                "bgp4 reweigh: expected what to weigh by: --system CONFIG, --energy file.py:name, "
                "--ase module:Class, or --temperature K"
            )
        if self.samples is not None and self.n is not None:
            raise UserInputError("-n: it does not go with --samples, which has all of a file's")
        _check_temperature(self.temperature_k)

    @property
    def asked(self) -> str:
        """The option that says which energy, as the user wrote it."""
        named = {"--system": self.system, "--energy": self.energy, "--ase": self.ase}
        for option, value in named.items():
            if value is not None:
                return f"{option} {value}"
        kelvin = self.temperature_k
        return "bgp4 reweigh" if kelvin is None else f"--temperature {kelvin:g}"


def _check_temperature(kelvin: float | None) -> None:
    if kelvin is not None and not (math.isfinite(kelvin) and kelvin > 0):
        raise UserInputError(f"--temperature: expected K above 0, found {kelvin:g}")
