"""Molecules from SMILES, and conformations of theirs with torsions of a known distribution."""

from __future__ import annotations

from typing import Any

import mdtraj
import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


def molecule(smiles: str) -> tuple[Any, mdtraj.Topology, Array]:
    """RDKit's molecule with hydrogens, its topology, and a conformation, nm."""
    from rdkit import Chem
    from rdkit.Chem import AllChem

    mol = Chem.AddHs(Chem.MolFromSmiles(smiles))
    assert AllChem.EmbedMolecule(mol, randomSeed=1) == 0
    AllChem.MMFFOptimizeMolecule(mol)
    topology = mdtraj.Topology()
    residue = topology.add_residue("LIG", topology.add_chain())
    for atom in mol.GetAtoms():
        element = mdtraj.element.get_by_symbol(atom.GetSymbol())
        topology.add_atom(f"{atom.GetSymbol()}{atom.GetIdx() + 1}", element, residue)
    atoms = list(topology.atoms)
    for bond in mol.GetBonds():
        topology.add_bond(atoms[bond.GetBeginAtomIdx()], atoms[bond.GetEndAtomIdx()])
    return mol, topology, mol.GetConformer().GetPositions() / 10


def turned(
    mol: Any,
    torsions: list[tuple[int, int, int, int]],
    angles: Array,  # (n, torsions), rad
) -> NDArray[np.float32]:  # (n, atoms, 3), nm
    """The molecule's conformation with torsions turned to these angles, by RDKit."""
    from rdkit.Chem import rdMolTransforms

    shape = mol.GetConformer()
    positions = []
    for row in angles:
        for atoms, angle in zip(torsions, row, strict=True):
            rdMolTransforms.SetDihedralRad(shape, *atoms, float(angle))
        positions.append(shape.GetPositions() / 10)
    return np.array(positions, dtype=np.float32)


def moved(positions_nm: NDArray[np.floating], seed: int) -> NDArray[np.float32]:
    """Each conformation turned and shifted at random."""
    from scipy.spatial.transform import Rotation

    rng = np.random.default_rng(seed)
    turns = Rotation.random(len(positions_nm), random_state=seed).as_matrix()
    shifts = rng.normal(size=(len(positions_nm), 1, 3))
    return (positions_nm @ turns.transpose(0, 2, 1) + shifts).astype(np.float32)
