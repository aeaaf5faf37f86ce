"""What the pictures show, read back from matplotlib's artists."""

import re
from dataclasses import replace
from xml.etree import ElementTree

import matplotlib
import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from bgp4.report.figures import FIGURES
from bgp4.report.plots import by_molecule, looks, same_data
from bgp4.report.plots_energies import plot_energies, smoothed_density
from bgp4.report.plots_maps import plot_ramachandran
from bgp4.report.plots_marginals import plot_geometry, plot_torsions
from bgp4.report.plots_profiles import plot_profiles
from bgp4.report.plots_training import phase_starts, plot_training
from bgp4.report.plots_weights import plot_weights
from bgp4.report.report import ASSETS
from bgp4.report.result import RunResult
from bgp4.report.style import PAGE_COLOURS, inline_svg, png_bytes, svg_bytes
from tests.report.made import with_samples

SVG_TEXT = "{http://www.w3.org/2000/svg}text"


def texts(figure: Figure) -> list[str]:
    return [
        text.get_text()
        for ax in figure.axes
        for text in (*ax.texts, *ax.get_xticklabels(), ax.title)
    ]


def test_energies_have_fractions_over_each_column(good_run: RunResult) -> None:
    figure = plot_energies([good_run])
    shown = texts(figure)
    for expected in ("MD data", "MD + 0.004 nm\nnoise", "samples", "reweighted", "0.0 %"):
        assert expected in shown
    assert sum(text.endswith("0 %") or text.endswith(" %") for text in shown) == 4
    low, high = figure.axes[0].get_ylim()
    assert low < good_run.data_energy_kt.min()
    assert high > good_run.max_data_energy_kt
    dashed = [line for line in figure.axes[0].lines if line.get_linestyle() == "--"]
    assert dashed[0].get_ydata()[0] == good_run.max_data_energy_kt


def test_outliers_leave_the_energy_axis_alone(good_run: RunResult) -> None:
    wild = good_run.energy_kt.copy()
    wild[:30] = 9e5
    figure = plot_energies([with_samples(good_run, energy_kt=wild)])
    assert figure.axes[0].get_ylim()[1] < 100
    assert any("10.0 % off scale" in text for text in texts(figure))


def test_a_density_of_one_value() -> None:
    """Of samples that are nearly all off scale: a bin about it, wherever in the bin it lies."""
    for value in (0.0, 0.3, 17.04, 60.0):
        grid, density = smoothed_density(np.array([value]), np.ones(1), 0.0, 60.0)
        assert abs(grid - value).min() <= 0.05 + 1e-9
        assert (density > 0).all()


def test_runs_of_the_same_data_share_its_columns(good_run: RunResult) -> None:
    other = replace(good_run, data_energy_kt=good_run.data_energy_kt + 1)
    assert not same_data(good_run, other)
    columns = [
        len(plot_energies(runs).axes[0].get_xticks())
        for runs in ([good_run], [good_run, good_run], [good_run, other])
    ]
    assert columns == [4, 6, 8]


@pytest.mark.parametrize("n_runs", [1, 2])
def test_histograms_share_one_colour_scale(good_run: RunResult, n_runs: int) -> None:
    figure = plot_ramachandran([good_run] * n_runs)
    assert figure is not None
    images = [image for ax in figure.axes for image in ax.images]
    assert len(images) == 3 * n_runs
    assert len({image.get_clim() for image in images}) == 1
    assert len(figure.axes) == 3 * n_runs + 1  # and the colour bar
    assert np.ma.getmaskarray(images[0].get_array()).any()  # empty bins have no colour


def test_phi_is_drawn_along_x(good_run: RunResult, frames_with) -> None:
    corner = frames_with(np.full(5, 1.0), np.full(5, -2.0), seed=5)
    figure = plot_ramachandran([replace(good_run, data_positions_nm=corner)])
    assert figure is not None
    row, column = np.argwhere(~np.ma.getmaskarray(figure.axes[0].images[0].get_array()))[0]
    assert (column, row) == (int((1.0 + np.pi) / (np.pi / 8)), int((-2.0 + np.pi) / (np.pi / 8)))


def test_maps_name_and_part_the_basins(good_run: RunResult) -> None:
    """φ is around -1.5 or 1.0, ψ around 0.5: a border at φ = 0 or nearby, and none at ψ = ±π."""
    figure = plot_ramachandran([good_run])
    maps = figure.axes[:3]
    assert {text.get_text() for text in maps[0].texts} >= {"C7eq", "αL"}
    for ax in maps:
        across = np.concatenate([lines.get_segments() for lines in ax.collections[:1]])
        assert (across[:, 0, 0] == across[:, 1, 0]).all()
        assert (np.abs(across[:, 0, 0]) < 1.0).any()


def test_profiles_have_bands_for_md_and_weights(good_run: RunResult) -> None:
    figure = plot_profiles([good_run])
    assert figure is not None
    for ax in figure.axes:
        assert len(ax.lines) == 3
        assert len(ax.collections) == 2


def shown_axes(figure: Figure | None) -> list[Axes]:
    assert figure is not None
    return [ax for ax in figure.axes if ax.axison]


def titles(figure: Figure | None) -> list[str]:
    return [ax.get_title() for ax in shown_axes(figure)]


def test_every_residue_has_a_row(peptide_run: RunResult) -> None:
    run = peptide_run
    many = replace(run)
    many.__dict__["data_torsions"] = run.data_torsions * 10
    many.__dict__["sample_torsions"] = run.sample_torsions * 10
    for shown, residues in ((run, 3), (many, 30)):
        figure = plot_ramachandran([shown])
        assert figure is not None
        assert len(figure.axes) == 3 * residues + 1
        assert len(plot_profiles([shown]).axes) == 2 * residues
    labels = [ax.get_ylabel() for ax in plot_ramachandran([run]).axes[:9:3]]
    assert labels == ["ALA2\nψ", "ALA3\nψ", "ALA4\nψ"]


def test_all_torsions_are_shown(peptide_run: RunResult) -> None:
    figure = plot_torsions([peptide_run])
    assert titles(figure) == peptide_run.marginals["torsion"].labels
    worst = shown_axes(figure)[8]
    tv, tv_reweighted = (
        getattr(peptide_run.marginals["torsion"], k)[8] for k in ("tv", "tv_reweighted")
    )
    assert f"TV {tv:.3f} (floor" in worst.texts[0].get_text()
    assert f"by weight {tv_reweighted:.3f}" in worst.texts[0].get_text()
    for ax in shown_axes(figure):
        lines = {
            patch.get_label(): patch.get_data() for patch in ax.patches if not patch.get_fill()
        }
        assert list(lines) == ["MD data", "samples", "reweighted samples"]
        for density, edges, _ in lines.values():
            assert density @ np.diff(edges) == pytest.approx(1)


def test_worst_bonds_and_angles_come_first(toluene_run: RunResult) -> None:
    figure = plot_geometry([toluene_run])
    names = titles(figure)
    assert len(names) == 12
    assert names[0] == "C6–C7"
    kinds = [toluene_run.marginals[kind] for kind in ("bond", "angle")]
    tv = {label: x for found in kinds for label, x in zip(found.labels, found.tv, strict=True)}
    assert [tv[name] for name in names] == sorted(tv.values(), reverse=True)[:12]
    assert {ax.get_xlabel() for ax in shown_axes(figure)} == {"nm", "degrees"}
    assert plot_torsions([toluene_run]) is None


def test_runs_of_one_molecule_share_panels(
    good_run: RunResult, peptide_run: RunResult, toluene_run: RunResult
) -> None:
    runs = [good_run, toluene_run, peptide_run, replace(good_run, name="again")]
    assert by_molecule(runs) == [[0, 3], [1], [2]]
    assert by_molecule(runs[::-1]) == [[0, 3], [1], [2]]
    torsions, profiles = plot_torsions(runs), plot_profiles(runs)
    assert len(titles(torsions)) == 4 + 10
    assert len(shown_axes(profiles)) == 2 * (1 + 3)
    assert titles(torsions)[0] == "ω ACE1  ala2, again"
    assert titles(torsions)[4] == "ω ACE1  peptide"
    colours = [{p.get_edgecolor() for p in ax.patches} for ax in shown_axes(torsions)]
    own = matplotlib.colors.to_rgba(looks(runs, 2)["reweighted"].colour)
    assert [own in found for found in colours] == [False] * 4 + [True] * 10
    assert len(titles(plot_geometry(runs))) == 12
    assert len(plot_energies(runs).axes[0].get_xticks()) == 4 * 3 + 2


def test_runs_at_two_temperatures_have_bins_of_their_own(good_run: RunResult) -> None:
    hotter = replace(
        good_run,
        temperature_k=1000.0,
        data_positions_nm=good_run.data_positions_nm * np.float32(1.1),
    )
    figure = plot_geometry([good_run, hotter])
    ax = next(ax for ax in shown_axes(figure) if ax.get_xlabel() == "nm")
    ends = [patch.get_data().edges[[0, -1]] for patch in ax.patches]
    assert len({tuple(pair) for pair in ends}) == 2
    assert ax.get_xlim() == (np.min(ends), np.max(ends))


def test_samples_out_of_space_have_no_curve(good_run: RunResult) -> None:
    lost = with_samples(
        good_run, sample_positions_nm=np.full_like(good_run.sample_positions_nm, np.nan)
    )
    text = shown_axes(plot_geometry([lost]))[0].texts[0].get_text()
    assert text.startswith("TV – (floor 0.")
    assert png_bytes(plot_torsions([lost])).startswith(b"\x89PNG")


def test_training_marks_where_the_energies_join(good_run: RunResult) -> None:
    assert phase_starts(good_run) == [("ml", 0.0), ("kl", 1000.0)]
    shown = shown_axes(plot_training([good_run]))
    assert len(shown) == 5
    for ax in shown:
        low, high = ax.get_xlim()
        rules = [line.get_xdata()[0] for line in ax.lines if line.get_linestyle() == "--"]
        assert rules == ([1000] if low < 1000 < high else [])
    assert [text.get_text() for text in shown[2].texts] == ["likelihood", "energies"]


def test_each_curve_of_the_training_is_in_its_panel(good_run: RunResult) -> None:
    """Losses 90 nats apart have axes of their own; a first descent may leave a picture."""
    rows = len(good_run.history["step"])
    history = {**good_run.history, "nll": np.linspace(90, 80, rows)}
    history["p4_residual"] = np.geomspace(1e-6, 1e-5, rows)
    steep = {**history, "nll": np.r_[1e4, history["nll"][1:]]}
    for shown, out in ((history, 0), (steep, 1)):
        panels = {
            ax.get_title(): ax for ax in plot_training([replace(good_run, history=shown)]).axes
        }
        assert len(panels) == 6
        for title, ax in panels.items():
            values = ax.lines[0].get_ydata()
            low, high = ax.get_ylim()
            beyond = ((values < low) | (values > high)).sum()
            assert beyond == (out if title == "likelihood loss" else 0)
            assert np.ptp(values[1:]) == 0 or np.ptp(values[1:]) > 0.2 * (high - low)


def test_training_shows_a_temperature_that_changes(good_run: RunResult) -> None:
    rows = len(good_run.history["step"])

    def panels(kelvin: np.ndarray) -> int:
        history = {**good_run.history, "temperature_k": kelvin}
        return len(plot_training([replace(good_run, history=history)]).axes)

    assert panels(np.full(rows, 300.0)) == 5
    assert panels(np.linspace(1000, 300, rows)) == 6


def test_training_copes_with_missing_columns(good_run: RunResult) -> None:
    step = np.arange(3.0)
    only_nll = replace(good_run, history={"step": step, "nll": np.array([3.0, np.nan, 1.0])})
    figure = plot_training([only_nll, good_run])
    assert figure is not None
    assert len(plot_training([only_nll]).axes) == 1
    assert plot_training([replace(good_run, history={"step": step})]) is None
    assert plot_training([replace(good_run, history={})]) is None


def test_no_weights_no_picture(good_run: RunResult) -> None:
    n = good_run.n_samples
    assert plot_weights([with_samples(good_run, energy_kt=np.full(n, 1e6))]) is None


def test_pictures_leave_matplotlib_as_it_was(good_run: RunResult) -> None:
    before = dict(matplotlib.rcParams)
    assert png_bytes(plot_energies([good_run])).startswith(b"\x89PNG")
    assert dict(matplotlib.rcParams) == before


def test_svgs_have_their_words_and_colours_of_the_page(
    good_run: RunResult, peptide_run: RunResult
) -> None:
    """Every title and label of an axis is text, and what a page may repaint has no colour left."""
    for entry in FIGURES:
        figure = entry.plot([good_run, peptide_run])
        svg = svg_bytes(figure)
        page = ElementTree.fromstring(inline_svg(svg, entry.name, entry.alt))
        assert page.get("aria-label") == entry.alt
        own = [word for ax in figure.axes for word in (ax.get_title(), ax.get_xlabel())]
        text = [" ".join("".join(element.itertext()).split()) for element in page.iter(SVG_TEXT)]
        assert {" ".join(word.split()) for word in own if word} <= set(text)
        ids = [element.get("id") for element in page.iter() if element.get("id")]
        assert len(set(ids)) == len(ids)
        assert all(name.startswith(f"{entry.name}-") for name in ids)
        styles = " ".join(element.get("style", "") for element in page.iter())
        assert "var(--ink)" in styles
        assert not [colour for colour in PAGE_COLOURS if colour.lower() in styles]


def test_pages_begin_with_the_colours_of_the_pictures() -> None:
    css = (ASSETS / "report.css").read_text(encoding="utf-8")
    light = dict(re.findall(r"--(\w+): (?:light-dark\()?(#\w{6})", css))
    assert {colour.lower(): light[name] for colour, name in PAGE_COLOURS.items()} == {
        colour.lower(): colour.lower() for colour in PAGE_COLOURS
    }
