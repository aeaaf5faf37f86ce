"""`bgp4 run`: a molecule in, its ensemble and what it is worth out."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bgp4.cli.logs import set_up_logging
from bgp4.errors import UserInputError
from bgp4.pipeline.request import RunRequest

if TYPE_CHECKING:
    from bgp4.pipeline.folder import Status

__all__ = ["run_command"]


def run_command(
    molecule: Annotated[
        str | None,
        typer.Argument(
            metavar="[MOLECULE]",
            help="A molecule's file or an openmmtools test system, as of init; a config; or a run "
            "folder.",
        ),
    ] = None,
    smiles: Annotated[
        str | None, typer.Option(help="A ligand's SMILES, instead of a file; in quotes.")
    ] = None,
    effective: Annotated[
        int, typer.Option(min=1, help="Effective samples that are wanted.")
    ] = 10_000,
    hours: Annotated[
        float | None,
        typer.Option(help="Budget of wall time, over all calls; default as the plan says."),
    ] = None,
    temperature: Annotated[
        float | None, typer.Option(help="Temperature of the ensemble, K; default 300.")
    ] = None,
    output: Annotated[
        Path | None, typer.Option("-o", help="Folder of everything; default MOLECULE's name.")
    ] = None,
    method: Annotated[
        str,
        typer.Option(
            help="flow, or md for parallel tempering alone.",
            autocompletion=lambda: ["flow", "md"],
        ),
    ] = "flow",
    quiet: Annotated[bool, typer.Option("--quiet", help="Print the verdict alone.")] = False,
) -> None:
    """From a molecule to a judged ensemble, in one command.

    It proposes a config, simulates, trains, samples and judges, until the ensemble is good or it
    says why not. The same command goes on where it was interrupted.
    """
    request = RunRequest(
        *(molecule, smiles, output or _folder(molecule), effective, hours, temperature, method),
        quiet,
    )
    _refuse_several()
    set_up_logging(quiet)
    from bgp4.pipeline.run import run_ensemble

    status = run_ensemble(request, (lambda line: None) if quiet else _say)
    for line in verdict_lines(status, request.folder):
        print(line)


def _refuse_several() -> None:
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise UserInputError(
            "run: expected one process, found several of torchrun; train with several by "
            "`torchrun -m bgp4 train`, and give `bgp4 run` the run folder"
        )


def _say(line: str) -> None:
    print(line, flush=True)


def _folder(source: str | None) -> Path:
    """my.pdb, my.yaml and runs/my each go to `my`."""
    name = Path(source).stem if source else "ligand"
    folder = Path(name)
    is_run = source is not None and (Path(source) / "config.yaml").is_file()
    return Path(f"{name}_ensemble") if is_run else folder


def verdict_lines(status: Status, folder: Path) -> Iterator[str]:
    """The verdict with its reasons, the states with their errors, and where everything is."""
    from bgp4.pipeline.cost import duration
    from bgp4.pipeline.verdict import effective_words

    effective = status.effective_samples or 0.0
    ess = "" if status.ess_raw is None else f", ESS of the flow {status.ess_raw:.1%}"
    yield f"verdict: {status.verdict}, {effective_words(effective)}{ess}"
    yield from (f"  - {words}" for words in (*status.reasons, *status.remarks))
    visited = [row for row in status.states if row["share"] or row["reference_share"]]
    width = max((len(row["label"]) for row in visited), default=0)
    for row in visited:
        reference = row["reference_share"]
        beside = "" if reference is None else f"   reference {100 * reference:.2f} %"
        beside += ", by symmetry" if row.get("reference_by_symmetry") else ""
        share, error = 100 * row["share"], 100 * row["error"]
        yield f"  {row['label']:{width}s}  {share:6.2f} ± {error:.2f} %{beside}"
    if status.parallel_tempering_s is not None:
        yield (
            f"this took {duration(status.wall_s)}; parallel tempering alone would take about "
            f"{duration(status.parallel_tempering_s)} for as many effective samples"
        )
    report = f", {status.report}" if status.report else ""
    yield f"ensemble: {status.ensemble}{report}, {folder / 'status.json'}"
    if status.verdict == "not to be trusted":
        other = "" if status.method == "md" else "; --method md simulates instead of training"
        yield f"next: a larger --hours goes on{other}"
