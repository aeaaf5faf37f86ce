"""Generalised Born solvation of a System: OpenMM's own OBC2, and Amber's five as `app` writes them.

HCT, OBC1, OBC2, GBn and GBn2 (igb = 1, 2, 5, 7, 8) are recognised by their expressions.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from bgp4.energies.expressions import NUMBER, UnknownExpression, powers, split
from bgp4.energies.parameters import particles, table, unitless
from bgp4.energies.terms import (
    COULOMB,
    OFFSET_NM,
    Array,
    ForceField,
    GeneralisedBorn,
    Neck,
    UnsupportedForce,
)

__all__ = ["custom_gb", "gbsa_obc"]

CUSTOM_COULOMB = 138.935485
"""1 / (4 π ε0) in Amber's expressions."""

CUSTOM_SURFACE = 28.3919551
"""Of Amber's surface term, kJ/(mol nm²)."""

OBC2 = (1.0, 0.8, 4.85)

OTHER = "CustomGBForce other than HCT, OBC1, OBC2, GBn and GBn2"

_INTEGRAL = (
    "select(step(r+sr2-or1),0.5*(1/L-1/U+0.25*(r-sr2^2/r)*(1/(U^2)-1/(L^2))+0.5*log(L/U)/r),0)"
)
_SPHERES = {"U": "r+sr2", "L": "max(or1,D)", "D": "abs(r-sr2)"}
_DISTANCE = "(r-getd0(radindex1,radindex2))"
_NECK = {
    "Ivdw": _INTEGRAL,
    "Ineck": "step(radius1+radius2+neckCut-r)*getm0(radindex1,radindex2)"
    f"/(1+100*{_DISTANCE}^2+0.3*1000000*{_DISTANCE}^6)",
    "radius1": "or1+offset",
    "radius2": "or2+offset",
}
_RADIUS = {"psi": "I*or", "radius": "or+offset"}
_Energy = tuple[str, dict[str, str]]
_SELF: _Energy = ("-0.5*138.935485*(1/soluteDielectric-1/solventDielectric)*charge^2/B", {})
_SURFACE: _Energy = ("28.3919551*(radius+0.14)^2*(radius/B)^6", {"radius": "or+offset"})
_PAIR: _Energy = (
    "-138.935485*(1/soluteDielectric-1/solventDielectric)*charge1*charge2/f",
    {"f": "sqrt(r^2+B1*B2*exp(-r^2/(4*B1*B2)))"},
)
_NUMBERS = {"solventDielectric", "soluteDielectric", "kappa", "offset"}


def gbsa_obc(force: Any, terms: ForceField) -> None:
    """GBSAOBCForce."""
    if force.getNonbondedMethod() != force.NoCutoff:
        raise UnsupportedForce("GBSAOBCForce with a cutoff")
    own = [unitless(force.getParticleParameters(i)) for i in range(force.getNumParticles())]
    charge, radius, scale = np.array(own).T
    dielectric = 1 / force.getSoluteDielectric() - 1 / force.getSolventDielectric()
    _set_born(
        terms,
        GeneralisedBorn(
            charge,
            radius - OFFSET_NM,
            scale * (radius - OFFSET_NM),
            OFFSET_NM,
            np.tile(OBC2, (terms.n_atoms, 1)),
            -COULOMB * dielectric,
            4 * np.pi * force.getSurfaceAreaEnergy()._value,
        ),
    )


def custom_gb(force: Any, terms: ForceField) -> None:
    """CustomGBForce as `openmm.app` writes it for any of Amber's five models."""
    if force.getNonbondedMethod() != force.NoCutoff:
        raise UnsupportedForce("CustomGBForce with a cutoff")
    single, every_pair = force.SingleParticle, force.ParticlePairNoExclusions
    values = [force.getComputedValueParameters(i) for i in range(force.getNumComputedValues())]
    energies = [force.getEnergyTermParameters(i) for i in range(force.getNumEnergyTerms())]
    kinds = [kind for _, kind in energies]
    if [(name, kind) for name, _, kind in values] != [("I", every_pair), ("B", single)] or (
        kinds not in ([single, every_pair], [single, single, every_pair])
    ):
        raise UnsupportedForce(OTHER)
    own = particles(force)
    integral, radius = (_Parts.of(expression) for _, expression, _ in values)
    parts = [_Parts.of(expression) for expression, _ in energies]
    solute, solvent = _dielectrics(parts)
    offset = parts[0].numbers["offset"]
    _set_born(
        terms,
        GeneralisedBorn(
            *(own["charge"], own["or"], own["sr"], offset),
            _tanh(radius, offset, own),
            -CUSTOM_COULOMB * (1 / solute - 1 / solvent),
            CUSTOM_SURFACE if len(parts) == 3 else 0.0,
            _neck(integral, offset, force, own),
        ),
    )


class _Parts(NamedTuple):
    """An expression's main part, its definitions, and those of them that are numbers."""

    main: str
    definitions: dict[str, str]
    numbers: dict[str, float]

    @classmethod
    def of(cls, expression: str) -> _Parts:
        main, definitions = split(expression)
        numbers = {k: float(v) for k, v in definitions.items() if re.fullmatch(NUMBER, v)}
        return cls(main, {k: v for k, v in definitions.items() if k not in numbers}, numbers)


def _dielectrics(parts: list[_Parts]) -> tuple[float, float]:
    """Of solute and solvent, where the energy is Amber's."""
    numbers = parts[0].numbers
    if numbers.get("kappa"):
        raise UnsupportedForce("CustomGBForce with salt (kappa)")
    expected = [_Parts(main, rest, numbers) for main, rest in (_SELF, _SURFACE, _PAIR)]
    if parts not in (expected, [expected[0], expected[2]]) or set(numbers) != _NUMBERS:
        raise UnsupportedForce(OTHER)
    return numbers["soluteDielectric"], numbers["solventDielectric"]


def _tanh(radius: _Parts, offset: float, own: Mapping[str, Array]) -> Array | None:
    """α, β, γ of each atom, (atoms, 3), or None in HCT."""
    if radius == _Parts("1/(1/or-I)", {}, {}):
        return None
    found = re.fullmatch(r"1/\(1/or-tanh\((.*)\)/radius\)", radius.main)
    if found is None or radius[1:] != (_RADIUS, {"offset": offset}):
        raise UnsupportedForce(OTHER)
    try:
        series = powers(found[1], "psi", own)
    except UnknownExpression as error:
        raise UnsupportedForce(OTHER) from error
    if not set(series) <= {1, 2, 3}:
        raise UnsupportedForce(OTHER)
    columns = (series.get(1, 0.0), -series.get(2, 0.0), series.get(3, 0.0))
    return np.stack([np.broadcast_to(column, len(own["or"])) for column in columns], 1)


def _neck(integral: _Parts, offset: float, force: Any, own: Mapping[str, Array]) -> Neck | None:
    """What GBn adds to the integral, from the tables of the force."""
    if integral == _Parts(_INTEGRAL, _SPHERES, {}):
        return None
    main, definitions, numbers = integral
    if (main, definitions) != ("Ivdw+neckScale*Ineck", _SPHERES | _NECK) or (
        numbers != {**numbers, "offset": offset}
        or set(numbers) != {"neckScale", "neckCut", "offset"}
    ):
        raise UnsupportedForce(OTHER)
    tables = {
        force.getTabulatedFunctionName(k): table(force.getTabulatedFunction(k))
        for k in range(force.getNumTabulatedFunctions())
    }
    first, second = own["radindex"][:, None], own["radindex"]
    radius = own["or"] + offset
    return Neck(
        numbers["neckScale"] * tables["getm0"](first, second),
        tables["getd0"](first, second),
        radius[:, None] + radius + numbers["neckCut"],
    )


def _set_born(terms: ForceField, born: GeneralisedBorn) -> None:
    if terms.born is not None:
        raise UnsupportedForce("a second solvation force")
    terms.born = born
