"""`bgp4 compare`: the free-energy difference of two runs, without a path between them."""

from __future__ import annotations

import logging
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated

import typer

from bgp4.cli.analyse import check_unit, in_unit
from bgp4.cli.completion import complete_run
from bgp4.cli.logs import set_up_logging
from bgp4.training.alone import alone

__all__ = ["compare"]

log = logging.getLogger(__name__)


def compare(
    first: Annotated[
        Path, typer.Argument(help="Run folder or bundled model.", autocompletion=complete_run)
    ],
    second: Annotated[
        Path,
        typer.Argument(help="Another, of the same atoms.", autocompletion=complete_run),
    ],
    n: Annotated[
        int, typer.Option("-n", min=1, help="How many samples are drawn where there are none.")
    ] = 10_000,
    temperature: Annotated[
        float | None, typer.Option(help="Temperature of both, K; default the samples'.")
    ] = None,
    unit: Annotated[str, typer.Option(help="Of energies: kT, kJ/mol or kcal/mol.")] = "kT",
) -> None:
    """Compare the absolute free energies of two runs.

    Of isomers, or with other force fields or solvent models.
    """
    check_unit(unit)
    set_up_logging()
    from bgp4.answers.ensembles import ensemble_of_run
    from bgp4.answers.free_energy import differences, free_energies_of_run, refuse_incomparable
    from bgp4.answers.tables import as_text, paired
    from bgp4.training.run import RunFolder

    runs = [RunFolder.find(path) for path in (first, second)]
    with TemporaryDirectory() as own, alone(None, [run for run in runs if not run.is_bundled]):
        places = [Path(own) / f"{r.path.name}.h5" if r.is_bundled else r.samples_path for r in runs]
        ensembles = [
            ensemble_of_run(run, place, n, temperature)
            for run, place in zip(runs, places, strict=True)
        ]
        warning = refuse_incomparable(*ensembles)
        found = [free_energies_of_run(one) for one in ensembles]
    if warning is not None:
        log.warning("%s", warning)
    kelvin = ensembles[0].temperature_k
    for ensemble, each in zip(ensembles, found, strict=True):
        rows = paired(in_unit(each.estimates, unit, kelvin))
        print(f"{ensemble.name}, {kelvin:g} K, Z in {each.unit}\n{as_text(rows)}\n")
    rows = paired(in_unit(differences(*found), unit, kelvin))
    print(f"{ensembles[1].name} minus {ensembles[0].name}\n{as_text(rows)}")
