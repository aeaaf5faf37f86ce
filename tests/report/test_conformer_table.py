"""The report's table of conformers: populations that are known, and none where there is nothing."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from bgp4.report.conformers import conformer_rows
from bgp4.report.report import write_report
from bgp4.report.result import RunResult


def percent(words: str) -> tuple[float, float]:
    value, error = words.removesuffix(" %").split(" ± ")
    return float(value), float(error)


def test_two_wells_of_phi(good_run: RunResult) -> None:
    """A fifth of the samples and of the frames has φ about 1 rad, the others about -1.5."""
    first, second, other = conformer_rows(good_run)
    for row, share, degrees in ((first, 80, -86), (second, 20, 57)):
        for value, error in map(percent, (row.population, row.md)):
            assert abs(value - share) < 4 * error + 1
        assert abs(float(row.torsions.split("φ ALA2 ")[1].split("°")[0]) - degrees) < 12
    assert other.torsions == "all else"
    assert float(second.free_energy.split(" ± ")[0]) > 1


def test_there_is_no_table_without_weights_or_torsions(
    good_run: RunResult, toluene_run: RunResult
) -> None:
    lost = good_run.samples._replace(energy_kt=np.full(good_run.n_samples, 1e6))
    assert conformer_rows(replace(good_run, samples=lost)) == []
    assert conformer_rows(toluene_run) == []


def test_the_page_has_it(good_run: RunResult, blank_pictures, tmp_path) -> None:
    page = write_report([good_run], tmp_path).read_text()
    assert "Conformers</h3>" in page
    assert f'<td class="number">{conformer_rows(good_run)[0].md}</td>' in page
