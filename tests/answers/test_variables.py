"""Collective variables against formulas written out here, and the words for what is not there."""

from __future__ import annotations

import mdtraj
import numpy as np
import pytest

from bgp4.answers.variables import own_variables, variable
from bgp4.answers.weighted import weighted
from bgp4.errors import UserInputError


@pytest.fixture(scope="module")
def frames(alanine, smoke_frames) -> mdtraj.Trajectory:
    return mdtraj.Trajectory(smoke_frames.positions_nm[:200], alanine.topology)


def atom(frames: mdtraj.Trajectory, label: str) -> np.ndarray:
    index = [str(a) for a in frames.topology.atoms].index(label)
    x: np.ndarray = frames.xyz[:, index].astype(float)
    return x


def torsion(frames: mdtraj.Trajectory, *labels: str) -> np.ndarray:
    """By the signed angle between two planes."""
    a, b, c, d = (atom(frames, label) for label in labels)
    n1, n2 = np.cross(b - a, c - b), np.cross(c - b, d - c)
    axis = (c - b) / np.linalg.norm(c - b, axis=1, keepdims=True)
    return np.arctan2((np.cross(n1, n2) * axis).sum(1), (n1 * n2).sum(1))


PHI = ("ACE1-C", "ALA2-N", "ALA2-CA", "ALA2-C")


def test_torsions_by_name_and_by_atoms(frames) -> None:
    expected = torsion(frames, *PHI)
    for name in ("phi ALA2", "φ ALA2", f"torsion {' '.join(PHI)}"):
        found = variable(name, frames)
        assert found.periodic
        assert found.unit == "rad"
        assert np.allclose(np.exp(1j * found.values), np.exp(1j * expected), atol=1e-4)


def test_distances_angles_and_names_of_one_atom(frames) -> None:
    ca, c, o = (atom(frames, name) for name in ("ALA2-CA", "ALA2-C", "ALA2-O"))
    found = variable("distance CA ALA2-O", frames)
    assert np.allclose(found.values, np.linalg.norm(ca - o, axis=1), atol=1e-5)
    cosine = (
        ((ca - c) * (o - c)).sum(1) / np.linalg.norm(ca - c, axis=1) / np.linalg.norm(o - c, axis=1)
    )
    assert np.allclose(
        variable("angle CA ALA2-C ALA2-O", frames).values, np.arccos(cosine), atol=1e-3
    )


def test_variables_of_the_whole(frames) -> None:
    ends = np.linalg.norm(atom(frames, "ACE1-CH3") - atom(frames, "NME3-C"), axis=1)
    assert np.allclose(variable("end-to-end", frames).values, ends, atol=1e-5)
    x = frames.xyz.astype(float)
    rg = np.sqrt(((x - x.mean(1, keepdims=True)) ** 2).sum(2).mean(1))
    assert np.allclose(variable("rg", frames).values, rg, atol=1e-4)
    assert (variable("sasa", frames[:3]).values > 1).all()
    assert set(variable("hbonds", frames).values) <= {0, 1, 2}


def test_principal_components_are_those_of_the_weighted_ensemble(frames) -> None:
    log_weight = np.random.default_rng(0).normal(0, 0.5, len(frames))
    basis = weighted(frames.xyz, log_weight, frames.topology, 300.0)
    first, second = (variable(name, frames, basis).values for name in ("pc1", "pc2"))
    w = basis.weights
    assert w @ first == pytest.approx(0, abs=1e-9)
    assert w @ (first * second) == pytest.approx(0, abs=1e-9)
    assert w @ first**2 > w @ second**2
    angles = [
        variable(name, frames).values
        for name in ("omega ACE1", "phi ALA2", "psi ALA2", "omega ALA2")
    ]
    circles = np.stack([f(a) for f in (np.cos, np.sin) for a in angles], axis=1)
    centred = np.sqrt(w)[:, None] * (circles - w @ circles)
    largest = np.linalg.svd(centred, compute_uv=False)[0] ** 2
    assert w @ first**2 == pytest.approx(largest, rel=1e-6)


def test_rmsd_is_after_superposition(frames, tmp_path) -> None:
    frames[7].save_pdb(tmp_path / "seventh.pdb")
    turned = mdtraj.Trajectory(frames.xyz @ np.linalg.qr(np.eye(3) + 0.3)[0], frames.topology)
    turned.xyz *= np.sign(np.linalg.det(np.linalg.qr(np.eye(3) + 0.3)[0]))
    found = variable(f"rmsd {tmp_path}/seventh.pdb", frames).values
    assert found[7] < 2e-4
    assert found.max() > 0.02
    before = frames.xyz.copy()
    variable(f"rmsd {tmp_path}/seventh.pdb", frames)
    assert (frames.xyz == before).all()


def test_what_is_not_there_is_named(frames, tmp_path) -> None:
    frames[0].atom_slice(range(5)).save_pdb(tmp_path / "five.pdb")
    for name, words in (
        ("phi ALA3", "did you mean 'phi ALA2'"),
        ("", "has none of that name"),
        ("pc9", "expected pc1 to pc8"),
        ("distance CA", "expected distance and 2 atoms"),
        ("distance CA CA", "2 different atoms"),
        (
            "distance CA C",
            "more than one atom is called 'C'; expected one such as ACE1-C, ALA2-C, NME3-C",
        ),
        ("distance CA ALA2-Q", "no atom is called 'ALA2-Q'"),
        ("rmsd none.pdb", "no such file none.pdb"),
        (f"rmsd {tmp_path}/five.pdb", "expected the 22 atoms of the molecule"),
    ):
        with pytest.raises(UserInputError, match=words):
            variable(name, frames)


def test_columns_of_the_users_own(tmp_path) -> None:
    path, kept = tmp_path / "own.csv", np.array([True, False, True])
    path.write_text("a, b\n1,2\nnan,4\n5,6\n")
    found = own_variables(path, kept)
    assert found["b"].values.tolist() == [2, 6]
    assert found["a"].values.tolist() == [1, 5]
    for text, words in (
        ("a,b\n1,2\n3,4\n", "expected 3 rows of 2 numbers"),
        ("a\n1\n2\nx\n", "expected names, then rows of numbers"),
        ("a\n1\n2\ninf\n", "'a' of sample 2 is not finite"),
    ):
        path.write_text(text)
        with pytest.raises(UserInputError, match=words):
            own_variables(path, kept)
    with pytest.raises(UserInputError, match="no such file"):
        own_variables(tmp_path / "none.csv", kept)
