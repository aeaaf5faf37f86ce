"""Couplings, effective distances and measurements against formulas written out here."""

from __future__ import annotations

import mdtraj
import numpy as np
import pytest

from bgp4.answers.experiment import (
    chi_squared,
    computed,
    read_measured,
    refuse_other_units,
)
from bgp4.answers.observables import averages, effective_distance, j_couplings, noe
from bgp4.answers.variables import Variable, variable
from bgp4.answers.weighted import Estimate, Weighted, weighted
from bgp4.errors import UserInputError

BAX_2007 = {"HA": (8.40, -1.36, 0.33), "C": (4.36, -1.08, -0.01), "CB": (3.71, -0.59, 0.08)}
"""A, B and C of Karplus curves, Hz (Vögeli et al., J. Am. Chem. Soc. 129, 9377, 2007)."""

OFFSETS = {"HA": -60, "C": 180, "CB": 60}
"""Degrees that the curves' angles are from φ."""


@pytest.fixture(scope="module")
def sample(alanine, smoke_frames) -> Weighted:
    n = 300
    log_weight = np.random.default_rng(0).normal(0, 0.7, n)
    return weighted(smoke_frames.positions_nm[:n], log_weight, alanine.topology, 300.0)


def test_couplings_are_karplus_curves_of_phi(sample) -> None:
    phi = variable("phi ALA2", sample.frames).values
    found = {one.name: one for one in j_couplings(sample)}
    assert set(found) == {f"3J(HN-{partner}) ALA2" for partner in BAX_2007}
    for partner, (a, b, c) in BAX_2007.items():
        cosine = np.cos(phi + np.radians(OFFSETS[partner]))
        expected = sample.weights @ (a * cosine**2 + b * cosine + c)
        own = found[f"3J(HN-{partner}) ALA2"]
        assert own.value == pytest.approx(expected, rel=1e-4)
        assert own.unit == "Hz"
        assert 0 < own.error < 1


def test_a_molecule_without_amides_has_no_couplings() -> None:
    topology = mdtraj.Topology()
    topology.add_atom("C1", mdtraj.element.carbon, topology.add_residue("X", topology.add_chain()))
    lone = weighted(np.zeros((2, 1, 3)), [0.0, 0.1], topology, 300.0)
    with pytest.raises(UserInputError, match="found no such residue"):
        j_couplings(lone)
    with pytest.raises(UserInputError, match="two hydrogens"):
        noe(lone)


def test_effective_distances_are_averages_of_the_inverse_sixth_power(sample) -> None:
    index = {str(a): a.index for a in sample.frames.topology.atoms}
    x = sample.frames.xyz.astype(float)

    def inverse(one: str, other: str) -> np.ndarray:
        r = np.linalg.norm(x[:, index[one]] - x[:, index[other]], axis=1)
        power: np.ndarray = r**-6.0
        return power

    found = {one.name: one for one in noe(sample)}
    expected = (sample.weights @ inverse("ALA2-H", "ALA2-HA")) ** (-1 / 6)
    assert found["ALA2-H ALA2-HA"].value == pytest.approx(expected, rel=1e-4)
    methyl = np.mean([inverse(f"ALA2-HB{i}", "ALA2-H") for i in (1, 2, 3)], axis=0)
    named = found["ALA2-H ALA2-HB1/HB2/HB3"]
    assert named.value == pytest.approx((sample.weights @ methyl) ** (-1 / 6), rel=1e-4)
    assert all(one.value < 0.6 for one in found.values())
    assert len(noe(sample, 0.3)) < len(found)
    alone = effective_distance(sample, "ALA2-H ALA2-HA")
    assert alone is not None
    assert alone.value == pytest.approx(found["ALA2-H ALA2-HA"].value)
    assert effective_distance(sample, "ALA2-H ALA2-C") is None


def test_averages_have_the_errors_of_independent_samples(sample) -> None:
    rg = variable("rg", sample.frames)
    (found,) = averages(sample, [rg])
    mean = sample.weights @ rg.values
    assert found == Estimate("rg", pytest.approx(mean), found.error, "nm")
    linear = np.sqrt(np.sum((sample.weights * (rg.values - mean)) ** 2))
    assert found.error == pytest.approx(linear, rel=0.3)
    with pytest.raises(UserInputError, match="mean of a torsion"):
        averages(sample, [variable("phi ALA2", sample.frames)])


def test_measurements_are_compared_in_their_units(sample, tmp_path) -> None:
    path = tmp_path / "measured.csv"
    path.write_text(
        "name,value,error,unit\n3J(HN-HA) ALA2,7.2,0.3,Hz\n"
        "ALA2-H ALA2-HA,2.8,0.2,Å\nrg,0.3,0.01,nm\n"
    )
    measured = read_measured(path)
    assert measured[1] == Estimate("ALA2-H ALA2-HA", pytest.approx(0.28), pytest.approx(0.02), "nm")
    found = computed([one.name for one in measured], sample, sample, str(path))
    assert [one.name for one in found] == [one.name for one in measured]
    refuse_other_units(measured, found, str(path))
    terms = [
        (a.value - b.value) ** 2 / (a.error**2 + b.error**2)
        for a, b in zip(measured, found, strict=True)
    ]
    assert chi_squared(measured, found) == pytest.approx(np.mean(terms))


def test_chi_squared_of_right_errors_is_about_one() -> None:
    rng = np.random.default_rng(4)
    truth = rng.normal(0, 5, 4_000)
    pair = [[Estimate("x", v + rng.normal(0, e), e, "") for v in truth] for e in (0.3, 0.4)]
    assert chi_squared(*pair) == pytest.approx(1, abs=0.1)


def test_wrong_measurements_are_named(sample, tmp_path) -> None:
    path = tmp_path / "measured.csv"
    for text, words in (
        ("name,value,unit\n", "found no error"),
        ("name,value,error,unit\n", "found none"),
        ("name,value,error,unit\nrg,0.3,0.1,pm\n", "line 2: expected Hz, nm, nm², Å or no unit"),
        ("name,value,error,unit\nrg,x,0.1,nm\n", "line 2: expected a value and an error"),
        ("name,value,error,unit\nrg,0.3,0,nm\n", "an error above 0, found '0.3' and '0'"),
    ):
        path.write_text(text)
        with pytest.raises(UserInputError, match=words):
            read_measured(path)
    with pytest.raises(UserInputError, match="the molecule has no such coupling"):
        computed(["3J(HN-HA) ALA9"], sample, sample, "f.csv")
    with pytest.raises(UserInputError, match="'rg': expected the unit nm, found Hz"):
        refuse_other_units([Estimate("rg", 1, 1, "Hz")], [Estimate("rg", 1, 1, "nm")], "f.csv")


def test_samples_without_weight_are_left_out(alanine) -> None:
    positions = np.full((3, 22, 3), np.nan)
    positions[1] = alanine.positions_nm
    found = weighted(positions, [-np.inf, 2.0, -np.inf], alanine.topology, 300.0)
    assert found.kept.tolist() == [False, True, False]
    assert found.weights.tolist() == [1.0]
    with pytest.raises(UserInputError, match="found none with a weight"):
        weighted(positions, np.full(3, -np.inf), alanine.topology, 300.0)


def test_own_columns_average_too(sample) -> None:
    own = Variable("mine", np.arange(len(sample.weights), dtype=float))
    assert averages(sample, [own])[0].value == pytest.approx(sample.weights @ own.values)
