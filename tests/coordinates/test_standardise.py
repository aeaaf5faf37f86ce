"""Standardisation: moments, circles, cuts and the volume element."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.autograd.functional import jacobian

from bgp4.coordinates import fit_standardise
from bgp4.coordinates.standardise import wrap

KINDS = ["circle", "cut", "auto"]
N_TORSIONS = 3


def draw(n: int = 4000) -> Tensor:
    """Two bonds; a torsion all around, a skewed one with a gap of 1 rad, and a stiff one at ±π."""
    rng = np.random.default_rng(0)
    bonds = rng.normal([0.1, 0.15], [0.003, 0.01], (n, 2))
    around = rng.uniform(-np.pi, np.pi, n)
    skewed = np.where(rng.random(n) < 0.9, rng.uniform(-1.0, 0.0, n), rng.uniform(0, 4.28, n))
    stiff = np.pi + 0.1 * rng.normal(size=n)
    q = np.column_stack([bonds, around, skewed, stiff])
    q[:, 2:] = np.angle(np.exp(1j * q[:, 2:]))
    return torch.as_tensor(q)


@pytest.fixture(scope="module")
def q() -> Tensor:
    return draw()


@pytest.mark.parametrize("kind", KINDS)
def test_round_trip_and_log_determinant(q, kind) -> None:
    standardise = fit_standardise(q, N_TORSIONS, kind)
    x, forward = standardise(q)
    back, inverse = standardise.inverse(x)
    torch.testing.assert_close(back[:, :2], q[:, :2], rtol=0, atol=1e-12)
    torch.testing.assert_close(wrap(back - q)[:, 2:], torch.zeros(len(q), 3).double())
    assert ((back[:, 2:] >= -np.pi) & (back[:, 2:] < np.pi)).all()
    J = jacobian(lambda row: standardise(row[None])[0][0], q[0])
    torch.testing.assert_close(forward, torch.linalg.slogdet(J)[1].expand(len(q)))
    torch.testing.assert_close(inverse, -forward)


@pytest.mark.parametrize("kind", KINDS)
def test_a_fixed_column_is_no_variable(q, kind) -> None:
    """All else is as it is without it, and it comes back."""
    fixed = torch.tensor([True, False, False, False, False])
    held = torch.where(fixed, torch.tensor(0.1).double(), q)
    standardise, whole = (
        fit_standardise(held, N_TORSIONS, kind, fixed=fixed),
        fit_standardise(q, 3, kind),
    )
    x, forward = standardise(held)
    assert standardise.features == x.shape[1] == 4
    assert standardise.n_linear == whole.n_linear - 1
    torch.testing.assert_close(x, whole(q)[0][:, 1:])
    back, inverse = standardise.inverse(x)
    torch.testing.assert_close(wrap(back - held), torch.zeros_like(q))
    assert (back[:, 0] == held[:, 0]).all()
    torch.testing.assert_close(inverse, -forward)
    expected = -standardise.scale[~fixed].log().sum()
    torch.testing.assert_close(forward, expected.expand(len(q)))
    assert (standardise.overshoot(x) == 0).all()


def test_which_torsions_stay_circles(q) -> None:
    circular = {kind: fit_standardise(q, N_TORSIONS, kind).circular.tolist() for kind in KINDS}
    assert circular["circle"] == [False, False, True, True, True]
    assert circular["cut"] == [False] * 5
    assert circular["auto"] == [False, False, True, True, False]
    assert fit_standardise(q, N_TORSIONS, "auto").n_circular == 2


@pytest.mark.parametrize("kind", KINDS)
def test_linear_variables_are_standard_and_circles_keep_their_scale(q, kind) -> None:
    standardise = fit_standardise(q, N_TORSIONS, kind)
    x, _ = standardise(q)
    linear, circles = x[:, : standardise.n_linear], x[:, standardise.n_linear :]
    torch.testing.assert_close(linear.square().mean(0), torch.ones(linear.shape[1]).double())
    torch.testing.assert_close(x[:, :2].mean(0), torch.zeros(2).double(), atol=1e-9, rtol=0)
    assert (circles.abs() <= np.pi).all()
    assert (standardise.scale[standardise.circular] == 1).all()


def test_a_cut_lies_where_there_are_no_data(q) -> None:
    """Neighbouring frames on either side of a cut would be 2π / scale apart."""
    standardise = fit_standardise(q, N_TORSIONS, "cut")
    cuts = wrap(standardise.centre[3:] + np.pi)
    distance = wrap(q[:, 3:] - cuts).abs().amin(0)
    assert distance[0] > 0.04, "the skewed torsion is empty from 4.28 to 5.28 rad alone"
    assert distance[1] > 2


def test_beyond_the_cut(q) -> None:
    standardise = fit_standardise(q, N_TORSIONS, "cut")
    x, _ = standardise(q)
    assert (standardise.overshoot(x) == 0).all()
    x[:, 3] += 2 * np.pi / standardise.scale[3]
    assert (standardise.overshoot(x) > 0).all()
    again, _ = standardise.inverse(x)
    torch.testing.assert_close(
        wrap(again - q)[:, 2:], torch.zeros(len(q), 3).double(), atol=1e-9, rtol=0
    )


def test_wrap() -> None:
    angles = torch.tensor([0.0, 3.0, -3.0, np.pi, -np.pi, 4.0, -4.0, 100.0]).double()
    expected = np.angle(np.exp(1j * angles.numpy()))
    np.testing.assert_allclose(np.exp(1j * wrap(angles).numpy()), np.exp(1j * expected))
    assert ((wrap(angles) >= -np.pi) & (wrap(angles) < np.pi)).all()
