"""Conformers of molecules whose torsions have a known distribution, by quadrature or counting."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any

import mdtraj
import numpy as np
import pytest
from numpy.typing import NDArray

from bgp4.answers.conformers import OTHER, Conformers, conformers
from bgp4.answers.rmsd import SymmetricRMSD
from bgp4.answers.weighted import Weighted, weighted
from bgp4.answers.wells import wells
from bgp4.errors import UserInputError
from bgp4.molecule.topology import bond_graph
from tests.answers.molecules import molecule, moved, turned
from tests.for_each import for_each

pytest.importorskip("rdkit")
from rdkit.Chem import rdMolAlign

Array = NDArray[np.float64]

N = 4000

DATA = Path(__file__).parents[2] / "data"


def energy_kt(angle: Array) -> Array:
    """Of a chain's torsion: trans lies 1 kT below both gauche, which barriers of 5 kT part."""
    return 2.5 * (1 + np.cos(3 * angle)) + 0.67 * (1 + np.cos(angle))


def shares(ranges: list[tuple[float, float]]) -> Array:
    """Populations of ranges of a torsion of `energy_kt`, in degrees, by quadrature."""
    grid = np.radians(np.arange(0, 360, 0.01))
    density = np.exp(-energy_kt(grid))
    degrees = np.degrees(grid)
    parts = [density[(degrees >= low) & (degrees < high)].sum() for low, high in ranges]
    return np.array(parts) / density.sum()


GAUCHE, TRANS, MINUS = (0, 120), (120, 240), (240, 360)


def drawn(n: int, seed: int) -> Array:
    """Angles of `energy_kt`, rad."""
    rng = np.random.default_rng(seed)
    grid = np.radians(np.arange(0, 360, 0.05))
    total = np.cumsum(np.exp(-energy_kt(grid)))
    return np.interp(rng.uniform(0, total[-1], n), total, grid)


@lru_cache
def butane() -> tuple[Any, mdtraj.Topology, NDArray[np.float32]]:
    mol, topology, _ = molecule("CCCC")
    return mol, topology, turned(mol, [(0, 1, 2, 3)], drawn(N, 0)[:, None])


@lru_cache
def pentane() -> tuple[Any, mdtraj.Topology, NDArray[np.float32]]:
    mol, topology, _ = molecule("CCCCC")
    both = np.column_stack([drawn(N, 1), drawn(N, 2)])
    return mol, topology, turned(mol, [(0, 1, 2, 3), (1, 2, 3, 4)], both)


def equal(positions_nm: NDArray[np.floating], topology: mdtraj.Topology) -> Weighted:
    return weighted(positions_nm, np.zeros(len(positions_nm)), topology, 300.0)


def agree(found: Conformers, expected: Array, n: int) -> None:
    """Populations within four standard errors of independent draws, and errors near those."""
    error = np.sqrt(expected * (1 - expected) / n)
    assert np.abs(found.populations[:-1] - expected).max() < 4 * error.max()
    assert found.populations.sum() == pytest.approx(1)
    assert found.errors[:-1] == pytest.approx(error, rel=0.6)  # 20 blocks


@for_each("rmsd_nm", (None, 0.03))
def test_butane_has_trans_and_two_gauche(rmsd_nm: float | None) -> None:
    _, topology, positions_nm = butane()
    found = conformers(equal(positions_nm, topology), rmsd_nm)
    expected = np.sort(shares([GAUCHE, TRANS, MINUS]))[::-1]
    assert len(found) == 3
    tolerance = 0.03 if rmsd_nm else 0.0  # conformations far from all middles are others
    assert np.abs(found.populations[:3] - expected).max() < 0.03 + tolerance
    assert sorted(np.abs(found.angles_deg[:, 0]).round(-1)) == [60, 60, 180]
    if rmsd_nm is None:
        agree(found, expected, N)
        assert found.free_energy_kt == pytest.approx(-np.log(expected / expected[0]), abs=0.2)
        assert found.torsions == ["C1–C2–C3–C4"]
        angles = mdtraj.compute_dihedrals(found.structures, [[0, 1, 2, 3]], periodic=False)
        off = np.radians(found.angles_deg) - angles
        assert np.abs(np.sin(off)).max() < np.sin(np.radians(3))


def test_weights_count() -> None:
    """Uniform angles and the weights of `energy_kt`."""
    mol, topology, _ = butane()
    angles = np.random.default_rng(3).uniform(0, 2 * np.pi, N)
    positions_nm = turned(mol, [(0, 1, 2, 3)], angles[:, None])
    found = conformers(weighted(positions_nm, -energy_kt(angles), topology, 300.0))
    expected = np.sort(shares([GAUCHE, TRANS, MINUS]))[::-1]
    weights = np.exp(-energy_kt(angles))
    worth = weights.sum() ** 2 / (weights**2).sum()
    assert found.effective.sum() == pytest.approx(worth, rel=0.3)
    assert np.abs(found.populations[:3] - expected).max() < 4 * found.errors.max()
    trans = (np.degrees(angles) >= 120) & (np.degrees(angles) < 240)
    ratio = weights * (trans - expected[0])
    error = np.sqrt((ratio**2).sum()) / weights.sum()
    assert found.errors[0] == pytest.approx(error, rel=0.2)


def test_both_ends_of_pentane_are_one() -> None:
    """Of nine combinations six are left, three of them with twice the population."""
    _, topology, positions_nm = pentane()
    found = conformers(equal(positions_nm, topology), least=0.001)
    g, t, _ = shares([GAUCHE, TRANS, MINUS])
    expected = np.sort([t * t, 2 * g * t, 2 * g * t, g * g, g * g, 2 * g * g])[::-1]
    agree(found, expected, N)


def reversed_ends(topology: mdtraj.Topology) -> NDArray[np.intp]:
    """Pentane's atoms, hydrogens too, with both ends exchanged."""
    carbons = [0, 1, 2, 3, 4]
    hydrogens = {c: sorted(i for i in bond_graph(topology)[c] if i not in carbons) for c in carbons}
    order = np.arange(topology.n_atoms)
    for c in carbons:
        order[[c, *hydrogens[c]]] = [4 - c, *hydrogens[4 - c]]
    return order


@for_each("rmsd_nm", (None, 0.04))
def test_equivalent_atoms_and_rigid_motion_change_nothing(rmsd_nm: float | None) -> None:
    _, topology, positions_nm = pentane()
    before = conformers(equal(positions_nm, topology), rmsd_nm, 0.001)
    half = np.random.default_rng(0).random(N) < 0.5
    other = np.where(half[:, None, None], positions_nm[:, reversed_ends(topology)], positions_nm)
    after = conformers(equal(moved(other, 1), topology), rmsd_nm, 0.001)
    same = before.labels == after.labels
    if rmsd_nm is None:
        assert same.all()
        assert after.populations == pytest.approx(before.populations)
    assert same.mean() > 0.99
    frames = mdtraj.Trajectory(moved(other, 2), topology)
    assert (before.assign(frames) == before.labels).mean() > 0.999


def test_symmetric_groups_and_methyl_groups_have_one_conformer() -> None:
    """A phenyl and a tert-butyl group that jump."""
    rng = np.random.default_rng(0)
    for smiles, atoms in (("c1ccccc1CC", (0, 5, 6, 7)), ("CC(C)(C)CF", (0, 1, 4, 5))):
        mol, topology, _ = molecule(smiles)
        fold = 2 if "c" in smiles else 3
        angles = rng.integers(fold, size=1000) * 2 * np.pi / fold + rng.normal(1, 0.2, 1000)
        positions_nm = turned(mol, [atoms], angles[:, None])
        assert len(wells(np.angle(np.exp(1j * angles)), np.ones(1000))) == fold
        found = conformers(equal(positions_nm, topology))
        assert len(found) == 1
        assert found.populations == pytest.approx([1, 0])


def test_rotamers_of_an_isopropyl_group_are_three() -> None:
    """Its two methyl groups are alike, but no rotation exchanges them."""
    mol, topology, _ = molecule("CC(C)CC")
    found = conformers(equal(turned(mol, [(0, 1, 3, 4)], drawn(N, 4)[:, None]), topology))
    agree(found, np.sort(shares([GAUCHE, TRANS, MINUS]))[::-1], N)


def test_hydroxyl_and_amino_groups_have_conformers() -> None:
    for smiles in ("CCO", "CCN"):
        mol, topology, _ = molecule(smiles)
        graph = [sorted((a.index, b.index)) for a, b in topology.bonds]
        hydrogen = next(j for i, j in graph if i == 2)
        positions_nm = turned(mol, [(0, 1, 2, hydrogen)], drawn(N, 5)[:, None])
        found = conformers(equal(positions_nm, topology))
        assert len(found) == 3
        assert found.populations[0] == pytest.approx(shares([TRANS])[0], abs=0.04)


def test_a_mirror_image_is_a_conformer_of_its_own() -> None:
    _, topology, positions_nm = molecule("C[C@H](F)Cl")
    both = np.stack([positions_nm] * 300 + [positions_nm * [1, 1, -1]] * 100)
    found = conformers(equal(both, topology))
    assert found.populations == pytest.approx([0.75, 0.25, 0])
    assert found.remarks == ["", "inverted at LIG0-C2"]


def test_alanine_dipeptide_by_mdtraj() -> None:
    """Populations are those of mdtraj's torsions within the wells, the same in both halves."""
    ala2_frames = mdtraj.load(DATA / "ala2_300k.h5")
    found = conformers(equal(ala2_frames.xyz, ala2_frames.topology), least=0.001)
    _, phi = mdtraj.compute_phi(ala2_frames, periodic=False)
    right = found.angles_deg[:, found.torsions.index("φ ALA2")] > 0
    inside = (np.degrees(phi[:, 0]) > 5) & (np.degrees(phi[:, 0]) < 115)
    assert found.populations[:-1][right].sum() == pytest.approx(inside.mean(), rel=0.05)
    halves = [
        conformers(equal(half.xyz, ala2_frames.topology), least=0.01)
        for half in (ala2_frames[: len(phi) // 2], ala2_frames[len(phi) // 2 :])
    ]
    assert len(halves[0]) == len(halves[1]) >= 4
    for one, other in zip(*(half.angles_deg for half in halves), strict=True):
        assert np.abs((one - other + 180) % 360 - 180).max() < 10
    off = halves[0].populations - halves[1].populations
    assert np.abs(off / np.hypot(halves[0].errors, halves[1].errors))[:-1].max() < 4


def test_what_turns_freely_is_one_conformer() -> None:
    """No sample is a conformer of its own, however few or many there are."""
    mol, topology, _ = molecule("CCCCCC")
    four = [(0, 1, 2, 3), (1, 2, 3, 4), (2, 3, 4, 5)]
    angles = np.random.default_rng(0).uniform(-np.pi, np.pi, (1000, 3))
    positions_nm = turned(mol, four, angles)
    for n in (5, 30, 200, 1000):
        assert len(conformers(equal(positions_nm[:n], topology))) == 1


def test_rest_is_other_and_the_lowest_come_first() -> None:
    _, topology, positions_nm = pentane()
    whole = conformers(equal(positions_nm, topology), least=0.001)
    some = conformers(equal(positions_nm, topology), most=2)
    assert some.populations[:2] == pytest.approx(whole.populations[:2])
    assert some.populations[2] == pytest.approx(whole.populations[2:].sum())
    assert (some.labels == OTHER).mean() == pytest.approx(some.populations[2])
    assert (np.diff(whole.free_energy_kt) >= 0).all()


def test_samples_without_weight_are_of_none() -> None:
    _, topology, positions_nm = butane()
    spoilt = positions_nm.copy()
    spoilt[::2] = np.nan
    log_weight = np.where(np.arange(N) % 2, 0.0, -np.inf)
    found = conformers(weighted(spoilt, log_weight, topology, 300.0))
    assert (found.labels[::2] == OTHER).all()
    assert (found.representatives % 2 == 1).all()
    assert np.isfinite(found.structures.xyz).all()


MISTAKES: dict[str, tuple[Callable[[Weighted], Any], str]] = {
    "least": (lambda sample: conformers(sample, least=1.0), "population of 0 to 1"),
    "most": (lambda sample: conformers(sample, most=0), "one conformer or more"),
    "cutoff": (lambda sample: conformers(sample, 0.0), "RMSD above 0"),
    "none": (lambda sample: conformers(sample, least=0.9), "for the fullest"),
}


@for_each(("call", "words"), MISTAKES.values())
def test_mistakes_are_one_line(call: Callable[[Weighted], Any], words: str) -> None:
    _, topology, positions_nm = butane()
    with pytest.raises(UserInputError, match=words) as caught:
        call(equal(positions_nm, topology))
    assert "\n" not in str(caught.value)


@for_each("smiles", ("CCCC", "CCCCC", "c1ccccc1CC", "C1CCCCC1", "c1ccc(cc1)-c1ccccc1", "CCO"))
def test_rmsd_is_that_of_rdkit(smiles: str) -> None:
    from rdkit import Chem
    from rdkit.Chem import AllChem

    mol, topology, positions_nm = molecule(smiles)
    AllChem.EmbedMultipleConfs(mol, 6, randomSeed=2)
    shapes = np.array([shape.GetPositions() / 10 for shape in mol.GetConformers()])
    rmsd = SymmetricRMSD(topology, positions_nm)
    own = rmsd.centred(mdtraj.Trajectory(shapes.astype(np.float32), topology))
    heavy = Chem.RemoveHs(mol)
    for i, shape in enumerate(shapes):
        expected = [rdMolAlign.GetBestRMS(Chem.Mol(heavy), heavy, j, i) / 10 for j in range(6)]
        assert rmsd.to(own, shape) == pytest.approx(expected, abs=2e-4)
