"""bgp4 in Python: what it gives is what the command line writes, and it refuses as it does."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import mdtraj
import numpy as np
import pytest
import torch

import bgp4
from bgp4.energies.openmm import OpenMMEnergy
from bgp4.sampling import draw as draw_module
from bgp4.sampling.draw import draw_samples
from bgp4.sampling.files import read_attributes, read_samples
from bgp4.sampling.request import SampleRequest
from bgp4.statistics.samples import REJECTED_ENERGY_KT, Samples

N = 60
README = Path(__file__).parents[1] / "README.md"


@pytest.fixture(scope="module")
def model(smoke_run) -> bgp4.Model:
    return bgp4.load(smoke_run.path, device="cpu")


@pytest.fixture(scope="module")
def samples(model) -> bgp4.Ensemble:
    return model.sample(N, seed=4)


def made_up(energy_kt: list[float], log_prob: list[float], topology: object) -> bgp4.Ensemble:
    positions = np.zeros((len(energy_kt), 22, 3), np.float32)
    samples = Samples(positions, np.array(log_prob), np.array(energy_kt))
    return bgp4.Ensemble(samples, 300.0, topology, {"run": "none"})


def test_importing_it_imports_nothing_heavy() -> None:
    code = "import sys, bgp4; dir(bgp4); print(*{name.split('.')[0] for name in sys.modules})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    heavy = {"torch", "openmm", "mdtraj", "numpy", "scipy", "nflows", "pydantic", "yaml"}
    assert not heavy & set(done.stdout.split())


def test_every_name_is_there() -> None:
    assert set(bgp4.__all__) <= set(dir(bgp4))
    assert all(getattr(bgp4, name).__doc__ for name in bgp4.__all__)
    with pytest.raises(AttributeError, match="no attribute 'lode'"):
        _ = bgp4.lode


def test_samples_are_those_of_the_command(smoke_run, samples, tmp_path) -> None:
    drawn = draw_samples(smoke_run, tmp_path / "command.h5", SampleRequest(N, seed=4))
    samples.save(tmp_path / "python.h5")
    for ours, expected in zip(
        *(read_samples(tmp_path / f"{name}.h5") for name in ("python", "command")), strict=True
    ):
        np.testing.assert_array_equal(ours, expected)
    ours, expected = (read_attributes(tmp_path / f"{n}.h5") for n in ("python", "command"))
    assert ours == expected
    assert samples.ess == pytest.approx(drawn.ess)
    assert samples.n_rejected == drawn.n_rejected
    assert len(samples) == N
    assert f"{N} at 1000 K" in repr(samples)


def test_formats_without_weights_have_them_beside(samples, tmp_path) -> None:
    assert samples.save(str(tmp_path / "s.pdb")) == [
        tmp_path / "s.pdb",
        tmp_path / "s.weights.csv",
    ]
    with pytest.raises(bgp4.UserInputError, match=r"ends in \.h5"):
        samples.save("s.txt")


def test_the_model_says_what_it_is(model, smoke_run, smoke_config) -> None:
    assert model.config == smoke_config
    assert model.run == smoke_run
    assert model.molecule.n_atoms == 22
    assert not model.flow.training
    assert model.flow.dtype == torch.float64
    assert repr(model) == "Model(smoke: AlanineDipeptideImplicit, 22 atoms, 1000 K)"


def test_energies_and_densities_are_those_of_the_samples(model, samples) -> None:
    """Densities within what float32 positions lose."""
    energy_kt, log_prob = model.energy(samples.positions_nm), model.log_prob(samples.positions_nm)
    assert energy_kt.dtype == log_prob.dtype == np.float64
    usable = np.isfinite(samples.log_weight)
    np.testing.assert_array_equal(energy_kt[usable], samples.energy_kt[usable])
    np.testing.assert_allclose(log_prob[usable], samples.log_prob[usable], rtol=0, atol=0.05)


@pytest.mark.parametrize("what", ["energy", "log_prob"])
def test_tensors_answer_in_kind_and_have_gradients(model, smoke_frames, what: str) -> None:
    positions = torch.as_tensor(smoke_frames.positions_nm[:2]).double().requires_grad_()
    function = getattr(model, what)
    values = function(positions)
    np.testing.assert_array_equal(values.detach(), function(positions.detach().numpy()))
    (gradient,) = torch.autograd.grad(values.sum(), positions)
    step = 1e-6 * torch.randn(positions.shape, generator=torch.Generator().manual_seed(0)).double()
    rise = function(positions + step) - function(positions - step)
    expected = 2 * (gradient * step).sum((1, 2))
    np.testing.assert_allclose(rise.detach(), expected, rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize("shape", [(22, 3), (5, 21, 3), (5, 66), ()])
def test_positions_of_another_shape(model, shape: tuple[int, ...]) -> None:
    for function in (model.energy, model.log_prob):
        with pytest.raises(bgp4.UserInputError, match=r"expected shape \(batch, 22, 3\)"):
            function(np.zeros(shape))


def test_openmms_workers_end_and_start_again(smoke_run, smoke_frames) -> None:
    model = bgp4.load(smoke_run.path, device="cpu")
    expected = model.energy(smoke_frames.positions_nm[:3])
    model.close()
    energies = model.config.energies.model_copy(update={"method": "openmm"})
    model.config = model.config.model_copy(update={"energies": energies})
    for _ in range(2):
        found = model.energy(smoke_frames.positions_nm[:3])
        assert isinstance(model.potential, OpenMMEnergy)
        np.testing.assert_allclose(found, expected, rtol=1e-4)
        model.close()
    model.close()


def test_averages_of_known_weights(alanine) -> None:
    """Weights 1, 3 and 0: the last was rejected, whatever its density."""
    ensemble = made_up([0.0, -np.log(3), REJECTED_ENERGY_KT], [0, 0, -2e6], alanine.topology)
    np.testing.assert_allclose(ensemble.weights, [0.25, 0.75, 0.0])
    assert ensemble.n_rejected == 1
    assert ensemble.ess == pytest.approx(1 / (3 * (0.25**2 + 0.75**2)))
    assert ensemble.average([1.0, 5.0, np.nan]) == pytest.approx(4.0)
    np.testing.assert_allclose(ensemble.average([[1, 0], [5, 1], [9, 9]]), [4.0, 0.75])
    free_energy = ensemble.free_energy_difference([True, False, False], [False, True, False])
    assert free_energy.value_kt == pytest.approx(np.log(3))


def test_the_error_is_that_of_the_mean(alanine) -> None:
    n = 4000
    values = np.random.default_rng(0).normal(2.0, 3.0, n)
    ensemble = made_up([0.0] * n, [0.0] * n, alanine.topology)
    assert ensemble.error(values) == pytest.approx(3.0 / np.sqrt(n), rel=0.15)
    both = ensemble.error(np.stack([values, 2 * values], axis=1))
    assert both[1] == pytest.approx(2 * both[0])


def test_no_sample_with_a_weight(alanine) -> None:
    ensemble = made_up([REJECTED_ENERGY_KT] * 3, [0.0, 1.0, 2.0], alanine.topology)
    assert "ESS none, 3 rejected" in repr(ensemble)
    assert ensemble.ess == 0
    with pytest.raises(ValueError, match="weight zero"):
        _ = ensemble.weights


def test_another_temperature_is_that_of_the_command(
    smoke_run, samples, tmp_path, monkeypatch
) -> None:
    monkeypatch.setattr(draw_module, "MIN_EFFECTIVE_SAMPLES", 0)
    drawn = draw_samples(
        smoke_run, tmp_path / "s.h5", SampleRequest(N, seed=4, temperature_k=1050.0)
    )
    warm = samples.at_temperature(1050.0)
    np.testing.assert_allclose(warm.energy_kt, read_samples(tmp_path / "s.h5").energy_kt)
    np.testing.assert_array_equal(warm.log_prob, samples.log_prob)
    assert warm.ess == pytest.approx(drawn.ess)
    np.testing.assert_array_equal(samples.at_temperature(1000.0).energy_kt, samples.energy_kt)


def test_what_is_rejected_stays_so(alanine) -> None:
    energy_kt = [0.0] * 30 + [REJECTED_ENERGY_KT]
    warm = made_up(energy_kt, [0.0] * 31, alanine.topology).at_temperature(600.0)
    assert warm.energy_kt[-1] == REJECTED_ENERGY_KT
    assert warm.n_rejected == 1
    assert warm.temperature_k == 600.0


def test_a_temperature_out_of_reach(samples) -> None:
    with pytest.raises(bgp4.UserInputError, match=r"at_temperature 100: .*does not overlap.* ESS"):
        samples.at_temperature(100.0)
    for wrong in (0.0, -300.0, np.nan):
        with pytest.raises(bgp4.UserInputError, match="expected K above 0"):
            samples.at_temperature(wrong)


def test_a_trajectory_of_ones_own(samples) -> None:
    trajectory = samples.trajectory()
    assert isinstance(trajectory, mdtraj.Trajectory)
    before = samples.positions_nm.copy()
    trajectory.superpose(trajectory[0])
    np.testing.assert_array_equal(samples.positions_nm, before)


def test_training_in_every_way(in_tmp, smoke_config, smoke_run) -> None:
    """A name, a mapping and a config make the same model; a run goes on where it stopped."""
    expected = bgp4.load(smoke_run.path).sample(5).positions_nm
    by_name = bgp4.train("ala2_smoke.yaml", device="cpu")
    assert by_name.run.path == Path("runs/ala2_smoke")
    mapping = smoke_config.model_dump(mode="json")
    assert bgp4.train(mapping, "two", device="cpu").config == by_name.config
    short = smoke_config.training.model_copy(update={"steps": 10})
    bgp4.train(smoke_config.model_copy(update={"training": short}), Path("three"), device="cpu")
    for model in (by_name, bgp4.load("two")):
        np.testing.assert_array_equal(model.sample(5).positions_nm, expected)
    resumed = bgp4.train("ala2_smoke.yaml", resume=True, device="cpu")
    np.testing.assert_array_equal(resumed.sample(5).positions_nm, expected)
    with pytest.raises(bgp4.UserInputError, match=r"training\.steps was 10 and is now 20"):
        bgp4.train(smoke_config, "three", resume=True)


def test_refusals(in_tmp, smoke_config, model) -> None:
    wrong = {
        "expected run": lambda: bgp4.train(smoke_config),
        "not a run folder": lambda: bgp4.load("nothing"),
        "no such file: no.yaml": lambda: bgp4.train("no.yaml"),
        "config key temperature_k": lambda: bgp4.train({"system": "A"}, "a"),
        "found gpu": lambda: bgp4.load("ala2", device="gpu"),
        "run folder exists": lambda: bgp4.train(smoke_config, in_tmp),
        "at least one": lambda: model.sample(0),
    }
    for words, call in wrong.items():
        with pytest.raises(bgp4.UserInputError, match=words) as refused:
            call()
        assert "\n" not in str(refused.value)
    assert not list(in_tmp.iterdir())


def test_the_readmes_python_runs(in_tmp, capsys) -> None:
    blocks = re.findall(r"```python\n(.*?)```", README.read_text(encoding="utf-8"), re.S)
    assert blocks
    for block in blocks:
        exec(compile(block, "README.md", "exec"), {})
    assert "P(φ > 0) =" in capsys.readouterr().out


def test_refined_samples_have_equal_weights(model) -> None:
    refined = model.sample(64, seed=3, refine=True)
    assert len(refined) == 64
    assert not refined.log_weight.any()
    assert refined.ess == pytest.approx(1)
