"""The data that the page draws from, decoded again."""

import base64
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from bgp4.report.interactive import EMPTY, STEP_KT, page_data, script_json
from bgp4.report.metrics import ramachandran_histograms
from bgp4.report.report import write_report
from bgp4.report.result import RunResult
from bgp4.studies.bench.peptides import alanine_peptide
from tests.report.conftest import frames_of
from tests.report.made import with_samples

MOST_BYTES = 8_000_000


def test_maps_are_those_of_the_metrics(good_run: RunResult) -> None:
    [site] = page_data([good_run])["runs"][0]["sites"]
    for name, p in zip(site["maps"], ramachandran_histograms(good_run)[0], strict=True):
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


def test_training_marks_phases_and_merges(good_run: RunResult) -> None:
    merges = np.arange(1, 21) * 30
    run = replace(
        good_run,
        history={**good_run.history, "p4_merges": merges},
        config_yaml="training: {merge_every: 10}",
    )
    [training] = page_data([run])["training"]
    assert training["phases"] == [{"phase": "ml", "step": 0.0}, {"phase": "kl", "step": 1000.0}]
    assert training["merges"] == merges.tolist()
    assert training["merge_every"] == 10
    assert training["curves"]["kl"][0] is None


@pytest.mark.parametrize("config", ["a: [", "text", "training: 3", ""])
def test_configs_that_say_nothing_of_merges(good_run: RunResult, config: str) -> None:
    [training] = page_data([replace(good_run, config_yaml=config, history={})])["training"]
    assert training["merge_every"] is None
    assert training["step"] == []


def test_marginals_begin_with_the_worst(peptide_run: RunResult) -> None:
    [found] = page_data([peptide_run])["marginals"]
    assert found["torsion"][0]["label"] == "ψ ALA4"
    for items in found.values():
        values = [item["tv"][0] for item in items]
        assert values == sorted(values, reverse=True)
        assert sum(items[0]["data"]) == pytest.approx(1e5, rel=1e-3)


def test_runs_of_the_same_data_show_it_once(good_run: RunResult) -> None:
    page = page_data([good_run, replace(good_run, name="other")])
    assert [c["kind"] for c in page["energies"]["columns"]].count("data") == 1
    assert "data" not in page["profiles"][1][0]["phi"]


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
