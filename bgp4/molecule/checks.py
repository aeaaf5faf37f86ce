"""What a molecule must be to have a density that a flow can learn; anything else is refused."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

import mdtraj
import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree
from scipy.spatial.distance import pdist, squareform

from bgp4.errors import UserInputError
from bgp4.molecule.ears import LARGEST_OPEN
from bgp4.molecule.topology import atom_label, bond_graph, rings, solvent

if TYPE_CHECKING:
    import networkx as nx

    from bgp4.molecule.zmatrix import ZMatrix

__all__ = [
    "check_bond_lengths",
    "check_geometry",
    "check_size",
    "check_solvent",
    "check_system",
    "check_topology",
    "refuse_nanometres",
]

BOND_NM = (0.06, 0.35)
CLASH_NM = 0.06
"""Atoms that are not bonded, nor to the same third, are never nearer than this."""


def check_size(n_atoms: int, name: str, most: int) -> None:
    """Refuse more atoms than the command line allows."""
    if n_atoms > most:
        raise UserInputError(
            f"{name}: {n_atoms} atoms, expected at most {most}: the cost of a step "
            "grows with the square of the atoms, and molecules of more than 100 have not been "
            f"tried; --max-atoms {n_atoms} lifts the limit"
        )


def check_system(system: Any, name: str, kind: str = "pdb") -> None:
    """Refuse what has no density in an atom's coordinates: a box, atoms without mass.

    Args:
        kind: Of the source, as `SystemConfig.kind` has it; advice goes with it.
    """
    made_elsewhere = kind == "xml"
    if system.usesPeriodicBoundaryConditions():
        advice = "; make the System anew with nonbondedMethod=NoCutoff" * made_elsewhere
        raise UserInputError(
            f"config key system: {name} is periodic; bgp4 needs one molecule in vacuum or "
            f"implicit solvent{advice}"
        )
    massless = [i for i in range(system.getNumParticles()) if system.getParticleMass(i)._value == 0]
    if massless:
        raise UserInputError(
            f"config key system: {name} has particles without mass (first: {massless[0]}); "
            "virtual sites and frozen atoms are not supported"
        )


WITHOUT_SOLVENT = {
    "pdb": "take the solvent away, and add implicit/obc2.xml, for example, to system.forcefield",
    "prmtop": "take the solvent away from the prmtop and its positions (cpptraj: parmstrip, strip; "
    "or ParmEd); system.implicit_solvent: OBC2 stands for it",
    "top": "take it out of [ molecules ] and of the positions (gmx trjconv); "
    "system.implicit_solvent: OBC2 stands for it",
    "psf": "make both of the molecule alone; system.implicit_solvent: OBC2 stands for it",
    "xml": "make the System of the molecule alone, with implicit solvent",
    "testsystem": "take another test system",
    "sdf": "keep the molecule alone in the file",
}
"""By kind of source, what to do about water and ions."""


def check_solvent(topology: mdtraj.Topology, name: str, kind: str = "pdb") -> None:
    """Refuse water and ions.

    Args:
        kind: Of the source, as `SystemConfig.kind` has it; advice goes with it.
    """
    if residues := solvent(topology):
        raise UserInputError(
            f"config key system: {name} has {len(residues)} residues of solvent "
            f"(first {residues[0]}); "
            f"bgp4 needs one molecule in vacuum or implicit solvent: {WITHOUT_SOLVENT[kind]}"
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


def refuse_nanometres(
    positions_nm: NDArray[np.float64],  # (atoms, 3)
    name: str,
) -> None:
    """Refuse a structure whose atoms lie ten times too near to each other."""
    if len(positions_nm) < 4 or not np.isfinite(positions_nm).all():
        return
    nearest, _ = cKDTree(positions_nm).query(positions_nm, k=2)
    typical = float(np.median(nearest[:, 1]))
    if 0.005 < typical < 0.025:
        raise UserInputError(
            f"{name}: neighbouring atoms are {10 * typical:.3f} Å apart, so the coordinates look "
            "like nm; expected Å (multiply them by ten)"
        )


def _check_masses(topology: mdtraj.Topology, system: Any, name: str) -> None:
    """Another order of the atoms shows in their masses.

    Where hydrogens are heavy on purpose, it shows in that of an atom with its hydrogens: they have
    taken their mass from it, or from nowhere.
    """
    masses = [system.getParticleMass(i)._value for i in range(topology.n_atoms)]
    heavy = any(1.2 < m < 5 for m, a in zip(masses, topology.atoms, strict=True) if _is_hydrogen(a))
    graph = bond_graph(topology)
    for mass, atom in zip(masses, topology.atoms, strict=True):
        own = atom.element.mass
        expected = {own}
        if heavy and _is_hydrogen(atom):
            expected = {mass} if mass < 5 else expected
        elif heavy:
            taken = [masses[i] - 1.008 for i in graph[atom.index] if _is_hydrogen_at(topology, i)]
            expected |= {own - sum(taken)}
        if min(abs(mass - value) for value in expected) > 0.5:
            raise UserInputError(
                f"config key system: {name} has a particle of {mass:.2f} Da where its structure "
                f"has {atom} ({own:.2f} Da{', heavy hydrogens considered' * heavy}); give both in "
                "the same order of atoms"
            )


def _is_hydrogen(atom: mdtraj.core.topology.Atom) -> bool:
    return bool(atom.element.symbol == "H")


def _is_hydrogen_at(topology: mdtraj.Topology, index: int) -> bool:
    return _is_hydrogen(topology.atom(index))


def check_geometry(
    topology: mdtraj.Topology,
    positions_nm: NDArray[np.float64],  # (atoms, 3)
    zmatrix: ZMatrix,
    name: str,
) -> None:
    """Refuse rings that neither coordinates nor the energy can close, and atoms that clash."""
    graph = bond_graph(topology)
    for ring in rings(graph):
        bonds = zip(ring, [*ring[1:], ring[0]], strict=True)
        open_ = [b for b in bonds if (min(b), max(b)) not in zmatrix.distances]
        if open_ and len(ring) > LARGEST_OPEN:
            raise UserInputError(_large_ring(topology, ring, open_[0], name))
    _check_clashes(topology, graph, positions_nm, name)


def _large_ring(
    topology: mdtraj.Topology, ring: list[int], bond: tuple[int, int], name: str
) -> str:
    sulphur = [i for i in ring if topology.atom(i).element.symbol == "S"]
    words = ", ".join(atom_label(topology, i) for i in sorted(ring)[:4])
    closing = "-".join(atom_label(topology, i) for i in sorted(bond))
    kind = "a disulfide bridge closes" if len(sulphur) > 1 else "it has"
    return (
        f"config key system: {name}: {kind} a ring of {len(ring)} atoms ({words}, ...), whose bond "
        f"{closing} is no coordinate; in a ring of more than {LARGEST_OPEN} each bond must be one, "
        "which is not possible where it shares more than one bond with another ring or has atoms "
        "in a line; rows of system.zmatrix that end with ear place atoms of a ring"
    )


def check_bond_lengths(
    topology: mdtraj.Topology,
    positions_nm: NDArray[np.float64],  # (atoms, 3)
    name: str,
    box_nm: NDArray[np.float64] | None = None,  # (3, 3)
) -> None:
    """Refuse positions that are no molecule's, or that a box cuts through."""
    if not np.isfinite(positions_nm).all():
        atom = int(np.argwhere(~np.isfinite(positions_nm))[0, 0])
        raise UserInputError(
            f"config key system: {name}: the position of {atom_label(topology, atom)} is not finite"
        )
    for a, b in topology.bonds:
        apart = positions_nm[a.index] - positions_nm[b.index]
        length = float(np.linalg.norm(apart))
        if BOND_NM[0] < length < BOND_NM[1]:
            continue
        cut = box_nm is not None and np.linalg.norm(nearest_image(apart, box_nm)) < BOND_NM[1]
        advice = (
            "the box cuts the molecule: make it whole (gmx trjconv -pbc whole, cpptraj autoimage)"
            if cut
            else "check the file's units (PDB: Å), its columns and atoms, and whether a box cuts "
            "the molecule"
        )
        raise UserInputError(
            f"config key system: {name}: the bond {a}-{b} is {length:.4g} nm long, expected "
            f"{BOND_NM[0]:g} to {BOND_NM[1]:g}; {advice}"
        )


def nearest_image(
    apart_nm: NDArray[np.float64],  # (3,)
    box_nm: NDArray[np.float64],  # (3, 3)
) -> NDArray[np.float64]:  # (3,)
    """A difference of positions less the box vectors that it spans."""
    turns: NDArray[np.float64] = np.round(np.linalg.solve(box_nm.T, apart_nm)) @ box_nm
    return apart_nm - turns


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
