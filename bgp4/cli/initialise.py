"""`bgp4 init`: a molecule in, a config out."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path

from bgp4.cli.ligand import is_ligand, make_ligand
from bgp4.cli.logs import set_up_logging
from bgp4.errors import UserInputError
from bgp4.storage.files import atomic_write_text, check_folder, refuse_existing, written_by_others

__all__ = ["init_command"]


def init_command(
    source: str | None,
    output: Path | None,
    forcefield: tuple[str, ...],
    xml: Path | None,
    inpcrd: Path | None,
    temperature_k: float,
    max_atoms: int,
    smiles: str | None = None,
) -> None:
    """Describe a molecule, and write a config for it.

    Raises:
        UserInputError: If the molecule is not one that bgp4 can model, or has too many atoms.
    """
    set_up_logging()
    if (source is None) == (smiles is None):
        raise UserInputError(
            "init: expected a file, a test system or --smiles SMILES, found "
            + ("none of them" if source is None else f"both {source} and --smiles")
        )
    output = output or Path(f"{Path(source).stem if source else 'ligand'}.yaml")
    check_folder(output)
    refuse_existing(output)
    with ExitStack() as undo:
        origin = ""
        if is_ligand(source, smiles, forcefield, (xml, inpcrd)):
            made = make_ligand(source, smiles, output, max_atoms)
            undo.callback(made.remove)
            source, origin = str(made.prmtop), f"# {made.origin}\n"
        from bgp4.cli.proposal import config_text, description, proposed_config
        from bgp4.molecule.checks import check_size
        from bgp4.molecule.molecule import load_molecule

        config = proposed_config(str(source), output.stem, forcefield, xml, inpcrd, temperature_k)
        molecule = load_molecule(config.system)
        check_size(molecule.n_atoms, str(source), max_atoms)
        for line in description(molecule):
            print(line)
        with written_by_others(output):
            atomic_write_text(output, origin + config_text(config, molecule, output))
        undo.pop_all()
    print(f"wrote {output}; next: bgp4 simulate --config {output}")
