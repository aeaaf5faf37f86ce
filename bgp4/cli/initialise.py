"""`bgp4 init`: a molecule in, a config out."""

from __future__ import annotations

from pathlib import Path

from bgp4.cli.logs import set_up_logging
from bgp4.errors import UserInputError
from bgp4.storage.files import atomic_write_text, check_folder, refuse_existing, written_by_others

__all__ = ["init_command"]


def init_command(
    source: str,
    output: Path | None,
    forcefield: tuple[str, ...],
    xml: Path | None,
    positions: Path | None,
    temperature_k: float,
    max_atoms: int,
    parameters: tuple[Path, ...] = (),
    include_dir: Path | None = None,
) -> None:
    """Describe a molecule, and write a config for it.

    Raises:
        UserInputError: If the molecule is not one that bgp4 can model, or has too many atoms.
    """
    set_up_logging()
    output = output or Path(f"{Path(source).stem}.yaml")
    check_folder(output)
    refuse_existing(output)
    import yaml

    from bgp4.cli.cost import cost_lines, measured_cost
    from bgp4.cli.proposal import config_text, description, proposed_config, unsupported
    from bgp4.config import validate_config
    from bgp4.energies.reference import relaxed
    from bgp4.molecule.molecule import load_molecule

    config = proposed_config(
        *(source, output.stem, forcefield, xml, positions, temperature_k, parameters, include_dir)
    )
    molecule = load_molecule(config.system)
    if molecule.n_atoms > max_atoms:
        raise UserInputError(
            f"{source}: {molecule.n_atoms} atoms, expected at most {max_atoms}: the cost of a step "
            "grows with the square of the atoms, and molecules of more than 100 have not been "
            f"tried; --max-atoms {molecule.n_atoms} lifts the limit"
        )
    start = relaxed(molecule)
    for line in description(molecule, start):
        print(line)
    text = config_text(config, molecule, output)
    whole = validate_config(yaml.safe_load(text), source=str(output))
    batched = unsupported(molecule) is None
    for line in cost_lines(measured_cost(whole, molecule, start.positions_nm, batched)):
        print(line)
    with written_by_others(output):
        atomic_write_text(output, text)
    print(f"wrote {output}; next: bgp4 simulate --config {output}")
