"""`bgp4 analyse`: the answers that a run's ensemble gives, with errors, beside MD's."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bgp4.cli.arguments import Run
from bgp4.cli.conformers import Asked, Clustering, Least, Most, Rmsd, clustering, conformer_files
from bgp4.cli.logs import set_up_logging
from bgp4.errors import UserInputError
from bgp4.training.alone import alone

if TYPE_CHECKING:
    from bgp4.answers.ensembles import RunEnsemble
    from bgp4.answers.surface import Axis, Surface
    from bgp4.answers.tables import Row
    from bgp4.answers.variables import Variable
    from bgp4.answers.weighted import Estimate, Weighted

__all__ = ["analyse", "check_unit", "in_unit"]

MOST_MINIMA = 8
"""Minima of a surface that are printed."""

UNITS = ("kT", "kJ/mol", "kcal/mol")
JOULES = 4.184
"""Of a calorie."""


@dataclass(frozen=True)
class Questions:
    """What is asked, as the options say it."""

    fes: Sequence[str]
    average: Sequence[str]
    j_couplings: bool
    noe: bool
    free_energy: bool
    experiment: Path | None
    cv: Path | None
    bins: int | None
    unit: str
    conformers: Clustering | None

    @property
    def any(self) -> bool:
        named = (self.fes, self.average, self.j_couplings, self.noe, self.free_energy)
        return any(named) or self.experiment is not None or self.conformers is not None


Fes = Annotated[
    list[str] | None,
    typer.Option(
        metavar="VARIABLE[, VARIABLE]",
        help="Free energy along one or two variables, such as 'phi ALA2, psi ALA2', "
        "'distance ALA2-N ALA2-O', rg, 'rmsd FILE.pdb', pc1; repeatable.",
    ),
]
Average = Annotated[
    list[str] | None,
    typer.Option(metavar="VARIABLE", help="Its average, such as rg, sasa, hbonds; repeatable."),
]
Experiment = Annotated[
    Path | None,
    typer.Option(help="CSV of measured values (name,value,error,unit) to compare with."),
]
Own = Annotated[
    Path | None,
    typer.Option(
        help="CSV of your own variables, a column each, a row for each sample of the file."
    ),
]


def analyse(
    run: Run,
    fes: Fes = None,
    average: Average = None,
    conformers: Asked = False,
    rmsd: Rmsd = None,
    least: Least = None,
    most: Most = None,
    j_couplings: Annotated[
        bool, typer.Option("--j-couplings", help="3J couplings of amide hydrogens.")
    ] = False,
    noe: Annotated[
        bool, typer.Option("--noe", help="Effective distances of hydrogens within 0.6 nm.")
    ] = False,
    free_energy: Annotated[
        bool, typer.Option("--free-energy", help="F = -kT ln Z, mean energy and entropy.")
    ] = False,
    experiment: Experiment = None,
    cv: Own = None,
    samples: Annotated[
        Path | None,
        typer.Option(help="Sample file, .h5; default RUN/samples.h5, drawn if it is not there."),
    ] = None,
    n: Annotated[int, typer.Option("-n", min=1, help="How many are drawn then.")] = 10_000,
    temperature: Annotated[
        float | None, typer.Option(help="Temperature of the weights, K; default the samples'.")
    ] = None,
    bins: Annotated[
        int | None,
        typer.Option(help="Along each variable; default 72 along one, 36 along two."),
    ] = None,
    unit: Annotated[str, typer.Option(help="Of energies: kT, kJ/mol or kcal/mol.")] = "kT",
    output: Annotated[
        Path | None,
        typer.Option("-o", help="Folder to write; default RUN/analysis, or NAME_analysis here."),
    ] = None,
) -> None:
    """Answer questions about a run's ensemble, beside MD."""
    asked = Questions(
        *(fes or (), average or (), j_couplings, noe, free_energy, experiment, cv, bins, unit),
        clustering(conformers, rmsd, least, most),
    )
    _refuse(asked, temperature)
    set_up_logging()
    from bgp4.answers.ensembles import ensemble_of_run
    from bgp4.training.run import RunFolder

    folder = RunFolder.find(run)
    place = output or (
        Path(f"{folder.path.name}_analysis") if folder.is_bundled else folder.path / "analysis"
    )
    beside = place / "samples.h5" if folder.is_bundled else folder.samples_path
    if samples is not None and not samples.is_file():
        raise UserInputError(f"--samples {samples}: no such file; make it with `bgp4 sample`")
    with alone(None, [] if folder.is_bundled else [folder]):
        ensemble = ensemble_of_run(folder, samples or beside, n, temperature)
        _answer(ensemble, asked, place)


def _refuse(asked: Questions, temperature: float | None) -> None:
    check_unit(asked.unit)
    if temperature is not None and not 0 < temperature < float("inf"):
        raise UserInputError(f"--temperature {temperature:g}: expected K above 0")
    if not asked.any:
        raise UserInputError(
            "analyse: expected a question: --fes, --average, --conformers, --j-couplings, --noe, "
            '--free-energy or --experiment; such as --fes "phi ALA2, psi ALA2"'
        )


def check_unit(unit: str) -> None:
    """Raise UserInputError unless energies can be shown in a unit."""
    if unit not in UNITS:
        raise UserInputError(f"--unit {unit}: expected {', '.join(UNITS)}")


def _answer(ensemble: RunEnsemble, asked: Questions, folder: Path) -> None:
    """Print all answers, and write them into the folder once all are known."""
    from bgp4.storage.files import atomic_write_bytes

    print(f"{ensemble.name}, {ensemble.temperature_k:g} K: {ensemble.sample.words}")
    if ensemble.md is not None and ensemble.frames is not None:
        print(f"MD, {ensemble.frames.source}: {ensemble.md.words}")
    files: dict[str, bytes] = {}
    for own in _surfaces(ensemble, asked):
        files |= own
    if asked.conformers is not None:
        factor = _factor(asked.unit, ensemble.temperature_k)
        files |= conformer_files(ensemble, asked.conformers, factor, asked.unit)
    rows = _averages(ensemble, asked)
    if rows:
        from bgp4.answers.tables import as_csv

        files["averages.csv"] = as_csv(rows).encode()
    if asked.experiment is not None:
        files |= _against_experiment(ensemble, asked.experiment)
    if asked.free_energy:
        files |= _free_energy(ensemble, asked.unit)
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        atomic_write_bytes(folder / name, content)
    print(f"wrote {folder}: {', '.join(files)}")


def _factor(unit: str, temperature_k: float) -> float:
    """kT in a unit."""
    from bgp4.units import kt_in_kjmol

    per_kt = kt_in_kjmol(temperature_k)
    return {"kT": 1.0, "kJ/mol": per_kt, "kcal/mol": per_kt / JOULES}[unit]


def _surfaces(ensemble: RunEnsemble, asked: Questions) -> Iterator[dict[str, bytes]]:
    from bgp4.answers.surface import axes_of, fes_csv, fes_dat, minima, surface
    from bgp4.report.plots_surface import plot_surface
    from bgp4.report.style import png_bytes, svg_bytes

    own_columns = _columns(ensemble, asked.cv)
    factor = _factor(asked.unit, ensemble.temperature_k)
    for names in asked.fes:
        words = [name.strip() for name in names.split(",")]
        own = [own_columns.get(w) or _variable(w, ensemble.sample, ensemble) for w in words]
        sources = [own]
        if ensemble.md is not None and not any(word in own_columns for word in words):
            sources.append([_variable(word, ensemble.md, ensemble) for word in words])
        axes = axes_of(*sources, bins=asked.bins)
        found = surface(ensemble.sample, own, axes)
        md = surface(ensemble.md, sources[1], axes) if len(sources) > 1 and ensemble.md else None
        print(f"\nfree energy along {' and '.join(words)}, minima above the lowest, {asked.unit}")
        for place in minima(found)[:MOST_MINIMA]:
            at = ", ".join(_place(axis, i) for axis, i in zip(axes, place, strict=True))
            beside = "" if md is None else f"; MD {_at(md, place, factor)}"
            print(f"  {at}: {_at(found, place, factor)}{beside}")
        figure = plot_surface(found, md, factor, asked.unit)
        name = "fes_" + "-".join(variable.key for variable in own)
        yield {
            f"{name}.png": png_bytes(figure),
            f"{name}.svg": svg_bytes(figure),
            f"{name}.csv": fes_csv(found).encode(),
            f"{name}.dat": fes_dat(found).encode(),
        }


def _columns(ensemble: RunEnsemble, path: Path | None) -> dict[str, Variable]:
    """The user's own variables by name."""
    if path is None:
        return {}
    from bgp4.answers.variables import own_variables

    return own_variables(path, ensemble.sample.kept)


def _variable(name: str, of: Weighted, ensemble: RunEnsemble) -> Variable:
    from bgp4.answers.variables import variable

    return variable(name, of.frames, ensemble.sample)


def _place(axis: Axis, index: int) -> str:
    """Where a bin is, as a user reads it."""
    centre = axis.centres[index]
    if axis.periodic:
        return f"{axis.name} {math.degrees(centre):.0f}°"
    return f"{axis.name} {centre:.4g} {axis.unit}".rstrip()


def _at(found: Surface, place: tuple[int, ...], factor: float) -> str:
    from bgp4.answers.tables import with_error

    value, error = factor * found.free_energy_kt[place], factor * found.error_kt[place]
    if math.isnan(value):
        return "none there"
    return with_error(value, math.inf if math.isnan(error) else error)


def _averages(ensemble: RunEnsemble, asked: Questions) -> list[Row]:
    """Print averages, and give them back."""
    from bgp4.answers.observables import KARPLUS, averages, j_couplings, noe
    from bgp4.answers.tables import as_text, paired

    own_columns = _columns(ensemble, asked.cv)

    def means(of: Weighted) -> list[Estimate]:
        names = [n for n in asked.average if of is ensemble.sample or n not in own_columns]
        found = [own_columns.get(name) or _variable(name, of, ensemble) for name in names]
        return averages(of, found) if found else []

    questions: list[tuple[str, Callable[[Weighted], list[Estimate]]]] = []
    if asked.average:
        questions.append(("averages", means))
    if asked.j_couplings:
        questions.append(
            (f"3J couplings, Karplus curves {KARPLUS} (good to 0.2 to 0.4 Hz)", j_couplings)
        )
    if asked.noe:
        questions.append(("effective distances <r^-6>^(-1/6) of hydrogens", noe))
    every = []
    for title, question in questions:
        own = question(ensemble.sample)
        rows = paired(own, question(ensemble.md) if ensemble.md is not None else None)
        print(f"\n{title}\n{as_text(rows)}")
        every += rows
    return every


def _against_experiment(ensemble: RunEnsemble, path: Path) -> dict[str, bytes]:
    from bgp4.answers.experiment import chi_squared, computed, read_measured, refuse_other_units
    from bgp4.answers.tables import as_csv, as_text, paired
    from bgp4.report.plots_surface import plot_measured
    from bgp4.report.style import png_bytes, svg_bytes

    measured = read_measured(path)
    names = [one.name for one in measured]
    own = computed(names, ensemble.sample, ensemble.sample, str(path))
    md = None
    if ensemble.md is not None:
        md = computed(names, ensemble.md, ensemble.sample, str(path))
    refuse_other_units(measured, own, str(path))
    rows = paired(own, md, measured)
    print(f"\nmeasured values of {path}\n{as_text(rows)}")
    words = f"χ² of {len(measured)}: samples {chi_squared(measured, own):.2f}"
    print(f"  {words}" + (f", MD {chi_squared(measured, md):.2f}" if md else ""))
    figure = plot_measured(measured, own)
    return {
        "experiment.csv": as_csv(rows).encode(),
        "experiment.png": png_bytes(figure),
        "experiment.svg": svg_bytes(figure),
    }


def _free_energy(ensemble: RunEnsemble, unit: str) -> dict[str, bytes]:
    from bgp4.answers.free_energy import free_energies_of_run
    from bgp4.answers.tables import Row, as_csv, as_text

    found = free_energies_of_run(ensemble)
    rows = [Row(one) for one in in_unit(found.estimates, unit, ensemble.temperature_k)]
    print(f"\nfree energy of the conformations, Z in {found.unit}\n{as_text(rows)}")
    return {"free_energy.csv": as_csv(rows).encode()}


def in_unit(estimates: Sequence[Estimate], unit: str, temperature_k: float) -> list[Estimate]:
    """Estimates in kT, in another unit."""
    factor = _factor(unit, temperature_k)
    return [
        one._replace(value=factor * one.value, error=factor * one.error, unit=unit)
        if one.unit == "kT"
        else one
        for one in estimates
    ]
