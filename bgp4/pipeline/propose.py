"""From a file, a test system or a SMILES to a config and its molecule: how `bgp4 init` works."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import NamedTuple

import yaml

from bgp4.config import Config, validate_config
from bgp4.energies.reference import Relaxed, relaxed
from bgp4.molecule.checks import check_size
from bgp4.molecule.molecule import Molecule, load_molecule
from bgp4.pipeline.cost import Cost, measured_cost
from bgp4.pipeline.description import unsupported
from bgp4.pipeline.ligand import make_ligand
from bgp4.pipeline.proposal import config_text, proposed_config
from bgp4.pipeline.request import MoleculeRequest
from bgp4.storage.files import atomic_write_text, written_by_others

__all__ = ["Proposal", "measured", "proposed"]


class Proposal(NamedTuple):
    """A config for a molecule, and what it is made of.

    Attributes:
        config: As the file would be read.
        molecule: Loaded from what the config names.
        start: Its relaxed positions.
        text: The config as YAML, with comments.
    """

    config: Config
    molecule: Molecule
    start: Relaxed
    text: str


@contextmanager
def proposed(request: MoleculeRequest, output: Path, run: Path | None = None) -> Iterator[Proposal]:
    """Propose a config, and write it once the block ends without an error.

    A ligand's files are written beside it at once, and removed if there is an error.

    Args:
        request: The molecule.
        output: The config's file; frames are expected beside it.
        run: The run folder that the config's comments name; `runs/NAME` if None.

    Raises:
        UserInputError: If the molecule is not one that bgp4 can model, or has too many atoms.
    """
    with ExitStack() as undo:
        source, origin = request.source, ""
        if request.is_ligand:
            made = make_ligand(source, request.smiles, output, request.max_atoms)
            undo.callback(made.remove)
            source, origin = str(made.prmtop), f"# {made.origin}\n"
        config = proposed_config(
            *(str(source), str(output.with_suffix("")), request.forcefield, request.xml),
            *(request.positions, request.temperature_k, request.parameters, request.include_dir),
            request.constraints,
        )
        molecule = load_molecule(config.system)
        check_size(molecule.n_atoms, str(source), request.max_atoms)
        start = relaxed(molecule)
        text = origin + config_text(config, molecule, output, run)
        whole = validate_config(yaml.safe_load(text), source=str(output))
        yield Proposal(whole, molecule, start, text)
        with written_by_others(output):
            atomic_write_text(output, text)
        undo.pop_all()


def measured(config: Config, molecule: Molecule, start: Relaxed) -> Cost:
    """What the commands of a config take here."""
    return measured_cost(config, molecule, start.positions_nm, unsupported(molecule) is None)
