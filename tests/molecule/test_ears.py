"""Rings that turn: what is stored and said of them, and the rows of a config that place them."""

from __future__ import annotations

import json
import re

import numpy as np
import pytest
import torch
import yaml

from bgp4.coordinates import InternalCoordinates, fit_standardise
from bgp4.data.from_energies import torsion_barriers, widths
from bgp4.energies.reference import ReferenceEnergy, relaxed
from bgp4.errors import UserInputError
from bgp4.molecule.molecule import Molecule, load_molecule, read_molecule
from bgp4.pipeline.description import description
from bgp4.pipeline.proposal import _zmatrix_comment
from bgp4.training.diagnosis import coordinate_names
from tests import linear


@pytest.fixture(scope="module")
def cyclohexane(tmp_path_factory) -> Molecule:
    return linear.loaded("cyclohexane", tmp_path_factory.mktemp("rings"))


def test_a_file_has_ears_where_there_are_any(cyclohexane, alanine, in_tmp) -> None:
    """Files of molecules without are as they were, to the byte."""
    for name, molecule in (("ring", cyclohexane), ("chain", alanine)):
        path = in_tmp / f"{name}.json"
        path.write_text(molecule.to_json())
        read = read_molecule(path)
        assert read.zmatrix == molecule.zmatrix
        assert read.to_json() == molecule.to_json()
    stored = json.loads((in_tmp / "ring.json").read_text())
    assert stored["ears"] == [row.atom for row in cyclohexane.zmatrix.rows if row.ear]
    assert "ears" not in json.loads((in_tmp / "chain.json").read_text())


def test_a_ring_of_an_older_run_keeps_its_open_bond(cyclohexane, in_tmp) -> None:
    """Its file has no ears: the rows are bonds, angles and torsions."""
    rows = [(0,), (1, 0), (2, 1, 0), (5, 0, 1, 2), (3, 2, 1, 0), (4, 3, 2, 1)]
    hydrogens = [(6 + 2 * i + k, i, (i + 1) % 6, (i + 2) % 6) for i in range(6) for k in (0, 1)]
    config = linear.written("cyclohexane", in_tmp)
    older = load_molecule(config.model_copy(update={"zmatrix": (*rows, *hydrogens)}))
    path = in_tmp / "molecule.json"
    path.write_text(older.to_json())
    assert '"ears"' not in path.read_text()
    read = read_molecule(path)
    assert read.zmatrix == older.zmatrix
    assert not any(row.ear for row in read.zmatrix.rows)
    coordinates = InternalCoordinates(read.zmatrix)
    x = torch.as_tensor(older.positions_nm).reshape(1, -1)
    assert coordinates.valid(coordinates(x)[0]).all()


def test_what_init_says_and_writes(cyclohexane, in_tmp) -> None:
    lines = list(description(cyclohexane, relaxed(cyclohexane)))
    assert "rings of 6 atoms, closed by coordinates" in lines
    ears = [line for line in lines if line.endswith("  ear")]
    assert len(ears) == 3
    assert all(re.search(r"0\.\d{4} +0\.\d{4} +-?1\d\d\.\d  ear$", line) for line in ears)
    text = re.sub(r"(?m)^  # ", "  ", _zmatrix_comment(cyclohexane))
    rows = yaml.safe_load(text)["zmatrix"]
    assert [row[-1] for row in rows].count("ear") == 3
    config = linear.written("cyclohexane", in_tmp)
    table = tuple(tuple(row) for row in rows)
    assert load_molecule(config.model_copy(update={"zmatrix": table})).zmatrix == (
        cyclohexane.zmatrix
    )


def test_an_ear_needs_a_side(in_tmp) -> None:
    config = linear.written("cyclohexane", in_tmp)
    rows: list[tuple[int | str, ...]] = [(0,), (1, 0), (2, 1, 0), (3, 2, 1, 0), (4, 3, 0, 1, "ear")]
    rows += [(i, 0, 1, 2) for i in range(5, 18)]
    with pytest.raises(UserInputError, match=r"system\.zmatrix: row 5: expected an ear on two"):
        load_molecule(config.model_copy(update={"zmatrix": tuple(rows)}))


def test_folds_stay_circles_and_distances_are_named(cyclohexane) -> None:
    """Unless all torsions are cut; the frames are of one chair, which fills little of a circle."""
    coordinates = InternalCoordinates(cyclohexane.zmatrix)
    noise = np.random.default_rng(0).normal(0, 0.002, (200, 18, 3))
    q, _ = coordinates(torch.as_tensor(cyclohexane.positions_nm + noise).flatten(1))
    folds = coordinates.folds.tolist()
    for kind, expected in (("auto", folds), ("cut", [])):
        made = fit_standardise(q, 15, kind, coordinates.bends.tolist(), folds)
        assert made.circular.nonzero().flatten().tolist() == expected
    model = type("Model", (), {"coordinates": coordinates, "standardise": made})
    names = coordinate_names(model, cyclohexane.topology)
    pairs = [f"distance LIN1-C{j}, LIN1-C{i}" for i in range(6) for j in range(6)]
    assert sum(name in pairs for name in names) == 6
    assert len(set(names)) == len(names) == 48


def test_energies_alone_leave_folds_where_they_are(cyclohexane) -> None:
    coordinates = InternalCoordinates(cyclohexane.zmatrix)
    centre, _ = coordinates(torch.as_tensor(cyclohexane.positions_nm).reshape(1, -1))
    barriers, _ = torsion_barriers(cyclohexane, coordinates, centre[0])
    assert barriers.isinf().all()
    energy = ReferenceEnergy(cyclohexane.system_xml, 18, 300.0)
    found = widths(energy, coordinates, centre[0], 2.5)
    assert (found[coordinates.distances] <= 0.02).all()
