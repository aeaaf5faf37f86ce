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
    positions: Path | None,
    temperature_k: float,
    max_atoms: int,
    parameters: tuple[Path, ...] = (),
    include_dir: Path | None = None,
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
        if is_ligand(source, smiles, forcefield, (xml, positions, include_dir, *parameters)):
            made = make_ligand(source, smiles, output, max_atoms)
            undo.callback(made.remove)
            source, origin = str(made.prmtop), f"# {made.origin}\n"
        import yaml

        from bgp4.cli.cost import cost_lines, measured_cost
        from bgp4.cli.proposal import config_text, description, proposed_config, unsupported
        from bgp4.config import validate_config
        from bgp4.energies.reference import relaxed
        from bgp4.molecule.checks import check_size
        from bgp4.molecule.molecule import load_molecule

        config = proposed_config(
            *(str(source), output.stem, forcefield, xml, positions, temperature_k),
            *(parameters, include_dir),
        )
        molecule = load_molecule(config.system)
        check_size(molecule.n_atoms, str(source), max_atoms)
        start = relaxed(molecule)
        for line in description(molecule, start):
            print(line)
        text = origin + config_text(config, molecule, output)
        whole = validate_config(yaml.safe_load(text), source=str(output))
        batched = unsupported(molecule) is None
        for line in cost_lines(measured_cost(whole, molecule, start.positions_nm, batched)):
            print(line)
        with written_by_others(output):
            atomic_write_text(output, text)
        undo.pop_all()
    print(f"wrote {output}; next: bgp4 simulate --config {output}")
