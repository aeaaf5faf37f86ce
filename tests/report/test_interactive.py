"""The data that the page draws from, decoded again."""

import base64
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from bgp4.report.interactive import EMPTY, STEP_KT, page_data, script_json
from bgp4.report.plots_maps import plot_ramachandran
from bgp4.report.plots_marginals import plot_torsions
from bgp4.report.report import write_report
from bgp4.report.result import RunResult
from bgp4.report.style import inline_svg, svg_bytes
from bgp4.studies.bench.peptides import alanine_peptide
from tests.report.conftest import frames_of
from tests.report.made import with_samples

MOST_BYTES = 8_000_000


def test_maps_are_those_of_the_metrics(good_run: RunResult) -> None:
    [site] = page_data([good_run])["runs"][0]["sites"]
    for name, p in zip(site["maps"], good_run.ramachandran[0], strict=True):
        steps = np.frombuffer(base64.b64decode(site["maps"][name]), "<u2").reshape(p.shape)
        assert ((steps == EMPTY) == (p == 0)).all()
        there = p > 0
        assert steps[there] * STEP_KT == pytest.approx(-np.log(p[there]), abs=STEP_KT)


def test_basins_add_up(good_run: RunResult) -> None:
    basins = page_data([good_run])["runs"][0]["sites"][0]["basins"]
    places = np.frombuffer(base64.b64decode(basins["places"]), "u1")
    assert len(places) == good_run.bins**2
    assert places.max() < len(basins["names"])
    assert basins["names"][-1] == "outside"
    for share, error in basins["populations"].values():
        assert sum(share) == pytest.approx(1, abs=1e-5)
        assert all(0 <= e < 0.2 for e in error)


def test_panels_are_those_of_the_figures(
    good_run: RunResult, peptide_run: RunResult, toluene_run: RunResult
) -> None:
    """Each that a reader can click at is there, once; runs of one molecule share torsions."""
    topology = good_run.topology.copy()
    for atom in topology.atoms:
        atom.name = f"{atom.element.symbol}{atom.index}"
    unnamed = replace(good_run, topology=topology)
    runs = [peptide_run, unnamed, toluene_run, replace(unnamed, name="again")]
    svgs = {plot.__name__: svg_bytes(plot(runs)) for plot in (plot_ramachandran, plot_torsions)}
    page = inline_svg(svgs["plot_ramachandran"], "ramachandran", "") + inline_svg(
        svgs["plot_torsions"], "torsions", ""
    )
    sites = [run["sites"] for run in page_data(runs)["runs"]]
    kinds = [of_run[0]["kind"] for of_run in sites]
    assert kinds == ["map", "torsion", "list", "torsion"]
    for site in (site for of_run in sites for site in of_run):
        assert len(site["panels"]) == {"map": 3, "torsion": 1, "list": 0}[site["kind"]]
        assert len(site["start"]) == {"map": 2, "torsion": 1, "list": 1}[site["kind"]]
        for panel in site["panels"].values():
            assert page.count(f'id="{panel}"') == 1
    panels = [[site["panels"] for site in of_run] for of_run in sites]
    assert panels[1] == panels[3]


def test_json_in_a_script_has_no_markup() -> None:
    hostile = {"a": "</script>", "b": "<!--", "c": "&amp;\u2028"}
    text = script_json(hostile)
    assert not set("<>&\u2028") & set(text)
    assert json.loads(text) == hostile


def test_a_page_of_a_hundred_atoms_is_small(good_run: RunResult, tmp_path: Path) -> None:
    """102 atoms, nine residues, torsions all over."""
    molecule = alanine_peptide(9)
    rng = np.random.default_rng(0)
    names = [f"{symbol} ALA{i}" for symbol in "φψ" for i in range(2, 11)]

    def frames(n: int, seed: int) -> np.ndarray:
        turns = {name: rng.uniform(-np.pi, np.pi, n) for name in names}
        return frames_of(molecule.topology, molecule.positions_nm, turns, seed, n)

    run = with_samples(
        good_run,
        topology=molecule.topology,
        reference_positions_nm=molecule.positions_nm,
        data_positions_nm=frames(600, 1),
        sample_positions_nm=frames(300, 2),
    )
    assert write_report([run], tmp_path).stat().st_size < MOST_BYTES
