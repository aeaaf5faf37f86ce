"""Absolute free energies against quadrature, and of two ensembles that are known to be alike."""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any

import mdtraj
import numpy as np
import pytest
import torch
from scipy.integrate import quad
from scipy.stats import norm

import bgp4
from bgp4.answers.free_energy import differences, free_energies, refuse_incomparable
from bgp4.coordinates import InternalCoordinates
from bgp4.errors import UserInputError
from bgp4.molecule.zmatrix import Row, ZMatrix
from bgp4.statistics.bennett import two_ended
from bgp4.statistics.samples import REJECTED_ENERGY_KT, Samples

BOND_NM, BOND_WIDTH = 0.15, 0.003
ANGLE, ANGLE_WIDTH = 1.9, 0.05
BARRIER_KT = 1.5


class Chain:
    """Five atoms in a row: harmonic bonds and angles, torsions with three wells; u in kT."""

    def __init__(self) -> None:
        rows = tuple(Row(i, i - 1, i - 2, i - 3) for i in (3, 4))
        self.coordinates = InternalCoordinates(ZMatrix((0, 1, 2), rows))
        self.n = (4, 3, 2)

    def reduced(self, q: np.ndarray) -> np.ndarray:
        bonds, angles, torsions = np.split(q, [4, 7], axis=1)
        harmonic = ((bonds - BOND_NM) / BOND_WIDTH) ** 2 / 2
        bent = ((angles - ANGLE) / ANGLE_WIDTH) ** 2 / 2
        turned = BARRIER_KT * (1 + np.cos(3 * torsions))
        total: np.ndarray = harmonic.sum(1) + bent.sum(1) + turned.sum(1)
        return total

    def log_z(self) -> float:
        """One integral for each coordinate, with b² and sin θ."""
        near = {"points": [BOND_NM], "epsabs": 1e-14}
        bond = quad(
            lambda b: b**2 * math.exp(-(((b - BOND_NM) / BOND_WIDTH) ** 2) / 2), *(0.1, 0.2), **near
        )[0]
        angle = quad(
            lambda a: math.sin(a) * math.exp(-(((a - ANGLE) / ANGLE_WIDTH) ** 2) / 2), *(1.4, 2.4)
        )[0]
        torsion = quad(lambda t: math.exp(-BARRIER_KT * (1 + math.cos(3 * t))), -math.pi, math.pi)[
            0
        ]
        return 4 * math.log(bond) + 3 * math.log(angle) + 2 * math.log(torsion)

    def draw(self, n: int, width: float, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """Internal coordinates of a density that is wider than the ensemble, and its logarithm."""
        spread = width * np.repeat([BOND_WIDTH, ANGLE_WIDTH], [4, 3])
        linear = rng.normal(np.repeat([BOND_NM, ANGLE], [4, 3]), spread, (n, 7))
        torsions = rng.uniform(-math.pi, math.pi, (n, 2))
        log_q = norm.logpdf(linear, np.repeat([BOND_NM, ANGLE], [4, 3]), spread).sum(1)
        return np.concatenate([linear, torsions], axis=1), log_q - 2 * math.log(2 * math.pi)

    def samples(self, q: np.ndarray, log_q: np.ndarray) -> Samples:
        """With Cartesian densities by the coordinates' log-determinant."""
        flat, logabsdet = self.coordinates.inverse(torch.as_tensor(q))
        positions = flat.reshape(len(q), 5, 3).numpy().astype(np.float32)
        return Samples(positions, log_q - logabsdet.numpy(), self.reduced(q))


@pytest.fixture(scope="module")
def chain() -> Chain:
    return Chain()


def test_it_is_the_configuration_integral(chain: Chain) -> None:
    samples = chain.samples(*chain.draw(20_000, 1.2, np.random.default_rng(0)))
    found = free_energies(samples)
    assert found.by_weights.error < 0.03
    assert found.by_weights.value == pytest.approx(-chain.log_z(), abs=4 * found.by_weights.error)
    assert found.unit == "nm^9"
    u, f, s = found.mean_energy, found.by_weights, found.entropy
    assert s.value == pytest.approx(u.value - f.value)
    torsion = quad_mean(lambda t: BARRIER_KT * (1 + math.cos(3 * t)))
    expected = 7 / 2 + 2 * torsion
    assert u.value == pytest.approx(expected, abs=max(4 * u.error, 0.02))


def quad_mean(energy) -> float:
    weights = [
        quad(lambda t, p=p: energy(t) ** p * math.exp(-energy(t)), -math.pi, math.pi)[0]
        for p in (0, 1)
    ]
    return weights[1] / weights[0]


def test_rejected_samples_count_as_made(chain: Chain) -> None:
    """A third of the samples lies where the energy is infinite; the integral stays the same."""
    samples = chain.samples(*chain.draw(20_000, 1.2, np.random.default_rng(1)))
    more = Samples(
        np.concatenate([samples.positions_nm, samples.positions_nm[:10_000]]),
        np.concatenate([samples.log_prob + math.log(2 / 3), np.zeros(10_000)]),
        np.concatenate([samples.energy_kt, np.full(10_000, REJECTED_ENERGY_KT)]),
    )
    whole, own = free_energies(more), free_energies(samples)
    assert whole.by_weights.value == pytest.approx(own.by_weights.value, abs=1e-9)
    work = -samples.log_weight[:1] + np.random.default_rng(2).normal(0, 0.1, 500)
    with_bar, own_bar = (
        free_energies(s, md_work_kt=w).by_bar
        for s, w in ((more, work + math.log(2 / 3)), (samples, work))
    )
    assert with_bar is not None
    assert own_bar is not None
    assert with_bar.value == pytest.approx(own_bar.value, abs=1e-9)


def test_both_ends_agree_with_the_answer(chain: Chain) -> None:
    """MD stands here for samples of the ensemble itself, drawn by their weights."""
    rng = np.random.default_rng(3)
    samples = chain.samples(*chain.draw(20_000, 1.2, rng))
    pool = chain.samples(*chain.draw(60_000, 1.1, rng))
    q = pool.rows(rng.choice(60_000, 5_000, p=pool.weights))
    log_q = density_of(chain, q, 1.2)
    by_bar = free_energies(samples, md_work_kt=q.energy_kt + log_q).by_bar
    assert by_bar is not None
    assert by_bar.error < free_energies(samples).by_weights.error * 1.2
    assert by_bar.value == pytest.approx(-chain.log_z(), abs=4 * by_bar.error + 0.02)


def density_of(chain: Chain, samples: Samples, width: float) -> np.ndarray:
    q, logabsdet = chain.coordinates(torch.as_tensor(samples.positions_nm.astype(float)).flatten(1))
    spread = width * np.repeat([BOND_WIDTH, ANGLE_WIDTH], [4, 3])
    linear = norm.logpdf(q[:, :7].numpy(), np.repeat([BOND_NM, ANGLE], [4, 3]), spread).sum(1)
    density: np.ndarray = linear - 2 * math.log(2 * math.pi) + logabsdet.numpy()
    return density


def test_the_errors_are_those_of_many_repeats(chain: Chain) -> None:
    found = [
        free_energies(
            chain.samples(*chain.draw(1_000, 1.2, np.random.default_rng(seed)))
        ).by_weights
        for seed in range(40)
    ]
    scatter = float(np.std([one.value for one in found]))
    assert 0.6 < np.mean([one.error for one in found]) / scatter < 1.6


def test_states_of_a_chain_are_refused(chain: Chain) -> None:
    samples = chain.samples(*chain.draw(50, 1.2, np.random.default_rng(0)))
    with pytest.raises(UserInputError, match="states of a chain"):
        free_energies(samples, of_chain=True)


def test_a_half_that_is_never_made_is_left_out_of_both_ends() -> None:
    """Of one coordinate, where the answer is known."""
    rng = np.random.default_rng(5)
    x, y = rng.normal(0, 1.3, 20_000), rng.normal(0, 1.0, 4_000)
    inside, md = x[x > 0], y[y > 0]

    def work(v: np.ndarray) -> np.ndarray:
        value: np.ndarray = v**2 / 2 + norm.logpdf(v, 0, 1.3)
        return value

    value, error = two_ended(work(inside), len(x), work(md), 100, rng, 20)
    expected = -math.log(math.sqrt(2 * math.pi) / 2)
    assert value == pytest.approx(expected, abs=4 * error)


def test_the_same_system_twice_differs_by_nothing() -> None:
    model = bgp4.load("ala2")
    pair = [model.sample(1_000, seed=seed).free_energy() for seed in (0, 1)]
    for one in differences(*pair):
        assert abs(one.value) < 4 * one.error, one


def test_differences_add_errors_in_quadrature(chain: Chain) -> None:
    pair = [
        free_energies(chain.samples(*chain.draw(2_000, 1.2, np.random.default_rng(s))))
        for s in (0, 1)
    ]
    first = differences(*pair)[0]
    assert first.value == pytest.approx(pair[1].by_weights.value - pair[0].by_weights.value)
    assert first.error == pytest.approx(math.hypot(*(one.by_weights.error for one in pair)))
    assert abs(first.value) < 4 * first.error


def topology(symbols: str, bonds: list[tuple[int, int]]) -> mdtraj.Topology:
    made = mdtraj.Topology()
    residue = made.add_residue("LIG", made.add_chain())
    atoms = [
        made.add_atom(f"{s}{i}", mdtraj.element.get_by_symbol(s), residue)
        for i, s in enumerate(symbols)
    ]
    for i, j in bonds:
        made.add_bond(atoms[i], atoms[j])
    return made


def ensemble(name: str, made: mdtraj.Topology, kelvin: float = 300.0, held: int = 0) -> Any:
    molecule = SimpleNamespace(topology=made, constraints=range(held))
    trained = SimpleNamespace(molecule=molecule)
    return SimpleNamespace(name=name, trained=trained, temperature_k=kelvin)


ETHANOL = topology("COCHHHHHH", [(0, 1), (0, 2), (0, 3), (0, 4), (2, 5), (2, 6), (2, 7), (1, 8)])
ETHER = topology("COCHHHHHH", [(0, 1), (1, 2), (0, 3), (0, 4), (0, 5), (2, 6), (2, 7), (2, 8)])
PERMUTED = topology("OCCHHHHHH", [(0, 1), (1, 2), (1, 3), (1, 4), (2, 5), (2, 6), (2, 7), (0, 8)])
WATER = topology("OHH", [(0, 1), (0, 2)])


def test_what_has_no_common_zero_is_refused_or_named() -> None:
    own = ensemble("a", ETHANOL)
    assert refuse_incomparable(own, ensemble("b", PERMUTED)) is None
    assert "different bonds" in str(refuse_incomparable(own, ensemble("b", ETHER)))
    for other, words in (
        (ensemble("b", WATER), "found C2H6O1 in a and H2O1 in b"),
        (ensemble("b", ETHANOL, held=2), "a has 0 constrained bonds and b 2"),
        (ensemble("b", ETHANOL, kelvin=310.0), "300 K and b at 310 K; set one temperature"),
    ):
        with pytest.raises(UserInputError, match=words):
            refuse_incomparable(own, other)
