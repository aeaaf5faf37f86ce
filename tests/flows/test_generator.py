"""The generator: densities of the space they name, reproducible and the same in both directions."""

from __future__ import annotations

import copy
import math

import numpy as np
import pytest
import torch
from torch import Tensor

from bgp4.config import Config, ModelConfig
from bgp4.coordinates import InternalCoordinates, fit_standardise, zmatrix_from_bonds
from bgp4.flows.build import build_transform
from bgp4.flows.generator import BoltzmannGenerator, in_double_precision
from bgp4.p4 import P4Schedule, merge_step
from bgp4.training.train import fitted_generator

pytestmark = pytest.mark.filterwarnings("ignore:Initializing zero-element tensors")

Q_MEAN = torch.tensor([0.10, 0.15, 0.10, 1.8, 1.9, 0.0]).double()
Q_SPREAD = torch.tensor([0.010, 0.010, 0.010, 0.10, 0.10, 1.0]).double()


def perturb(model: torch.nn.Module, seed: int, scale: float = 0.1) -> None:
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for p in model.parameters():
            p += scale * torch.randn(p.shape, generator=generator, dtype=p.dtype)


@pytest.fixture(scope="module")
def small() -> BoltzmannGenerator:
    """Four atoms in a chain, in float64, with a P4 layer in mid-cycle."""
    rng = np.random.default_rng(0)
    q = Q_MEAN + Q_SPREAD * torch.as_tensor(rng.normal(size=(500, 6)))
    q[:, 5] = torch.as_tensor(rng.uniform(-np.pi, np.pi, 500))
    torch.manual_seed(0)
    transform = build_transform(
        ModelConfig(blocks=1, torsion_blocks=1, hidden=(8,), bins=4), 5, 1, seed=0
    ).double()
    perturb(transform, 1)
    merge_step(transform, None, 10, P4Schedule(merge_every=10))
    perturb(transform, 2)
    coordinates = InternalCoordinates(zmatrix_from_bonds(["C"] * 4, [(0, 1), (1, 2), (2, 3)]))
    return BoltzmannGenerator(coordinates, fit_standardise(q, 1, "circle"), transform)


@pytest.fixture(scope="module")
def model(smoke_config, alanine, smoke_frames) -> BoltzmannGenerator:
    made = fitted_generator(smoke_config, alanine.zmatrix, smoke_frames.positions_nm)
    perturb(made, 3, 0.02)
    return made


def test_the_density_integrates_to_one(small) -> None:
    """Importance sampling over internal coordinates, whose volume element is b² sin θ dq."""
    n, rng = 60_000, np.random.default_rng(4)
    width = torch.tensor([0.014, 0.014, 0.014, 0.14, 0.14]).double() * 1.5
    step = torch.as_tensor(rng.standard_t(4, size=(n, 5)))
    torsion = torch.as_tensor(rng.uniform(-np.pi, np.pi, (n, 1)))
    q = torch.cat([Q_MEAN[:5] + width * step, torsion], dim=1)
    student = torch.distributions.StudentT(4.0)
    log_proposal = (student.log_prob(step) - width.log()).sum(1) - math.log(2 * math.pi)
    ok = small.coordinates.valid(q)
    x, log_volume = small.coordinates.inverse(q[ok])
    with torch.no_grad():
        log_density = small.log_prob_xyz(x.unflatten(1, (-1, 3)))
    ratio = torch.zeros(n).double()
    ratio[ok] = (log_density + log_volume - log_proposal[ok]).exp()
    error = ratio.std() / n**0.5
    assert error < 0.03
    assert abs(ratio.mean() - 1) < 4 * error


def test_generated_conformations_have_the_density_they_came_with(small, generator) -> None:
    with torch.no_grad():
        made = small.generate(200, generator)
        again = small.log_prob_xyz(made.positions_nm)
    assert made.valid.all()
    torch.testing.assert_close(again, made.log_prob_xyz, rtol=0, atol=1e-7)


def test_alanine_too_and_without_rigid_motion(model, generator) -> None:
    double = in_double_precision(model)
    with torch.no_grad():
        made = double.generate(100, generator)
        moved = made.positions_nm.roll(1, dims=2) + 0.5  # a rotation of 120° and a shift
        for positions in (made.positions_nm, moved):
            log_prob = double.log_prob_xyz(positions)
            torch.testing.assert_close(
                log_prob[made.valid], made.log_prob_xyz[made.valid], rtol=0, atol=1e-6
            )
    assert made.positions_nm.shape == (100, 22, 3)
    assert made.valid.float().mean() > 0.9


def test_standardised_says_its_volume(model, smoke_frames) -> None:
    positions = torch.as_tensor(smoke_frames.positions_nm[:20])
    x, logabsdet = model.standardised(positions)
    assert x.dtype == logabsdet.dtype == torch.float64
    with torch.no_grad():
        expected = model.log_prob_x(x) + logabsdet
        torch.testing.assert_close(model.log_prob_xyz(positions), expected)
        made = model.conformations(x, model.log_prob_x(x).double())
    torch.testing.assert_close(made.log_prob_xyz, expected, rtol=0, atol=1e-8)
    torch.testing.assert_close(
        torch.cdist(made.positions_nm, made.positions_nm),
        torch.cdist(positions.double(), positions.double()),
        rtol=0,
        atol=1e-6,
    )


def test_what_is_no_conformation_is_flagged(model, smoke_frames) -> None:
    x, _ = model.standardised(torch.as_tensor(smoke_frames.positions_nm[:4]))
    x[1, 0] = -1e3  # a bond of negative length
    x[2, 30] = 1e3  # an angle beyond π
    x[3, model.standardise.n_linear - 1] = 1e3  # a cut torsion beyond its cut
    made = model.conformations(x, torch.zeros(4).double())
    assert made.valid.tolist() == [True, False, False, False]


def test_double_precision_is_a_better_copy(model, smoke_frames) -> None:
    before = copy.deepcopy(model.state_dict())
    double = in_double_precision(model)
    positions = torch.as_tensor(smoke_frames.positions_nm[::10])
    with torch.no_grad():
        single, exact = model.log_prob_xyz(positions), double.log_prob_xyz(positions)
    assert (double.dtype, model.dtype) == (torch.float64, torch.float32)
    assert (single - exact).abs().max() < 1e-3
    assert all(torch.equal(before[k], v) for k, v in model.state_dict().items())


def test_generation_is_differentiable_in_the_parameters(small, generator) -> None:
    made = small.generate(16, generator)
    (made.positions_nm.square().sum() + made.log_prob_xyz.sum()).backward()
    gradients = [p.grad for p in small.transform.parameters()]
    assert all(g is not None and torch.isfinite(g).all() for g in gradients)
    small.zero_grad()


def test_the_base_is_normal_on_lines_and_uniform_on_circles(model, generator) -> None:
    z = model.draw_latent(20_000, generator).double()
    n_linear = model.standardise.n_linear
    normal, angle = z[:, :n_linear], z[:, n_linear:]
    assert normal.mean().abs() < 0.01
    assert normal.var().item() == pytest.approx(1, abs=0.01)
    assert angle.abs().max() <= math.pi + 1e-6
    assert angle.var().item() == pytest.approx(math.pi**2 / 3, rel=0.02)
    expected = torch.distributions.Normal(0, 1).log_prob(normal).sum(1)
    expected -= angle.shape[1] * math.log(2 * math.pi)
    torch.testing.assert_close(model.log_prob_base(z), expected)


def test_the_same_seed_makes_the_same_weights(smoke_config, alanine, smoke_frames) -> None:
    def weights(config: Config, noise: int) -> dict[str, Tensor]:
        torch.manual_seed(noise)
        made = fitted_generator(config, alanine.zmatrix, smoke_frames.positions_nm[:100])
        return made.state_dict()

    first, second = weights(smoke_config, 1), weights(smoke_config, 2)
    assert all(torch.equal(first[k], second[k]) for k in first)
    other = weights(smoke_config.model_copy(update={"seed": 5}), 1)
    assert any(not torch.equal(first[k], other[k]) for k in first)
