"""The losses against a computation by hand, and what likelihood training reaches."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy import stats
from torch import Tensor
from torch.autograd.functional import jacobian

from bgp4.config import ModelConfig, TrainingConfig
from bgp4.coordinates import InternalCoordinates, Standardise, zmatrix_from_bonds
from bgp4.flows.build import build_transform
from bgp4.flows.generator import BoltzmannGenerator
from bgp4.statistics.samples import REJECTED_ENERGY_KT
from bgp4.training.generators import Generators
from bgp4.training.losses import kl_loss, negative_log_likelihood
from bgp4.training.objective import Objective
from bgp4.training.optimizer import TrainingOptimizer
from bgp4.training.schedule import Schedule
from bgp4.training.step import train_step

pytestmark = pytest.mark.filterwarnings("ignore:Initializing zero-element tensors")

CENTRE = torch.tensor([0.10, 0.15, 0.10, 1.8, 1.9, 0.0]).double()
SCALE = torch.tensor([0.004, 0.004, 0.004, 0.08, 0.08, 1.0]).double()


def four_atoms(coupling: str = "spline") -> BoltzmannGenerator:
    """A chain of four atoms in float64: five linear variables and a circle."""
    torch.manual_seed(0)
    model = ModelConfig(coupling=coupling, blocks=1, torsion_blocks=1, hidden=(16,), bins=4)
    circular = torch.tensor([False] * 5 + [True])
    return BoltzmannGenerator(
        InternalCoordinates(zmatrix_from_bonds(["C"] * 4, [(0, 1), (1, 2), (2, 3)])),
        Standardise(CENTRE, SCALE, circular, n_torsions=1),
        build_transform(model, 5, 1, seed=0).double(),
    )


def perturbed() -> BoltzmannGenerator:
    model = four_atoms()
    with torch.no_grad():
        for p in model.parameters():
            p += 0.1 * torch.randn_like(p)
    return model


def test_negative_log_likelihood() -> None:
    model, x = perturbed(), torch.randn(6, 6).double()
    expected = []
    for row in x:
        z = model.transform(row[None])[0][0]
        J = jacobian(lambda row: model.transform(row[None])[0][0], row)
        base = stats.norm.logpdf(z[:5].detach()).sum() - math.log(2 * math.pi)
        expected.append(base + torch.linalg.slogdet(J)[1].item())
    assert negative_log_likelihood(model, x).item() == pytest.approx(-np.mean(expected))


def latent(model: BoltzmannGenerator, settings: TrainingConfig) -> Tensor:
    return model.draw_latent(settings.energy_batch_size, torch.Generator().manual_seed(3))


def harmonic(positions_nm: Tensor) -> Tensor:
    return 1e4 * positions_nm.square().sum((1, 2))


def test_energy_loss() -> None:
    """The mean of u + log q, with energies beyond the cap capped."""
    settings = TrainingConfig(energy_batch_size=16, energy_cap_kt=95)
    model = perturbed()
    with torch.no_grad():
        made = model.generate(16, torch.Generator().manual_seed(3))
    u, log_q = harmonic(made.positions_nm).numpy(), made.log_prob_xyz.numpy()
    assert made.valid.all()
    assert 0 < (u > 595).sum() < 16
    capped = np.where(u > 595, 595 + np.log1p(np.maximum(u - 595, 0)), u)
    loss = kl_loss(model, harmonic, settings, latent(model, settings), typical_kt=500.0)
    assert loss.loss.item() == pytest.approx((capped + log_q).mean())
    np.testing.assert_allclose(loss.log_weight.numpy(), -u - log_q)
    torch.testing.assert_close(loss.samples.positions_nm, made.positions_nm)


UNBOUNDED = TrainingConfig(energy_batch_size=4096, energy_cap_kt=1e9, energy_slope_clip=1e9)


def gradients(model: BoltzmannGenerator, loss: Tensor, part: str) -> Tensor:
    """Of the parameters of a part of the transform, flat; zeros where there is none."""
    parameters = list(getattr(model.transform, part).parameters())
    found = torch.autograd.grad(
        loss, parameters, retain_graph=True, allow_unused=True, materialize_grads=True
    )
    return torch.cat([g.flatten() for g in found])


@pytest.mark.parametrize("part", ["linear", "circular"])
def test_where_the_flow_is_right_the_gradient_vanishes_sample_by_sample(part: str) -> None:
    model, frozen = perturbed(), perturbed()
    settings = UNBOUNDED.model_copy(update={"energy_batch_size": 4})

    def ideal(positions_nm: Tensor) -> Tensor:
        return 7.0 - frozen.log_prob_xyz(positions_nm)

    def tilted(positions_nm: Tensor) -> Tensor:
        return ideal(positions_nm) + 100 * positions_nm.square().sum((1, 2))

    right, wrong = (
        kl_loss(model, energy, settings, latent(model, settings)).loss for energy in (ideal, tilted)
    )
    assert right.item() == pytest.approx(7.0)
    assert gradients(model, right, part).abs().max() < 1e-9
    assert gradients(model, wrong, part).abs().max() > 1e-3


def test_the_path_gradient_is_that_of_the_mean() -> None:
    """Against the gradient of the reparametrised mean by autograd, over many samples."""
    model = perturbed()
    loss = kl_loss(model, harmonic, UNBOUNDED, latent(model, UNBOUNDED)).loss
    made = model.generate(65_536, torch.Generator().manual_seed(4))
    plain = (harmonic(made.positions_nm) + made.log_prob_xyz).mean()
    found, expected = (gradients(model, value, "linear") for value in (loss, plain))
    assert torch.linalg.vector_norm(found - expected) < 0.05 * torch.linalg.vector_norm(expected)


def test_circular_variables_are_fitted_by_weight() -> None:
    """-E_p ∂ log q(t)/∂θ by quadrature, with p(t) = q(t) exp(-cos t) up to normalisation."""
    model, frozen = perturbed(), perturbed()

    def energy(positions_nm: Tensor) -> Tensor:
        x, _ = frozen.standardised(positions_nm)
        return x[:, 5].cos() - frozen.log_prob_xyz(positions_nm)

    loss = kl_loss(model, energy, UNBOUNDED, latent(model, UNBOUNDED)).loss
    t = torch.linspace(-math.pi, math.pi, 2001).double()[:-1, None]
    log_q = model.transform.circular(t)[1]
    p = (log_q.detach() - t[:, 0].cos()).softmax(0)
    found = gradients(model, loss, "circular")
    expected = gradients(model, -(p * log_q).sum(), "circular")
    assert torch.linalg.vector_norm(found - expected) < 0.15 * torch.linalg.vector_norm(expected)


def mild(positions_nm: Tensor) -> Tensor:
    return 20 * positions_nm.square().sum((1, 2))


def test_frames_have_the_share_of_the_circular_gradient_that_weights_leave() -> None:
    settings = TrainingConfig(energy_batch_size=64)
    model, frames = perturbed(), torch.rand(64, 1).double() * 2 - 1
    z = latent(model, settings)
    alone = kl_loss(model, mild, settings, z)
    ess = 1 / (64 * alone.log_weight.softmax(0).square().sum())
    assert 0.01 < ess < 0.9
    both = kl_loss(model, mild, settings, z, torsions=frames)
    of_frames = gradients(model, -model.transform.circular(frames)[1].mean(), "circular")
    of_weights = gradients(model, alone.loss, "circular")
    found = gradients(model, both.loss, "circular")
    torch.testing.assert_close(found, ess * of_weights + (1 - ess) * of_frames)
    assert not torch.allclose(found, of_weights)
    assert both.loss.item() == pytest.approx(alone.loss.item()), "the value is the energies' alone"


def test_rejected_and_invalid_samples_have_no_weight_and_no_part_in_the_loss() -> None:
    settings = TrainingConfig(energy_batch_size=8, energy_cap_kt=1e9)
    model = perturbed()

    def rejecting(positions_nm: Tensor) -> Tensor:
        u = harmonic(positions_nm)
        return torch.where(torch.arange(8) == 2, REJECTED_ENERGY_KT, u)

    result = kl_loss(model, rejecting, settings, latent(model, settings))
    u, log_q = harmonic(result.samples.positions_nm), result.samples.log_prob_xyz
    expected = (u + log_q)[torch.arange(8) != 2].mean()
    torch.testing.assert_close(result.loss, expected)
    assert result.log_weight[2].exp() == 0


def test_a_torsion_beyond_its_cut_is_drawn_back_and_has_no_weight() -> None:
    """100 kT / rad² over what lies beyond half a turn, in the loss alone."""
    torch.manual_seed(0)
    model = ModelConfig(coupling="affine", blocks=1, hidden=(16,), torsions="cut")
    cut = torch.zeros(6, dtype=torch.bool)
    scale = torch.cat([SCALE[:5], torch.tensor([3.0]).double()])
    generator = BoltzmannGenerator(
        InternalCoordinates(zmatrix_from_bonds(["C"] * 4, [(0, 1), (1, 2), (2, 3)])),
        Standardise(CENTRE, scale, cut, n_torsions=1),
        build_transform(model, 6, 0, seed=0).double(),
    )
    settings = TrainingConfig(energy_batch_size=16, energy_cap_kt=1e9)
    with torch.no_grad():
        z = generator.draw_latent(16, torch.Generator().manual_seed(3))
        x, _ = generator.transform.inverse(z)
    beyond = (3 * x[:, 5].abs() - math.pi).clamp_min(0)
    assert 0 < (beyond > 0).sum() < 16
    result = kl_loss(generator, harmonic, settings, latent(generator, settings))
    u, log_q = harmonic(result.samples.positions_nm), result.samples.log_prob_xyz
    expected = (u + 100 * beyond.square() + log_q).mean()
    assert result.loss.item() == pytest.approx(expected.item(), rel=1e-5)
    inside = beyond == 0
    torch.testing.assert_close(result.log_weight[inside], (-u - log_q)[inside].detach())
    assert (result.log_weight[~inside].exp() == 0).all()


def test_likelihood_training_reaches_the_entropy_of_its_data() -> None:
    """Correlated normal bonds and angles, a von Mises torsion: -entropy is the best there is."""
    rng = np.random.default_rng(0)
    spread = np.eye(5) + 0.5 * rng.normal(size=(5, 5))
    spread /= np.linalg.norm(spread, axis=1, keepdims=True)
    kappa = 2.0

    def draw(n: int) -> Tensor:
        linear = rng.normal(size=(n, 5)) @ spread.T
        return torch.as_tensor(np.column_stack([linear, rng.vonmises(0.5, kappa, n)]))

    best = -stats.multivariate_normal(cov=spread @ spread.T).entropy()
    best -= stats.vonmises(kappa).entropy()
    model, train, heldout = four_atoms("affine"), draw(20_000), draw(4_000)
    settings = TrainingConfig(
        steps=250, energy_fraction=0, batch_size=256, learning_rate=1e-2, merge_every=10
    )
    optimizer = TrainingOptimizer(model, settings.optimizer)
    generators = Generators.from_seed(0)
    schedule = Schedule(
        {"ml": settings.steps, "anneal": 0, "kl": 0},
        300.0,
        300.0,
        settings.learning_rate,
        1e-4,
    )

    objective = Objective(model, harmonic, train, settings, schedule)

    def log_likelihood() -> float:
        with torch.no_grad():
            return model.log_prob_x(heldout).mean().item()

    before = log_likelihood()
    for step in range(1, settings.steps + 1):
        result = train_step(objective, optimizer, step, schedule.rate(step), generators)
        assert not result.skipped
        assert math.isnan(result.kl)
    after = log_likelihood()
    assert before < best - 0.8
    assert best - 0.1 < after < best + 0.06, (before, after, best)


def test_a_run_has_three_streams_of_random_numbers() -> None:
    first, second, other = (Generators.from_seed(seed) for seed in (1, 1, 2))

    def draw(generators: Generators) -> list[float]:
        return [torch.rand(1, generator=g).item() for g in vars(generators).values()]

    expected = draw(first)
    assert len(set(expected)) == 3
    assert draw(second) == expected
    assert draw(other) != expected
