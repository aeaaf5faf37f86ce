"""What OpenMM's forces hold, as arrays."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from bgp4.energies.terms import Array, Indices, UnsupportedForce

__all__ = ["custom", "globals_of", "particles", "rows", "table", "unitless", "unknown_energy"]


def unitless(parameters: Iterable[Any]) -> list[float]:
    """Numbers, whether or not OpenMM gave them a unit; its own are nm, rad, kJ/mol and e."""
    return [getattr(p, "_value", p) for p in parameters]


def rows(force: Any, kind: str, n_atoms: int, n_parameters: int) -> tuple[Indices, Array]:
    """Atoms, (terms, n_atoms), and parameters, (terms, n_parameters), of all of a force's terms.

    Args:
        kind: `Bond`, `Angle`, `Torsion` or `Exception`, as in the names of the force's methods.
    """
    get, n = getattr(force, f"get{kind}Parameters"), getattr(force, f"getNum{kind}s")()
    made = np.array([unitless(get(i)) for i in range(n)], dtype=np.float64)
    made = made.reshape(n, n_atoms + n_parameters)
    return made[:, :n_atoms].astype(np.int64), made[:, n_atoms:]


def custom(force: Any, kind: str, n_atoms: int) -> tuple[Indices, dict[str, Any]]:
    """Atoms of a custom force's terms, and its parameters by name, (terms,) or numbers."""
    n = getattr(force, f"getNumPer{kind}Parameters")()
    get, name = getattr(force, f"get{kind}Parameters"), getattr(force, f"getPer{kind}ParameterName")
    terms = [get(i) for i in range(getattr(force, f"getNum{kind}s")())]
    atoms = np.array([term[:n_atoms] for term in terms], np.int64).reshape(-1, n_atoms)
    values = np.array([term[n_atoms] for term in terms], np.float64).reshape(len(terms), n)
    return atoms, globals_of(force) | {name(i): values[:, i] for i in range(n)}


def particles(force: Any) -> dict[str, Array]:
    """Per-particle parameters of a custom force by name, (particles,)."""
    n = force.getNumPerParticleParameters()
    made = [force.getParticleParameters(i) for i in range(force.getNumParticles())]
    values = np.array(made, np.float64).reshape(len(made), n)
    return {force.getPerParticleParameterName(i): values[:, i] for i in range(n)}


def globals_of(force: Any) -> dict[str, float]:
    """Global parameters by name, at their defaults, which nothing here changes."""
    return {
        force.getGlobalParameterName(i): force.getGlobalParameterDefaultValue(i)
        for i in range(force.getNumGlobalParameters())
    }


def table(function: Any) -> Callable[[Any, Any], Any]:
    """An OpenMM Discrete2DFunction as a function of two numbers or arrays."""
    if type(function).__name__ != "Discrete2DFunction":
        raise UnsupportedForce(type(function).__name__)
    columns, n_rows, values = function.getFunctionParameters()
    grid = np.array(values).reshape(n_rows, columns)
    return lambda x, y: grid[np.asarray(y, np.int64), np.asarray(x, np.int64)]


def unknown_energy(force: Any) -> UnsupportedForce:
    """What refuses a custom force with another expression than those that are understood."""
    words = " ".join(force.getEnergyFunction().split())
    return UnsupportedForce(f"{type(force).__name__} with the energy {words}")
