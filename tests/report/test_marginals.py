"""Single coordinates against numpy's geometry, and distributions whose distance is known."""

from __future__ import annotations

from itertools import pairwise

import mdtraj
import numpy as np
import pytest
from mdtraj.core.element import Element

from bgp4.report import marginals as module
from bgp4.report.marginals import Coordinates, Marginals, marginals, sampling_floors
from bgp4.report.result import RunResult

BINS = 16


def chain(n: int) -> mdtraj.Topology:
    """n carbons in a row."""
    topology = mdtraj.Topology()
    residue = topology.add_residue("MOL", topology.add_chain())
    atoms = [topology.add_atom(f"C{i}", Element.getBySymbol("C"), residue) for i in range(n)]
    for pair in pairwise(atoms):
        topology.add_bond(*pair)
    return topology


def with_bond(lengths: np.ndarray) -> np.ndarray:
    """Two atoms at these distances, nm."""
    return np.stack([np.zeros((len(lengths), 3)), np.outer(lengths, [0.6, 0.8, 0])], axis=1)


def with_angle(angles: np.ndarray) -> np.ndarray:
    """Three atoms with these angles, rad."""
    arm = 0.15 * np.stack([np.cos(angles), np.sin(angles), 0 * angles], axis=1)
    return np.stack([np.tile([0.1, 0, 0], (len(angles), 1)), 0 * arm, arm], axis=1)


def with_torsion(angles: np.ndarray) -> np.ndarray:
    """Four atoms with these torsions about the x axis, rad."""
    one = np.tile([0.0, 0.1, 0], (len(angles), 1))
    last = np.stack([0 * angles + 0.15, 0.1 * np.cos(angles), 0.1 * np.sin(angles)], axis=1)
    return np.stack([one, 0 * one, np.tile([0.15, 0, 0], (len(angles), 1)), last], axis=1)


MAKERS = {2: with_bond, 3: with_angle, 4: with_torsion}


def compared(
    data: np.ndarray, samples: np.ndarray, size: int, weights: np.ndarray | None = None
) -> Marginals:
    """Marginals of the one coordinate of `size` atoms, of given values."""
    weights = np.full(len(samples), 1 / max(len(samples), 1)) if weights is None else weights
    coordinates = Coordinates(["it"], np.arange(size)[None])
    make = MAKERS[size]
    return marginals(coordinates, chain(size), make(data), make(samples), weights, BINS)


def middles(low: float, high: float, n: int = 6400) -> np.ndarray:
    """Evenly spread values, none of them at an end."""
    return low + (high - low) * (np.arange(n) + 0.5) / n


RANGES = {2: (0.1, 0.2), 3: (1.0, 2.0)}


@pytest.mark.parametrize("size", [2, 3])
def test_what_lies_outside_counts(size: int) -> None:
    """A quarter below and a half beyond MD's range are three quarters of total variation."""
    low, high = RANGES[size]
    inside = middles(low, high)
    samples = np.concatenate([inside[::4], np.full(1600, low / 2), np.full(3200, 1.5 * high)])
    found = compared(inside, samples, size)
    assert found.tv[0] == pytest.approx(0.75, abs=0.002)
    assert found.samples[0, [0, -1]] == pytest.approx([0.25, 0.5], abs=0.002)
    weights = np.where(np.arange(len(samples)) < 1600, 1 / 1600, 0.0)
    assert compared(inside, samples, size, weights).tv_reweighted[0] < 0.003
    assert compared(inside, inside[::-1], size).tv[0] == 0


@pytest.mark.parametrize("size", [2, 3])
def test_bins_lie_between_quantiles_of_md_and_numpy_agrees(size: int) -> None:
    low, high = RANGES[size]
    rng = np.random.default_rng(0)
    data, samples = rng.normal((low + high) / 2, (high - low) / 10, (2, 5000))
    weights = rng.dirichlet(np.ones(5000))
    found = compared(data, samples, size, weights)
    ends = np.quantile(data, [0.001, 0.999])
    np.testing.assert_allclose([found.low[0], found.high[0]], ends, atol=1e-5)
    edges = np.concatenate([[-9], np.linspace(*ends, BINS + 1), [9]])
    for probabilities, values, weight in [
        (found.data, data, None),
        (found.samples, samples, None),
        (found.reweighted, samples, weights),
    ]:
        counts = np.histogram(values, edges, weights=weight)[0]
        np.testing.assert_allclose(probabilities[0], counts / counts.sum(), atol=1.1e-3)


def test_torsions_are_on_the_circle() -> None:
    """Uniform on the half around pi, against the same, against a quarter on, against the rest."""
    data = middles(np.pi / 2, 3 * np.pi / 2)
    found = compared(data, data - 2 * np.pi, 4)
    assert found.tv[0] == pytest.approx(0, abs=2e-3)
    assert found.data[0, [1, -2]] == pytest.approx(1 / 8, abs=1e-3)  # both sides of the cut
    assert not found.data[0, [0, -1]].any()
    assert compared(data, data + np.pi / 2, 4).tv[0] == pytest.approx(0.5, abs=2e-3)
    assert compared(data, data + np.pi, 4).tv[0] == pytest.approx(1, abs=2e-3)


def test_sign_of_a_torsion_is_mdtrajs() -> None:
    found = compared(np.full(5, 1.0), np.full(5, -1.0), 4)
    frames = mdtraj.Trajectory(with_torsion(np.array([1.0])), chain(4))
    expected = mdtraj.compute_dihedrals(frames, [[0, 1, 2, 3]])[0, 0]
    place = 1 + int((expected + np.pi) / (2 * np.pi) * BINS)
    assert found.data[0, place] == 1


def test_a_constrained_bond_has_bins_all_the_same() -> None:
    data = np.full(100, 0.1)
    assert compared(data, data, 2).tv[0] == 0
    assert compared(data, data + 1e-3, 2).tv[0] == 1


def test_atoms_in_one_place_are_no_angle_of_md(good_run: RunResult) -> None:
    """Whatever mdtraj makes of 0/0."""
    made = with_angle(middles(1.0, 2.0))
    fallen = np.zeros((10, 3, 3))
    one = Coordinates(["it"], np.arange(3)[None])
    found = marginals(one, chain(3), made, fallen, np.full(10, 0.1), BINS)
    assert found.tv[0] == pytest.approx(1, abs=2e-3)


def test_halves_of_md() -> None:
    """Disjoint halves in time order are as far apart as can be."""
    halves = np.concatenate([middles(0.10, 0.15), middles(0.15, 0.20)])
    assert compared(halves, halves, 2).noise_floor[0] == pytest.approx(1, abs=2e-3)
    assert compared(np.tile(middles(0.1, 0.2), 2), halves, 2).noise_floor[0] == 0


def test_floor_is_what_perfect_samples_show() -> None:
    rng = np.random.default_rng(3)
    data = rng.normal(0.15, 0.01, 200_000)
    tv = [compared(data, rng.normal(0.15, 0.01, 1000), 2).tv[0] for _ in range(20)]
    found = compared(data, data, 2)
    assert sampling_floors(found, 1000, rng)[0] == pytest.approx(np.mean(tv), rel=0.2)


def test_no_sample_or_no_weight_is_no_number() -> None:
    data = middles(0.1, 0.2)
    assert np.isnan(compared(data, data[:0], 2).tv[0])
    weightless = compared(data, data, 2, np.zeros(len(data)))
    assert weightless.tv[0] == 0
    assert np.isnan(weightless.tv_reweighted[0])
    assert np.isnan(sampling_floors(weightless, 0, np.random.default_rng(0))).all()


def test_blocks_change_nothing(good_run: RunResult, monkeypatch: pytest.MonkeyPatch) -> None:
    args = (
        good_run.topology,
        good_run.data_positions_nm,
        good_run.sample_positions_nm,
        good_run.weights,
        BINS,
    )
    for coordinates in module.internal_coordinates(good_run.topology).values():
        whole = marginals(coordinates, *args)
        monkeypatch.setattr(module, "BLOCK", 3)
        for one, other in zip(whole[1:], marginals(coordinates, *args)[1:], strict=True):
            np.testing.assert_array_equal(one, other)
        monkeypatch.undo()


def test_a_molecule_without_bonds_has_none(good_run: RunResult) -> None:
    topology = mdtraj.Topology()
    residue = topology.add_residue("ARG", topology.add_chain())
    topology.add_atom("Ar", mdtraj.element.argon, residue)
    for coordinates in module.internal_coordinates(topology).values():
        found = marginals(
            coordinates, topology, np.zeros((4, 1, 3)), np.zeros((3, 1, 3)), np.ones(3), BINS
        )
        assert found.labels == []
        assert found.tv.shape == found.noise_floor.shape == (0,)
