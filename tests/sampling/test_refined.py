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
from bgp4.sampling.draw import draw_samples
from bgp4.sampling.files import read_attributes, read_samples
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
    model = SimpleNamespace(log_prob_xyz=lambda x: torch.zeros(len(x)).double())
    trained: Any = SimpleNamespace(
        model=model, config=config, molecule=SimpleNamespace(topology=topology, constraints=())
    )
    return RefinedChains(trained, Springs(2, 300.0), seed=0)


def drawn(n: int, seed: int = 0) -> Samples:
    """Of the springs' own density."""
    x = np.random.default_rng(seed).normal(0, STIFFNESS_KT**-0.5, (n, 2, 3))
    energy_kt = 0.5 * STIFFNESS_KT * (x**2).sum(axis=(1, 2))
    return Samples(x, np.zeros(n), energy_kt)


def test_md_leaves_the_density_as_it_is(springs: RefinedChains) -> None:
    """With steps so long that a quarter of the moves is rejected."""
    state, springs._timestep_ps = drawn(4000), 0.045
    shares = []
    for _ in range(10):
        moved, after = springs._molecular_dynamics(state)
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
    springs._molecular_dynamics = lambda start: (np.zeros(n, bool), start)  # type: ignore
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
    springs._timestep_ps = 1.0  # which throws atoms beyond a nanometre
    moved, _ = springs._molecular_dynamics(drawn(100))
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
