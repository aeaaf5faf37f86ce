"""Whether a System is the energy of its structure: order of atoms, forces, charges of solvation.

A System of the wrong atoms, or without forces, gives numbers like any other.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Any

import mdtraj
import networkx as nx
import numpy as np
from numpy.typing import NDArray

from bgp4.errors import UserInputError
from bgp4.molecule.bonds import harmonic_terms
from bgp4.molecule.constraints import constrained_pairs
from bgp4.molecule.topology import atom_label, bond_graph, bond_pairs

__all__ = ["check_bond_terms", "check_charges", "check_forces"]

log = logging.getLogger(__name__)

STRETCH_NM = 0.005
SOFTEST_KJMOL_NM2 = 5_000.0
"""Of a bond; the softest of usual force fields has twenty times as much."""

SAME_CHARGE_E = 1e-3

BONDED = {
    *("HarmonicBondForce", "HarmonicAngleForce", "PeriodicTorsionForce", "RBTorsionForce"),
    *("CMAPTorsionForce", "CustomBondForce", "CustomAngleForce", "CustomTorsionForce"),
}

Array = NDArray[np.float64]


def check_bond_terms(topology: mdtraj.Topology, system: Any, name: str) -> None:
    """Refuse a System whose bonds are other atoms' than the structure's: another order of atoms.

    Terms between the ends of an angle (Urey-Bradley) are no bonds.
    """
    pairs = {pair for force in system.getForces() for pair in _pairs(force)}
    pairs |= constrained_pairs(system)
    graph = bond_graph(topology)
    missing = next((bond for bond in graph.edges if tuple(sorted(bond)) not in pairs), None)
    far = next((pair for pair in sorted(pairs) if not _near(graph, *pair)), None)
    if missing is None or far is None:
        return
    one, other = ("-".join(atom_label(topology, i) for i in two) for two in (missing, far))
    raise UserInputError(
        f"config key system: {name} has a bond between {other}, which the structure does not bond, "
        f"and none between {one}, which it does; give both in the same order of atoms"
    )


def _pairs(force: Any) -> Iterator[tuple[int, int]]:
    """Atoms of each term of a force on bonds."""
    if type(force).__name__ in ("HarmonicBondForce", "CustomBondForce"):
        for i in range(force.getNumBonds()):
            a, b, *_ = force.getBondParameters(i)
            yield min(a, b), max(a, b)


def _near(graph: nx.Graph, a: int, b: int) -> bool:
    return graph.has_edge(a, b) or bool(set(graph[a]) & set(graph[b]))


def check_charges(topology: mdtraj.Topology, system: Any, name: str, *, made_here: bool) -> None:
    """Solvation of other charges than those that interact is some other molecule's.

    Args:
        made_here: Whether the System is a force field's that the config names: refused then, and
            else said.
    """
    charges = {type(force).__name__: _charges(force) for force in system.getForces()}
    own = charges.get("NonbondedForce")
    for kind in ("GBSAOBCForce", "CustomGBForce"):
        other = charges.get(kind)
        if own is None or other is None or np.abs(own - other).max() < SAME_CHARGE_E:
            continue
        off = np.abs(own - other)
        worst = int(off.argmax())
        words = (
            f"config key system: {name}: solvation ({kind}) has other charges than the "
            f"NonbondedForce at {int((off >= SAME_CHARGE_E).sum())} atoms, at most by "
            f"{off[worst]:.2f} e ({atom_label(topology, worst)}: {other[worst]:.3f} and "
            f"{own[worst]:.3f}; all together {other.sum():.2f} and {own.sum():.2f})"
        )
        if made_here:
            raise UserInputError(
                f"{words}; name implicit/obc2.xml, which takes the NonbondedForce's, in "
                "system.forcefield"
            )
        log.warning("%s; is that meant?", words)


def _charges(force: Any) -> Array | None:
    """Of each atom, e; None where the force has none."""
    kind = type(force).__name__
    if kind == "CustomGBForce":
        names = [
            force.getPerParticleParameterName(i) for i in range(force.getNumPerParticleParameters())
        ]
        place = next((i for i, n in enumerate(names) if n in ("charge", "q")), None)
    else:
        place = 0 if kind in ("GBSAOBCForce", "NonbondedForce") else None
    if place is None:
        return None
    rows = [force.getParticleParameters(i)[place] for i in range(force.getNumParticles())]
    return np.array([getattr(value, "_value", value) for value in rows], dtype=np.float64)


def check_forces(
    topology: mdtraj.Topology,
    system: Any,
    positions_nm: Array,  # (atoms, 3)
    name: str,
) -> None:
    """Refuse a System that leaves bonds free, or has no forces at all; say what else it lacks.

    Constrained bonds need no force.
    """
    kinds = {type(force).__name__ for force in system.getForces()} - {"CMMotionRemover"}
    harmonic = harmonic_terms(system, topology)
    held = constrained_pairs(system)
    bonds = [bond for bond in bond_pairs(topology) if bond not in held]
    others = [b for b in bonds if b not in harmonic or harmonic[b].k < SOFTEST_KJMOL_NM2]
    free: list[tuple[int, int]] = []
    if others:
        curvature = _curvatures(system, positions_nm, others, bond_graph(topology))
        free = [b for b, k in zip(others, curvature, strict=True) if abs(k) < SOFTEST_KJMOL_NM2]
    if free and len(free) == len(bonds):
        found = ", ".join(sorted(kinds)) or "none"
        raise UserInputError(
            f"config key system: {name}: no force acts on any bond (forces in the System: "
            f"{found}); expected a force field with bonds, angles, torsions and nonbonded terms"
        )
    if free:
        names = "-".join(atom_label(topology, i) for i in free[0])
        raise UserInputError(
            f"config key system: {name}: no force holds {len(free)} of {len(bonds)} bonds (first "
            f"{names}); expected a System with a term or a constraint for each bond"
        )
    if kinds <= BONDED:
        log.warning(
            "config key system: %s has bonded terms alone (%s): its atoms pass through each other",
            *(name, ", ".join(sorted(kinds))),
        )


def _curvatures(
    system: Any,
    positions_nm: Array,  # (atoms, 3)
    bonds: list[tuple[int, int]],
    graph: nx.Graph,
) -> Array:  # (bonds,)
    """Second derivative of the energy along each bond, kJ/(mol nm²).

    All that hangs on one end moves with it, unless the bond is part of a ring.
    """
    moved = [positions_nm]
    for a, b in bonds:
        along = positions_nm[b] - positions_nm[a]
        step = STRETCH_NM * along / np.linalg.norm(along)
        rest = graph.copy()
        rest.remove_edge(a, b)
        part = nx.node_connected_component(rest, b)
        side = [b] if a in part else sorted(part)
        for sign in (1, -1):
            other = positions_nm.copy()
            other[side] += sign * step
            moved.append(other)
    found = _energies_kjmol(system, moved)
    up, down = found[1::2], found[2::2]
    return np.nan_to_num((up + down - 2 * found[0]) / STRETCH_NM**2, nan=np.inf)


def _energies_kjmol(system: Any, conformations: list[Array]) -> Array:  # (conformations,)
    """Energies of OpenMM's Reference platform; NaN where there is none."""
    import openmm

    platform = openmm.Platform.getPlatformByName("Reference")
    context = openmm.Context(system, openmm.VerletIntegrator(0.001), platform)
    found = []
    for positions_nm in conformations:
        context.setPositions(positions_nm)
        try:
            found.append(context.getState(getEnergy=True).getPotentialEnergy()._value)
        except openmm.OpenMMException:
            found.append(np.nan)
    return np.array(found)
