"""The one place where kJ/mol, kT, nm, fs and K meet.

Inside bgp4, lengths are nm, angles rad, temperatures K and energies kT of the run's temperature;
OpenMM and the data files speak kJ/mol, ASE's calculators eV.
"""

from typing import Any, TypeVar

__all__ = [
    "BOLTZMANN_KJMOL_PER_K",
    "EV_IN_KJMOL",
    "kjmol_to_kt",
    "kt_in_kjmol",
    "kt_to_kjmol",
]

BOLTZMANN_KJMOL_PER_K = 8.31446261815324e-3
"""Molar gas constant in kJ/(mol K), exact since the 2019 SI."""

EV_IN_KJMOL = 96.48533212331
"""An electronvolt in kJ/mol, exact since the 2019 SI up to rounding."""

T = TypeVar("T")


def kt_in_kjmol(temperature_k: float) -> float:
    """The thermal energy kT of a temperature in K, in kJ/mol.

    >>> round(kt_in_kjmol(300.0), 4)
    2.4943
    """
    return BOLTZMANN_KJMOL_PER_K * temperature_k


def kjmol_to_kt(energy_kjmol: T, temperature_k: Any) -> T:
    """Convert an energy (or an array of energies) from kJ/mol to kT.

    The temperature, in K, is a number, or a tensor of one.
    """
    return energy_kjmol / (BOLTZMANN_KJMOL_PER_K * temperature_k)  # type: ignore[operator,return-value]


def kt_to_kjmol(energy_kt: T, temperature_k: float) -> T:
    """Convert an energy (or an array of energies) from kT to kJ/mol."""
    return energy_kt * kt_in_kjmol(temperature_k)  # type: ignore[operator,return-value]
