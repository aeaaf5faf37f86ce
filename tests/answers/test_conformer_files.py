"""Files of conformers, read by the tools that they are for."""

from __future__ import annotations

import csv
import io
import sys
from dataclasses import replace
from pathlib import Path

import mdtraj
import numpy as np
import pytest

from bgp4.answers.conformer_files import (
    conformers_csv,
    conformers_pdb,
    conformers_sdf,
    conformers_table,
)
from bgp4.answers.conformers import Conformers, conformers
from bgp4.answers.weighted import Weighted, weighted
from bgp4.errors import UserInputError
from tests.answers.molecules import molecule, turned

Chem = pytest.importorskip("rdkit.Chem")


@pytest.fixture(scope="module")
def sample() -> Weighted:
    """Three rotamers of a molecule with double bonds, charges and a stereocentre."""
    mol, topology, _ = molecule("C[C@H]([NH3+])CC(=O)[O-]")
    rng = np.random.default_rng(0)
    angles = rng.choice(np.radians([60, 180, -60]), 600, p=[0.2, 0.7, 0.1])
    angles += rng.normal(0, 0.15, 600)
    positions_nm = turned(mol, [(0, 1, 3, 4)], angles[:, None])
    return weighted(positions_nm, np.zeros(600), topology, 310.0)


@pytest.fixture(scope="module")
def found(sample: Weighted) -> Conformers:
    return conformers(sample)


def test_pdb_is_read_by_mdtraj(found: Conformers, sample: Weighted, tmp_path: Path) -> None:
    path = tmp_path / "conformers.pdb"
    path.write_text(conformers_pdb(found))
    read = mdtraj.load(path)
    assert read.n_frames == len(found) == 3
    assert read.xyz == pytest.approx(found.structures.xyz, abs=1e-4)
    bonds = {frozenset((a.index, b.index)) for a, b in sample.frames.topology.bonds}
    assert {frozenset((a.index, b.index)) for a, b in read.topology.bonds} == bonds
    lines = path.read_text().splitlines()
    assert all(len(line) <= 80 and line.isascii() for line in lines)
    shares = [float(line.split()[-1]) for line in lines if " POPULATION " in line]
    assert shares == pytest.approx(found.populations[:-1], abs=1e-6)


def test_sdf_is_read_by_rdkit(found: Conformers) -> None:
    supplier = Chem.SDMolSupplier()
    supplier.SetData(conformers_sdf(found), removeHs=False)
    records = list(supplier)
    assert len(records) == 3
    for i, record in enumerate(records):
        assert Chem.MolToSmiles(Chem.RemoveHs(record)) == Chem.CanonSmiles(
            "C[C@H]([NH3+])CC(=O)[O-]"
        )
        own = record.GetConformer().GetPositions() / 10
        assert own == pytest.approx(found.structures.xyz[i], abs=1e-5)
        assert float(record.GetProp("population")) == pytest.approx(found.populations[i], abs=1e-6)
        assert record.GetProp("temperature_K") == "310"


def test_representatives_are_samples(found: Conformers, sample: Weighted) -> None:
    """They are moved as a whole alone, and lie in their own conformers."""
    for place, structure in zip(found.representatives, found.structures, strict=True):
        own = sample.frames[int(place)]
        assert mdtraj.rmsd(own, structure)[0] == pytest.approx(0, abs=1e-4)
    assert found.labels[found.representatives].tolist() == [0, 1, 2]
    assert found.assign(found.structures).tolist() == [0, 1, 2]


def test_csv_and_table_have_all_of_it(found: Conformers, sample: Weighted) -> None:
    md = found.populations_of(sample)
    assert md[0] == pytest.approx(found.populations)
    rows = list(csv.DictReader(io.StringIO(conformers_csv(found, md))))
    assert [row["conformer"] for row in rows] == ["1", "2", "3", "other"]
    for name in ("population", "md_population"):
        assert [float(row[name]) for row in rows] == pytest.approx(found.populations, abs=1e-5)
    assert float(rows[0]["C1–C2–C4–C5"]) == pytest.approx(found.angles_deg[0, 0], abs=0.1)
    energies = [float(row["free_energy_kT"]) for row in rows[:3]]
    assert energies == pytest.approx(np.log(found.populations[0] / found.populations[:3]), abs=1e-4)
    lines = conformers_table(found, md, 2.5, "kJ/mol").splitlines()
    assert len(lines) == 5
    assert "free energy, kJ/mol" in lines[0]
    assert lines[-1].split()[0] == "other"


def test_what_has_no_bond_orders_is_refused(found: Conformers) -> None:
    """A carbon of five bonds; its PDB file needs no orders."""
    topology = found.structures.topology.copy()
    topology.add_bond(topology.atom(0), topology.atom(3))
    odd = replace(found, structures=mdtraj.Trajectory(found.structures.xyz, topology))
    with pytest.raises(UserInputError, match="write a PDB file"):
        conformers_sdf(odd)
    assert conformers_pdb(odd).count("MODEL") == 3


def test_rdkit_is_asked_for(found: Conformers, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "rdkit", None)
    with pytest.raises(UserInputError, match=r"pip install 'bgp4\[ligand\]'"):
        conformers_sdf(found)
