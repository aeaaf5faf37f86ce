"""Refined ensembles: each move leaves a known density as it is, averages are those of weights."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import mdtraj
import numpy as np
import pytest
import torch
from scipy import stats

import bgp4
from bgp4.config import validate_config
from bgp4.energies.base import Energy, Evaluation
from bgp4.errors import UserInputError
from bgp4.molecule.constraints import Constraints
from bgp4.sampling import moves
from bgp4.sampling.draw import draw_samples
from bgp4.sampling.files import read_attributes, read_samples
from bgp4.sampling.moves import SAME_NM, MolecularDynamics, _Phase
from bgp4.sampling.refined import RefinedChains, _chosen
from bgp4.sampling.request import SampleRequest
from bgp4.statistics.samples import Samples
from bgp4.training.run import RunFolder
from bgp4.units import kt_in_kjmol

STIFFNESS_KT = 400.0
"""Of the springs that hold atoms, kT/nm²."""


class Springs(Energy):
    """Each coordinate is a Gaussian of variance 1 / `STIFFNESS_KT`; none beyond 1 nm."""

    def _evaluate(self, positions: np.ndarray) -> Evaluation:
        kt = kt_in_kjmol(self.temperature_k)
        energy = 0.5 * STIFFNESS_KT * kt * (positions**2).sum(axis=(1, 2))
        far = np.abs(positions).max(axis=(1, 2)) > 1
        forces = np.where(far[:, None, None], 0, -STIFFNESS_KT * kt * positions)
        return Evaluation(np.where(far, np.nan, energy), forces, {})


@pytest.fixture
def springs() -> RefinedChains:
    topology = mdtraj.Topology()
    residue = topology.add_residue("MOL", topology.add_chain())
    for name, element in (("H", mdtraj.element.hydrogen), ("C", mdtraj.element.carbon)):
        topology.add_atom(name, element, residue)
    config = validate_config({"system": "x", "temperature_k": 300.0}, "test")
    none = Constraints(np.empty((0, 2), np.int64), np.empty(0), np.array([1.008, 12.011]))
    model = SimpleNamespace(log_prob_xyz=lambda x: torch.zeros(len(x)).double())
    trained: Any = SimpleNamespace(
        model=model, config=config, molecule=SimpleNamespace(topology=topology, constraints=none)
    )
    return RefinedChains(trained, Springs(2, 300.0), seed=0)


def drawn(n: int, seed: int = 0) -> Samples:
    """Of the springs' own density."""
    x = np.random.default_rng(seed).normal(0, STIFFNESS_KT**-0.5, (n, 2, 3))
    energy_kt = 0.5 * STIFFNESS_KT * (x**2).sum(axis=(1, 2))
    return Samples(x, np.zeros(n), energy_kt)


def test_md_leaves_the_density_as_it_is(springs: RefinedChains) -> None:
    """With steps so long that a quarter of the moves is rejected."""
    state, springs._md.timestep_ps = drawn(4000), 0.045
    shares = []
    for _ in range(10):
        moved, after = springs._moves(state)
        shares.append(moved.mean())
        state = _chosen(moved, after, state)
    assert 0.3 < np.mean(shares) < 0.9
    for atom in range(2):
        x = state.positions_nm[:, atom].ravel()
        assert stats.kstest(x, stats.norm(0, STIFFNESS_KT**-0.5).cdf).pvalue > 1e-3
    assert not np.allclose(state.positions_nm, drawn(4000).positions_nm)


def test_jumps_leave_the_density_as_it_is(springs: RefinedChains) -> None:
    """Proposals of another Gaussian, whose density the samples know."""
    state, rng, n, scale = drawn(4000), np.random.default_rng(1), 4000, 1.3 * STIFFNESS_KT**-0.5
    log_prob = stats.norm(0, scale).logpdf
    springs._moves = lambda start: (np.zeros(n, bool), start)  # type: ignore
    state = state._replace(log_prob=log_prob(state.positions_nm).sum(axis=(1, 2)))
    for _ in range(10):
        x = rng.normal(0, scale, (n, 2, 3))
        energy_kt = 0.5 * STIFFNESS_KT * (x**2).sum(axis=(1, 2))
        proposed = Samples(x, log_prob(x).sum(axis=(1, 2)), energy_kt)
        state, jumped, _ = springs._cycle(state, proposed)
    assert 0.1 < jumped < 0.9
    x = state.positions_nm.ravel()
    assert stats.kstest(x, stats.norm(0, STIFFNESS_KT**-0.5).cdf).pvalue > 1e-3


def test_what_has_no_energy_is_never_a_state(springs: RefinedChains) -> None:
    springs._md.timestep_ps = 1.0  # which throws atoms beyond a nanometre
    moved, _ = springs._moves(drawn(100))
    assert not moved.any()


def test_averages_are_those_of_weights(tmp_path: Path) -> None:
    """At 330 K, of the bundled model of 300 K."""
    run = RunFolder.find(Path("ala2"))
    request = SampleRequest(2048, temperature_k=330.0, refine=True, device="cpu")
    done = draw_samples(run, tmp_path / "refined.h5", request)
    found = read_samples(tmp_path / "refined.h5")
    assert read_attributes(tmp_path / "refined.h5")["unbiased"]
    assert not found.log_weight.any()
    assert done.n == len(found.energy_kt) == 2048
    assert done.chain.agree
    weighted = bgp4.load("ala2").sample(8192, seed=1).at_temperature(330.0)
    expected, error = weighted.average(weighted.energy_kt), weighted.error(weighted.energy_kt)
    own_error = found.energy_kt.std() / np.sqrt(done.chain.effective)
    assert abs(found.energy_kt.mean() - expected) < 5 * np.hypot(error, own_error)
    openmm_kt = weighted_energies(found)
    np.testing.assert_allclose(found.energy_kt[:8], openmm_kt, atol=2e-3)


def weighted_energies(samples: Samples) -> np.ndarray:
    """By OpenMM, at 330 K."""
    from bgp4.energies.openmm import OpenMMEnergy

    molecule = bgp4.load("ala2").molecule
    with OpenMMEnergy(molecule, 330.0, "Reference", 1) as energy:
        return energy.evaluate(samples.positions_nm[:8]).energy_kjmol / kt_in_kjmol(330.0)


def test_until_enough_effective_samples(tmp_path: Path) -> None:
    run = RunFolder.find(Path("ala2"))
    request = SampleRequest(100_000, effective=3000, device="cpu")
    done = draw_samples(run, tmp_path / "enough.h5", request)
    assert done.n == 4096, "chunks of 2,048 with an ESS of 98 %"
    assert done.ess * done.n > 3000
    plain = draw_samples(run, tmp_path / "plain.h5", SampleRequest(4096, device="cpu"))
    assert plain.ess == done.ess
    same = [read_samples(tmp_path / f"{name}.h5").energy_kt for name in ("enough", "plain")]
    np.testing.assert_array_equal(*same)


def test_options_that_contradict_each_other() -> None:
    with pytest.raises(UserInputError, match="--effective: it does not go with --refine"):
        SampleRequest(10, refine=True, effective=5)
    with pytest.raises(UserInputError, match="--refine: --no-weights gives no energies"):
        SampleRequest(10, refine=True, weights=False)


STRETCH_KT = 30.0
"""Of the spring between the ends of the bent molecule, kT/nm²."""

BENT = Constraints(np.array([[0, 1], [1, 2]]), np.array([0.1, 0.15]), np.array([12.0, 1.0, 16.0]))
"""Two constrained bonds that share a light atom, so that √det Z is far from constant."""


class Stretched(Energy):
    """A spring between the ends of three atoms."""

    def _evaluate(self, positions: np.ndarray) -> Evaluation:
        kt = kt_in_kjmol(self.temperature_k)
        pull = STRETCH_KT * kt * (positions[:, 2] - positions[:, 0])
        forces = np.stack([pull, np.zeros_like(pull), -pull], axis=1)
        energy = 0.5 * (pull**2).sum(axis=1) / (STRETCH_KT * kt)
        return Evaluation(energy, forces, {})


def bent_density(cosine: np.ndarray) -> np.ndarray:
    """Of cos θ in constrained MD, as docs/theory.md has it: exp(-u) √det Z."""
    a, b = BENT.lengths_nm
    shared = 1 / BENT.masses[1]
    coupled = shared**2 / np.prod(1 / BENT.masses[[0, 2]] + shared)
    u = 0.5 * STRETCH_KT * (a**2 + b**2 - 2 * a * b * cosine)
    return np.exp(-u) * np.sqrt(1 - coupled * cosine**2)


def bent(cosine: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Positions with these angles, turned at random, (n, 3, 3)."""
    a, b = BENT.lengths_nm
    x = np.zeros((len(cosine), 3, 3))
    x[:, 0, 0] = a
    x[:, 2, :2] = b * np.stack([cosine, np.sqrt(1 - cosine**2)], axis=1)
    return np.einsum("nij,naj->nai", stats.special_ortho_group(3, rng).rvs(len(x)), x)


def bent_cosines(x: np.ndarray) -> np.ndarray:
    ends = x[:, [0, 2]] - x[:, 1:2]
    return (ends[:, 0] * ends[:, 1]).sum(-1) / BENT.lengths_nm.prod()


@pytest.mark.parametrize("timestep_ps", [0.02, 0.06])
def test_md_with_constrained_bonds_leaves_the_density_as_it_is(timestep_ps: float) -> None:
    """From exact draws, with steps so long that a third of the moves is rejected, or most."""
    rng, n = np.random.default_rng(0), 6000
    grid = np.linspace(-1, 1, 4001)
    cumulated = np.append(0, np.cumsum(bent_density((grid[1:] + grid[:-1]) / 2)))
    cumulated /= cumulated[-1]
    begin = bent(np.interp(rng.uniform(size=n), cumulated, grid), rng)
    energy = Stretched(3, 300.0)
    md = MolecularDynamics(energy, BENT, rng)
    md.timestep_ps = timestep_ps
    x, energy_kt = begin, energy.evaluate(begin).energy_kjmol / kt_in_kjmol(300.0)
    shares = []
    for _ in range(10):
        moved, there, there_kt = md(x, energy_kt)
        x = np.where(moved[:, None, None], there, x)
        energy_kt = np.where(moved, there_kt, energy_kt)
        shares.append(moved.mean())
    assert 0.1 < np.mean(shares) < 0.8
    assert abs(bent_cosines(begin) - bent_cosines(x)).mean() > 0.1
    assert stats.kstest(bent_cosines(x), lambda c: np.interp(c, grid, cumulated)).pvalue > 1e-3
    turned = (x[:, 2] - x[:, 1])[:, 2] / BENT.lengths_nm[1]
    assert stats.kstest(turned, stats.uniform(-1, 2).cdf).pvalue > 1e-3
    found = np.linalg.norm(np.diff(x, axis=1), axis=-1)
    np.testing.assert_allclose(found / BENT.lengths_nm, [[1, 1]] * n, atol=1e-5)


def test_steps_with_constrained_bonds_can_be_taken_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of those in which bonds can be held, a few lead elsewhere: these are not sound."""
    rng, n, timestep = np.random.default_rng(0), 50_000, 0.04
    x = bent(rng.uniform(-0.9, 0.9, n), rng)
    energy = Stretched(3, 300.0)
    md = MolecularDynamics(energy, BENT, rng)
    v = rng.normal(size=x.shape) * np.sqrt(md._per_mass)
    assert md._free(v, x).all()
    begin = _Phase(x, v, md._reduced(x)[1], np.zeros(n), np.ones(n, bool))
    end = md._step(begin, timestep, last=False)
    back = md._step(end._replace(v=-end.v), timestep, last=False)
    both = end.sound & back.sound
    assert both.sum() > 0.9999 * end.sound.sum()  # rounding may decide between two solutions
    np.testing.assert_allclose(back.x[both], x[both], atol=SAME_NM)
    np.testing.assert_allclose(back.v[both], -v[both], atol=SAME_NM / timestep)
    assert (back.x == end.x)[~end.sound].all()
    monkeypatch.setattr(moves, "SAME_NM", np.inf)
    held = md._step(begin, timestep, last=False).sound
    assert held[end.sound].all()
    assert end.sound.sum() < held.sum() < n
