"""A small molecule by RDKit: from a SMILES, an SDF or a MOL2 file to all atoms and a conformation.

Whatever a file leaves open (hydrogens, positions, stereo) is added and said, or refused by name.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any, NamedTuple

import mdtraj
import numpy as np
from numpy.typing import NDArray

from bgp4.errors import UserInputError
from bgp4.molecule.checks import check_geometry
from bgp4.molecule.ligand_files import mol_from_file, mol_from_smiles
from bgp4.molecule.placing import lines_of, zmatrix_from_topology
from bgp4.molecule.stereo import (
    atom_names,
    is_heavy,
    open_stereo,
    refuse_open_stereo,
    stereo_labels,
)

__all__ = ["Ligand", "ligand_from_file", "ligand_from_smiles", "with_start_positions"]

log = logging.getLogger(__name__)

RESIDUE = "LIG"
SMILES = "--smiles"
"""What a source begins with that is no file."""

NM_PER_ANGSTROM = 0.1

ELEMENTS = {"H", "C", "N", "O", "F", "P", "S", "Cl", "Br", "I"}
"""Those that GAFF2 has parameters for."""

CONFORMATIONS = 50
SEED = 1


class Ligand(NamedTuple):
    """One molecule with all hydrogens.

    Attributes:
        mol: RDKit's; it has a conformation once `with_start_positions` made or kept one.
        source: What messages call it: the file, or the option with the SMILES.
        notes: What was added to what the source says, or chosen, in words.
    """

    mol: Any
    source: str
    notes: tuple[str, ...] = ()

    @property
    def names(self) -> list[str]:
        """Of the atoms, as antechamber gives them: element and number, C1, C2, O1, H1."""
        return atom_names(self.mol)

    @property
    def charge(self) -> int:
        from rdkit import Chem

        return int(Chem.GetFormalCharge(self.mol))

    @property
    def positions_nm(self) -> NDArray[np.float64]:  # (atoms, 3)
        return np.asarray(self.mol.GetConformer().GetPositions()) * NM_PER_ANGSTROM

    @property
    def bonds(self) -> list[tuple[int, int]]:
        return [(b.GetBeginAtomIdx(), b.GetEndAtomIdx()) for b in self.mol.GetBonds()]

    @property
    def sdf(self) -> str:
        """Atoms, bonds, charges and positions, as an SDF file."""
        from rdkit import Chem

        return f"{Chem.MolToMolBlock(self.mol)}$$$$\n"

    @property
    def smiles(self) -> str:
        """Canonical, with stereo, without hydrogens."""
        from rdkit import Chem

        return str(Chem.MolToSmiles(Chem.RemoveHs(self.mol)))

    def describe(self) -> list[str]:
        """Lines that say which molecule it is, and what was chosen."""
        from rdkit.Chem import rdMolDescriptors

        heavy = [n for n, a in zip(self.names, self.mol.GetAtoms(), strict=True) if is_heavy(a)]
        charge = f"{self.charge:+d}" if self.charge else "0"
        lines = [
            f"{self.smiles}: {rdMolDescriptors.CalcMolFormula(self.mol)}, "
            f"{self.mol.GetNumAtoms()} atoms, net charge {charge}",
            f"heavy atoms, in the order of the source: {' '.join(heavy)}",
        ]
        stereo = stereo_labels(self.mol)
        return [*lines, *([f"stereo: {', '.join(stereo)}"] if stereo else []), *self.notes]


def ligand_from_smiles(smiles: str) -> Ligand:
    """The molecule of a SMILES, without positions.

    Raises:
        UserInputError: If RDKit is missing, or it is not one molecule that GAFF2 knows, with one
            meaning.
    """
    source = f"{SMILES} {smiles.strip()}"
    return _complete(mol_from_smiles(smiles, source), source)


def ligand_from_file(path: Path) -> Ligand:
    """The molecule of an SDF or MOL2 file, with positions if the file's are not of a drawing.

    Raises:
        UserInputError: As for `ligand_from_smiles`, or if the file has several molecules.
    """
    return _complete(mol_from_file(path), str(path))


def _complete(mol: Any, source: str) -> Ligand:
    """Refuse what is no ligand, and add the hydrogens."""
    from rdkit import Chem

    _refuse_several(mol, source)
    _refuse_atoms(mol, source)
    notes = _without_labels(mol)
    flat = _is_flat(mol)
    if flat:
        mol.RemoveAllConformers()
    refuse_open_stereo(mol, source)
    missing = sum(atom.GetTotalNumHs() for atom in mol.GetAtoms())
    of_file = not source.startswith(SMILES)
    if missing and of_file:
        notes.append(f"hydrogens that were added, to the charges as drawn: {missing}")
    if flat and of_file:
        notes.append("its coordinates are those of a drawing: positions are made anew")
    whole = Chem.AddHs(mol, addCoords=not flat)
    return Ligand(whole, source, tuple(notes))


def with_start_positions(ligand: Ligand) -> Ligand:
    """With the source's positions or, without any, the lowest conformation that MMFF94 knows.

    Raises:
        UserInputError: If there is none, or it is a shape that bgp4 cannot model.
    """
    from rdkit import Chem

    placed = ligand if ligand.mol.GetNumConformers() else _embedded(ligand)
    Chem.AssignStereochemistryFrom3D(placed.mol)
    _refuse_shape(placed)
    return placed


def _embedded(ligand: Ligand) -> Ligand:
    from rdkit import Chem
    from rdkit.Chem import rdDistGeom
    from rdkit.Chem import rdForceFieldHelpers as fields

    mol = Chem.Mol(ligand.mol)
    parameters: Any = rdDistGeom.ETKDGv3()
    parameters.randomSeed = SEED
    made = list(rdDistGeom.EmbedMultipleConfs(mol, CONFORMATIONS, parameters))
    if not made:
        raise UserInputError(
            f"{ligand.source}: no conformation of it could be made; check its stereo and its "
            "bonds, or give an SDF file with positions"
        )
    by_mmff = fields.MMFFHasAllMoleculeParams(mol)
    optimise = fields.MMFFOptimizeMoleculeConfs if by_mmff else fields.UFFOptimizeMoleculeConfs
    energies = [energy for _, energy in optimise(mol, maxIters=2000)]
    chosen = Chem.Mol(mol, confId=made[int(np.argmin(energies))])
    _warn_of_chance(ligand, chosen)
    words = f"start: the lowest of {len(made)} conformations by {'MMFF94' if by_mmff else 'UFF'}"
    return ligand._replace(mol=chosen, notes=(*ligand.notes, f"{words}, in vacuum"))


def _warn_of_chance(ligand: Ligand, chosen: Any) -> None:
    """Of two mirror images, which was made where the source does not say."""
    from rdkit import Chem

    open_atoms = [item.centeredOn for item in open_stereo(ligand.mol)]
    Chem.AssignStereochemistryFrom3D(chosen)
    labels = dict(label.rsplit(" ", 1) for label in stereo_labels(chosen))
    names = atom_names(chosen)
    for i in open_atoms:
        log.warning(
            "%s leaves the stereocentre %s open; %s was taken, whose mirror image has the same "
            "energies (to choose, write @ or @@)",
            *(ligand.source, names[i], labels.get(names[i], "one hand")),
        )


def _refuse_several(mol: Any, source: str) -> None:
    from rdkit import Chem
    from rdkit.Chem import rdMolDescriptors

    parts = Chem.GetMolFrags(mol, asMols=True, sanitizeFrags=False)
    if not mol.GetNumAtoms():
        raise UserInputError(f"{source}: expected a molecule, found no atoms")
    if len(parts) > 1:
        formulas = " and ".join(rdMolDescriptors.CalcMolFormula(part) for part in parts)
        largest = max(parts, key=lambda part: part.GetNumHeavyAtoms())
        raise UserInputError(
            f"{source}: expected one molecule, found {len(parts)} ({formulas}: a salt or mixture); "
            f'give one of them: bgp4 init --smiles "{Chem.MolToSmiles(Chem.RemoveHs(largest))}"'
        )


def _refuse_atoms(mol: Any, source: str) -> None:
    """Elements that GAFF2 does not have, and radicals."""
    names = atom_names(mol)
    for name, atom in zip(names, mol.GetAtoms(), strict=True):
        if atom.GetAtomicNum() == 0:
            raise UserInputError(
                f"{source}: {atom.GetSymbol()} stands for any atom; expected a molecule in which "
                "each atom has an element"
            )
        if atom.GetSymbol() not in ELEMENTS:
            raise UserInputError(
                f"{source}: {name}: GAFF2 has no parameters for the element {atom.GetSymbol()}; "
                "make a System of it by other tools, and give it by --xml with a PDB file"
            )
        if atom.GetNumRadicalElectrons():
            raise UserInputError(
                f"{source}: {name} is a radical, with an electron that has no partner; expected "
                "all its hydrogens, or a charge"
            )


def _without_labels(mol: Any) -> list[str]:
    """Isotopes and atom maps are removed; no force field knows them."""
    labelled = [atom for atom in mol.GetAtoms() if atom.GetIsotope()]
    for atom in mol.GetAtoms():
        atom.SetIsotope(0)
        atom.SetAtomMapNum(0)
    return ["isotopes are left out: each atom has its element's usual mass"] if labelled else []


def _is_flat(mol: Any) -> bool:
    """No positions, or those of a drawing."""
    if not mol.GetNumConformers():
        return True
    conformer = mol.GetConformer()
    height = np.ptp(np.asarray(conformer.GetPositions())[:, 2])
    return bool(height < 1e-3 and not conformer.Is3D())


def _refuse_shape(ligand: Ligand) -> None:
    """What no later step takes: large rings in cages, all atoms in a line, too few atoms."""
    topology = mdtraj.Topology()
    residue = topology.add_residue(RESIDUE, topology.add_chain(), 1)
    for name, atom in zip(ligand.names, ligand.mol.GetAtoms(), strict=True):
        topology.add_atom(name, mdtraj.element.Element.getBySymbol(atom.GetSymbol()), residue)
    for a, b in ligand.bonds:
        topology.add_bond(topology.atom(a), topology.atom(b))
    try:
        zmatrix = zmatrix_from_topology(topology, lines_of(topology, ligand.positions_nm))
        check_geometry(topology, ligand.positions_nm, zmatrix, ligand.source)
    except UserInputError as error:  # there is no config yet
        words = str(error).removeprefix("config key system: ").removeprefix(f"{ligand.source}: ")
        raise UserInputError(f"{ligand.source}: {words}") from error
