"""The page in Chromium: what it draws, what a click does, and that nothing leaves it."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from typing import Any

import mdtraj
import numpy as np
import pytest
from PIL import Image

from bgp4.report.report import write_report
from bgp4.report.result import RunResult
from bgp4.report.torsions import backbone_torsions

playwright = pytest.importorskip("playwright.sync_api")

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
ARGUMENTS = ["--no-sandbox", "--use-angle=swiftshader", "--enable-unsafe-swiftshader"]

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on the path"),
]

DESK, PHONE = {"width": 1180, "height": 900}, {"width": 360, "height": 740}
HOSTILE = "</script><!-- <script>document.title = 'owned'</script>"
VIEWER = "bgp4Report.explorer.viewer"


class Opened:
    """A page in a tab, and all that it said and asked for."""

    def __init__(self, browser: Any, path: Path, size: dict[str, int], scheme: str) -> None:
        self.context = browser.new_context(viewport=size, color_scheme=scheme)
        self.tab = self.context.new_page()
        self.said: list[str] = []
        self.asked: list[str] = []
        self.tab.on("console", lambda message: self.said.append(message.text))
        self.tab.on("pageerror", lambda error: self.said.append(str(error)))
        self.tab.on("request", lambda request: self.asked.append(request.url))
        self.tab.goto(path.as_uri())
        self.tab.wait_for_function("window.bgp4Report && bgp4Report.explorer")

    def __call__(self, code: str) -> Any:
        return self.tab.evaluate(code)

    def click_map(self, place: int, phi: float, psi: float) -> None:
        """At angles in degrees, in the place-th map."""
        target = self.tab.locator(".ramachandran .target").nth(place)
        target.scroll_into_view_if_needed()
        box = target.bounding_box()
        x, y = box["width"] * (phi + 180) / 360, box["height"] * (180 - psi) / 360
        target.click(position={"x": x, "y": y})

    def atoms(self, model: int) -> np.ndarray:  # (atoms, 3), nm
        """Where 3Dmol has them."""
        code = f"{VIEWER}.view.getModel({model}).selectedAtoms({{}}).map((a) => [a.x, a.y, a.z])"
        return np.array(self(code)) / 10

    def colours(self) -> int:
        """Of the viewer's picture, counted."""
        picture = self.tab.locator(".viewer").screenshot()
        colours = Image.open(BytesIO(picture)).convert("RGB").getcolors(1_000_000)
        return len(colours or [])


@pytest.fixture(scope="module")
def runner() -> Iterator[Any]:
    with playwright.sync_playwright() as started:
        yield started


@pytest.fixture(scope="module")
def browser(runner: Any) -> Iterator[Any]:
    chromium = runner.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
    yield chromium
    chromium.close()


@pytest.fixture(scope="module")
def pages(
    good_run: RunResult,
    peptide_run: RunResult,
    toluene_run: RunResult,
    tmp_path_factory: pytest.TempPathFactory,
) -> dict[str, Path]:
    topology = good_run.topology.copy()
    for atom in topology.atoms:
        atom.name = f"{atom.element.symbol}{atom.index}"
    hostile = good_run.topology.copy()
    hostile.residue(1).name = HOSTILE
    runs = {
        "map": [replace(good_run, bins=32)],
        "residues": [peptide_run],
        "torsion": [replace(good_run, topology=topology)],
        "list": [toluene_run],
        "hostile": [replace(good_run, topology=hostile, name=HOSTILE)],
        "several": [good_run, replace(good_run, name="a longer name of the other run", seed=1)],
    }
    folder = tmp_path_factory.mktemp("pages")
    return {name: write_report(of, folder / name) for name, of in runs.items()}


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", [DESK, PHONE], ids=["desk", "phone"])
@pytest.mark.parametrize("name", ["map", "residues", "torsion", "list", "hostile", "several"])
def test_pages_are_quiet_and_fit(
    browser: Any, pages: dict[str, Path], name: str, size: dict[str, int], scheme: str
) -> None:
    page = Opened(browser, pages[name], size, scheme)
    assert page.said == []
    assert [url for url in page.asked if not url.startswith(("data:", "blob:"))] == [
        pages[name].as_uri()
    ]
    assert page("document.documentElement.scrollWidth") <= size["width"]
    assert page("getComputedStyle(document.documentElement).colorScheme") == scheme
    figures = page.tab.locator(".plot svg")
    assert figures.count() >= 4
    assert all(figure.bounding_box()["height"] > 100 for figure in figures.all())
    targets = {"map": 3, "residues": 9, "torsion": 4, "list": 0, "hostile": 3, "several": 6}
    assert page.tab.locator(".target").count() == targets[name]
    assert page.colours() > 100
    assert page("document.title") != "owned"
    page.context.close()


def test_a_click_shows_a_sample_from_there(
    browser: Any, pages: dict[str, Path], good_run: RunResult
) -> None:
    """3Dmol's atoms have the torsions that were clicked at, and MD's lie over them as by mdtraj."""
    page = Opened(browser, pages["map"], DESK, "light")
    chosen = [t[0] for t in np.degrees([good_run.sample_torsions[0].phi[:8]]).T]
    psi = np.degrees(good_run.sample_torsions[0].psi[:8])
    for place, point in enumerate(zip(chosen, psi, strict=True)):
        page.click_map(place % 3, *point)
        sample, frame = page.atoms(1), page.atoms(0)
        [torsions] = backbone_torsions(sample[None], good_run.topology)
        found = np.degrees([torsions.phi[0], torsions.psi[0]])
        assert np.abs((found - point + 180) % 360 - 180).max() < 360 / 32 + 1
        heavy = good_run.topology.select("element != H")
        trajectories = [mdtraj.Trajectory(x, good_run.topology) for x in (sample, frame)]
        expected = mdtraj.rmsd(*trajectories, atom_indices=heavy)[0]
        as_placed = np.sqrt(np.square(sample - frame)[heavy].sum(axis=1).mean())
        assert page(f"{VIEWER}.shown.rmsd") == pytest.approx(expected, abs=1e-4)
        assert as_placed == pytest.approx(expected, abs=1e-4)
    assert page.colours() > 100
    assert page.said == []
    page.context.close()


def test_the_pointer_reads_the_maps(
    browser: Any, pages: dict[str, Path], good_run: RunResult
) -> None:
    page = Opened(browser, pages["map"], DESK, "light")
    target = page.tab.locator(".target").first
    box = target.bounding_box()
    target.hover(position={"x": box["width"] * 0.26, "y": box["height"] * 0.34})
    words = page.tab.locator(".words").inner_text()
    assert "φ −8" in words
    assert "above the fullest bin: MD " in words
    assert "basin C7eq" in words
    page.context.close()


def test_residues_can_be_chosen(browser: Any, pages: dict[str, Path]) -> None:
    page = Opened(browser, pages["residues"], DESK, "light")
    page.tab.get_by_label("Shown").select_option("ALA4")
    assert page("bgp4Report.explorer.picked.site.label") == "ALA4"
    assert len(page.atoms(1)) == 42
    page.click_map(3, -170, 170)
    assert page("bgp4Report.explorer.picked.site.label") == "ALA3"
    assert page.tab.get_by_label("Shown").locator("option:checked").inner_text() == "ALA3"
    assert page.tab.locator(".caption").inner_text() == "ALA3"
    page.context.close()


def test_torsions_and_lists_lead_to_conformations(browser: Any, pages: dict[str, Path]) -> None:
    page = Opened(browser, pages["torsion"], DESK, "light")
    target = page.tab.locator(".target").first
    box = target.bounding_box()
    before = page("bgp4Report.explorer.picked.sample")
    target.click(position={"x": 0.65 * box["width"], "y": box["height"] / 2})
    assert page("bgp4Report.explorer.picked.sample") != before
    page.context.close()
    page = Opened(browser, pages["list"], DESK, "light")
    page.tab.locator(".list button").nth(3).click()
    assert page("bgp4Report.explorer.picked.point") == [3]
    assert len(page.atoms(1)) == 15
    page.context.close()


def test_switches(browser: Any, pages: dict[str, Path]) -> None:
    page = Opened(browser, pages["map"], DESK, "light")
    ground = page("getComputedStyle(document.body).backgroundColor")
    page.tab.get_by_role("button", name="Use dark colours").click()
    assert page("getComputedStyle(document.body).backgroundColor") != ground
    page.tab.get_by_label("hydrogens").uncheck()
    assert len(page.atoms(1)) == 10
    page.tab.get_by_label("MD frame").uncheck()
    assert len(page.atoms(0)) == 10
    assert page(f"{VIEWER}.view.selectedAtoms({{}}).length") == 10
    page.tab.get_by_role("button", name="C7eq").click()
    assert page.said == []
    page.context.close()


def test_without_3d_graphics_the_rest_is_there(runner: Any, pages: dict[str, Path]) -> None:
    off = [*ARGUMENTS, "--disable-3d-apis"]
    browser = runner.chromium.launch(executable_path=CHROMIUM, args=off)
    page = Opened(browser, pages["map"], DESK, "light")
    page.click_map(0, -80, 60)
    assert "RMSD" in page.tab.locator(".said").inner_text()
    assert "WebGL is off" in page.tab.locator(".viewer").inner_text()
    browser.close()


def test_paper_has_the_pictures_on_white(browser: Any, pages: dict[str, Path]) -> None:
    page = Opened(browser, pages["map"], DESK, "dark")
    dark = page(PAINT)
    page.tab.emulate_media(media="print")
    assert page.tab.locator(".plot svg").first.is_visible()
    assert not page.tab.locator(".viewer").is_visible()
    assert page("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert page(PAINT) == ["rgb(255, 255, 255)", "rgb(59, 66, 82)"]
    assert not set(page(PAINT)) & set(dark)
    page.context.close()


PAINT = """["#energies-patch_1 > path", "#energies-FillBetweenPolyCollection_1 use"].map((found) =>
  getComputedStyle(document.querySelector(found)).fill)"""
"""Colours of the ground and of MD's violin."""


def test_pictures_are_there_without_scripts(browser: Any, pages: dict[str, Path]) -> None:
    context = browser.new_context(viewport=DESK, java_script_enabled=False)
    tab = context.new_page()
    tab.goto(pages["map"].as_uri())
    assert [figure.is_visible() for figure in tab.locator(".plot svg").all()] == [True] * 7
    assert tab.locator("svg text").filter(has_text="optimizer step").first.is_visible()
    assert not tab.locator("#theme").is_visible()
    context.close()
