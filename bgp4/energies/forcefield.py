"""An OpenMM System as a force field's terms, for the energies that need no OpenMM.

Understood are OpenMM's bonds, angles, torsions (periodic, Ryckaert-Bellemans, CMAP) and nonbonded
forces without cutoff, generalised Born solvation, and custom forces whose expression is one of
these: harmonic, or Coulomb and Lennard-Jones. Anything else is refused, never guessed.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from bgp4.energies import bonded, generalised_born, nonbonded
from bgp4.energies.terms import ForceField, UnsupportedForce

__all__ = ["read_force_field"]


def read_force_field(system_xml: str) -> ForceField:
    """Read a serialised System; forces may come in any order, and several of a kind.

    Raises:
        UnsupportedForce: If it has forces, cutoffs or expressions not listed above; all are named.
    """
    import openmm

    system = openmm.XmlSerializer.deserialize(system_xml)
    terms = ForceField(system.getNumParticles())
    refused: list[str] = []
    for force in system.getForces():
        name = type(force).__name__
        try:
            if name not in _READERS:
                raise UnsupportedForce(name)
            _READERS[name](force, terms)
        except UnsupportedForce as unsupported:
            refused += unsupported.names
    if refused:
        raise UnsupportedForce(*refused)
    return terms


def _nothing(force: Any, terms: ForceField) -> None:
    """Of a force without an energy."""


_READERS: dict[str, Callable[[Any, ForceField], None]] = {
    "CMMotionRemover": _nothing,
    "HarmonicBondForce": bonded.bonds,
    "HarmonicAngleForce": bonded.angles,
    "PeriodicTorsionForce": bonded.torsions,
    "RBTorsionForce": bonded.rb_torsions,
    "CMAPTorsionForce": bonded.torsion_maps,
    "CustomBondForce": bonded.custom_bonds,
    "CustomAngleForce": bonded.custom_angles,
    "CustomTorsionForce": bonded.custom_torsions,
    "NonbondedForce": nonbonded.nonbonded,
    "CustomNonbondedForce": nonbonded.custom_nonbonded,
    "GBSAOBCForce": generalised_born.gbsa_obc,
    "CustomGBForce": generalised_born.custom_gb,
}
