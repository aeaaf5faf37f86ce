"""A ligand on its way to a config: `bgp4 init` of a SMILES, an SDF or a MOL2 file."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from bgp4.storage.files import atomic_write_text, refuse_existing, written_by_others

__all__ = ["MadeLigand", "make_ligand"]


class MadeLigand(NamedTuple):
    """What was made of it: the prmtop and what belongs to it, and what it is in words."""

    paths: tuple[Path, ...]
    origin: str

    @property
    def prmtop(self) -> Path:
        return self.paths[0]

    def remove(self) -> None:
        """For a molecule that is refused later."""
        for path in self.paths:
            path.unlink(missing_ok=True)


def make_ligand(source: str | None, smiles: str | None, output: Path, max_atoms: int) -> MadeLigand:
    """Parametrise a ligand by GAFF2 and AM1-BCC, print what it is, and write its files.

    Args:
        source: The file, if there is no SMILES.
        output: The config, which names them.

    Raises:
        UserInputError: If it is refused, its files exist, or a library or program is missing.
    """
    base = f"{output.stem}_gaff2"
    prmtop, inpcrd, sdf, log = (
        output.with_name(base + end) for end in (".prmtop", ".inpcrd", ".sdf", ".log")
    )
    paths = (prmtop, inpcrd, sdf)
    for path in paths:
        refuse_existing(path)
    from bgp4.molecule.checks import check_size
    from bgp4.molecule.gaff import CITATIONS, parametrise_by_gaff2
    from bgp4.molecule.ligand import ligand_from_file, ligand_from_smiles, with_start_positions

    found = ligand_from_file(Path(str(source))) if smiles is None else ligand_from_smiles(smiles)
    check_size(found.mol.GetNumAtoms(), found.source, max_atoms)
    ligand = with_start_positions(found)
    for line in ligand.describe():
        print(line)
    print("antechamber: GAFF2 types and AM1-BCC charges, which take a while ...", flush=True)
    made = parametrise_by_gaff2(ligand, log)
    print(made.charges)
    print("please cite:", *CITATIONS, sep="\n  ")
    for path, text in zip(paths, (made.prmtop, made.inpcrd, ligand.sdf), strict=True):
        with written_by_others(path):
            atomic_write_text(path, text)
    print(f"wrote {', '.join(map(str, paths))}")
    return MadeLigand(paths, f"{ligand.smiles}: GAFF2, AM1-BCC charges; atoms and bonds: {sdf}")
