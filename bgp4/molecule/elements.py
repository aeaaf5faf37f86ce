"""Elements of atoms whose file has masses, and names by which elements were guessed, or none."""

from __future__ import annotations

from typing import Any

from bgp4.errors import UserInputError

__all__ = ["name_elements"]

SAME_MASS_DA = 0.5
LIGHTEST_DA = 5.0
"""Lighter atoms are hydrogens, whose mass may have been raised on purpose."""

UNITED_DA = (13.019, 14.027, 15.035)
"""Of CH, CH2 and CH3 as one particle."""


def name_elements(topology: Any, system: Any, source: str) -> None:
    """Give atoms of openmm.app's topology the element of their mass, if they have another or none.

    Raises:
        UserInputError: If an atom has the mass of a carbon with its hydrogens.
    """
    from openmm.app import Element

    for atom in topology.atoms():
        mass = system.getParticleMass(atom.index)._value
        if atom.name.startswith("C") and min(abs(mass - one) for one in UNITED_DA) < 0.01:
            raise UserInputError(
                f"{source}: atom {atom.name} of residue {atom.residue.name}{atom.residue.id} has "
                f"{mass:g} Da, a carbon with its hydrogens; expected all atoms: take an all-atom "
                "force field"
            )
        if mass == 0:
            continue
        heavy_hydrogen = mass < LIGHTEST_DA and atom.name[:1].upper() == "H"
        named = Element.getBySymbol("H") if heavy_hydrogen else Element.getByMass(mass)
        if atom.element is None or (_is_another(atom, mass) and _fits(atom, named)):
            atom.element = named


def _is_another(atom: Any, mass: float) -> bool:
    """Whether the element, guessed from a name, has another mass."""
    return mass > LIGHTEST_DA and abs(mass - atom.element.mass._value) > SAME_MASS_DA


def _fits(atom: Any, element: Any) -> bool:
    return element is not None and element.symbol[0] == atom.name[:1].upper()
