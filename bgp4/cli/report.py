"""`bgp4 report`: run folders in, a page with its figures and numbers out."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from bgp4.cli.logs import set_up_logging
from bgp4.errors import UserInputError
from bgp4.training.alone import alone
from bgp4.training.run import RunFolder

__all__ = ["report_command"]


def report_command(run_paths: Sequence[Path], output: Path | None) -> None:
    """`bgp4 report`."""
    set_up_logging()
    runs = [RunFolder.find(path) for path in run_paths]
    if output is None and len(runs) == 1 and runs[0].is_bundled:
        raise UserInputError(
            f"report {runs[0].path.name}: a bundled model's folder is not changed; "
            "name the report folder with -o"
        )
    from bgp4.report.collect import collect_run
    from bgp4.report.report import write_report

    folder = output or (runs[0].report_path if len(runs) == 1 else Path("report"))
    with alone(None, [run for run in runs if not run.is_bundled]):
        results = [collect_run(run, _report_samples(run, folder)) for run in runs]
        page = write_report(results, folder)
    print(f"wrote {page}")


def _report_samples(run: RunFolder, folder: Path) -> Path:
    """Where a report's samples are, or will be: a run's own, a bundled model's in the report."""
    return folder / f"samples_{run.path.name}.h5" if run.is_bundled else run.samples_path
