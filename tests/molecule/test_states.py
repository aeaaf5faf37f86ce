"""States that follow from the bonds, and those of a config, against mdtraj and by hand."""

import mdtraj
import numpy as np
import pytest

from bgp4.config import Config, validate_config
from bgp4.errors import UserInputError
from bgp4.molecule.states import (
    State,
    members,
    members_by_symmetry,
    states,
    states_of_bonds,
)
from bgp4.molecule.symmetry import symmetries
from bgp4.studies.bench.peptides import alanine_peptide


def topology_of(
    symbols: str, bonds: list[tuple[int, int]], hydrogens: list[int]
) -> mdtraj.Topology:
    """Heavy atoms with their bonds, and hydrogens on each."""
    made = mdtraj.Topology()
    residue = made.add_residue("MOL", made.add_chain())
    heavy = [
        made.add_atom(f"{symbol}{i}", mdtraj.element.get_by_symbol(symbol), residue)
        for i, symbol in enumerate(symbols)
    ]
    for i, j in bonds:
        made.add_bond(heavy[i], heavy[j])
    for i, n in enumerate(hydrogens):
        for k in range(n):
            made.add_bond(heavy[i], made.add_atom(f"H{i}{k}", mdtraj.element.hydrogen, residue))
    return made


def line(n: int) -> list[tuple[int, int]]:
    return [(i, i + 1) for i in range(n - 1)]


def labels(topology: mdtraj.Topology) -> list[str]:
    return [state.label for state in states_of_bonds(topology)]


def config(**keys: object) -> Config:
    return validate_config(
        {"system": "AlanineDipeptideImplicit", "temperature_k": 300.0, **keys}, "test"
    )


def test_of_peptides() -> None:
    topology = alanine_peptide(2).topology
    assert labels(topology) == [
        *("ω ACE1 cis", "φ ALA2 > 0", "ω ALA2 cis", "φ ALA3 > 0", "ω ALA3 cis")
    ]
    trans = states(topology, config(data={"peptide_bonds": "trans"}))
    assert [state.label for state in trans] == ["φ ALA2 > 0", "φ ALA3 > 0"]


def test_rotamers_of_saturated_bonds() -> None:
    butane = topology_of("CCCC", line(4), [3, 2, 2, 3])
    assert labels(butane) == [f"C0–C1–C2–C3 {name}" for name in ("g+", "t", "g−")]
    turn = np.radians([-170, -60, -1, 1, 60, 119, 121, 180])
    inside = members(list(states_of_bonds(butane)), zigzag(butane, turn), butane)
    assert inside.argmax(axis=1).tolist() == [1, 2, 2, 0, 0, 0, 1, 1]
    assert (inside.sum(axis=1) == 1).all()


def test_esters_and_disulfides() -> None:
    ester = topology_of("CCOOCC", [(0, 1), (1, 2), (1, 3), (3, 4), (4, 5)], [3, 0, 0, 0, 2, 3])
    assert labels(ester)[0] == "C0–C1–O3–C4 cis"
    assert labels(ester)[1:] == [f"C1–O3–C4–C5 {name}" for name in ("g+", "t", "g−")]
    disulfide = topology_of("CSSC", line(4), [3, 0, 0, 3])
    assert labels(disulfide) == ["C0–S1–S2–C3 > 0"]


def test_puckers() -> None:
    benzene = topology_of("CCCCCC", [*line(6), (0, 5)], [1] * 6)
    assert labels(benzene) == [], "benzene is flat"
    assert labels(topology_of("NCCCC", [*line(5), (0, 4)], [0, 0, 2, 2, 2])) == [
        "ring C1–C2–C3–C4 > 0"
    ]


def test_rings_that_turn() -> None:
    topology = topology_of("CCCCCC", [*line(6), (0, 5)], [2] * 6)
    watched = list(states_of_bonds(topology))
    signs = ["5–C0–C1–C2", "0–C1–C2–C3", "1–C2–C3–C4", "2–C3–C4–C5", "3–C4–C5–C0", "4–C5–C0–C1"]
    reversed_ = ["1–C0–C5–C4"]  # the lower atom of the bond comes first
    whole = "ring C0–C1–C2–C3–C4–C5"
    assert [state.label for state in watched] == [
        *(f"ring C{four} > 0" for four in [*signs[:5], *reversed_]),
        *(f"{whole} chair", f"{whole} other chair"),
    ]
    folded = [hexagon(topology, z) for z in ([1, -1] * 3, [-1, 1] * 3, [1, 0, 0, 1, 0, 0])]
    inside = members(watched, np.array(folded), topology)
    assert inside[:, 6:].tolist() == [[True, False], [False, True], [False, False]]
    assert (inside[0, :6] ^ inside[1, :6]).all(), "mirror images"
    assert inside[0, :6].sum() == 3


def test_large_rings_have_the_torsions_of_a_chain() -> None:
    ring = [*line(10), (0, 9), (1, 10)]
    lactone = topology_of("OCCCCCCCCCO", ring, [0, 0, *[2] * 8, 0])
    found = labels(lactone)
    assert found[0] == "ring C9–O0–C1–C2 cis"
    assert "ring C3–C4–C5–C6 g+" in found
    assert not any("chair" in label for label in found)


def hexagon(
    topology: mdtraj.Topology,
    height: list[float],
) -> np.ndarray:  # (atoms, 3)
    """Six heavy atoms of a ring, by turns above and below; hydrogens at the origin."""
    x = np.zeros((topology.n_atoms, 3))
    turn = np.pi / 3 * np.arange(6)
    x[:6] = np.stack([0.15 * np.cos(turn), 0.15 * np.sin(turn), 0.025 * np.array(height)], 1)
    return x


def test_members_are_those_of_mdtrajs_angles(smoke_frames, alanine) -> None:
    found = list(states_of_bonds(alanine.topology))
    inside = members(found, smoke_frames.positions_nm, alanine.topology)
    frames = mdtraj.Trajectory(smoke_frames.positions_nm, alanine.topology)
    phi = mdtraj.compute_phi(frames)[1][:, 0]
    place = [state.label for state in found].index("φ ALA2 > 0")
    assert np.array_equal(inside[:, place], phi > 0)


def test_a_state_of_the_config(smoke_frames, alanine) -> None:
    bridge = {"name": "closed", "distance": ["ACE1-C", "NME3-N"], "range": [0.3, 0.5]}
    helix = {
        "name": "ψ through 180°",
        "torsion": ["ALA2-N", "ALA2-CA", "ALA2-C", "NME3-N"],
        "range": [120, 240],
    }
    watched = states(alanine.topology, config(states=[bridge, helix]))[-2:]
    assert [state.label for state in watched] == ["closed", "ψ through 180°"]
    inside = members(watched, smoke_frames.positions_nm, alanine.topology)
    frames = mdtraj.Trajectory(smoke_frames.positions_nm, alanine.topology)
    distance = mdtraj.compute_distances(frames, [watched[0].atoms], periodic=False)[:, 0]
    psi = np.degrees(mdtraj.compute_psi(frames)[1][:, 0])
    assert np.array_equal(inside[:, 0], (distance >= 0.3) & (distance < 0.5))
    assert np.array_equal(inside[:, 1], (psi >= 120) | (psi < -120))


def test_no_states() -> None:
    toluene = topology_of("CCCCCCC", [*line(6), (0, 5), (0, 6)], [0, 1, 1, 1, 1, 1, 3])
    assert labels(toluene) == []
    assert members([], np.zeros((3, toluene.n_atoms, 3)), toluene).shape == (3, 0)


@pytest.mark.parametrize(
    ("state", "message"),
    [
        (
            {"name": "a", "distance": ["ACE1-C", "XYZ"], "range": [0, 1]},
            "config key states.0: expected atoms such as ACE1-H1, found 'XYZ'",
        ),
        (
            {"name": "φ ALA2 > 0", "distance": ["ACE1-C", "ALA2-N"], "range": [0, 1]},
            "config key states: expected different names, found 'φ ALA2 > 0' twice",
        ),
        ({"name": "a", "range": [0, 1]}, "states.0: expected either torsion"),
        ({"name": "a", "distance": ["A", "B"], "range": [1, 0]}, r"range: expected \[low, high\]"),
    ],
)
def test_refusals(alanine, state: dict, message: str) -> None:
    with pytest.raises(UserInputError, match=message):
        states(alanine.topology, config(states=[state]))


def zigzag(
    topology: mdtraj.Topology,
    turn: np.ndarray,  # (n,), rad
) -> np.ndarray:  # (n, atoms, 3)
    """Four heavy atoms with this torsion; hydrogens at the origin."""
    frames = np.zeros((len(turn), topology.n_atoms, 3))
    frames[:, 0] = [0.05, 0.14, 0]
    frames[:, 2] = [0.15, 0, 0]
    frames[:, 3] = np.stack(
        [np.full(len(turn), 0.2), 0.14 * np.cos(turn), 0.14 * np.sin(turn)], axis=1
    )
    return frames


def test_sides_of_a_ring_have_equal_shares() -> None:
    """Toluene: its shares are those of both sides."""
    toluene = topology_of("CCCCCCC", [*line(7), (1, 6)], [3, 0, 1, 1, 1, 1, 1])
    bond = State("turn", (7, 0, 1, 2), 0.0, 180.0)  # a methyl hydrogen against the ring
    other = State("turn", (7, 0, 1, 6), 0.0, 180.0)
    frames = np.random.default_rng(0).normal(0, 0.1, (200, toluene.n_atoms, 3))
    groups = symmetries(toluene, frames[0])
    found = members_by_symmetry([bond], frames, toluene, groups)[:, 0]
    both = members([bond, other], frames, toluene)
    assert 0 < both[:, 0].mean() < 1
    assert found == pytest.approx(both.mean(axis=1))


def test_hydrogens_follow_their_atoms() -> None:
    """Both hydroxyl groups of glycol: names of carbons, oxygens and hydrogens change at once."""
    glycol = topology_of("OCCO", line(4), [1, 2, 2, 1])
    hydrogens = [a.index for a in glycol.atoms if a.element.symbol == "H"]
    first, last = hydrogens[0], hydrogens[-1]
    watched = State("H–O–C–C > 0", (first, 0, 1, 2), 0.0, 180.0)
    mirrored = State("the other", (last, 3, 2, 1), 0.0, 180.0)
    frames = np.random.default_rng(0).normal(0, 0.1, (100, glycol.n_atoms, 3))
    found = members_by_symmetry([watched], frames, glycol, symmetries(glycol, frames[0]))[:, 0]
    assert found == pytest.approx(members([watched, mirrored], frames, glycol).mean(axis=1))


def test_without_symmetry_shares_are_members() -> None:
    alanine = alanine_peptide(1)
    frames = np.random.default_rng(0).normal(0, 0.1, (50, 22, 3))
    watched = list(states_of_bonds(alanine.topology))
    groups = symmetries(alanine.topology, alanine.positions_nm)
    found = members_by_symmetry(watched, frames, alanine.topology, groups)
    assert (found == members(watched, frames, alanine.topology)).all()
