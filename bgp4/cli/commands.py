"""What each command does, from checked arguments to the line that says what it wrote where."""

from __future__ import annotations

import importlib
import json
import logging
import math
import os
import sys
import warnings
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from bgp4.config import Config, load_config, refuse_changes
from bgp4.errors import UserInputError
from bgp4.parallel.device import check_device
from bgp4.parallel.progress import progress
from bgp4.storage.bundled import find_data, is_bundled_data
from bgp4.storage.files import atomic_write_text, check_folder, refuse_existing, written_by_others
from bgp4.storage.lock import locked_output
from bgp4.training.begin import default_run, train_run
from bgp4.training.run import RunFolder

__all__ = [
    "bench_command",
    "init_command",
    "report_command",
    "reproduce_command",
    "sample_command",
    "simulate_command",
    "train_command",
]

log = logging.getLogger(__name__)

SMALL_ESS = 0.01
"""Below this share of the samples a user is warned, as in reports."""

BENCHES = ("linear", "energy", "simulation", "sampling")


def train_command(
    config_name: str, run: Path | None, resume: bool, device: str, overrides: Sequence[str]
) -> None:
    """`bgp4 train`."""
    _set_up_logging()
    config = load_config(config_name, overrides)
    folder = train_run(config, run or default_run(config_name), resume, device)
    from bgp4.parallel.ranks import is_writer

    if not is_writer():
        return
    info = folder.info()
    heldout = info["log_likelihood_heldout"]
    words = "" if heldout is None else f" with held-out log-likelihood {heldout:.2f}"
    reference = config.report.reference
    to_make = reference is not None and find_data(reference) is None
    simulate = f"bgp4 simulate --config {config_name} --reference, and " * to_make
    print(
        f"wrote {folder.path} (best model{words} at step {info['best_step']}); "
        f"next: {simulate}bgp4 report {folder.path}"
    )


def sample_command(
    run_path: Path,
    n: int,
    output: Path | None,
    weights: bool,
    seed: int,
    temperature_k: float | None,
    device: str,
    check_energies: bool,
    unbiased: bool,
) -> None:
    """`bgp4 sample`."""
    _set_up_logging()
    check_device(device)
    if temperature_k is not None and not (math.isfinite(temperature_k) and temperature_k > 0):
        raise UserInputError(f"--temperature: expected K above 0, found {temperature_k:g}")
    weighing = {
        "--temperature": temperature_k is not None,
        "--check-energies": check_energies,
        "--unbiased": unbiased,
    }
    for option, asked in weighing.items():
        if asked and not weights:
            raise UserInputError(
                f"{option}: --no-weights gives no energies; leave one of the two out"
            )
    run = RunFolder.find(run_path)
    from bgp4.sampling.draw import draw_samples
    from bgp4.sampling.files import check_format, refuse_to_lose

    path = output or (Path("samples.h5") if run.is_bundled else run.samples_path)
    check_format(path)
    if output is not None:
        refuse_to_lose(path)
    with _alone(path, [run] if path == run.samples_path else []):
        drawn = draw_samples(
            run, n, path, weights, seed, temperature_k, device, check_energies, unbiased
        )
    if not drawn.files:
        return
    if drawn.ess < SMALL_ESS:
        log.warning(
            "ESS below %.0f %%: weighted averages depend on a few conformations; train longer, or "
            "draw more samples (-n)",
            100 * SMALL_ESS,
        )
    words = f", ESS {drawn.ess:.2%}, {drawn.n_rejected} rejected" if weights else ""
    if drawn.chain is not None:
        words += (
            f"; unbiased: {drawn.chain.acceptance:.1%} of the proposals accepted, "
            f"{drawn.chain.n_distinct} distinct conformations, "
            f"statistical inefficiency {drawn.chain.inefficiency:.1f}"
        )
    if not math.isnan(drawn.energy_difference_kt):
        words += f", OpenMM's energies within {drawn.energy_difference_kt:.1g} kT of the batched"
    print(f"wrote {' and '.join(map(str, drawn.files))} ({n} conformations{words})")


def report_command(run_paths: Sequence[Path], output: Path | None) -> None:
    """`bgp4 report`."""
    _set_up_logging()
    runs = [RunFolder.find(path) for path in run_paths]
    if output is None and len(runs) == 1 and runs[0].is_bundled:
        raise UserInputError(
            f"report {runs[0].path.name}: a bundled model's folder is not changed; "
            "name the report folder with -o"
        )
    from bgp4.report.collect import collect_run
    from bgp4.report.report import write_report

    folder = output or (runs[0].report_path if len(runs) == 1 else Path("report"))
    with _alone(None, [run for run in runs if not run.is_bundled]):
        results = [collect_run(run, _report_samples(run, folder)) for run in runs]
        page = write_report(results, folder)
    print(f"wrote {page}")


@contextmanager
def _alone(output: Path | None, runs: Sequence[RunFolder]) -> Iterator[None]:
    """The only one to write to a file and into run folders; of several ranks, the writer is."""
    from bgp4.parallel.ranks import is_writer

    with ExitStack() as held:
        if is_writer():
            if output is not None:
                held.enter_context(locked_output(output))
            for run in {run.path.resolve(): run for run in runs}.values():
                held.enter_context(run.locked())
        yield


def _report_samples(run: RunFolder, folder: Path) -> Path:
    """Where a report's samples are, or will be: a run's own, a bundled model's in the report."""
    return folder / f"samples_{run.path.name}.h5" if run.is_bundled else run.samples_path


def init_command(
    source: str,
    output: Path | None,
    forcefield: tuple[str, ...],
    xml: Path | None,
    inpcrd: Path | None,
    temperature_k: float,
) -> None:
    """`bgp4 init`."""
    _set_up_logging()
    output = output or Path(f"{Path(source).stem}.yaml")
    check_folder(output)
    refuse_existing(output)
    from bgp4.cli.proposal import config_text, description, proposed_config
    from bgp4.molecule.molecule import load_molecule

    config = proposed_config(source, output.stem, forcefield, xml, inpcrd, temperature_k)
    molecule = load_molecule(config.system)
    for line in description(molecule):
        print(line)
    with written_by_others(output):
        atomic_write_text(output, config_text(config, molecule, output))
    print(f"wrote {output}; next: bgp4 simulate --config {output}")


def simulate_command(
    config_name: str,
    output: Path | None,
    resume: bool,
    overrides: Sequence[str],
    reference: bool = False,
) -> None:
    """`bgp4 simulate`."""
    _set_up_logging()
    config = load_config(config_name, overrides)
    output = output or (_reference_path(config) if reference else _simulated_path(config))
    config = config if reference else config.of_data
    if output.suffix not in (".h5", ".hdf5"):
        raise UserInputError(f"-o {output}: expected a file name that ends in .h5")
    check_folder(output)
    if not resume:
        refuse_existing(output)
    with locked_output(output):
        if output.exists():
            _finish_simulation(config, output)
        else:
            _simulate(config, config_name, output, resume)


def _finish_simulation(config: Config, output: Path) -> None:
    """It was ended after its trajectory was written: there is nothing left to do but this."""
    from bgp4.dynamics.simulate import FREE_ON_RESUME, config_of, remove_folder

    refuse_changes(config_of(output), config, FREE_ON_RESUME, f"-o {output}", "move the file away")
    remove_folder(output)
    print(f"{output} is complete")


def _simulate(config: Config, config_name: str, output: Path, resume: bool) -> None:
    """Into a work folder, from which the trajectory is made in the end."""
    from bgp4.dynamics.simulate import (
        begin_folder,
        remove_folder,
        simulate,
        work_folder,
        write_trajectory,
    )
    from bgp4.molecule.molecule import load_molecule

    folder = work_folder(output)
    if resume:
        _check_interrupted(folder, config, output)
    else:
        begin_folder(output, config)
    try:
        with progress("simulating", 100) as report:
            simulation = simulate(config, lambda done, n: report(100 * done // n, ""), folder)
    except UserInputError:
        if not resume:
            remove_folder(output)
        raise
    except KeyboardInterrupt:
        log.info("stopped; continue with --resume")
        raise
    write_trajectory(output, simulation, load_molecule(config.system), config)
    remove_folder(output)
    accepted = ", ".join(f"{a:.2f}" for a in simulation.acceptance)
    print(
        f"wrote {output} ({len(simulation.positions_nm)} frames at {config.temperature_k:g} K"
        + (f", exchange acceptance {accepted})" if accepted else ")")
        + _next_step(config, config_name, str(output))
    )


def _next_step(config: Config, config_name: str, output: str) -> str:
    """After frames that train, or judge, a run."""
    if output in config.data.paths:
        return f"; next: bgp4 train --config {config_name}"
    judges = output == config.report.reference
    return f"; next: bgp4 report {default_run(config_name)}" * judges


def _simulated_path(config: Config) -> Path:
    """Where a config's frames are expected, unless these came with bgp4."""
    paths = config.data.paths
    own = len(paths) == 1 and not is_bundled_data(paths[0])
    return Path(paths[0]) if own else Path("data.h5")


def _reference_path(config: Config) -> Path:
    """Where the frames are expected that a report compares with."""
    name = config.report.reference
    if name is None or is_bundled_data(name):
        raise UserInputError(
            f"config key report.reference: expected the file to write, found {name}; "
            "name one there, or with -o"
        )
    return Path(name)


def _check_interrupted(folder: Path, config: Config, output: Path) -> None:
    """There is a simulation to go on with, and it is of this config."""
    begun = folder / "config.yaml"
    if not begun.is_file():
        raise UserInputError(
            f"-o {output}: no interrupted simulation is there; start it without --resume"
        )
    from bgp4.dynamics.simulate import FREE_ON_RESUME

    old = load_config(str(begun))
    refuse_changes(old, config, FREE_ON_RESUME, f"-o {output}", "name another file")


def reproduce_command(
    figures: Sequence[str], output: Path, quick: bool, data: Path | None, download: bool
) -> None:
    """`bgp4 reproduce`."""
    _set_up_logging()
    from bgp4.studies.paper.figure import reproduce

    for line in reproduce(figures, output, quick, data, download):
        print(line, flush=True)


def bench_command(what: str, output: Path | None, run: Path) -> None:
    """`bgp4 bench`."""
    _set_up_logging()
    if what not in BENCHES:
        raise UserInputError(f"bench: expected one of {', '.join(BENCHES)}, found {what}")
    if output is not None:
        check_folder(output)
    measure = getattr(importlib.import_module(f"bgp4.studies.bench.{what}"), f"bench_{what}")
    from bgp4.studies.bench.machine import describe_machine, in_words

    machine = describe_machine()
    measured = measure(run) if what == "sampling" else measure()
    text = json.dumps(measured | {"machine": machine}, indent=2) + "\n"
    if output is None:
        print(text, end="")
        return
    atomic_write_text(output, text)
    print(in_words(machine))
    for line in _ratios(measured.get("ratios", [])):
        print(line)
    print(f"wrote {output}")


def _ratios(rows: Any) -> Iterator[str]:
    """A line for each measured setting: what it is of, and each quotient."""
    for row in [rows] if isinstance(rows, dict) else rows:
        of = [f"{key} {value}" for key, value in row.items() if not isinstance(value, float)]
        found = [f"{key} {value:.3g}" for key, value in row.items() if isinstance(value, float)]
        yield ": ".join(", ".join(part) for part in (of, found) if part)


class _ToStderr(logging.StreamHandler):  # type: ignore[type-arg]
    """To what is stderr at the time: a live view puts lines above itself."""

    def emit(self, record: logging.LogRecord) -> None:
        self.stream = sys.stderr
        super().emit(record)


def _set_up_logging() -> None:
    """Our log on stderr; other libraries' notices, which are not about the user's work, off."""
    logging.basicConfig(level=logging.ERROR, format="%(message)s", handlers=[_ToStderr()])
    logging.getLogger("bgp4").setLevel(logging.INFO)
    warnings.filterwarnings("ignore", module=r"(mdtraj|openmmtools|pymbar|nflows)")
    os.environ.setdefault("PYTHONWARNINGS", "ignore")  # for the worker processes
