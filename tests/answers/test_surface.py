"""Free-energy surfaces against analytic densities, and the files that they become."""

from __future__ import annotations

import math

import mdtraj
import numpy as np
import pytest
from scipy.stats import norm

from bgp4.answers.surface import FEW, axes_of, fes_csv, fes_dat, minima, surface
from bgp4.answers.variables import Variable
from bgp4.answers.weighted import Weighted, weighted
from bgp4.errors import UserInputError

KT_300 = 2.4943387854


def sample(log_weight: np.ndarray) -> Weighted:
    topology = mdtraj.Topology()
    topology.add_atom("C", mdtraj.element.carbon, topology.add_residue("X", topology.add_chain()))
    return weighted(np.zeros((len(log_weight), 1, 3)), log_weight, topology, 300.0)


@pytest.fixture(scope="module")
def normal() -> tuple[Weighted, Variable]:
    """A standard normal variable, drawn from a wider one and weighted."""
    x = np.random.default_rng(0).normal(0, 1.5, 50_000)
    log_weight = norm.logpdf(x) - norm.logpdf(x, 0, 1.5)
    return sample(log_weight), Variable("x", x, "nm")


def test_it_is_minus_log_of_the_bins_shares(normal) -> None:
    own, x = normal
    found = surface(own, [x], axes_of([x], bins=60))
    edges = found.axes[0].edges
    share = np.diff(norm.cdf(edges))
    filled = found.effective > 50
    assert filled.sum() > 15
    expected = -np.log(share)
    difference = found.free_energy_kt - (expected - expected[found.free_energy_kt == 0])
    assert (np.abs(difference[filled]) < 4.5 * found.error_kt[filled] + 0.05).all()
    assert found.probability.sum() == pytest.approx(1)


def test_errors_of_equal_weights_are_binomial() -> None:
    rng = np.random.default_rng(1)
    values = rng.integers(0, 5, 4_000).astype(float)
    log_weight = rng.normal(0, 1e-6, 4_000)  # all but equal, so that samples count as independent
    found = surface(sample(log_weight), [Variable("k", values)], axes_of([Variable("k", values)]))
    assert found.axes[0].edges.tolist() == [-0.5, 0.5, 1.5, 2.5, 3.5, 4.5]
    p = found.probability
    assert found.error_kt == pytest.approx(np.sqrt((1 - p) / (4_000 * p)), rel=0.3)


def test_states_of_a_chain_have_errors_of_blocks() -> None:
    """A variable that changes once in a thousand states is worth few of them."""
    values = np.repeat(np.random.default_rng(2).integers(0, 2, 20), 1_000).astype(float)
    one = Variable("k", values)
    found = surface(sample(np.zeros(20_000)), [one], axes_of([one]))
    p = found.probability
    assert found.error_kt == pytest.approx(np.sqrt((1 - p) / (20 * p)), rel=0.4)


def test_empty_bins_are_empty(normal) -> None:
    own, x = normal
    found = surface(own, [x, x], axes_of([x, x]))
    off = ~np.eye(36, dtype=bool)
    assert np.isnan(found.free_energy_kt[off]).all()
    assert (found.probability[off] == 0).all()
    lines = fes_csv(found).splitlines()
    assert lines[0] == "x_nm,x_nm,free_energy_kT,error_kT,probability,effective_samples"
    assert lines[2].endswith(",,,0,0")


def test_minima_are_the_wells() -> None:
    rng = np.random.default_rng(3)
    x = np.concatenate([rng.normal(-math.pi, 0.3, 6_000), rng.normal(0.5, 0.3, 2_000), [1.9]])
    angle = Variable("t", np.mod(x + math.pi, 2 * math.pi) - math.pi, "rad", True)
    log_weight = rng.normal(0, 1e-6, len(x))
    found = surface(sample(log_weight), [angle], axes_of([angle], bins=36))
    wells = minima(found)
    assert len(wells) == 2
    centres = found.axes[0].centres
    assert abs(abs(centres[wells[0][0]]) - math.pi) < 0.2
    assert centres[wells[1][0]] == pytest.approx(0.5, abs=0.2)
    assert found.effective[wells[1]] > FEW
    assert found.free_energy_kt[wells[1]] == pytest.approx(math.log(3), abs=0.2)


def test_axes_are_shared() -> None:
    a, b = Variable("r", np.array([0.1, 0.4]), "nm"), Variable("r", np.array([0.3, 0.9]), "nm")
    (axis,) = axes_of([a], [b], bins=8)
    assert axis.edges == pytest.approx(np.linspace(0.1, 0.9, 9))


def test_plumeds_layout(normal) -> None:
    """Columns by name, the first variable fastest, blank lines between its runs, kJ/mol."""
    own, x = normal
    turned = Variable("t 1", np.arctan2(x.values, 1), "rad", True)
    found = surface(own, [x, turned], axes_of([x, turned], bins=12))
    text = fes_dat(found)
    header = [line.split() for line in text.splitlines() if line.startswith("#!")]
    assert header[0] == ["#!", "FIELDS", "x", "t_1", "file.free", "uncertainty"]
    assert ["#!", "SET", "periodic_t_1", "true"] in header
    assert ["#!", "SET", "nbins_x", "11"] in header
    assert ["#!", "SET", "nbins_t_1", "12"] in header
    rows = np.loadtxt(text.splitlines())
    assert rows.shape == (144, 4)
    assert (rows[:12, 1] == rows[0, 1]).all()
    assert np.allclose(rows[:12, 0], found.axes[0].centres, atol=1e-8)
    energy = rows[:, 2].reshape(12, 12).T / KT_300
    known = np.isfinite(energy)
    assert np.allclose(energy[known], found.free_energy_kt[known], atol=1e-8)
    assert (known == ~np.isnan(found.free_energy_kt)).all()
    assert text.count("\n\n") == 11


def test_what_makes_no_surface_is_refused(normal) -> None:
    _, x = normal
    for variables, bins, words in (
        ([], None, "one or two variables, found 0"),
        ([x, x, x], None, "found 3"),
        ([x], 1, "expected 2 to 1000 bins, found 1"),
        ([Variable("d", np.full(5, 0.25))], None, "'d' is always 0.25"),
    ):
        with pytest.raises(UserInputError, match=words):
            axes_of(variables, bins=bins)
