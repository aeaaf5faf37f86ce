"""One contract for every molecule: values against mdtraj's geometry, and the volume element against
autograd.
"""

from __future__ import annotations

import mdtraj
import numpy as np
import pytest
import torch
from torch import Tensor
from torch.autograd.functional import jacobian

from bgp4.coordinates import InternalCoordinates, zmatrix_from_bonds
from bgp4.molecule.molecule import Molecule
from bgp4.molecule.zmatrix import zmatrix_from_rows
from tests import linear, turning


@pytest.fixture(scope="module", params=["alanine dipeptide", *linear.NAMES, *turning.NAMES])
def molecule(request, alanine, tmp_path_factory) -> Molecule:
    if request.param != "alanine dipeptide":
        return linear.loaded(request.param, tmp_path_factory.mktemp("linear"))
    return alanine


@pytest.fixture(scope="module")
def coordinates(molecule) -> InternalCoordinates:
    return InternalCoordinates(molecule.zmatrix)


@pytest.fixture(scope="module")
def frames(molecule, alanine, smoke_frames) -> Tensor:
    """(50, atoms, 3), float64: of MD, or positions with noise that bends lines by some degrees."""
    if molecule is alanine:
        return torch.as_tensor(smoke_frames.positions_nm[::20]).double()
    noise = np.random.default_rng(0).normal(0, 0.003, (50, molecule.n_atoms, 3))
    return torch.as_tensor(molecule.positions_nm + noise)


def with_hinges(
    coordinates: InternalCoordinates, x: Tensor
) -> tuple[mdtraj.Trajectory, list[tuple[int, ...]]]:
    """Frames, and the four atoms of each torsion: behind a line the last one is a copy, moved to
    where the angle's atom is.
    """
    places, torsions = [x], []
    for row in coordinates.zmatrix.rows:
        bond, angle, hinge, torsion = row.partners
        if hinge != angle:
            moved = x[:, torsion] + x[:, angle] - x[:, hinge]
            torsion = sum(p.shape[1] for p in places)
            places.append(moved[:, None])
        torsions.append((row.atom, bond, angle, torsion))
    return mdtraj.Trajectory(torch.cat(places, 1).numpy(), None), torsions


def test_against_mdtraj(coordinates, frames) -> None:
    q, _ = coordinates(frames.flatten(1))
    _, angles, torsions = (part.numpy() for part in coordinates.split(q))
    z = coordinates.zmatrix
    trajectory, fours = with_hinges(coordinates, frames)
    theirs = mdtraj.compute_angles(trajectory, z.angles, periodic=False)
    turns = mdtraj.compute_dihedrals(trajectory, fours, periodic=False)
    straight, ears = (np.array([getattr(r, kind) for r in z.rows]) for kind in ("bends", "ear"))
    bent = np.concatenate([[True], ~straight & ~ears])
    lengths = mdtraj.compute_distances(trajectory, list(z.distances), periodic=False)
    np.testing.assert_allclose(q[:, list(z.distances.values())], lengths, atol=1e-6)
    np.testing.assert_allclose(angles[:, bent], theirs[:, bent], atol=1e-5)
    apart = (torsions - turns)[:, ~straight]
    np.testing.assert_allclose(np.angle(np.exp(1j * apart)), 0, atol=1e-5)
    assert ((torsions >= -np.pi) & (torsions < np.pi)).all()
    lines = np.concatenate([[False], straight])
    bends = angles[:, lines] + 1j * torsions[:, straight]
    expected = 2 * np.cos(theirs[:, lines] / 2) * np.exp(1j * turns[:, straight])
    np.testing.assert_allclose(bends, expected, atol=2e-3)  # single precision, next to 180°


def test_round_trips(coordinates, frames) -> None:
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


def test_a_mirror_image_turns_torsions_and_second_bends_alone(coordinates, frames) -> None:
    q, _ = coordinates(frames.flatten(1))
    mirrored, _ = coordinates((frames * torch.tensor([1.0, 1.0, -1.0])).flatten(1))
    signs = torch.ones(q.shape[1]).double()
    signs[3 - coordinates.n_atoms :] = -1
    torch.testing.assert_close(mirrored, q * signs)


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
    n = coordinates.n_atoms
    bad = q.repeat(5, 1)
    bad[1, n - 2] = -0.1
    bad[2, n - 1] = 3.2
    bad[3, n - 1] = -0.01
    bad[4, -1] = torch.nan
    assert coordinates.valid(bad).tolist() == [True, False, False, False, False]


def bent_by(coordinates: InternalCoordinates, q: Tensor, u: float, v: float) -> Tensor:
    """q with these bends in its last line."""
    second = int(coordinates.bends[-1])
    changed = q.clone()
    changed[:, second - coordinates.n_atoms + 3], changed[:, second] = u, v
    return changed


@pytest.fixture(scope="module")
def hexyne(tmp_path_factory) -> InternalCoordinates:
    molecule = linear.loaded("hex-1-yne", tmp_path_factory.mktemp("linear"))
    return InternalCoordinates(molecule.zmatrix)


def test_a_line_is_no_special_place(hexyne) -> None:
    """Straight, or bent by up to nearly half a turn: finite, smooth, and there and back."""
    x = torch.as_tensor(linear.structure("hex-1-yne")[1])[None]
    q, _ = hexyne(x.flatten(1))
    for bends in ((0.0, 0.0), (1e-9, 0.0), (0.0, -0.3), (1.2, 0.9), (-1.99, 0.1)):
        bent = bent_by(hexyne, q, *bends)
        assert hexyne.valid(bent).all()
        flat, inverse = hexyne.inverse(bent)
        back, forward = hexyne(flat)
        torch.testing.assert_close(back, bent, rtol=0, atol=1e-9)
        torch.testing.assert_close(inverse, -forward, rtol=0, atol=1e-9)
        torch.testing.assert_close(inverse[0], log_volume(hexyne, bent[0]), rtol=0, atol=1e-8)
        J = jacobian(lambda row: hexyne(row[None])[0][0], flat[0])
        assert J.isfinite().all()


def test_bends_outside_their_circle_are_no_conformation(hexyne) -> None:
    x = torch.as_tensor(linear.structure("hex-1-yne")[1])[None]
    q, _ = hexyne(x.flatten(1))
    bent = bent_by(hexyne, q, 1.5, 1.5).requires_grad_()
    assert not hexyne.valid(bent).any()
    flat, _ = hexyne.inverse(bent)
    (slope,) = torch.autograd.grad(flat.square().sum(), bent)
    assert flat.isfinite().all()
    assert slope.isfinite().all()


@pytest.fixture(scope="module", params=["cyclohexane", "cyclo-(Gly)4"])
def ring(request, tmp_path_factory) -> tuple[InternalCoordinates, Tensor]:
    """Coordinates of a molecule with a ring that turns, and their values, (1, features)."""
    molecule = linear.loaded(request.param, tmp_path_factory.mktemp("ring"))
    coordinates = InternalCoordinates(molecule.zmatrix)
    return coordinates, coordinates(torch.as_tensor(molecule.positions_nm).reshape(1, -1))[0]


def test_folds_leave_the_ring_closed(ring) -> None:
    """Every bond and chord has its length, however the ring is folded; and nothing is singular."""
    coordinates, q = ring
    folded = q.repeat(200, 1)
    turns = torch.rand(200, len(coordinates.folds), generator=torch.Generator().manual_seed(0))
    folded[:, coordinates.folds] = (2 * turns.double() - 1) * np.pi
    assert coordinates.valid(folded).all()
    x, inverse = coordinates.inverse(folded)
    pairs = torch.tensor(list(coordinates.zmatrix.distances))
    apart = x.unflatten(1, (-1, 3))[:, pairs].diff(dim=2).norm(dim=-1)[..., 0]
    columns = list(coordinates.zmatrix.distances.values())
    torch.testing.assert_close(apart, q[:, columns].expand_as(apart), rtol=0, atol=1e-12)
    torch.testing.assert_close(inverse, inverse[:1].expand_as(inverse), rtol=0, atol=1e-12)
    back, forward = coordinates(x)
    torch.testing.assert_close(back, folded, rtol=0, atol=1e-9)
    torch.testing.assert_close(forward, -inverse, rtol=0, atol=1e-9)


def test_sides_that_make_no_triangle_are_no_conformation(ring) -> None:
    """They are finite, as are their slopes, so that training can leave them out."""
    coordinates, q = ring
    assert coordinates.valid(q).all()
    column = int(coordinates.distances[-1])
    for length in (1.0, 0.001, -0.15):
        wrong = q.clone()
        wrong[:, column] = length
        wrong.requires_grad_()
        assert not coordinates.valid(wrong).any()
        flat, volume = coordinates.inverse(wrong)
        (slope,) = torch.autograd.grad(flat.square().sum() + volume.sum(), wrong)
        assert flat.isfinite().all()
        assert slope.isfinite().all()


def test_a_known_ear() -> None:
    """Two right triangles on one hypotenuse, a right angle between them: r s / D is the volume."""
    rows = [(0,), (1, 0), (2, 1, 0), (3, 2, 0, 1)]
    coordinates = InternalCoordinates(zmatrix_from_rows(rows, 4, ears=[3]))
    x = torch.tensor([[[0.0, 0, 0], [0, 3, 0], [4, 3, 0], [0, 0, 0]]], dtype=torch.float64)
    side = (x[0, 2] - x[0, 0]) / 5
    normal = torch.tensor([0.0, 0.0, 1.0]).double()
    x[0, 3] = x[0, 0] + 1.8 * side + 2.4 * normal
    q, logabsdet = coordinates(x.flatten(1))
    torch.testing.assert_close(q[0, :3], torch.tensor([3.0, 4, 4]).double())
    torch.testing.assert_close(q[0, 4], torch.tensor(3.0).double())
    assert abs(q[0, 5].item()) == pytest.approx(np.pi / 2)
    assert logabsdet.item() == pytest.approx(-np.log(3**2 * 4**2 * 4 * 3 / 5))
