"""Arguments and options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from bgp4.cli.completion import complete_config, complete_run

Config = Annotated[
    str,
    typer.Option(
        "--config",
        metavar="FILE",
        help="A config file, or the name of a bundled one.",
        autocompletion=complete_config,
    ),
]
Sets = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY.SUB=VALUE", help="Override a config key; repeatable."),
]
Device = Annotated[
    str, typer.Option(help="auto, cpu or cuda.", autocompletion=lambda: ["auto", "cpu", "cuda"])
]
Run = Annotated[
    Path,
    typer.Argument(
        help="Run folder that `bgp4 train` made, or a bundled model's name.",
        autocompletion=complete_run,
    ),
]
Seed = Annotated[int, typer.Option(min=0, help="Seed of the samples.")]
Colvar = Annotated[
    Path | None,
    typer.Option(help="Also write the weights as a column file that PLUMED reads (kJ/mol)."),
]
Start = Annotated[
    Path | None,
    typer.Option(
        "--from",
        metavar="RUN",
        help="Begin with the flow of a run or bundled model of the same atoms, without likelihood.",
        autocompletion=complete_run,
    ),
]
