"""Coulomb and Lennard-Jones terms of a System, as coefficients of 1/r, -1/r⁶ and 1/r¹² of pairs."""

from __future__ import annotations

from typing import Any

import numpy as np

from bgp4.energies.expressions import UnknownExpression, powers
from bgp4.energies.parameters import globals_of, particles, rows, table, unitless, unknown_energy
from bgp4.energies.terms import COULOMB, ForceField, UnsupportedForce

__all__ = ["custom_nonbonded", "nonbonded"]


def nonbonded(force: Any, terms: ForceField) -> None:
    """NonbondedForce: Lorentz-Berthelot parameters; exceptions replace theirs."""
    if force.getNonbondedMethod() != force.NoCutoff:
        raise UnsupportedForce("NonbondedForce with a cutoff")
    if force.getNumGlobalParameters() or force.getNumParticleParameterOffsets():
        raise UnsupportedForce("NonbondedForce with parameter offsets")
    own = [unitless(force.getParticleParameters(i)) for i in range(force.getNumParticles())]
    charge, sigma, epsilon = np.array(own).T
    i, j = terms.pairs.T
    parameters = np.column_stack(
        [charge[i] * charge[j], (sigma[i] + sigma[j]) / 2, np.sqrt(epsilon[i] * epsilon[j])]
    )
    atoms, exceptions = rows(force, "Exception", 2, 3)
    parameters[terms.pair_index(atoms)] = exceptions
    charges, sigma, epsilon = parameters.T
    sigma6 = sigma**6
    series = {-1: COULOMB * charges, -6: -4 * epsilon * sigma6, -12: 4 * epsilon * sigma6**2}
    terms.add_pairs(terms.pairs, series)


def custom_nonbonded(force: Any, terms: ForceField) -> None:
    """CustomNonbondedForce, if it is a sum of 1/r, 1/r⁶ and 1/r¹²: NBFIX, other combining rules."""
    name = "CustomNonbondedForce"
    if force.getNonbondedMethod() != force.NoCutoff:
        raise UnsupportedForce(f"{name} with a cutoff")
    if force.getNumInteractionGroups():
        raise UnsupportedForce(f"{name} with interaction groups")
    if force.getNumComputedValues():
        raise UnsupportedForce(f"{name} with computed values")
    i, j = terms.pairs.T
    known: dict[str, Any] = {**globals_of(force)}
    for parameter, values in particles(force).items():
        known |= {f"{parameter}1": values[i], f"{parameter}2": values[j]}
    for k in range(force.getNumTabulatedFunctions()):
        known[force.getTabulatedFunctionName(k)] = table(force.getTabulatedFunction(k))
    excluded = [force.getExclusionParticles(k) for k in range(force.getNumExclusions())]
    kept = np.ones(len(i), bool)
    kept[terms.pair_index(np.array(excluded, np.int64).reshape(-1, 2))] = False
    try:
        series = powers(force.getEnergyFunction(), "r", known)
        terms.add_pairs(terms.pairs, {n: kept * value for n, value in series.items()})
    except UnknownExpression as error:
        raise unknown_energy(force) from error
