"""Harmonic terms of a System's bonds."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from bgp4.molecule.topology import bond_pairs

if TYPE_CHECKING:
    import mdtraj

    from bgp4.molecule.molecule import Molecule

__all__ = ["HarmonicBond", "harmonic_bonds", "harmonic_terms"]


class HarmonicBond(NamedTuple):
    """E = k (r - length)² / 2, nm and kJ/(mol nm²)."""

    length_nm: float
    k: float


def harmonic_bonds(molecule: Molecule) -> dict[tuple[int, int], HarmonicBond]:
    """The terms of the molecule's bonds, by their atoms, the lower index first."""
    import openmm

    return harmonic_terms(openmm.XmlSerializer.deserialize(molecule.system_xml), molecule.topology)


def harmonic_terms(system: Any, topology: mdtraj.Topology) -> dict[tuple[int, int], HarmonicBond]:
    """The same of a System; several terms of one bond add up, those of no bond are left out."""
    bonds = set(bond_pairs(topology))
    found: dict[tuple[int, int], HarmonicBond] = {}
    for force in system.getForces():
        if type(force).__name__ == "HarmonicBondForce":
            for i in range(force.getNumBonds()):
                a, b, length, k = force.getBondParameters(i)
                pair = (min(a, b), max(a, b))
                if pair in bonds and k._value > 0:
                    found[pair] = _sum(found.get(pair), HarmonicBond(length._value, k._value))
    return found


def _sum(one: HarmonicBond | None, other: HarmonicBond) -> HarmonicBond:
    """Of two terms, up to a constant."""
    if one is None:
        return other
    k = one.k + other.k
    return HarmonicBond((one.k * one.length_nm + other.k * other.length_nm) / k, k)
