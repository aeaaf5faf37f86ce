"""The conformers of `bgp4 analyse`: a table, and files of them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import typer

from bgp4.errors import UserInputError

if TYPE_CHECKING:
    from bgp4.answers.ensembles import RunEnsemble

__all__ = ["Asked", "Clustering", "Least", "Most", "Rmsd", "clustering", "conformer_files"]

Asked = Annotated[
    bool, typer.Option("--conformers", help="Which conformers there are, and how much of each.")
]
Rmsd = Annotated[
    float | None,
    typer.Option(metavar="NM", help="Cluster conformers by RMSD within NM, not by torsions."),
]
Least = Annotated[
    float | None,
    typer.Option(metavar="PERCENT", help="Population of a conformer that is listed; default 1."),
]
Most = Annotated[
    int | None,
    typer.Option(metavar="N", min=1, help="List the N conformers of lowest free energy."),
]


@dataclass(frozen=True)
class Clustering:
    """How conformers are told apart and which are listed, as options say it.

    Attributes:
        rmsd_nm: Cutoff of RMSD; None for wells of torsions.
        least: Population that is listed, in percent.
        most: How many are listed.
    """

    rmsd_nm: float | None
    least: float
    most: int | None


def clustering(
    conformers: bool, rmsd: float | None, least: float | None, most: int | None
) -> Clustering | None:
    """What the options ask for; None without --conformers.

    Raises:
        UserInputError: If one is out of range, or there without --conformers.
    """
    for name, value, below in (("rmsd", rmsd, math.inf), ("least", least, 100)):
        if value is not None and not 0 < value < below:
            unit = "nm above 0" if name == "rmsd" else "percent between 0 and 100"
            raise UserInputError(f"--{name} {value:g}: expected {unit}")
    options = {"rmsd": rmsd, "least": least, "most": most}
    given = [name for name, value in options.items() if value is not None]
    if given and not conformers:
        raise UserInputError(f"--{given[0]}: expected with --conformers, to which it belongs")
    return Clustering(rmsd, 1.0 if least is None else least, most) if conformers else None


def conformer_files(
    ensemble: RunEnsemble, asked: Clustering, factor: float, unit: str
) -> dict[str, bytes]:
    """Print the conformers, and give back the files that show them.

    Args:
        ensemble: A run's.
        asked: By the user.
        factor: kT in `unit`.
        unit: Of energies.
    """
    from bgp4.answers.conformer_files import (
        conformers_csv,
        conformers_pdb,
        conformers_sdf,
        conformers_table,
    )
    from bgp4.answers.conformers import conformers

    found = conformers(ensemble.sample, asked.rmsd_nm, asked.least / 100, asked.most)
    md = None if ensemble.md is None else found.populations_of(ensemble.md)
    way = "wells of torsions" if asked.rmsd_nm is None else f"RMSD within {asked.rmsd_nm:g} nm"
    print(f"\nconformers by {way}, of {asked.least:g} % or more")
    print(conformers_table(found, md, factor, unit))
    files = {
        "conformers.csv": conformers_csv(found, md).encode(),
        "conformers.pdb": conformers_pdb(found).encode(),
    }
    try:
        files["conformers.sdf"] = conformers_sdf(found).encode()
    except UserInputError as error:
        print(f"  without {error}")
    return files
