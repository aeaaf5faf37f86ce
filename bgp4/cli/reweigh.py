"""`bgp4 reweigh`: a run's samples in, the same with the weights of another energy out."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bgp4.cli.arguments import Colvar, Device, Run, Seed
from bgp4.cli.completion import complete_config

if TYPE_CHECKING:
    from bgp4.sampling.request import ReweighRequest

__all__ = ["reweigh_command"]

log = logging.getLogger(__name__)


def reweigh_command(
    run: Run,
    system: Annotated[
        str | None,
        typer.Option(
            metavar="FILE",
            help="A config; its system and temperature_k are those of the new weights.",
            autocompletion=complete_config,
        ),
    ] = None,
    energy: Annotated[
        str | None,
        typer.Option(
            metavar="FILE.py:NAME",
            help="Or a Python function of positions (nm) and elements that returns kJ/mol.",
        ),
    ] = None,
    ase: Annotated[
        str | None, typer.Option(metavar="MODULE:CLASS", help="Or an ASE calculator.")
    ] = None,
    temperature: Annotated[
        float | None, typer.Option(help="Temperature, K; default the config's, or the run's.")
    ] = None,
    samples: Annotated[
        Path | None, typer.Option(help="The run's samples (.h5); default: draw new ones.")
    ] = None,
    n: Annotated[int | None, typer.Option("-n", min=1, help="How many; default 10,000.")] = None,
    output: Annotated[Path, typer.Option("-o", help=".h5, .pdb, .cif, .dcd, .xtc or .nc.")] = Path(
        "reweighed.h5"
    ),
    seed: Seed = 0,
    resample: Annotated[
        int | None,
        typer.Option(min=1, help="Write so many conformations of equal weight instead."),
    ] = None,
    colvar: Colvar = None,
    device: Device = "auto",
) -> None:
    """Weigh a run's samples by another force field or energy."""
    from bgp4.sampling.request import ReweighRequest

    chosen = (system, energy, ase, temperature, samples, n, seed, resample, device, colvar)
    _reweigh(run, output, ReweighRequest(*chosen))


def _reweigh(run_path: Path, output: Path, request: ReweighRequest) -> None:
    from bgp4.cli.logs import set_up_logging
    from bgp4.parallel.device import check_device
    from bgp4.training.alone import alone
    from bgp4.training.run import RunFolder

    set_up_logging()
    check_device(request.device)
    run = RunFolder.find(run_path)
    from bgp4.cli.sample import SMALL_ESS
    from bgp4.sampling.colvar import check_colvar
    from bgp4.sampling.files import check_format, refuse_to_lose, sidecar
    from bgp4.sampling.reweigh import reweigh

    check_format(output)
    refuse_to_lose(output)
    if request.colvar is not None:
        check_colvar(request.colvar, [output, sidecar(output)])
    with alone(output, []):
        done = reweigh(run, output, request)
    overlap = done.overlap
    if overlap.ess < SMALL_ESS:
        log.warning(
            "ESS below %.0f %%: weighted averages depend on a few conformations; draw more samples "
            "(-n), or train a run for this energy",
            100 * SMALL_ESS,
        )
    equal = " of equal weight" if request.resample is not None else ""
    print(
        f"wrote {' and '.join(map(str, done.files))} ({done.n} conformations{equal}, "
        f"ESS {overlap.ess:.2%}, clipped {overlap.ess_clipped:.2%}; before, by the run's energy, "
        f"{overlap.ess_before:.2%}; overlap of the two energies {overlap.relative:.2%}; "
        f"{done.n_rejected} rejected)"
    )
