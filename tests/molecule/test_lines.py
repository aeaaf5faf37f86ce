"""Atoms in a line: which they are, what places them, and what is said of them."""

from __future__ import annotations

import re
from pathlib import Path
from types import SimpleNamespace

import mdtraj
import networkx as nx
import numpy as np
import openmm
import pytest
import torch

from bgp4.coordinates import InternalCoordinates, fit_standardise
from bgp4.data.from_energies import torsion_barriers
from bgp4.energies.batched import BatchedEnergy
from bgp4.energies.forcefield import read_force_field
from bgp4.energies.potential import Potential
from bgp4.energies.reference import relaxed
from bgp4.errors import UserInputError
from bgp4.molecule.lines import linear_atoms, off_the_line
from bgp4.molecule.molecule import Molecule, load_molecule, read_molecule
from bgp4.molecule.states import states_of_bonds
from bgp4.molecule.topology import atom_label, bond_graph, bonded_angles, rotatable_torsions
from bgp4.pipeline.description import description
from bgp4.report.torsions import stereocentres
from bgp4.training.diagnosis import coordinate_names
from tests import linear
from tests.for_each import for_each


@pytest.fixture(scope="module")
def butyne(tmp_path_factory) -> Molecule:
    return linear.loaded("but-2-yne", tmp_path_factory.mktemp("linear"))


def angle_deg(u: np.ndarray, v: np.ndarray) -> float:
    return float(np.degrees(np.arccos(u @ v / np.linalg.norm(u) / np.linalg.norm(v))))


@for_each("name", linear.NAMES)
def test_every_line_has_bends_and_no_torsion_turns_about_one(name: str, in_tmp) -> None:
    molecule = linear.loaded(name, in_tmp)
    x = molecule.positions_nm
    angles = {t: angle_deg(x[t[0]] - x[t[1]], x[t[2]] - x[t[1]]) for t in molecule.zmatrix.angles}
    assert molecule.zmatrix.straight == [triple for triple, deg in angles.items() if deg > 170]
    in_line = [t for t in bonded_angles(molecule.topology) if mean_angle(molecule, t) > 170]
    assert len(molecule.zmatrix.straight) == len(in_line) > 0
    assert all(deg < 130 for triple, deg in angles.items() if deg < 170)
    for row in molecule.zmatrix.rows:
        bond, angle, hinge, torsion = row.partners
        assert 25 < angle_deg(x[bond] - x[angle], x[torsion] - x[hinge]) < 155


def mean_angle(molecule: Molecule, triple: tuple[int, int, int]) -> float:
    frame = mdtraj.Trajectory(molecule.positions_nm, molecule.topology)
    return float(np.degrees(mdtraj.compute_angles(frame, [triple])[0, 0]))


GRAPHS = {
    "an alkyne": ("HCCH", [(0, 1), (1, 2), (2, 3)], {1, 2}),
    "a nitrile": ("CHHHCN", [(0, 1), (0, 2), (0, 3), (0, 4), (4, 5)], {4}),
    "an allene": ("HHCCCHH", [(0, 2), (1, 2), (2, 3), (3, 4), (4, 5), (4, 6)], {3}),
    "an isocyanate": ("HNCO", [(0, 1), (1, 2), (2, 3)], {2}),
    "an azide": ("HHHCNNN", [(0, 3), (1, 3), (2, 3), (3, 4), (4, 5), (5, 6)], {5}),
    "an isocyanide": ("HHHCNC", [(0, 3), (1, 3), (2, 3), (3, 4), (4, 5)], {4}),
    "a diazo group": ("HHCNN", [(0, 2), (1, 2), (2, 3), (3, 4)], {3}),
    "an imine": ("HHCNH", [(0, 2), (1, 2), (2, 3), (3, 4)], set()),
    "a nitroso group": ("HNO", [(0, 1), (1, 2)], set()),
    "water": ("HOH", [(0, 1), (1, 2)], set()),
}


@for_each(("elements", "bonds", "expected"), GRAPHS.values())
def test_atoms_that_are_linear_by_their_bonds(elements, bonds, expected) -> None:
    assert linear_atoms(nx.Graph(bonds), elements) == expected


def test_a_methyl_group_turns_across_the_line(butyne) -> None:
    """Turned by hand about the line, it changes one coordinate of all, by that angle."""
    x = torch.as_tensor(butyne.positions_nm)
    axis = torch.nn.functional.normalize(x[3] - x[2], dim=0)
    turn, far = np.radians(40), [7, 8, 9]
    arm = x[far] - x[3]
    along = (arm @ axis)[:, None] * axis
    across = arm - along
    turned = x.clone()
    turned[far] = x[3] + along + np.cos(turn) * across
    turned[far] += np.sin(turn) * torch.linalg.cross(axis.expand(3, 3), across)
    coordinates = InternalCoordinates(butyne.zmatrix)
    (before, after), _ = coordinates(torch.stack([x, turned]).flatten(1))
    change = torch.remainder(after - before + np.pi, 2 * np.pi) - np.pi
    (column,) = (change.abs() > 1e-9).nonzero().flatten().tolist()
    assert butyne.zmatrix.torsions[column - 17] == (7, 3, 2, 4, 0)
    assert change[column].item() == pytest.approx(turn)
    both = mdtraj.Trajectory(torch.stack([x, turned]).numpy(), butyne.topology)
    theirs = mdtraj.compute_dihedrals(both, [[4, 0, 3, 7]], periodic=False)[:, 0]
    np.testing.assert_allclose([before[column], after[column]], theirs, atol=0.01)


def test_a_molecule_in_a_line_is_refused(in_tmp) -> None:
    with pytest.raises(UserInputError, match=r"LIN1-N0 to LIN1-H4 are in a line.*a bend$"):
        linear.loaded("cyanoacetylene", in_tmp)


def test_a_bent_snapshot_of_a_line_is_one(in_tmp) -> None:
    """But what is no line by its bonds is one from 170° on."""
    config = linear.written("methyl azide", in_tmp)
    elements = [line.split()[0] for line in linear.STRUCTURES["methyl azide"].strip().split("\n")]
    x = linear.structure("methyl azide")[1].copy()
    x[3] = x[2] + 0.115 * np.array([1.0, 0, 0])
    assert 140 < angle_deg(x[1] - x[2], x[3] - x[2]) < 165
    lines = Path(config.pdb).read_text().splitlines()
    place = next(i for i, line in enumerate(lines) if f" {elements[3]}3 " in line)
    numbers = "".join(f"{10 * v:8.3f}" for v in x[3])
    lines[place] = lines[place][:30] + numbers + lines[place][54:]
    Path(config.pdb).write_text("\n".join(lines) + "\n")
    assert load_molecule(config).zmatrix.straight == [(3, 2, 1)]


def test_a_table_of_ones_own(butyne, in_tmp) -> None:
    config = linear.written("but-2-yne", in_tmp)
    rows = [[atom_label(butyne.topology, i) for i in row] for row in butyne.zmatrix.table()]
    assert load_molecule(config.model_copy(update={"zmatrix": rows})).zmatrix == butyne.zmatrix
    index = {row[0]: place for place, row in enumerate(rows)}
    far, inner, near = "LIN1-H7", "LIN1-C2", "LIN1-C0"
    for change, words in {
        "a torsion in the line": (
            {index[far]: [far, "LIN1-C3", inner, "LIN1-C1"]},
            "LIN1-H7-LIN1-C3-LIN1-C2-LIN1-C1: the bonds LIN1-C2-LIN1-C3 and LIN1-C2-LIN1-C1",
        ),
        "a root in a line": (
            {0: [near], 1: ["LIN1-C1", near], 2: [inner, "LIN1-C1", near], 3: rows[3]},
            "first three atoms, LIN1-C0-LIN1-C1-LIN1-C2, are in a line",
        ),
    }.values():
        changed = [change.get(place, row) for place, row in enumerate(rows)]
        if 0 in change:
            changed = [
                *([near], ["LIN1-C1", near], [inner, "LIN1-C1", near]),
                *(["LIN1-H4", near, "LIN1-C1", inner], *changed[3:5]),
                *(row for row in rows[5:] if row[0] != inner),
            ]
        with pytest.raises(UserInputError, match=re.escape(words)):
            load_molecule(config.model_copy(update={"zmatrix": changed}))


def test_the_file_names_what_bends_place(butyne, alanine, in_tmp) -> None:
    """And is the one that older versions wrote where there is nothing in a line."""
    Path("m.json").write_text(butyne.to_json())
    assert read_molecule(Path("m.json")).zmatrix == butyne.zmatrix
    assert '"bends"' in butyne.to_json()
    assert '"bends"' not in alanine.to_json()


def test_rotations_about_lines_are_seen_from_their_ends() -> None:
    topologies = {
        name: mdtraj.Topology.from_openmm(linear.structure(name)[0]) for name in linear.NAMES
    }
    found = {name: rotatable_torsions(topology) for name, topology in topologies.items()}
    atoms = {name: [torsion.atoms for torsion in torsions] for name, torsions in found.items()}
    assert atoms["hex-1-yne"] == [(1, 2, 3, 4), (2, 3, 4, 5)]
    assert atoms["benzonitrile"] == atoms["but-2-yne"] == atoms["methyl azide"] == []
    assert atoms["penta-2,3-diene"] == [(0, 1, 3, 4)]
    assert list(states_of_bonds(topologies["penta-2,3-diene"])) == []
    assert len(list(states_of_bonds(topologies["hex-1-yne"]))) == 6
    assert stereocentres(topologies["propargylglycine"])[:, 0].tolist() == [4]
    graph = bond_graph(topologies["propargylglycine"])
    assert all(graph.has_edge(*four[1:3]) for four in atoms["propargylglycine"])


def test_bends_are_no_circles_and_do_not_turn(butyne) -> None:
    """The methyl group behind the line does."""
    coordinates = InternalCoordinates(butyne.zmatrix)
    x = torch.as_tensor(butyne.positions_nm).flatten()[None]
    noise = torch.as_tensor(np.random.default_rng(0).normal(0, 0.003, (200, 30)))
    q, _ = coordinates(x + noise)
    bends = coordinates.bends.tolist()
    assert [butyne.zmatrix.rows[i - 17].bends for i in bends] == [True, True]
    circular = fit_standardise(q, 7, "circle", bends).circular
    assert circular.nonzero().flatten().tolist() == [c for c in range(17, 24) if c not in bends]
    circles = torsion_barriers(butyne, coordinates, coordinates(x)[0][0])[0] < 10.0
    turned = [butyne.zmatrix.torsions[i - 17] for i in circles.nonzero().flatten().tolist()]
    assert turned == [(7, 3, 2, 4, 0)]


def test_names_of_bends(butyne) -> None:
    model = SimpleNamespace(
        coordinates=InternalCoordinates(butyne.zmatrix),
        standardise=SimpleNamespace(order=torch.arange(24)),
    )
    names = coordinate_names(model, butyne.topology)
    kinds = [name.split()[0] for name in names]
    assert (kinds.count("bond"), kinds.count("angle"), kinds.count("torsion")) == (9, 6, 5)
    assert [name for name in names if name.startswith("bend")] == [
        *("bend LIN1-C2, LIN1-C1, LIN1-C0", "bend LIN1-C3, LIN1-C2, LIN1-C1"),
        "bend LIN1-C2, LIN1-C1, LIN1-C0, LIN1-H4",
        "bend LIN1-C3, LIN1-C2, LIN1-C1, LIN1-H4, LIN1-C0",
    ]


def test_what_init_says(butyne) -> None:
    said = list(description(butyne, relaxed(butyne)))
    assert sum(line.endswith("  bends") for line in said) == 2
    assert "rotatable: nothing but methyl groups" in said


def along_an_axis(molecule: Molecule) -> np.ndarray:
    """But-2-yne with its carbons exactly on the z axis."""
    x = molecule.positions_nm.copy()
    x[:4] = [[0, 0, z] for z in (0.2062, 0.06, -0.06, -0.2062)]
    for k in range(6):
        up, turn = (1, 0.0) if k < 3 else (-1, 0.3)
        angle = 2 * np.pi * k / 3 + turn
        x[4 + k] = [0.102 * np.cos(angle), 0.102 * np.sin(angle), up * 0.245]
    return x


def test_energies_are_finite_exactly_on_a_line(butyne) -> None:
    """OpenMM's forces are not: there positions are shaken by less than any file's rounding."""
    x = along_an_axis(butyne)
    shaken = off_the_line(x, butyne.zmatrix.straight)
    assert 0 < np.abs(shaken - x).max() < 1e-4
    assert off_the_line(shaken, butyne.zmatrix.straight) is shaken
    context = openmm.Context(
        openmm.XmlSerializer.deserialize(butyne.system_xml),
        openmm.VerletIntegrator(0.001),
        openmm.Platform.getPlatformByName("Reference"),
    )
    context.setPositions(shaken)
    state = context.getState(getEnergy=True, getForces=True)
    expected, forces = state.getPotentialEnergy()._value, state.getForces(asNumpy=True)._value
    potential = Potential(read_force_field(butyne.system_xml))
    by_torch, slope = potential.evaluate(x[None])
    for dtype, precision in ((torch.float64, 0.1), (torch.float32, 0.2)):
        ours = BatchedEnergy(butyne, 300.0, dtype).evaluate(np.stack([x, shaken]))
        np.testing.assert_allclose(ours.energy_kjmol, expected, atol=0.01)
        np.testing.assert_allclose(ours.forces_kjmol_nm[1], forces, atol=precision)
        np.testing.assert_allclose(ours.forces_kjmol_nm[0], slope[0], atol=precision)
    assert by_torch[0] == pytest.approx(expected, abs=0.01)
