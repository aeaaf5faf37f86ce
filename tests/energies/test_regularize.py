"""The cap of the energy, and the bound on slopes."""

from __future__ import annotations

import math

import pytest
import torch

from bgp4.energies.regularize import clip_norm, smooth_cap


def test_below_the_cap_nothing_changes() -> None:
    u = torch.linspace(-1e4, 99.999, 50).double()
    assert torch.equal(smooth_cap(u, 100.0), u)


def test_above_the_cap_it_grows_like_the_logarithm() -> None:
    u = torch.tensor([101.0, 1e3, 1e6]).double()
    expected = [100 + math.log(1 + value - 100) for value in u.tolist()]
    assert smooth_cap(u, 100.0).tolist() == pytest.approx(expected)


def test_continuous_with_its_derivative() -> None:
    u = torch.tensor([100 - 1e-7, 100.0, 100 + 1e-7]).double().requires_grad_()
    capped = smooth_cap(u, 100.0)
    (slope,) = torch.autograd.grad(capped.sum(), u)
    torch.testing.assert_close(capped, u, rtol=0, atol=1e-12)
    torch.testing.assert_close(slope, torch.ones(3).double(), rtol=0, atol=1e-6)
    many = torch.linspace(0, 1e4, 10_001).double().requires_grad_()
    (slope,) = torch.autograd.grad(smooth_cap(many, 100.0).sum(), many)
    assert ((slope > 0) & (slope <= 1)).all()


def test_no_gradient_is_lost_to_infinities() -> None:
    u = torch.tensor([1e30, 5.0]).requires_grad_()
    (slope,) = torch.autograd.grad(smooth_cap(u, 100.0).sum(), u)
    assert torch.isfinite(slope).all()
    assert slope[1] == 1


def test_a_long_slope_keeps_its_direction() -> None:
    values = torch.tensor([[3e9, 4e9], [0.3, -0.4], [0.0, 0.0]]).double()
    expected = torch.tensor([[30.0, 40.0], [0.3, -0.4], [0.0, 0.0]]).double()
    torch.testing.assert_close(clip_norm(values, 50.0), expected)
