"""Internal coordinates against mdtraj's geometry, and their volume element against autograd."""

from __future__ import annotations

import mdtraj
import numpy as np
import pytest
import torch
from torch import Tensor
from torch.autograd.functional import jacobian

from bgp4.coordinates import InternalCoordinates, zmatrix_from_bonds, zmatrix_from_topology


@pytest.fixture(scope="module")
def coordinates(alanine) -> InternalCoordinates:
    return InternalCoordinates(zmatrix_from_topology(alanine.topology))


@pytest.fixture(scope="module")
def frames(smoke_frames) -> Tensor:
    """(50, 22, 3), float64."""
    return torch.as_tensor(smoke_frames.positions_nm[::20]).double()


def test_against_mdtraj(coordinates, frames, alanine) -> None:
    q, _ = coordinates(frames.flatten(1))
    bonds, angles, torsions = (part.numpy() for part in coordinates.split(q))
    trajectory = mdtraj.Trajectory(frames.numpy(), alanine.topology)
    z = coordinates.zmatrix
    np.testing.assert_allclose(bonds, mdtraj.compute_distances(trajectory, z.bonds), atol=1e-6)
    np.testing.assert_allclose(angles, mdtraj.compute_angles(trajectory, z.angles), atol=1e-5)
    apart = torsions - mdtraj.compute_dihedrals(trajectory, z.torsions)
    np.testing.assert_allclose(np.angle(np.exp(1j * apart)), 0, atol=1e-5)
    assert ((torsions >= -np.pi) & (torsions < np.pi)).all()


def test_round_trips(coordinates, frames, alanine) -> None:
    q, forward = coordinates(frames.flatten(1))
    flat, inverse = coordinates.inverse(q)
    back, _ = coordinates(flat)
    torch.testing.assert_close(back, q, rtol=0, atol=1e-9)
    torch.testing.assert_close(inverse, -forward, rtol=0, atol=1e-9)
    assert (aligned_distance(flat.unflatten(1, (-1, 3)), frames) < 1e-9).all()


def aligned_distance(a: Tensor, b: Tensor) -> Tensor:
    """Largest distance of an atom from its twin after the best proper rotation (Kabsch)."""
    a, b = a - a.mean(1, keepdim=True), b - b.mean(1, keepdim=True)
    u, _, vt = torch.linalg.svd(a.mT @ b)
    proper = torch.diag_embed(torch.ones(len(a), 3).double())
    proper[:, 2, 2] = torch.linalg.det(u @ vt).sign()
    return torch.linalg.vector_norm(a @ u @ proper @ vt - b, dim=-1).amax(1)


def test_the_frame_of_the_inverse(coordinates, frames) -> None:
    flat, _ = coordinates.inverse(coordinates(frames.flatten(1))[0])
    first, second, third = flat.unflatten(1, (-1, 3))[:, list(coordinates.zmatrix.root)].unbind(1)
    assert (first == 0).all()
    assert (second[:, 1:] == 0).all()
    assert (third[:, 2] == 0).all()


def rigid(parameters: Tensor, x: Tensor) -> Tensor:
    """Shifts x (atoms, 3), then turns it by a rotation vector: six coordinates, exact at zero."""
    shift, turn = parameters[:3], parameters[3:]
    zero = torch.zeros((), dtype=x.dtype)
    generator = torch.stack(
        [
            torch.stack([zero, -turn[2], turn[1]]),
            torch.stack([turn[2], zero, -turn[0]]),
            torch.stack([-turn[1], turn[0], zero]),
        ]
    )
    return x @ torch.matrix_exp(generator).T + shift


def log_volume(coordinates: InternalCoordinates, q: Tensor) -> Tensor:
    """log |det d(x)/d(q, shift, rotation)| at shift and rotation zero, by autograd."""

    def place(all_coordinates: Tensor) -> Tensor:
        internal, motion = all_coordinates[:-6], all_coordinates[-6:]
        x, _ = coordinates.inverse(internal[None])
        return rigid(motion, x.unflatten(1, (-1, 3))[0]).flatten()

    J = jacobian(place, torch.cat([q, torch.zeros(6, dtype=q.dtype)]))
    return torch.linalg.slogdet(J)[1]


def test_log_determinant_with_rigid_motion_factored_out(coordinates, frames) -> None:
    """The first atom's position and the frame's orientation have the volume dR dΩ: no more."""
    q, forward = coordinates(frames[:5].flatten(1))
    _, inverse = coordinates.inverse(q)
    expected = torch.stack([log_volume(coordinates, row) for row in q])
    torch.testing.assert_close(inverse, expected, rtol=0, atol=1e-9)
    torch.testing.assert_close(forward, -expected, rtol=0, atol=1e-9)


def test_log_determinant_does_not_see_rigid_motion(coordinates, frames) -> None:
    motion = torch.tensor([0.3, -2.0, 1.0, 0.5, 2.0, -1.0]).double()
    moved = torch.stack([rigid(motion, x) for x in frames])
    for a, b in zip(coordinates(frames.flatten(1)), coordinates(moved.flatten(1)), strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-9)


def test_a_mirror_image_turns_the_torsions_alone(coordinates, frames) -> None:
    q, _ = coordinates(frames.flatten(1))
    mirrored, _ = coordinates((frames * torch.tensor([1.0, 1.0, -1.0])).flatten(1))
    torch.testing.assert_close(mirrored[:, :41], q[:, :41])
    torch.testing.assert_close(mirrored[:, 41:], -q[:, 41:])


def test_a_known_molecule() -> None:
    """Four atoms: bonds of one, right angles, a torsion of +90° (IUPAC: clockwise from behind)."""
    coordinates = InternalCoordinates(zmatrix_from_bonds(["C"] * 4, [(0, 1), (1, 2), (2, 3)]))
    x = torch.tensor([[[0.0, 1, 0], [0, 0, 0], [1, 0, 0], [1, 0, 1]]], dtype=torch.float64)
    q, logabsdet = coordinates(x.flatten(1))
    half = np.pi / 2
    torch.testing.assert_close(q[0, :5], torch.tensor([1.0, 1, 1, half, half]).double())
    assert q[0, 5].item() == pytest.approx(half)
    assert logabsdet.item() == pytest.approx(0)
    quadruple = coordinates.zmatrix.torsions
    trajectory = mdtraj.Trajectory(x.numpy(), None)
    assert mdtraj.compute_dihedrals(trajectory, quadruple)[0, 0] == pytest.approx(half)


def test_what_is_no_conformation_is_not_valid(coordinates, frames) -> None:
    q, _ = coordinates(frames[:1].flatten(1))
    bad = q.repeat(5, 1)
    bad[1, 3] = -0.1
    bad[2, 25] = 3.2
    bad[3, 30] = -0.01
    bad[4, 50] = torch.nan
    assert coordinates.valid(bad).tolist() == [True, False, False, False, False]
