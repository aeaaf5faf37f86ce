"""Our flows and energies in bgflow's hands, and its energies in ours; skipped without bgflow."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import bgp4
from bgp4.energies.batched import BatchedEnergy
from bgp4.flows.generator import BoltzmannGenerator
from bgp4.statistics.samples import REJECTED_ENERGY_KT

vars(np).setdefault("infty", np.inf)  # which bgflow's last version needs, and NumPy 2 removed
bgflow = pytest.importorskip("bgflow", exc_type=ImportError)

N = 40


@pytest.fixture(scope="module")
def adapter() -> ModuleType:
    from bgp4.interop import bgflow as module

    return module


@pytest.fixture(scope="module")
def model() -> bgp4.Model:
    """The bundled one: circular variables, and a base that is not of width one."""
    model = bgp4.load("ala2", device="cpu")
    assert model.flow.standardise.n_circular > 0
    assert model.flow.base_std != 1
    return model


@pytest.fixture(scope="module")
def z(model) -> Tensor:
    return model.flow.draw_latent(N, torch.Generator().manual_seed(3))


@pytest.fixture(scope="module")
def whole(adapter, model) -> Any:
    return adapter.boltzmann_generator(model.flow, model.potential)


@torch.no_grad()
def test_round_trip(adapter, model, z) -> None:
    flow = adapter.Flow(model.flow)
    x, dlogp = flow(z)
    back, neg_dlogp = flow(x, inverse=True)
    assert x.shape == (N, 66)
    assert dlogp.shape == neg_dlogp.shape == (N, 1)
    torch.testing.assert_close(back, z, rtol=0, atol=1e-6)
    torch.testing.assert_close(neg_dlogp, -dlogp, rtol=0, atol=1e-6)


def test_the_log_determinant_is_that_of_the_jacobian(adapter, model, z) -> None:
    """Of z → x in the 3 atoms - 6 coordinates that a rigid motion leaves, in the flow's frame."""
    flow = adapter.Flow(model.flow)
    jacobian = torch.autograd.functional.jacobian(lambda z: flow(z[None])[0][0], z[0])
    origin, on_x, in_xy = (root.item() for root in roots(model.flow))
    free = [i for i in range(66) if i not in fixed(origin, on_x, in_xy)]
    assert not jacobian[fixed(origin, on_x, in_xy)].any()
    _, logabsdet = torch.linalg.slogdet(jacobian[free])
    _, dlogp = flow(z[:1])
    positions = flow(z[:1])[0].detach().unflatten(1, (-1, 3))[0]
    frame = in_its_frame(positions, on_x, in_xy)
    assert dlogp.item() == pytest.approx(logabsdet.item() + frame, abs=1e-6)


def roots(generator: BoltzmannGenerator) -> Tensor:
    """The atoms at the origin, on the x axis and in the xy plane."""
    positions = generator.generate(1, torch.Generator().manual_seed(0)).positions_nm[0]
    zeros = (positions == 0).sum(1)
    return torch.stack([(zeros == n).nonzero()[0, 0] for n in (3, 2, 1)])


def fixed(origin: int, on_x: int, in_xy: int) -> list[int]:
    return [*range(3 * origin, 3 * origin + 3), 3 * on_x + 1, 3 * on_x + 2, 3 * in_xy + 2]


def in_its_frame(positions: Tensor, on_x: int, in_xy: int) -> float:
    """The rigid motion's part of the volume element: 2 ln of the first bond, ln of the height."""
    return float(2 * positions[on_x, 0].abs().log() + positions[in_xy, 1].abs().log())


@torch.no_grad()
def test_densities_are_ours(model, whole, z) -> None:
    made = model.flow.from_latent(z)
    x = made.positions_nm.flatten(1)
    torch.testing.assert_close(-whole.energy(x)[:, 0], made.log_prob_xyz, rtol=0, atol=1e-6)
    torch.testing.assert_close(
        -whole.energy(x)[:, 0], model.flow.log_prob_xyz(made.positions_nm), rtol=0, atol=1e-9
    )


@torch.no_grad()
def test_its_samples_and_weights_are_ours(model, whole) -> None:
    """Of the same seed; ours are rounded to float32 before their energies are taken."""
    torch.manual_seed(5)
    x, log_weight = whole.sample(N, with_log_weights=True)
    samples = model.sample(N, seed=5)
    positions = x.unflatten(1, (-1, 3)).numpy()
    np.testing.assert_array_equal(positions.astype(np.float32), samples.positions_nm)
    log_prob = model.flow.generate(N, torch.Generator().manual_seed(5)).log_prob_xyz
    expected = -model.energy(positions) - log_prob.numpy()
    np.testing.assert_allclose(log_weight[:, 0], expected, rtol=0, atol=1e-9)
    np.testing.assert_allclose(log_weight[:, 0], samples.log_weight, rtol=0, atol=0.05)
    np.testing.assert_allclose(
        whole.log_weights(x, normalize=True).softmax(0), samples.weights, rtol=0.05
    )


@torch.no_grad()
def test_what_has_no_density_has_no_weight(adapter, model, z, monkeypatch) -> None:
    bad = model.flow.from_latent(z)
    bad = bad._replace(possible=torch.arange(N) != 1, overshoot=(torch.arange(N) == 2).double())
    monkeypatch.setattr(model.flow, "from_latent", lambda z: bad)
    _, dlogp = adapter.Flow(model.flow)(z)
    assert dlogp[[1, 2], 0].tolist() == [-REJECTED_ENERGY_KT] * 2
    torch.manual_seed(0)
    whole = adapter.boltzmann_generator(model.flow, model.potential)
    *_, weights = whole.sample(N, with_weights=True)
    assert weights[1] == weights[2] == 0
    assert weights.sum().item() == pytest.approx(1)


@pytest.mark.parametrize("temperature", [1.0, 1.7])
def test_the_prior_is_normal_and_uniform(adapter, model, temperature: float) -> None:
    prior = adapter.Prior(model.flow)
    torch.manual_seed(0)
    z = prior.sample(20_000, temperature=temperature)
    n_linear, std = model.flow.standardise.n_linear, float(model.flow.base_std)
    width = std * temperature**0.5
    normal = torch.distributions.Normal(0.0, width)
    np.testing.assert_allclose(z[:, :n_linear].std(0), width, rtol=0.03)
    assert (z[:, n_linear:].abs() <= np.pi).all()
    np.testing.assert_allclose(z[:, n_linear:].std(0), np.pi / 3**0.5, rtol=0.03)
    energy = prior.energy(z, temperature=temperature)[:, 0]
    log_prob = normal.log_prob(z[:, :n_linear]).sum(1)
    torch.testing.assert_close(energy - energy[0], log_prob[0] - log_prob)


@torch.no_grad()
def test_the_priors_energy_is_normalised(adapter, model, z) -> None:
    n_linear, std = model.flow.standardise.n_linear, float(model.flow.base_std)
    expected = torch.distributions.Normal(0.0, std).log_prob(z[:, :n_linear]).sum(1)
    expected -= np.log(2 * np.pi) * model.flow.standardise.n_circular
    torch.testing.assert_close(-adapter.Prior(model.flow).energy(z)[:, 0], expected)


def test_our_energy_as_theirs(adapter, model, smoke_frames) -> None:
    target = adapter.Target(model.potential)
    positions = torch.as_tensor(smoke_frames.positions_nm[:6]).double()
    x = positions.flatten(1)
    energy_kt, gradient = model.potential.reduced(positions)
    torch.testing.assert_close(target.energy(x), energy_kt[:, None])
    torch.testing.assert_close(target.energy(x.view(2, 3, 66)), energy_kt.view(2, 3, 1))
    torch.testing.assert_close(target.energy(x, temperature=2.0), energy_kt[:, None] / 2)
    torch.testing.assert_close(target.force(x), -gradient.flatten(1))


class Springs(bgflow.Energy):
    """Every coordinate pulled to zero; infinite for the conformation that begins at 9 nm."""

    def _energy(self, x: Tensor) -> Tensor:
        flat = x.flatten(1)
        u = 0.5 * flat.square().sum(1, keepdim=True)
        return torch.where(flat[:, :1] == 9, torch.inf, u)


@pytest.mark.parametrize("shape", [(12,), (4, 3)])
def test_their_energy_as_ours(adapter, shape: tuple[int, ...], caplog) -> None:
    energy = adapter.EnergyFromBgflow(Springs(list(shape)), temperature_k=300.0)
    assert energy.n_atoms == 4
    x = torch.randn(5, 4, 3, generator=torch.Generator().manual_seed(0)).double()
    x[3, 0, 0] = 9
    x.requires_grad_()
    energy_kt = energy(x)
    expected = 0.5 * x.detach().square().sum((1, 2))
    expected[3] = REJECTED_ENERGY_KT
    torch.testing.assert_close(energy_kt.detach(), expected)
    (gradient,) = torch.autograd.grad(energy_kt.sum(), x)
    assert not gradient[3].any()
    good = torch.arange(5) != 3
    torch.testing.assert_close(gradient[good], x.detach()[good])
    assert energy.n_rejected == 1
    assert "not finite" in caplog.text


def test_their_energy_at_another_temperature(adapter) -> None:
    """Half of the energy in kT at twice the temperature, as a run that is annealed needs it."""
    energy = adapter.EnergyFromBgflow(Springs([12]), temperature_k=300.0)
    x = torch.ones(1, 4, 3).double()
    energy.temperature_k = 600.0
    assert energy(x).item() == pytest.approx(3.0)


def test_there_and_back(adapter, model, alanine, smoke_frames) -> None:
    ours = BatchedEnergy(alanine, 300.0)
    again = adapter.EnergyFromBgflow(adapter.Target(ours), 300.0)
    for _ in range(2):
        found, expected = (e.evaluate(smoke_frames.positions_nm[:4]) for e in (again, ours))
        np.testing.assert_allclose(found.energy_kjmol, expected.energy_kjmol)
        np.testing.assert_allclose(found.forces_kjmol_nm, expected.forces_kjmol_nm)


def test_their_openmm_energy_as_ours(adapter, alanine, smoke_frames, plain_openmm) -> None:
    """Which remembers its last batch: asked twice, it answers twice."""
    import openmm

    system = openmm.XmlSerializer.deserialize(alanine.system_xml)
    integrator = openmm.LangevinIntegrator(300.0, 1.0, 0.001)
    bridge = bgflow.OpenMMBridge(system, integrator, n_workers=1, platform_name="Reference")
    energy = adapter.EnergyFromBgflow(bgflow.OpenMMEnergy(bridge=bridge), 300.0)
    positions = smoke_frames.positions_nm[:3]
    expected, forces = plain_openmm(alanine.system_xml, positions)
    for _ in range(2):
        found = energy.evaluate(positions)
        np.testing.assert_allclose(found.energy_kjmol, expected, rtol=1e-6)
        np.testing.assert_allclose(found.forces_kjmol_nm, forces, rtol=1e-4, atol=1e-2)


def test_their_losses_train_our_flow(adapter, smoke_run) -> None:
    """Gradients of both of bgflow's losses reach the parameters."""
    model = bgp4.load(smoke_run.path, device="cpu")
    whole = adapter.boltzmann_generator(model.flow, model.potential)
    torch.manual_seed(0)
    x = whole.sample(8).detach()
    for loss in (whole.energy(x).mean(), whole.kldiv(8).clamp_max(1e4).mean()):
        assert loss.isfinite()
        gradients = torch.autograd.grad(loss, list(whole.parameters()), allow_unused=True)
        reached = [g for g in gradients if g is not None]
        assert reached
        assert all(g.isfinite().all() for g in reached)
        assert sum(float(g.abs().sum()) for g in reached) > 0
