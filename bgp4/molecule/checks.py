"""What a molecule must be to have a density that a flow can learn; anything else is refused."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

import mdtraj
import numpy as np
from numpy.typing import NDArray
from scipy.spatial.distance import pdist, squareform

from bgp4.errors import UserInputError
from bgp4.molecule.topology import atom_label, bond_graph, rings, solvent

if TYPE_CHECKING:
    import networkx as nx

__all__ = ["check_geometry", "check_solvent", "check_system", "check_topology"]

LARGEST_RING = 8
"""Atoms of a ring that the energy can close; a larger one has no place for its torsions to go."""

BOND_NM = (0.06, 0.35)
CLASH_NM = 0.06
"""Atoms that are not bonded, nor to the same third, are never nearer than this."""


def check_system(system: Any, name: str) -> None:
    """Refuse what has no density in all 3N coordinates: constraints, a box, atoms without mass."""
    if system.getNumConstraints():
        raise UserInputError(
            f"config key system: {name} has {system.getNumConstraints()} constrained "
            "bonds, and a constrained system has no density in all coordinates; "
            "set system.constraints to null"
        )
    if system.usesPeriodicBoundaryConditions():
        raise UserInputError(
            f"config key system: {name} is periodic; bgp4 needs one molecule in vacuum or "
            "implicit solvent"
        )
    massless = [i for i in range(system.getNumParticles()) if system.getParticleMass(i)._value == 0]
    if massless:
        raise UserInputError(
            f"config key system: {name} has particles without mass (first: {massless[0]}); "
            "virtual sites and frozen atoms are not supported"
        )


def check_solvent(topology: mdtraj.Topology, name: str) -> None:
    """Refuse water and ions."""
    if residues := solvent(topology):
        raise UserInputError(
            f"config key system: {name} has {len(residues)} residues of solvent "
            f"(first {residues[0]}); "
            "bgp4 needs one molecule in vacuum or implicit solvent: remove the solvent, and "
            "add implicit/obc2.xml, for example, to system.forcefield"
        )


def check_topology(topology: mdtraj.Topology, system: Any, name: str) -> None:
    """Refuse atoms that the System does not have, and names that are not unique."""
    if topology.n_atoms != system.getNumParticles():
        raise UserInputError(
            f"config key system: {name} has {system.getNumParticles()} particles, but its "
            f"structure {topology.n_atoms} atoms; give the structure that the System was made from"
        )
    for residue in topology.residues:
        twice, count = Counter(a.name for a in residue.atoms).most_common(1)[0]
        if count > 1:
            raise UserInputError(
                f"config key system: {name} has {count} atoms named {twice} in residue {residue}; "
                "give each a unique name"
            )
    _check_masses(topology, system, name)


def _check_masses(topology: mdtraj.Topology, system: Any, name: str) -> None:
    """Another order of the atoms shows in their masses, unless hydrogens are heavy on purpose."""
    masses = [system.getParticleMass(i)._value for i in range(topology.n_atoms)]
    atoms = list(topology.atoms)
    heavy = any(
        m > 1.2 for m, a in zip(masses, atoms, strict=True) if a.element.symbol == "H" and m < 5
    )
    for mass, atom in zip(masses, atoms, strict=True):
        if not heavy and abs(mass - atom.element.mass) > 0.5:
            raise UserInputError(
                f"config key system: {name} has a particle of {mass:.2f} Da where its structure "
                f"has {atom} ({atom.element.mass:.2f} Da); use the same atom order in both"
            )


def check_geometry(
    topology: mdtraj.Topology,
    positions_nm: NDArray[np.float64],  # (atoms, 3)
    name: str,
) -> None:
    """Refuse rings that the energy cannot close, and positions that are no molecule's."""
    if not np.isfinite(positions_nm).all():
        atom = int(np.argwhere(~np.isfinite(positions_nm))[0, 0])
        raise UserInputError(
            f"config key system: {name}: the position of {atom_label(topology, atom)} is not finite"
        )
    graph = bond_graph(topology)
    for ring in rings(graph):
        if len(ring) > LARGEST_RING:
            raise UserInputError(_large_ring(topology, ring, name))
    _check_bonds(topology, positions_nm, name)
    _check_clashes(topology, graph, positions_nm, name)


def _large_ring(topology: mdtraj.Topology, ring: list[int], name: str) -> str:
    sulphur = [i for i in ring if topology.atom(i).element.symbol == "S"]
    words = ", ".join(atom_label(topology, i) for i in sorted(ring)[:4])
    kind = "a disulfide bridge closes" if len(sulphur) > 1 else "it has"
    return (
        f"config key system: {name}: {kind} a ring of {len(ring)} atoms ({words}, ...); rings of "
        f"up to {LARGEST_RING} are supported, because only the energy closes a ring"
    )


def _check_bonds(topology: mdtraj.Topology, positions_nm: NDArray[np.float64], name: str) -> None:
    for a, b in topology.bonds:
        length = float(np.linalg.norm(positions_nm[a.index] - positions_nm[b.index]))
        if not BOND_NM[0] < length < BOND_NM[1]:
            raise UserInputError(
                f"config key system: {name}: the bond {a}-{b} is {length:.4g} nm long, expected "
                f"{BOND_NM[0]:g} to {BOND_NM[1]:g}; check the file's units (PDB: Å) and atoms"
            )


def _check_clashes(
    topology: mdtraj.Topology, graph: nx.Graph, positions_nm: NDArray[np.float64], name: str
) -> None:
    distance = squareform(pdist(positions_nm))
    near = np.argwhere(np.triu(distance < CLASH_NM, k=1))
    for i, j in near:
        if not graph.has_edge(i, j):
            one, other = (atom_label(topology, int(k)) for k in (i, j))
            raise UserInputError(
                f"config key system: {name}: {one} and {other} are {distance[i, j]:.3f} nm apart "
                "and not bonded; start from positions without clashes (minimise them first)"
            )
