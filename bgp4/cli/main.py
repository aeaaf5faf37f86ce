"""The command line: each command parses its arguments and calls one function.

Exit codes: 0 done; 2 wrong input, one line on stderr; 1 anything else, one line where bgp4 knows
what failed; 130 interrupted.
Heavy libraries are imported inside the commands, so that `--help` answers at once.
"""

from __future__ import annotations

import errno
import os
import sys
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer

from bgp4.cli.analyse import analyse
from bgp4.cli.arguments import Colvar, Config, Device, Run, Seed, Sets, Start
from bgp4.cli.compare import compare
from bgp4.cli.completion import complete_run
from bgp4.cli.reweigh import reweigh_command
from bgp4.cli.run import run_command
from bgp4.errors import RunError, UserInputError
from bgp4.version import __version__

INTERRUPTED = 130

app = typer.Typer(
    help="Boltzmann generators for molecules: from MD frames to weighted samples and a report.",
    pretty_exceptions_enable=False,
    add_completion=True,
    rich_markup_mode=None,
    epilog="Run `bgp4` without arguments for the first steps.",
)

FIRST_STEPS = """\
bgp4 {version}: Boltzmann generators for molecules

Alanine dipeptide, from its bundled config and data (training takes minutes):
  bgp4 train  --config ala2.yaml
  bgp4 sample runs/ala2 -n 10000 -o ala2.pdb
  bgp4 report runs/ala2

The same without training, from the bundled model:
  bgp4 sample ala2 -n 10000 -o ala2.pdb

A molecule of your own, with all hydrogens, in one command:
  bgp4 run      my.pdb

The same step by step:
  bgp4 init     my.pdb
  bgp4 simulate --config my.yaml
  bgp4 train    --config my.yaml
  bgp4 simulate --config my.yaml --reference
  bgp4 report   runs/my

More: bgp4 --help, bgp4 train --help; bgp4 --install-completion for tab completion
"""


app.command("run")(run_command)


@app.command()
def train(
    config: Config,
    run: Annotated[Path | None, typer.Option(help="Run folder; default runs/NAME.")] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Continue from the last checkpoint.")
    ] = False,
    start: Start = None,
    device: Device = "auto",
    tensorboard: Annotated[
        bool, typer.Option("--tensorboard", help="Also write event files to RUN/tensorboard.")
    ] = False,
    overrides: Sets = None,
) -> None:
    """Train a flow on a molecule's MD frames and energies."""
    from bgp4.cli.train import train_command

    chosen = ["training.tensorboard=true"] if tensorboard else []
    train_command(config, run, resume, device, [*(overrides or []), *chosen], start)


@app.command()
def sample(
    run: Run,
    n: Annotated[
        int | None,
        typer.Option(
            "-n", min=1, help="How many conformations; default 10,000, or 100 times --effective."
        ),
    ] = None,
    effective: Annotated[
        int | None,
        typer.Option(min=1, help="Stop at so many effective samples, or at -n conformations."),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "-o",
            help=".h5, .pdb, .cif, .dcd, .xtc or .nc; default RUN/samples.h5, or samples.h5 for a "
            "bundled model.",
        ),
    ] = None,
    weights: Annotated[bool, typer.Option(help="Compute energies and log-weights.")] = True,
    seed: Seed = 0,
    temperature: Annotated[
        float | None, typer.Option(help="Temperature of the weights, K; default the run's.")
    ] = None,
    device: Device = "auto",
    check_energies: Annotated[
        bool, typer.Option("--check-energies", help="Compute weights with OpenMM, and compare.")
    ] = False,
    unbiased: Annotated[
        bool,
        typer.Option("--unbiased", help="Equal weights, by a Metropolis chain."),
    ] = False,
    refine: Annotated[
        bool,
        typer.Option("--refine", help="Equal weights, by many chains that also move by MD."),
    ] = False,
    colvar: Colvar = None,
) -> None:
    """Generate conformations with energies, densities and weights."""
    from bgp4.cli.sample import sample_command
    from bgp4.sampling.request import SampleRequest

    most = n or (10_000 if effective is None else 100 * effective)
    request = SampleRequest(
        *(most, weights, seed, temperature, device, check_energies, unbiased, refine, effective),
        colvar,
    )
    sample_command(run, output, request)


@app.command()
def report(
    runs: Annotated[
        list[Path],
        typer.Argument(
            metavar="RUN...",
            help="Run folders or bundled models, one or several.",
            autocompletion=complete_run,
        ),
    ],
    output: Annotated[
        Path | None, typer.Option("-o", help="Folder of the report; default RUN/report.")
    ] = None,
) -> None:
    """Make the report of a run, or of several side by side.

    It writes metrics.json, figures and index.html.
    """
    from bgp4.cli.report import report_command

    report_command(runs, output)


@app.command()
def simulate(
    config: Config,
    output: Annotated[
        Path | None,
        typer.Option("-o", help="HDF5 trajectory to write; default the config's data.path."),
    ] = None,
    reference: Annotated[
        bool,
        typer.Option(
            "--reference",
            help="Make validation frames at temperature_k, instead of training frames; default "
            "output the config's report.reference.",
        ),
    ] = False,
    engine: Annotated[
        str | None, typer.Option(help="auto, openmm or batched; default the config's.")
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Continue an interrupted simulation.")
    ] = False,
    device: Device = "auto",
    overrides: Sets = None,
) -> None:
    """Run MD for training data, or parallel tempering for validation."""
    from bgp4.cli.simulate import simulate_command

    chosen = [] if engine is None else [f"simulate.engine={engine}"]
    simulate_command(config, output, resume, [*(overrides or []), *chosen], reference, device)


@app.command()
def init(
    molecule: Annotated[
        str | None,
        typer.Argument(
            metavar="[MOLECULE]",
            help=".pdb, .cif, .prmtop, .top, .psf, .sdf or .mol2 file, or an openmmtools test "
            "system.",
        ),
    ] = None,
    smiles: Annotated[
        str | None,
        typer.Option(help="A ligand's SMILES, instead of a file; in quotes."),
    ] = None,
    output: Annotated[
        Path | None, typer.Option("-o", help="Config to write; default MOLECULE.yaml here.")
    ] = None,
    forcefield: Annotated[
        list[str] | None,
        typer.Option(
            help="OpenMM force field XML; repeatable; default amber14-all.xml, implicit/obc2.xml; "
            "for a ligand GAFF2 and OBC2, or an OpenFF one's name."
        ),
    ] = None,
    xml: Annotated[
        Path | None, typer.Option(help="Serialised OpenMM System, instead of a force field.")
    ] = None,
    positions: Annotated[
        Path | None,
        typer.Option(
            "--positions",
            "--inpcrd",
            help="Positions for a prmtop, top or psf; default the file with its name, or conf.gro.",
        ),
    ] = None,
    parameters: Annotated[
        list[Path] | None,
        typer.Option(help="CHARMM file for a psf (.prm, .rtf, .str); repeatable."),
    ] = None,
    include_dir: Annotated[
        Path | None, typer.Option(help="Folder of the files that a top includes.")
    ] = None,
    constraints: Annotated[
        str | None,
        typer.Option(help="Bonds at constant lengths, HBonds or AllBonds; MD then steps by 2 fs."),
    ] = None,
    temperature: Annotated[float, typer.Option(help="Temperature of the ensemble, K.")] = 300.0,
    max_atoms: Annotated[
        int, typer.Option(min=1, help="Refuse a molecule of more atoms than this.")
    ] = 200,
) -> None:
    """Describe a molecule of your own, and write a config for it."""
    from bgp4.cli.initialise import init_command
    from bgp4.pipeline.request import MoleculeRequest

    request = MoleculeRequest(
        *(molecule, smiles, tuple(forcefield or ()), xml, positions, tuple(parameters or ())),
        *(include_dir, temperature, max_atoms, constraints),
    )
    init_command(request, output)


app.command()(analyse)
app.command()(compare)


@app.command()
def reproduce(
    figures: Annotated[
        list[str], typer.Argument(metavar="FIGURE...", help="fig1 to fig10, or all.")
    ],
    quick: Annotated[
        bool, typer.Option("--quick", help="Small settings: minutes for all figures.")
    ] = False,
    output: Annotated[Path, typer.Option("-o", help="Folder of the figures.")] = Path("figures"),
    data: Annotated[
        Path | None, typer.Option(help="Folder with MNIST's IDX files, for fig10.")
    ] = None,
    download: Annotated[
        bool,
        typer.Option("--download", help="Download them (11 MB) first, to --data or ~/.cache/bgp4."),
    ] = False,
) -> None:
    """Make figures of the P4Inv paper, with numbers and verdicts.

    A figure made earlier with the same settings and version is kept.
    """
    from bgp4.cli.reproduce import reproduce_command

    reproduce_command(figures, output, quick, data, download)


@app.command()
def bench(
    what: Annotated[
        str,
        typer.Argument(
            help="linear, energy, simulation, sampling or ensemble.",
            autocompletion=lambda: ["linear", "energy", "simulation", "sampling", "ensemble"],
        ),
    ],
    output: Annotated[Path | None, typer.Option("-o", help="JSON file to write.")] = None,
    run: Annotated[
        Path,
        typer.Option(
            help="Trained run or bundled model, for sampling; folder of `bgp4 run`, for ensemble.",
            autocompletion=complete_run,
        ),
    ] = Path("runs/ala2"),
    device: Device = "auto",
) -> None:
    """Measure speeds side by side, in one run on this machine."""
    from bgp4.cli.bench import bench_command

    bench_command(what, output, run, device)


app.command("reweigh")(reweigh_command)


def _version(show: bool) -> None:
    if show:
        typer.echo(f"bgp4 {__version__}")
        raise typer.Exit


@app.callback(invoke_without_command=True)
def _global(
    context: typer.Context,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    if context.invoked_subcommand is None:
        typer.echo(FIRST_STEPS.format(version=__version__), nl=False)


CANNOT_WRITE = {
    *(errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES, errno.EPERM),
    *(errno.ENAMETOOLONG, errno.ENOTDIR),
}
"""What a disk or folder may object to a file."""


UsageError: Any = typer.BadParameter.__base__
"""What typer raises for a command line that it cannot read; it has no public name of its own."""


def main() -> None:
    """Entry point of the `bgp4` command."""
    try:
        code = app(standalone_mode=False)
    except UsageError as error:
        path = error.ctx.command_path if error.ctx else "bgp4"
        _fail(2, f"{error.format_message().rstrip('.')}; see `{path} --help`")
    except UserInputError as error:
        _fail(2, str(error))
    except OSError as error:
        if error.errno not in CANNOT_WRITE:
            raise
        _fail(2, f"{error.filename or 'a file'}: cannot be written: {error.strerror}")
    except RunError as error:
        _fail(1, str(error))
    except KeyboardInterrupt:
        code = INTERRUPTED
    if code == INTERRUPTED:  # typer's own, of a KeyboardInterrupt too
        print("bgp4: interrupted", file=sys.stderr)
    if not code and "TORCHELASTIC_RUN_ID" in os.environ:
        _leave_torchrun()
    raise SystemExit(code or 0)


def _fail(code: int, words: str) -> NoReturn:
    print(f"bgp4: error: {words}", file=sys.stderr)
    raise SystemExit(code)


def _leave_torchrun() -> None:
    """End the process at once: gloo's threads, if they still run when it ends, abort it."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)


if __name__ == "__main__":
    main()
