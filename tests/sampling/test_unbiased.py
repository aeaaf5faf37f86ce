"""The Metropolis chain among independent samples, against targets whose answers are known."""

from __future__ import annotations

import h5py
import numpy as np
import pytest
from scipy.stats import norm

from bgp4.errors import UserInputError
from bgp4.sampling import generate as generate_module
from bgp4.sampling import unbiased as unbiased_module
from bgp4.sampling.draw import draw_samples
from bgp4.sampling.files import read_attributes, read_samples, sidecar
from bgp4.sampling.request import SampleRequest
from bgp4.sampling.unbiased import MetropolisChain, independence_chain
from bgp4.statistics.samples import REJECTED_ENERGY_KT, Samples

N = 200_000


def test_a_chain_over_three_states_has_their_probabilities() -> None:
    """q = (0.6, 0.3, 0.1), p = (0.1, 0.3, 0.6): w = p / q, and every state's weight is known."""
    rng = np.random.default_rng(0)
    q, p = np.array([0.6, 0.3, 0.1]), np.array([0.1, 0.3, 0.6])
    proposals = rng.choice(3, size=N + 1, p=q)
    states = proposals[independence_chain(np.log(p / q)[proposals], rng)]
    np.testing.assert_allclose(np.bincount(states) / N, p, atol=0.02)


def test_the_transition_matrix_is_metropolis() -> None:
    """From state i to j with q_j min(1, w_j / w_i), which leaves p as it is."""
    rng = np.random.default_rng(1)
    q, p = np.array([0.5, 0.3, 0.2]), np.array([0.2, 0.3, 0.5])
    w = p / q
    expected = q * np.minimum(1, w[None, :] / w[:, None])
    expected += np.diag(1 - expected.sum(1))
    np.testing.assert_allclose(p @ expected, p)
    proposals = rng.choice(3, size=N + 1, p=q)
    states = proposals[independence_chain(np.log(w)[proposals], rng)]
    counted = np.zeros((3, 3))
    np.add.at(counted, (states[:-1], states[1:]), 1)
    np.testing.assert_allclose(counted / counted.sum(1, keepdims=True), expected, atol=0.01)


def test_weight_zero_is_never_a_state() -> None:
    log_weight = np.where(np.arange(1000) % 3 == 1, -np.inf, 0.0)
    assert not (independence_chain(log_weight, np.random.default_rng(2)) % 3 == 1).any()


def gaussian_samples(n: int, chunk: int, seed: int, scale: float = 1.4) -> list[Samples]:
    """x of N(0, scale^2) in chunks, as positions (n, 1, 1), with the energy of N(0.5, 1)."""
    x = np.random.default_rng(seed).normal(0, scale, n)
    whole = Samples(x[:, None, None], norm.logpdf(x, 0, scale), -norm.logpdf(x, 0.5, 1))
    cuts = range(chunk, n, chunk)
    return [Samples(*part) for part in zip(*(np.split(v, cuts) for v in whole), strict=True)]


def run_chain(chunks: list[Samples], seed: int = 3) -> tuple[Samples, MetropolisChain]:
    chain = MetropolisChain(np.random.default_rng(seed))
    made = list(chain.states(iter(chunks)))
    return Samples(*map(np.concatenate, zip(*made, strict=True))), chain


def test_plain_averages_over_the_states_are_those_of_the_target() -> None:
    states, chain = run_chain(gaussian_samples(N + 2048, 5000, seed=4))
    x = states.positions_nm[:, 0, 0]
    assert len(x) == N
    assert x.mean() == pytest.approx(0.5, abs=0.02)
    assert x.var() == pytest.approx(1, abs=0.03)
    assert (x > 0).mean() == pytest.approx(norm.sf(-0.5), abs=0.01)
    assert not states.log_weight.any()
    acceptance, n_distinct, inefficiency = chain.statistics
    assert n_distinct == len(np.unique(x))
    assert acceptance == pytest.approx(n_distinct / N, abs=1e-4)
    assert 1 < inefficiency < 10


def test_the_inefficiency_is_that_of_the_scatter_of_means() -> None:
    """Var of the chain's mean energy over many chains, against Var(energy) g / n."""
    n, chains = 400, 300
    runs = [run_chain(gaussian_samples(n + 2048, 2448, s), s) for s in range(chains)]
    means = [states.energy_kt.mean() for states, _ in runs]
    energies = np.concatenate([states.energy_kt for states, _ in runs])
    expected = np.mean([chain.statistics.inefficiency for _, chain in runs])
    assert np.var(means) / (energies.var() / n) == pytest.approx(expected, rel=0.25)


def test_there_is_no_burn_in() -> None:
    """The first of the states, over many chains, against the target it is to have."""
    firsts = [
        run_chain(gaussian_samples(2049, 2049, s), s)[0].positions_nm.item() for s in range(2000)
    ]
    assert np.mean(firsts) == pytest.approx(0.5, abs=4 / np.sqrt(2000))
    assert np.var(firsts) == pytest.approx(1, abs=0.15)


def test_chunks_do_not_matter_to_what_is_held() -> None:
    """Same proposals in other chunks: as many states, of the same proposals."""
    whole, _ = run_chain(gaussian_samples(3000, 3000, seed=5))
    parts, chain = run_chain(gaussian_samples(3000, 700, seed=5))
    assert len(whole.energy_kt) == len(parts.energy_kt) == 3000 - 2048
    pool = np.concatenate([part.positions_nm for part in gaussian_samples(3000, 3000, seed=5)])
    assert np.isin(parts.positions_nm, pool).all()
    assert chain.statistics.n_distinct == len(np.unique(parts.positions_nm))


def test_a_chain_that_never_moves() -> None:
    """One sample has all the weight: one conformation, and an inefficiency of all its states."""
    (chunk,) = gaussian_samples(2148, 2148, seed=6)
    energy = np.where(np.arange(2148) == 7, 0.0, REJECTED_ENERGY_KT)
    states, chain = run_chain([chunk._replace(energy_kt=energy)])
    assert (states.positions_nm == chunk.positions_nm[7]).all()
    assert chain.statistics == (0.0, 1, 100.0)


def test_no_chain_begins_where_nothing_has_weight() -> None:
    (chunk,) = gaussian_samples(2100, 2100, seed=6)
    with pytest.raises(UserInputError, match="--unbiased: none of the model's first 2048"):
        run_chain([chunk._replace(energy_kt=np.full(2100, REJECTED_ENERGY_KT))])


@pytest.fixture
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    """A start of 40 samples, in chunks of 25, so that it does not end with one."""
    monkeypatch.setattr(unbiased_module, "START", 40)
    monkeypatch.setattr("bgp4.sampling.draw.START", 40)
    monkeypatch.setattr(generate_module, "CHUNK", 25)


def test_the_file_has_equal_weights(smoke_run, tmp_path, short) -> None:
    """The README's weighted average is the plain one, and the fields keep their contract."""
    drawn = draw_samples(smoke_run, tmp_path / "s.h5", SampleRequest(60, seed=4, unbiased=True))
    with h5py.File(tmp_path / "s.h5") as file:
        fields = {name: values[:] for name, values in file["bgp4"].items()}
    assert set(fields) == {"log_weight", "energy_kt", "log_prob"}
    assert all(values.shape == (60,) for values in fields.values())
    assert not fields["log_weight"].any()
    np.testing.assert_array_equal(fields["log_weight"], -fields["energy_kt"] - fields["log_prob"])
    assert read_attributes(tmp_path / "s.h5")["unbiased"]
    samples = read_samples(tmp_path / "s.h5")
    assert not samples.log_weight.any()
    assert drawn.chain is not None
    n_distinct = len(np.unique(samples.positions_nm.reshape(60, -1), axis=0))
    assert drawn.chain.n_distinct == n_distinct < 60


def test_the_states_are_the_flows_samples(smoke_run, tmp_path, short) -> None:
    """Of the same seed, with their energies; twice the same."""
    for name in ("a.h5", "b.h5"):
        draw_samples(smoke_run, tmp_path / name, SampleRequest(60, seed=4, unbiased=True))
    draw_samples(smoke_run, tmp_path / "flow.h5", SampleRequest(100, seed=4))
    a, b, flow = (read_samples(tmp_path / name) for name in ("a.h5", "b.h5", "flow.h5"))
    np.testing.assert_array_equal(a.positions_nm, b.positions_nm)
    index = [np.flatnonzero(flow.energy_kt == value)[0] for value in a.energy_kt]
    np.testing.assert_array_equal(flow.positions_nm[index], a.positions_nm)
    log_weight = flow.log_weight
    expected_first, accepted = index[0], np.flatnonzero(np.diff(index))
    assert expected_first <= 40
    assert all(index[i + 1] == i + 41 for i in accepted), "a move is to the proposal of its step"
    assert all(log_weight[i] > -REJECTED_ENERGY_KT / 2 for i in index)


def test_every_format_is_written(smoke_run, tmp_path, short) -> None:
    draw_samples(smoke_run, tmp_path / "s.xtc", SampleRequest(30, seed=4, unbiased=True))
    table = np.genfromtxt(sidecar(tmp_path / "s.xtc"), delimiter=",", names=True)
    assert len(table) == 30
    assert not table["log_weight"].any()


def test_at_another_temperature_it_is_another_chain(
    smoke_run, tmp_path, short, monkeypatch
) -> None:
    monkeypatch.setattr("bgp4.sampling.draw.MIN_EFFECTIVE_SAMPLES", 0)
    for kelvin in (1000.0, 1050.0):
        path = tmp_path / f"{kelvin:g}.h5"
        draw_samples(
            smoke_run, path, SampleRequest(60, seed=4, temperature_k=kelvin, unbiased=True)
        )
        assert read_attributes(path)["temperature_k"] == kelvin
    monkeypatch.setattr("bgp4.sampling.draw.MIN_EFFECTIVE_SAMPLES", 20)
    with pytest.raises(UserInputError, match=r"does not overlap.* ESS"):
        draw_samples(
            smoke_run, tmp_path / "c.h5", SampleRequest(60, temperature_k=100.0, unbiased=True)
        )
    assert not (tmp_path / "c.h5").exists()


def test_a_chunk_at_a_time_is_held(monkeypatch) -> None:
    """The chain asks for the next chunk only when the last one's states are taken."""
    monkeypatch.setattr(unbiased_module, "START", 40)
    asked = []

    def watched():
        for chunk in gaussian_samples(200, 25, seed=7):
            asked.append(len(chunk.energy_kt))
            yield chunk

    states = MetropolisChain(np.random.default_rng(0)).states(watched())
    next(states)
    assert sum(asked) == 50
    next(states)
    assert sum(asked) == 75
