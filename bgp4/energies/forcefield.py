"""The terms of an OpenMM System as arrays, for the energies that need no OpenMM.

Understood are HarmonicBondForce, HarmonicAngleForce, PeriodicTorsionForce, NonbondedForce
without cutoff, GBSAOBCForce (OBC2) and the CustomGBForce of Amber's OBC1 and OBC2, which are
recognised by their expressions. Anything else is refused, never guessed.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["ForceField", "GeneralisedBorn", "UnsupportedForce", "read_force_field"]

Array = NDArray[np.float64]

COULOMB = 138.93545764438198
"""1 / (4 π ε0), kJ nm / (mol e²), CODATA 2018, as in OpenMM's NonbondedForce and GBSAOBCForce."""

CUSTOM_COULOMB = 138.935485
"""The same, as OpenMM's Amber GB expressions have it."""

OFFSET_NM = 0.009
PROBE_NM = 0.14


class UnsupportedForce(ValueError):
    """A System has a term that only OpenMM can evaluate; the message names it."""


@dataclass(frozen=True)
class GeneralisedBorn:
    """Generalised Born solvation with OBC radii (Onufriev, Bashford, Case, Proteins 55, 383).

    Attributes:
        offset_radius_nm: (atoms,), Born radius parameter less 0.009 nm.
        scaled_radius_nm: (atoms,), offset radius times the screening factor.
        tanh: α, β, γ of tanh(α ψ - β ψ² + γ ψ³).
        prefactor: Of q² / f, kJ nm / (mol e²), dielectrics included, negative.
        surface: Of the ACE surface term, kJ/(mol nm²), 4 π included; 0 without one.
    """

    offset_radius_nm: Array
    scaled_radius_nm: Array
    tanh: tuple[float, float, float]
    prefactor: float
    surface: float


@dataclass
class ForceField:
    """Terms of a System: atom indices and parameters in nm, rad, kJ/mol and e."""

    n_atoms: int
    bonds: NDArray[np.int64] = field(default_factory=lambda: np.zeros((0, 2), np.int64))
    bond_parameters: Array = field(default_factory=lambda: np.zeros((0, 2)))
    angles: NDArray[np.int64] = field(default_factory=lambda: np.zeros((0, 3), np.int64))
    angle_parameters: Array = field(default_factory=lambda: np.zeros((0, 2)))
    torsions: NDArray[np.int64] = field(default_factory=lambda: np.zeros((0, 4), np.int64))
    torsion_parameters: Array = field(default_factory=lambda: np.zeros((0, 3)))
    pairs: NDArray[np.int64] = field(default_factory=lambda: np.zeros((0, 2), np.int64))
    pair_parameters: Array = field(default_factory=lambda: np.zeros((0, 3)))
    charges: Array = field(default_factory=lambda: np.zeros(0))
    born: GeneralisedBorn | None = None


def read_force_field(system_xml: str) -> ForceField:
    """Read a serialised System.

    Raises:
        UnsupportedForce: If it has a force, a cutoff or an expression not listed above.
    """
    import openmm

    system = openmm.XmlSerializer.deserialize(system_xml)
    terms = ForceField(system.getNumParticles())
    read: set[str] = set()
    for force in system.getForces():
        name = type(force).__name__
        if name == "CMMotionRemover":
            continue
        if name not in _READERS:
            raise UnsupportedForce(name)
        if name in read:
            raise UnsupportedForce(f"a second {name}")
        read.add(name)
        _READERS[name](force, terms)
    return terms


def _unitless(parameters: Any) -> list[float]:
    return [getattr(p, "_value", p) for p in parameters]


def _bonds(force: Any, terms: ForceField) -> None:
    rows = [_unitless(force.getBondParameters(i)) for i in range(force.getNumBonds())]
    terms.bonds, terms.bond_parameters = _indices_and_parameters(rows, 2, 2)


def _angles(force: Any, terms: ForceField) -> None:
    rows = [_unitless(force.getAngleParameters(i)) for i in range(force.getNumAngles())]
    terms.angles, terms.angle_parameters = _indices_and_parameters(rows, 3, 2)


def _torsions(force: Any, terms: ForceField) -> None:
    rows = [_unitless(force.getTorsionParameters(i)) for i in range(force.getNumTorsions())]
    rows = [row for row in rows if row[-1] != 0]
    terms.torsions, terms.torsion_parameters = _indices_and_parameters(rows, 4, 3)


def _indices_and_parameters(
    rows: list[list[float]], n: int, n_parameters: int
) -> tuple[NDArray[np.int64], Array]:
    table = np.array(rows, dtype=np.float64).reshape(len(rows), n + n_parameters)
    return table[:, :n].astype(np.int64), table[:, n:]


def _nonbonded(force: Any, terms: ForceField) -> None:
    """All pairs with Lorentz-Berthelot parameters; exceptions replace theirs."""
    if force.getNonbondedMethod() != force.NoCutoff:
        raise UnsupportedForce("NonbondedForce with a cutoff")
    if force.getNumGlobalParameters() or force.getNumParticleParameterOffsets():
        raise UnsupportedForce("NonbondedForce with parameter offsets")
    particles = np.array(
        [_unitless(force.getParticleParameters(i)) for i in range(force.getNumParticles())]
    )
    charge, sigma, epsilon = particles.T
    i, j = np.triu_indices(terms.n_atoms, k=1)
    parameters = np.column_stack(
        [charge[i] * charge[j], (sigma[i] + sigma[j]) / 2, np.sqrt(epsilon[i] * epsilon[j])]
    )
    slot = {pair: k for k, pair in enumerate(zip(i.tolist(), j.tolist(), strict=True))}
    for k in range(force.getNumExceptions()):
        a, b, *exception = force.getExceptionParameters(k)
        parameters[slot[min(a, b), max(a, b)]] = _unitless(exception)
    _check_charges(charge, terms)
    terms.pairs, terms.pair_parameters = np.stack([i, j], 1), parameters


def _gbsa_obc(force: Any, terms: ForceField) -> None:
    if force.getNonbondedMethod() != force.NoCutoff:
        raise UnsupportedForce("GBSAOBCForce with a cutoff")
    particles = [_unitless(force.getParticleParameters(i)) for i in range(force.getNumParticles())]
    charge, radius, scale = np.array(particles).T
    _check_charges(charge, terms)
    dielectric = 1 / force.getSoluteDielectric() - 1 / force.getSolventDielectric()
    terms.born = GeneralisedBorn(
        radius - OFFSET_NM,
        scale * (radius - OFFSET_NM),
        (1.0, 0.8, 4.85),
        -COULOMB * dielectric,
        4 * np.pi * force.getSurfaceAreaEnergy()._value,
    )


_NUMBER = r"([0-9.e+-]+)"
_BORN_SUM = (
    "select(step(r+sr2-or1), 0.5*(1/L-1/U+0.25*(r-sr2^2/r)*(1/(U^2)-1/(L^2))+0.5*log(L/U)/r), 0);"
    "U=r+sr2;L=max(or1, D);D=abs(r-sr2)"
)
_BORN_RADII = {
    f"1/(1/or-tanh({polynomial})/radius);psi=I*or; radius=or+offset; offset=0.009": tanh
    for polynomial, tanh in {
        "0.8*psi+2.909125*psi^3": (0.8, 0.0, 2.909125),
        "psi-0.8*psi^2+4.85*psi^3": (1.0, 0.8, 4.85),
    }.items()
}
"""Expressions of OBC1's and OBC2's Born radius, and α, β, γ of each."""
_DIELECTRICS = (
    rf"; solventDielectric={_NUMBER}; soluteDielectric={_NUMBER}; kappa=0; offset={_NUMBER}"
)
_SELF = re.escape("-0.5*138.935485*(1/soluteDielectric-1/solventDielectric)*charge^2/B")
_PAIR = re.escape(
    "-138.935485*(1/soluteDielectric-1/solventDielectric)*charge1*charge2/f;"
    "f=sqrt(r^2+B1*B2*exp(-r^2/(4*B1*B2)))"
)
_SURFACE = re.escape("28.3919551*(radius+0.14)^2*(radius/B)^6; radius=or+offset")


def _custom_gb(force: Any, terms: ForceField) -> None:
    """Amber's OBC1 (igb=2) or OBC2 (igb=5) as `openmm.app` writes them."""
    values = [force.getComputedValueParameters(i) for i in range(force.getNumComputedValues())]
    energies = [force.getEnergyTermParameters(i) for i in range(force.getNumEnergyTerms())]
    single, every_pair = force.SingleParticle, force.ParticlePairNoExclusions
    (_, radius, _) = values[-1]
    known = [["I", _BORN_SUM, every_pair], ["B", radius, single]]
    if (
        [list(v) for v in values] != known
        or radius not in _BORN_RADII
        or force.getNonbondedMethod() != force.NoCutoff
    ):
        raise UnsupportedForce("a CustomGBForce that is not OBC1 or OBC2 without cutoff")
    self_term, *surface, pair_term = energies
    dielectrics = _match(_SELF, self_term, single)
    if len(surface) > 1 or dielectrics != _match(_PAIR, pair_term, every_pair):
        raise UnsupportedForce("a CustomGBForce with other energy terms than Amber's")
    for term in surface:
        _match(_SURFACE, term, single)
    solvent, solute, offset = dielectrics
    particles = [force.getParticleParameters(i) for i in range(force.getNumParticles())]
    charge, offset_radius, scaled_radius = np.array(particles).T
    _check_charges(charge, terms)
    if abs(offset - OFFSET_NM) > 1e-12:
        raise UnsupportedForce("a CustomGBForce with another radius offset")
    terms.born = GeneralisedBorn(
        offset_radius,
        scaled_radius,
        _BORN_RADII[radius],
        -CUSTOM_COULOMB * (1 / solute - 1 / solvent),
        28.3919551 if surface else 0.0,
    )


def _match(expression: str, term: Any, kind: int) -> tuple[float, ...]:
    """Solvent and solute dielectric and radius offset of an energy term, which must be this one."""
    found = re.fullmatch(expression + _DIELECTRICS, term[0])
    if found is None or term[1] != kind:
        raise UnsupportedForce(f"a CustomGBForce with the energy term {term[0]!r}")
    return tuple(float(number) for number in found.groups())


def _check_charges(charges: Array, terms: ForceField) -> None:
    if len(terms.charges) and not np.array_equal(charges, terms.charges):
        raise UnsupportedForce("solvation with other charges than NonbondedForce")
    terms.charges = charges


_READERS: dict[str, Callable[[Any, ForceField], None]] = {
    "HarmonicBondForce": _bonds,
    "HarmonicAngleForce": _angles,
    "PeriodicTorsionForce": _torsions,
    "NonbondedForce": _nonbonded,
    "GBSAOBCForce": _gbsa_obc,
    "CustomGBForce": _custom_gb,
}
