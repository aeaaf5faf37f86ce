"""The report's files, its page parsed with html.parser, and its words."""

import hashlib
import json
import re
from collections.abc import Callable
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import mdtraj
import numpy as np
import pytest

from bgp4.report.metrics import compute_metrics, json_ready
from bgp4.report.report import ASSETS, RunResult, write_report
from bgp4.report.report import SCRIPTS as SCRIPT_FILES
from bgp4.report.warnings import warnings
from bgp4.report.wording import collapse_check, format_value, percent
from tests.for_each import for_each
from tests.report.made import with_samples

ANY_MOLECULE = {"energies", "geometry", "weights", "training"}
FIGURES = ANY_MOLECULE | {"ramachandran", "profiles", "torsions"}
HOSTILE = "</script><!-- <script>alert('x')</script> & \"quoted\""
SCRIPTS = 5
"""The data, 3Dmol, and our own."""


class Page(HTMLParser):
    """Tags with their attributes, and the text outside style."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.source = path.read_text(encoding="utf-8")
        self.feed(self.source)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data

    @property
    def data(self) -> Any:
        """What the page draws from."""
        script = re.search(r'<script type="application/json"[^>]*>(.*?)</script>', self.source)
        assert script
        return json.loads(script[1])

    @property
    def figures(self) -> list[dict[str, str | None]]:
        """The SVG elements."""
        return self.all("svg")

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attrs for name, attrs in self.tags if name == tag]


@pytest.fixture(scope="module")
def hostile_run(good_run: RunResult) -> RunResult:
    return replace(
        good_run,
        name=f"run {HOSTILE}",
        config_yaml=f"system: {HOSTILE}\n",
        run_info={**good_run.run_info, "commands": [f"bgp4 train {HOSTILE}"], HOSTILE: 1},
    )


@pytest.fixture(scope="module")
def report(hostile_run: RunResult, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_report([hostile_run], tmp_path_factory.mktemp("report") / "new" / "report")


def test_files(report: Path) -> None:
    names = {path.name for path in report.parent.iterdir()}
    files = {f"{name}.{ending}" for name in FIGURES for ending in ("png", "svg")}
    assert names == files | {"index.html", "metrics.json"}
    for name in FIGURES:
        assert (report.parent / f"{name}.png").read_bytes().startswith(b"\x89PNG")
        assert b"<svg" in (report.parent / f"{name}.svg").read_bytes()
    assert json.loads((report.parent / "metrics.json").read_text())["n_samples"] == 300


def test_page_needs_nothing_beside_itself(report: Path) -> None:
    page = Page(report)
    keys = ("src", "href", "xlink:href")
    links = [v for _, attrs in page.tags for k, v in attrs.items() if k in keys]
    assert all(link and link.startswith(("data:", "#")) for link in links)
    assert len(page.figures) == len(FIGURES)
    assert all(attrs.get("aria-label") and attrs["role"] == "img" for attrs in page.figures)
    assert "url(http" not in page.source
    ids = [attrs["id"] for _, attrs in page.tags if "id" in attrs]
    assert len(set(ids)) == len(ids)
    assert [attrs["rel"] for attrs in page.all("link")] == ["icon"]
    assert len(page.all("script")) == SCRIPTS
    [policy] = [
        attrs["content"]
        for attrs in page.all("meta")
        if attrs.get("http-equiv") == "Content-Security-Policy"
    ]
    assert policy is not None
    assert policy.startswith("default-src 'none'")
    assert "http" not in policy


def test_page_is_for_phones_dark_rooms_and_paper(report: Path) -> None:
    page = Page(report)
    assert {"name": "viewport", "content": "width=device-width, initial-scale=1"} in page.all(
        "meta"
    )
    assert "prefers-color-scheme: dark" in page.source
    assert "@media print" in page.source


def test_what_comes_from_files_is_escaped(report: Path) -> None:
    page = Page(report)
    assert "<script>alert" not in page.source
    assert page.source.count("<!--") == 0
    assert page.text.count(HOSTILE) >= 4
    assert page.data["runs"][0]["name"] == f"run {HOSTILE}"


@pytest.mark.usefixtures("blank_pictures")
def test_names_of_residues_and_atoms_are_escaped(good_run: RunResult, tmp_path: Path) -> None:
    topology = good_run.topology.copy()
    topology.residue(1).name = HOSTILE
    topology.atom(0).name = HOSTILE
    page = Page(write_report([replace(good_run, topology=topology)], tmp_path))
    assert "<script>alert" not in page.source
    assert page.source.count("<!--") == 0
    assert len(page.all("script")) == SCRIPTS
    assert page.data["runs"][0]["sites"][0]["label"] == f"{HOSTILE}2"
    assert HOSTILE in page.data["runs"][0]["molecule"]["labels"][0]


def test_our_own_scripts_cannot_end_their_element() -> None:
    for name in SCRIPT_FILES:
        text = (ASSETS / name).read_text(encoding="utf-8")
        assert "</script" not in text.lower()
        assert "<!--" not in text


def test_3dmol_is_the_file_that_its_note_names() -> None:
    digest = hashlib.sha256((ASSETS / "3Dmol-min.js").read_bytes()).hexdigest()
    assert digest in (ASSETS / "README.md").read_text(encoding="utf-8")
    assert "BSD-3-Clause" in (ASSETS / "3Dmol-LICENSE").read_text(encoding="utf-8")


def test_page_says_what_was_run(report: Path) -> None:
    text = Page(report).text
    for part in ("versions.torch", "2.13.0", "wall_time_s.kl", "n_energy_evaluations", "512,000"):
        assert part in text


def test_page_has_a_collapse_check(report: Path) -> None:
    text = " ".join(Page(report).text.split())
    assert "Collapse check" in text
    assert text.count("as in the data") >= 2


@pytest.mark.usefixtures("blank_pictures")
def test_several_runs_side_by_side(good_run: RunResult, tmp_path: Path) -> None:
    hotter = replace(good_run, temperature_k=1000.0, data_energy_kt=good_run.data_energy_kt * 0.8)
    runs = [good_run, good_run, hotter]
    page = Page(write_report(runs, tmp_path))
    written = json.loads((tmp_path / "metrics.json").read_text())
    assert list(written["runs"]) == ["ala2", "ala2 (2)", "ala2 (3)"]
    assert written["runs"]["ala2"] == written["runs"]["ala2 (2)"]
    assert page.source.count('class="card"') == 3 * 4
    assert set(written["comparison"]) >= {"ess_raw", "coverage", "delta_f_phi_kt"}
    assert page.text.count("minus ala2") == 2
    assert len(page.figures) == len(FIGURES)


def test_same_run_same_bytes(report: Path, hostile_run: RunResult, tmp_path: Path) -> None:
    assert write_report([hostile_run], tmp_path).read_bytes() == report.read_bytes()


def broken(run: RunResult) -> RunResult:
    n = run.n_samples
    return with_samples(run, energy_kt=np.full(n, 1e6), log_weight=np.full(n, -1e6), history={})


def not_finite(run: RunResult) -> RunResult:
    nan = np.full(run.n_samples, np.nan)
    positions = np.full_like(run.sample_positions_nm, np.nan)
    return with_samples(run, sample_positions_nm=positions, energy_kt=nan, log_prob=nan)


def one_weight(run: RunResult) -> RunResult:
    return with_samples(run, log_weight=np.where(np.arange(run.n_samples) == 7, 0.0, -1e5))


def noise_off_scale(run: RunResult) -> RunResult:
    return with_samples(run, noisy_energy_kt=np.full(50, 1e6), energy_kt=run.energy_kt + 5e3)


@pytest.mark.parametrize("damage", [broken, not_finite, one_weight, noise_off_scale])
def test_damaged_runs_have_a_report(
    good_run: RunResult, tmp_path: Path, damage: Callable[[RunResult], RunResult]
) -> None:
    page = Page(write_report([damage(good_run)], tmp_path))
    assert "Warnings" in page.text


def pngs(names: set[str]) -> set[str]:
    return {f"{name}.png" for name in names}


@pytest.mark.usefixtures("blank_pictures")
def test_molecule_without_torsions(good_run: RunResult, tmp_path: Path) -> None:
    for ending in ("png", "svg"):
        (tmp_path / f"ramachandran.{ending}").write_bytes(b"of an earlier report")
    topology = mdtraj.Topology()
    residue = topology.add_residue("ARG", topology.add_chain())
    for _ in range(2):
        topology.add_atom("Ar", mdtraj.element.argon, residue)
    dimer = with_samples(
        good_run,
        topology=topology,
        reference_positions_nm=good_run.reference_positions_nm[:2],
        data_positions_nm=good_run.data_positions_nm[:, :2],
        sample_positions_nm=good_run.sample_positions_nm[:, :2],
        states=(),
    )
    page = Page(write_report([dimer], tmp_path))
    assert len(page.figures) == 3
    assert not list(tmp_path.glob("ramachandran.*"))
    metrics = json.loads((tmp_path / "metrics.json").read_text())
    assert metrics["ramachandran_tv"] is metrics["delta_f_phi_kt"] is None
    assert metrics["wrong_chirality_fraction"] is None
    assert metrics["chirality_verdict"] is None
    assert metrics["state_verdicts"] == {}
    assert metrics["bond_tv_mean"] is metrics["bond_tv_max_of"] is None
    assert metrics["wrong_chirality_by_centre"] == metrics["ramachandran_tv_by_residue"] == {}
    assert "Collapse check" not in page.text
    assert "The molecule has no bonds" in page.text
    assert metrics["ess_raw"] > 0.8


@pytest.mark.usefixtures("blank_pictures")
def test_molecule_without_rotatable_torsions(toluene_run: RunResult, tmp_path: Path) -> None:
    page = Page(write_report([toluene_run], tmp_path))
    assert {path.name for path in tmp_path.glob("*.png")} == pngs(ANY_MOLECULE)
    text = " ".join(page.text.split())
    assert (
        "no residue with φ and ψ and no rotatable torsion; its bonds and angles are shown" in text
    )
    assert "Total variation of bonds 0.1" in text
    assert re.search(r"largest (1|0\.99\d*), C6–C7; noise floor", text)
    assert "ΔF of" not in text
    assert page.source.count('class="card"') == 4


@pytest.mark.usefixtures("blank_pictures")
def test_molecule_with_torsions_but_no_backbone(good_run: RunResult, tmp_path: Path) -> None:
    """Alanine dipeptide under names that say nothing."""
    topology = good_run.topology.copy()
    for atom in topology.atoms:
        atom.name = f"{atom.element.symbol}{atom.index}"
    page = Page(write_report([replace(good_run, topology=topology)], tmp_path))
    assert {path.name for path in tmp_path.glob("*.png")} == pngs(ANY_MOLECULE | {"torsions"})
    assert "no residue with φ and ψ; all its rotatable torsions are shown" in page.text
    assert "Total variation of torsions" in page.text


@pytest.mark.usefixtures("blank_pictures")
def test_numbers_by_residue_have_a_line_each(peptide_run: RunResult, tmp_path: Path) -> None:
    page = Page(write_report([peptide_run], tmp_path))
    metrics = json.loads((tmp_path / "metrics.json").read_text())
    lines = [
        f"{name}  {format_value('', value)}"
        for name, value in metrics["ramachandran_tv_by_residue"].items()
    ]
    assert len(lines) == 3
    assert "\n".join(lines) in page.text
    assert "CA ALA2  0 %\nCA ALA3  0 %\nCA ALA4  0 %" in page.text


def test_collapse_check_names_the_mirrored_centre(peptide_run: RunResult) -> None:
    samples = peptide_run.sample_positions_nm.copy()
    index = {str(atom): atom.index for atom in peptide_run.topology.atoms}
    pair = [index["ALA3-HA"], index["ALA3-CB"]]
    samples[:30, pair] = samples[:30, pair[::-1]]
    metrics = json_ready(compute_metrics(with_samples(peptide_run, sample_positions_nm=samples)))
    rows = {row.state: row for row in collapse_check(metrics)}
    assert list(rows) == [
        "φ ALA2 > 0",
        "φ ALA3 > 0",
        "φ ALA4 > 0",
        "mirrored",
        "mirrored at CA ALA3",
    ]
    assert rows["mirrored at CA ALA3"].samples == rows["mirrored"].samples == "10 %"


def test_no_runs(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="at least one run"):
        write_report([], tmp_path)


def words(run: RunResult) -> str:
    return " ".join(warnings(json_ready(compute_metrics(run))))


def test_warnings_of_a_good_run(good_run: RunResult) -> None:
    assert words(good_run) == ""


def test_warnings_name_what_is_off(good_run: RunResult, frames_with: Any) -> None:
    collapsed = frames_with(np.full(300, -1.5), np.full(300, 0.5), seed=4)
    few = np.where(np.arange(300) % 30 == 0, 1.0, -1.5)
    scarce = with_samples(good_run, sample_positions_nm=frames_with(few, np.full(300, 0.5), seed=5))
    forced = with_samples(scarce, log_weight=np.where(few > 0, np.log(7.0), 0.0))
    one = frames_with(np.where(np.arange(300) < 1, 1.0, -1.5), np.full(300, 0.5), seed=6)
    weightless = with_samples(
        good_run,
        sample_positions_nm=one,
        log_weight=np.where(np.arange(300) < 1, -1e4, good_run.samples.log_weight),
    )
    few_samples = with_samples(
        good_run,
        **{k: getattr(good_run.samples, k)[:20] for k in ("energy_kt", "log_weight")},
        sample_positions_nm=collapsed[:20],
    )
    mirrored = good_run.sample_positions_nm.copy()
    mirrored[:30] *= [1, 1, -1]
    for run, expected in [
        (
            with_samples(good_run, sample_positions_nm=collapsed),
            "No sample is in the state φ ALA2 > 0, where MD has 21.8 %",
        ),
        (with_samples(good_run, sample_positions_nm=collapsed), "ΔF cannot be trusted"),
        (scarce, "φ ALA2 > 0 is under-sampled by a factor of 6.5: 3.33 %, where MD has 21.8 %."),
        (scarce, "By weight φ ALA2 > 0 is under-sampled by a factor of "),
        (forced, "φ ALA2 > 0 is under-sampled by a factor of 6.5"),
        (weightless, "No weight is on φ ALA2 > 0, where MD has 21.8 %: ΔF cannot be trusted."),
        (few_samples, "There are too few samples, or crossings of MD, to judge φ ALA2 > 0."),
        (
            with_samples(good_run, sample_positions_nm=mirrored),
            "10 % of the samples have the",
        ),
        (one_weight(good_run), "A single sample holds 100 % of all weight"),
        (one_weight(good_run), "The effective sample size is only 0.333 %"),
        (with_samples(good_run, energy_kt=good_run.energy_kt + 3), "is off by +2."),
        (noise_off_scale(good_run), "Only 0 % of the samples lie below"),
        (not_finite(good_run), "100 % of the samples are not finite"),
        (broken(good_run), "300 of 300 samples were rejected"),
    ]:
        assert expected in words(run)
    assert "ΔF cannot be trusted" not in words(forced)


@for_each(
    ("key", "value", "text"),
    [
        ("ess_raw", 0.99999, "99.99 %"),
        ("ess_raw", 1.0, "100 %"),
        ("n_samples", 10_000, "10,000"),
        ("delta_f_phi_kt", None, "–"),
        ("delta_f_phi_missing", "phi>0", "phi>0"),
        ("ramachandran_kl", 3.4e-5, "3.4e-05"),
        ("log_likelihood_heldout", 171.2345, "171.2"),
        ("wall_time_s", {"ml": 12.5, "kl": 1200.0}, "ml 12.5 s, kl 1,200 s"),
        ("wall_time_s", {}, "–"),
        ("ramachandran_tv_by_residue", {"ALA2": 0.0512, "ALA3": None}, "ALA2  0.0512\nALA3  –"),
        ("wrong_chirality_by_centre", {"CA ALA2": 0.1}, "CA ALA2  10 %"),
        ("wrong_chirality_by_centre", {}, "–"),
        ("torsion_tv_max_of", "ψ ALA2", "ψ ALA2"),
    ],
)
def test_number_formats(key: str, value: Any, text: str) -> None:
    assert format_value(key, value) == text


def test_percent_of_nothing() -> None:
    assert percent(None) == "–"
