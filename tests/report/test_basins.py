"""Basins of histograms made by hand."""

import numpy as np
import pytest

from bgp4.report.basins import REGIONS, Basins, basin_populations, find_basins, region
from bgp4.report.torsions import BackboneTorsions
from bgp4.statistics.distributions import bin_centres, ramachandran_histogram
from tests.for_each import for_each

BINS = 36
MANY = 1_000_000


def hills(*places: tuple[float, float, float], width: float = 20.0) -> np.ndarray:
    """Periodic Gaussian hills at (phi, psi, share), degrees, as probabilities."""
    centres = np.degrees(bin_centres(BINS))
    total = np.zeros((BINS, BINS))
    for phi, psi, share in places:
        far = [(centres - at + 180) % 360 - 180 for at in (phi, psi)]
        hill = np.exp(-(far[0][:, None] ** 2 + far[1] ** 2) / (2 * width**2))
        total += share * hill / hill.sum()
    return total


def test_hills_are_found_and_ordered_by_population() -> None:
    basins = find_basins(hills((-65, -45, 0.3), (-75, 145, 0.6), (55, 45, 0.1)), MANY)
    assert basins.names == ["PII", "αR", "αL"]
    assert np.degrees(basins.peaks) == pytest.approx(
        np.array([[-75, 145], [-65, -45], [55, 45]]), abs=5.01
    )


def test_a_hill_across_the_edge_is_one_basin() -> None:
    basins = find_basins(hills((-180, 180, 1.0)), MANY)
    assert basins.names == ["C5"]
    corners = basins.labels[np.ix_([0, -1], [0, -1])]
    assert (corners == 0).all()


def test_noise_makes_no_basins() -> None:
    rng = np.random.default_rng(0)
    smooth = hills((-75, 145, 0.7), (-65, -45, 0.3))
    counts = rng.multinomial(2_000, smooth.ravel()).reshape(BINS, BINS) / 2_000
    assert find_basins(counts, 2_000).names == ["PII", "αR"]


def test_a_shallow_dip_does_not_part_a_basin() -> None:
    assert len(find_basins(hills((-90, 0, 0.5), (-50, 0, 0.5)), MANY).names) == 1
    assert len(find_basins(hills((-120, 0, 0.5), (-20, 0, 0.5)), MANY).names) == 2


def test_few_frames_are_no_basin_but_outside() -> None:
    histogram = hills((-75, 145, 1.0), width=8.0)
    histogram[histogram < 1e-9] = 0
    histogram[27, 22] += 5 / 10_000  # five frames at phi 95, psi 45, far from all others
    basins = find_basins(histogram, 10_000)
    assert basins.names == ["PII"]
    assert basins.labels[27, 22] == 1
    assert find_basins(histogram, MANY).names == ["PII", "B"]


def test_a_region_names_one_basin_and_letters_are_ranks() -> None:
    twice = hills((-100, -80, 0.4), (-40, 20, 0.35), (0, 100, 0.25), width=14.0)
    assert find_basins(twice, MANY).names == ["αR", "B", "C"]


@for_each(
    ("name", "phi", "psi"),
    [
        ("C5", -157, 165),
        ("PII", -75, 150),
        ("C7eq", -83, 73),
        ("αR", -65, -42),
        ("αL", 57, 47),
        ("C7ax", 73, -65),
        (None, 0, 180),
        (None, 120, 60),
    ],
)
def test_regions_hold_the_conformations_of_their_names(
    name: str | None, phi: float, psi: float
) -> None:
    assert region(phi, psi) == region(phi + 360, psi - 360) == name


def test_no_two_regions_overlap() -> None:
    edge = np.arange(-180, 180, 5.0) + 2.5
    holders = {
        (phi, psi): [
            name
            for name, ranges in REGIONS.items()
            if all((x - a) % 360 < b - a for x, (a, b) in zip((phi, psi), ranges, strict=True))
        ]
        for phi in edge
        for psi in edge
    }
    assert max(map(len, holders.values())) == 1


def test_populations_and_their_errors() -> None:
    rng = np.random.default_rng(1)
    left = rng.random(4_000) < 0.75
    phi = np.where(left, -1.3, 1.0) + rng.normal(0, 0.1, 4_000)
    torsions = BackboneTorsions("ALA2", phi, np.full(4_000, 0.8))
    basins = find_basins(ramachandran_histogram(phi, torsions.psi, BINS), 4_000)
    assert basins.names == ["C7eq", "αL"]
    share, error = basin_populations(basins, torsions, np.ones(4_000), 200, rng)
    assert share == pytest.approx([left.mean(), 1 - left.mean(), 0.0])
    assert error[:2] == pytest.approx(np.sqrt(0.75 * 0.25 / 4_000), rel=0.2)
    share, _ = basin_populations(basins, torsions, left.astype(float), 20, rng)
    assert share == pytest.approx([1, 0, 0])
    share, error = basin_populations(basins, torsions, np.zeros(4_000), 20, rng)
    assert np.isnan([share, error]).all()


def test_one_flat_histogram_has_one_basin() -> None:
    basins = find_basins(np.full((8, 8), 1 / 64), MANY)
    assert isinstance(basins, Basins)
    assert len(basins.names) == 1
    assert (basins.labels == 0).all()
