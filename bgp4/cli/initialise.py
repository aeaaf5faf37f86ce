"""`bgp4 init`: a molecule in, a config out."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from bgp4.cli.logs import set_up_logging
from bgp4.storage.files import check_folder, refuse_existing

if TYPE_CHECKING:
    from bgp4.pipeline.propose import MoleculeRequest

__all__ = ["init_command"]


def init_command(request: MoleculeRequest, output: Path | None) -> None:
    """Describe a molecule, and write a config for it.

    Raises:
        UserInputError: If the molecule is not one that bgp4 can model, or has too many atoms.
    """
    set_up_logging()
    output = output or Path(f"{request.stem}.yaml")
    check_folder(output)
    refuse_existing(output)
    from bgp4.pipeline.cost import cost_lines
    from bgp4.pipeline.description import description
    from bgp4.pipeline.propose import measured, proposed

    with proposed(request, output) as proposal:
        for line in description(proposal.molecule, proposal.start):
            print(line)
        for line in cost_lines(measured(*proposal[:3])):
            print(line)
    print(f"wrote {output}; next: bgp4 simulate --config {output}")
