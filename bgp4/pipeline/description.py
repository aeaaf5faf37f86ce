"""What `bgp4 init` says of a molecule: rings, torsions, coordinates, energies."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator

import torch

from bgp4.coordinates import internal_coordinates
from bgp4.energies.forcefield import read_force_field
from bgp4.energies.reference import Relaxed
from bgp4.energies.terms import UnsupportedForce
from bgp4.molecule.molecule import Molecule
from bgp4.molecule.topology import (
    atom_label,
    bond_graph,
    bond_names,
    rings,
    rotatable_torsions,
)
from bgp4.molecule.zmatrix import EAR
from bgp4.report.torsions import stereocentres

__all__ = ["description", "row_labels", "summary", "unsupported"]

log = logging.getLogger(__name__)

TOO_HIGH_KJMOL = 100.0
"""Above the relaxed positions, for each atom; a simulation at 1000 K has a tenth of it."""


def unsupported(molecule: Molecule) -> str | None:
    """What of the force field the batched energies do not know, or None."""
    try:
        read_force_field(molecule.system_xml)
    except UnsupportedForce as force:
        return str(force)
    return None


def row_labels(molecule: Molecule) -> Iterator[list[str]]:
    """Labels of the atoms of each of the Z-matrix's rows."""
    for row in molecule.zmatrix.table():
        yield [atom_label(molecule.topology, atom) for atom in row]


def description(molecule: Molecule, relaxed: Relaxed) -> Iterator[str]:
    """Lines that say what the molecule is to bgp4: atoms, coordinates, energies."""
    yield from summary(molecule)
    yield from _coordinate_lines(molecule)
    yield from _energy_lines(molecule, relaxed)


def summary(molecule: Molecule) -> Iterator[str]:
    """Its atoms, rings, constraints, rotatable bonds and stereocentres."""
    topology = molecule.topology
    residues = [str(r) for r in topology.residues]
    shown = " ".join(residues[:12]) + (" ..." if len(residues) > 12 else "")
    yield f"{molecule.name}: {molecule.n_atoms} atoms, {topology.n_bonds} bonds, {shown}"
    yield from _ring_lines(molecule)
    if len(held := molecule.constraints):
        yield f"constrained, at the System's lengths: {bond_names(topology, held.bonds)}"
    turning = [torsion.label for torsion in rotatable_torsions(topology)]
    yield f"rotatable: {', '.join(turning) or 'nothing but methyl groups'}"
    centres = [atom_label(topology, int(row[0])) for row in stereocentres(topology)]
    if centres:
        yield f"stereocentres, whose chirality is kept: {', '.join(centres)}"


def _ring_lines(molecule: Molecule) -> Iterator[str]:
    """Sizes of rings, by what closes them."""
    sizes: dict[str, list[int]] = {"coordinates": [], "the energy": []}
    for ring in rings(bond_graph(molecule.topology)):
        bonds = zip(ring, [*ring[1:], ring[0]], strict=True)
        whole = {tuple(sorted(bond)) for bond in bonds} <= molecule.zmatrix.distances.keys()
        sizes["coordinates" if whole else "the energy"].append(len(ring))
    for closed_by, found in sizes.items():
        if found:
            yield f"rings of {', '.join(map(str, found))} atoms, closed by {closed_by}"


def _coordinate_lines(molecule: Molecule) -> Iterator[str]:
    coordinates = internal_coordinates(molecule.zmatrix, molecule.constraints)
    q, _ = coordinates(torch.as_tensor(molecule.positions_nm).reshape(1, -1))
    bonds, angles, torsions = (part[0].tolist() for part in coordinates.split(q))
    yield "internal coordinates: each atom with its bond, angle and torsion atoms; nm, degrees"
    graph = bond_graph(molecule.topology)
    kinds = {row.atom: "  bends" for row in molecule.zmatrix.rows if row.bends}
    ears = {row.atom for row in molecule.zmatrix.rows if row.ear}
    kinds |= dict.fromkeys(ears, f"  {EAR}")
    values = [[], bonds[:1], [bonds[1], angles[0]]]
    values += [list(three) for three in zip(bonds[2:], angles[1:], torsions, strict=True)]
    width = 13 * max(len(atoms) - 1 for atoms in molecule.zmatrix.table()) - 1
    for atoms, labels, row in zip(
        molecule.zmatrix.table(), row_labels(molecule), values, strict=True
    ):
        numbers = [f"{v:.4f}" if i == 0 else f"{math.degrees(v):7.1f}" for i, v in enumerate(row)]
        if atoms[0] in ears:
            numbers[1] = f"{row[1]:7.4f}"
        kind = "" if len(atoms) < 4 or graph.has_edge(*atoms[-2:]) else "  improper"
        kind = kinds.get(atoms[0], kind)
        yield f"  {labels[0]:12s} {' '.join(f'{label:12s}' for label in labels[1:]):{width}s} " + (
            f"{'  '.join(numbers)}{kind}".rstrip()
        )


def _energy_lines(molecule: Molecule, relaxed: Relaxed) -> Iterator[str]:
    at_start, lowest = relaxed.start_kjmol, relaxed.relaxed_kjmol
    yield f"energy: {at_start:.1f} kJ/mol as given, {lowest:.1f} relaxed"
    if at_start - lowest > TOO_HIGH_KJMOL * molecule.n_atoms:
        log.warning(
            "%s: %.3g kJ/mol above relaxed positions: positions that clash, or a System of other "
            "atoms, or of another order of them; look at both before going on",
            *(molecule.name, at_start - lowest),
        )
    missing = unsupported(molecule)
    if missing is None:
        yield "batched energies and MD: every force is supported"
    else:
        yield f"energies and MD by OpenMM, which is slower: batches do not support {missing}"
