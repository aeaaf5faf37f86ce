"""The report: metrics.json, the pictures, and one HTML page that needs nothing beside itself."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from bgp4.report.comparison import Compared, compare
from bgp4.report.conformers import conformer_rows
from bgp4.report.definitions import METRICS
from bgp4.report.figures import FIGURES, FigureEntry
from bgp4.report.interactive import page_data, script_json
from bgp4.report.metrics import compute_metrics, json_ready
from bgp4.report.result import RunResult
from bgp4.report.style import inline_svg, png_bytes, svg_bytes
from bgp4.report.warnings import warnings
from bgp4.report.wording import (
    collapse_check,
    format_difference,
    format_estimate,
    format_value,
    further_headlines,
    headlines,
)
from bgp4.storage.files import atomic_write_bytes, atomic_write_text, remove_leftovers

__all__ = ["RunResult", "write_report"]


ASSETS = Path(__file__).parent / "assets"

SCRIPTS = ("3Dmol-min.js", "panels.js", "viewer.js", "report.js")
"""Scripts of the page, in the order in which they run."""


EXPLORED = ("ramachandran", "torsions")
"""Figures that lead to conformations; the page has the first of them beside these."""


class Picture(NamedTuple):
    """One figure of the report: what `FIGURES` says of it, and its files."""

    entry: FigureEntry
    png: bytes
    svg: bytes

    @property
    def name(self) -> str:
        return self.entry.name

    @property
    def inline(self) -> Markup:
        """As an element of the page."""
        return Markup(inline_svg(self.svg, self.name, self.entry.alt))


def write_report(runs: Sequence[RunResult], out: Path) -> Path:
    """Write `metrics.json`, the figures and `index.html` into a folder; returns the page's path.

    `metrics.json` holds the metrics of a single run, or `{"runs": {name: metrics}, "comparison":
    {key: {name: ...}}}` of several. Runs of one name get a number after it. Each file appears
    complete or not at all; a figure that an earlier report left and this one lacks is removed.
    """
    runs = _distinct_names(runs)
    metrics = {run.name: json_ready(compute_metrics(run)) for run in runs}
    pictures = list(_pictures(runs))
    compared = compare(runs, list(metrics.values())) if len(runs) > 1 else []
    page = _render(runs, metrics, pictures, compared)
    out.mkdir(parents=True, exist_ok=True)
    remove_leftovers(out)
    for name in {entry.name for entry in FIGURES} - {picture.name for picture in pictures}:
        for ending in ("png", "svg"):
            (out / f"{name}.{ending}").unlink(missing_ok=True)
    for picture in pictures:
        atomic_write_bytes(out / f"{picture.name}.png", picture.png)
        atomic_write_bytes(out / f"{picture.name}.svg", picture.svg)
    written = (
        metrics[runs[0].name]
        if len(runs) == 1
        else {"runs": metrics, "comparison": _comparison_json(runs, compared)}
    )
    text = json.dumps(written, indent=2, allow_nan=False, ensure_ascii=False) + "\n"
    atomic_write_text(out / "metrics.json", text)
    atomic_write_text(out / "index.html", page)
    return out / "index.html"


def _distinct_names(runs: Sequence[RunResult]) -> list[RunResult]:
    if not runs:
        raise ValueError("a report needs at least one run")
    taken: set[str] = set()
    named = []
    for run in runs:
        candidates = (run.name if i == 1 else f"{run.name} ({i})" for i in range(1, len(runs) + 1))
        name = next(name for name in candidates if name not in taken)
        taken.add(name)
        named.append(replace(run, name=name))
    return named


def _pictures(runs: Sequence[RunResult]) -> Iterator[Picture]:
    for entry in FIGURES:
        figure = entry.plot(runs)
        if figure is not None:
            png = png_bytes(figure)
            figure.set_layout_engine("none")  # the SVG has the PNG's
            yield Picture(entry, png, svg_bytes(figure))


def _comparison_json(
    runs: Sequence[RunResult], compared: Sequence[Compared]
) -> dict[str, dict[str, Any]]:
    """For each key and run: value, error, and their difference to the first run's."""
    return {
        row.name: {
            run.name: {
                "value": value.value,
                "error": value.error,
                "difference": difference.value,
                "difference_error": difference.error,
            }
            for run, value, difference in zip(runs, row.values, row.differences, strict=True)
        }
        for row in compared
    }


def _render(
    runs: Sequence[RunResult],
    metrics: Mapping[str, dict[str, Any]],
    pictures: Sequence[Picture],
    compared: Sequence[Compared],
) -> str:
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    table = [
        (
            key,
            [format_value(key, values.get(key)) for values in metrics.values()],
            metric.definition,
        )
        for key, metric in METRICS.items()
    ]
    explored = next((p for p in pictures if p.name in EXPLORED), None)
    return environment.get_template("template.html.j2").render(
        runs=runs,
        metrics=metrics,
        headlines={name: headlines(values) for name, values in metrics.items()},
        further={name: further_headlines(values) for name, values in metrics.items()},
        warnings={name: warnings(values) for name, values in metrics.items()},
        conformers={run.name: conformer_rows(run) for run in runs},
        collapse={name: collapse_check(values) for name, values in metrics.items()},
        explored=explored,
        pictures=[picture for picture in pictures if picture is not explored],
        table=table,
        compared=compared,
        estimate=format_estimate,
        difference=format_difference,
        facts={run.name: list(_flattened(run.run_info)) for run in runs},
        style=_asset("report.css"),
        scripts=[_asset(name) for name in SCRIPTS],
        data=Markup(script_json(page_data(runs))),
    )


def _asset(name: str) -> Markup:
    """A file of our own, to be inlined as it is."""
    return Markup((ASSETS / name).read_text(encoding="utf-8"))


def _flattened(info: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    """Nested mappings as (dotted key, text) pairs."""
    for key, value in info.items():
        if isinstance(value, Mapping):
            yield from _flattened(value, f"{prefix}{key}.")
        elif isinstance(value, (list, tuple)):
            yield f"{prefix}{key}", "\n".join(str(item) for item in value)
        else:
            yield f"{prefix}{key}", format_value("", value) if _is_quantity(value) else str(value)


def _is_quantity(value: Any) -> bool:
    """Floats, and counts so large that they need separators; seeds and years stay as they are."""
    return value is None or isinstance(value, float) or (isinstance(value, int) and value > 99_999)
