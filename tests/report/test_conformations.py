"""Which conformations a page carries, and that they are what they are said to be."""

import base64
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import mdtraj
import numpy as np
import pytest

from bgp4.report.conformations import BUDGET_BYTES, BYTES_PER_ATOM, Site, choose, sites
from bgp4.report.interactive import page_data
from bgp4.report.result import RunResult
from bgp4.report.torsions import backbone_torsions


def a_map(samples: np.ndarray, data: np.ndarray) -> Site:
    return Site("map", "ALA2", (0, 1, 2), samples, data)


def stand_in(weights: np.ndarray, bins: int, atoms: int = 22) -> Any:
    return SimpleNamespace(
        sample_weights_in_space=weights, bins=bins, topology=SimpleNamespace(n_atoms=atoms)
    )


def test_the_heaviest_sample_of_each_bin_and_the_frame_next_to_it() -> None:
    samples = np.array([[0.1, 0.1], [0.2, 0.2], [0.3, 0.3], [-2.0, 1.0], [2.0, 2.0]])
    data = np.array([[0.5, 0.5], [0.21, 0.2], [-2.5, -2.5]])
    run = stand_in(np.array([0.2, 0.5, 0.1, 0.2, 0.0]), bins=8)
    [choice] = choose(run, [a_map(samples, data)])
    assert sorted(choice.samples) == [1, 3]  # the last one has no weight
    assert sorted(choice.data) == [1, 2]


def test_a_torsion_has_one_angle() -> None:
    site = Site("torsion", "χ", (0, 1, 2), np.array([[0.1], [0.2], [3.0]]), np.array([[0.15]]))
    [choice] = choose(stand_in(np.array([0.1, 0.6, 0.3]), bins=8), [site])
    assert sorted(choice.samples) == [1, 2]


@pytest.mark.parametrize(("atoms", "residues"), [(22, 1), (42, 3), (102, 9)])
@pytest.mark.parametrize("n", [10_000, 100_000])
def test_the_budget_holds_for_any_molecule(atoms: int, residues: int, n: int) -> None:
    """With samples all over every map."""
    rng = np.random.default_rng(0)
    found = [a_map(*rng.uniform(-np.pi, np.pi, (2, n, 2))) for _ in range(residues)]
    chosen = choose(stand_in(rng.random(n), 64, atoms), found)
    number = sum(
        len(np.unique(np.concatenate([getattr(choice, name) for choice in chosen])))
        for name in ("samples", "data")
    )
    assert 0.1 * BUDGET_BYTES < number * BYTES_PER_ATOM * atoms <= BUDGET_BYTES
    assert all(len(choice.samples) for choice in chosen)


def test_a_small_budget_keeps_the_most_populated_bins() -> None:
    samples = np.array([[0.5, 0.5]] * 3 + [[-2.0, 1.0]] * 2 + [[2.0, 2.0]])
    run = stand_in(np.full(6, 1 / 6), bins=8, atoms=1)
    [choice] = choose(run, [a_map(samples, samples)], budget_bytes=4 * BYTES_PER_ATOM)
    assert samples[choice.samples].tolist() == [[0.5, 0.5], [-2.0, 1.0]]


def test_sites_of_molecules(
    good_run: RunResult, peptide_run: RunResult, toluene_run: RunResult
) -> None:
    assert [(site.kind, site.label) for site in sites(good_run)] == [("map", "ALA2")]
    assert [site.label for site in sites(peptide_run)] == ["ALA2", "ALA3", "ALA4"]
    names = [[peptide_run.topology.atom(i).name for i in s.anchor] for s in sites(peptide_run)]
    assert names == [["N", "CA", "C"]] * 3
    [listed] = sites(toluene_run)
    assert listed.kind == "list"
    assert all(toluene_run.topology.atom(i).element.symbol == "C" for i in listed.anchor)
    topology = good_run.topology.copy()
    for atom in topology.atoms:
        atom.name = f"{atom.element.symbol}{atom.index}"
    assert {site.kind for site in sites(replace(good_run, topology=topology))} == {"torsion"}


def test_page_has_the_coordinates_of_its_conformations(peptide_run: RunResult) -> None:
    """φ and ψ of what the page carries, by mdtraj, are those it is filed under."""
    [run] = page_data([peptide_run])["runs"]
    shape = (-1, len(run["molecule"]["elements"]), 3)
    for source in ("samples", "data"):
        raw = base64.b64decode(run["positions"][source])
        positions = np.frombuffer(raw, "<i2").reshape(shape) * run["unit_nm"]
        torsions = backbone_torsions(positions, peptide_run.topology)
        numbers = np.array(run["number"][source])
        original = getattr(peptide_run, f"{source.removesuffix('s')}_positions_nm")[numbers]
        for site, of in zip(run["sites"], torsions, strict=True):
            filed = site["conformations"][source]
            at = np.reshape(filed["at"], (-1, 2))
            found = np.degrees(np.column_stack([of.phi, of.psi]))[filed["which"]]
            assert np.abs((found - at + 180) % 360 - 180).max() < 0.3
        frames = [mdtraj.Trajectory(x, peptide_run.topology) for x in (positions, original)]
        assert max(mdtraj.rmsd(frames[0][i], frames[1][i])[0] for i in range(10)) < 1e-3


def test_weights_of_the_list_fall(toluene_run: RunResult) -> None:
    [run] = page_data([toluene_run])["runs"]
    which = run["sites"][0]["conformations"]["samples"]["which"]
    weights = [run["weight"][i] for i in which]
    assert weights == sorted(weights, reverse=True)
    assert weights[0] == pytest.approx(toluene_run.weights.max() * 300, rel=1e-3)
