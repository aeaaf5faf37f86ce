"""Ligands by RDKit: what a source says is kept, what it leaves open is said or refused."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import numpy as np
import pytest

from bgp4.errors import UserInputError
from tests.for_each import for_each

Chem = pytest.importorskip("rdkit.Chem")

from rdkit.Chem import AllChem  # noqa: E402

from bgp4.molecule.ligand import (  # noqa: E402
    Ligand,
    ligand_from_file,
    ligand_from_smiles,
    with_start_positions,
)


def placed(smiles: str) -> Ligand:
    return with_start_positions(ligand_from_smiles(smiles))


@for_each(
    ("smiles", "words"),
    [
        ("CC(=O", "cannot be read: extra open parentheses, near character 3"),
        ("CXC", "cannot be read: syntax error, near character 2"),
        ("C1CC", "cannot be read: unclosed ring"),
        ("", "expected a molecule, found no atoms"),
        ("CC(C)(C)(C)C", "atom 2, C, has a valence of 5"),
        ("c1cccc1", "no single and double bonds fit its aromatic ring"),
        ("CC(=O)[O-].[Na+]", "found 2 (C2H3O2- and Na+: a salt or mixture); give one of them: bgp4 "
         'init --smiles "CC(=O)[O-]"'),
        ("C[CH2]", "C2 is a radical"),
        ("CB(O)O", "B1: GAFF2 has no parameters for the element B"),
        ("*CC", "stands for any atom"),
        ("CC=CC", "the stereo of C2=C3 is open, and the isomers are different molecules; write it"),
        ("CC(O)C(N)C", "the stereo of C2, C3 is open"),
        ("C[C@H](O)C(N)C", "the stereo of C3 is open"),
        ("N#CC#C", "are in a line"),
        ("O", "expected at least 4 atoms, found 3"),
    ],
)  # fmt: skip
def test_what_is_no_ligand_is_refused_by_name(smiles: str, words: str) -> None:
    with pytest.raises(UserInputError) as refused:
        placed(smiles)
    assert str(refused.value).startswith(f"--smiles {smiles}: ")
    assert words in str(refused.value)
    assert "\n" not in str(refused.value)


@for_each(
    ("smiles", "formula", "stereo", "charge"),
    [
        ("N[C@@H](C)C(=O)O", "C3H7NO2", "stereo: C1 S", 0),  # L-alanine
        ("OC[C@H]1O[C@@H](O)[C@H](O)[C@@H](O)[C@@H]1O", "C6H12O6",
         "stereo: C2 R, C3 R, C4 R, C5 S, C6 S", 0),  # β-D-glucose
        ("C/C=C/C", "C4H8", "stereo: C2=C3 E", 0),
        (r"C/C=C\C", "C4H8", "stereo: C2=C3 Z", 0),
        ("CC(=O)[O-]", "C2H3O2-", None, -1),
        ("C[NH3+]", "CH6N+", None, 1),
        ("NC(N)=N", "CH5N3", None, 0),
        ("C1=CCCCC1", "C6H10", None, 0),
        ("CC#CC", "C4H6", None, 0),
        ("CN=[N+]=[N-]", "CH3N3", None, 0),
    ],
)  # fmt: skip
def test_a_smiles_is_kept(smiles: str, formula: str, stereo: str | None, charge: int) -> None:
    """What a reader of its SDF sees is the molecule of the SMILES, stereo by the positions."""
    made = placed(smiles)
    lines = made.describe()
    assert formula in lines[0]
    assert made.charge == charge
    assert [line for line in lines if line.startswith("stereo")] == ([stereo] if stereo else [])
    again = Chem.MolFromMolBlock(made.sdf, removeHs=False)
    Chem.AssignStereochemistryFrom3D(again)
    canonical = Chem.MolToSmiles(Chem.MolFromSmiles(smiles))
    assert Chem.MolToSmiles(Chem.RemoveHs(again)) == canonical
    assert len(set(made.names)) == again.GetNumAtoms() == len(made.positions_nm)


def test_the_start_is_a_minimum_and_the_same_each_time() -> None:
    """No step along the force field's gradient is left, and the seed is fixed."""
    made = placed("CCCO")
    np.testing.assert_array_equal(made.positions_nm, placed("CCCO").positions_nm)
    properties = AllChem.MMFFGetMoleculeProperties(made.mol)
    field = AllChem.MMFFGetMoleculeForceField(made.mol, properties)
    at_start = field.CalcEnergy()
    field.Minimize(maxIts=1000)
    assert at_start - field.CalcEnergy() < 1e-3


def test_one_open_stereocentre_is_a_mirror_image(caplog) -> None:
    made = placed("CC(N)C(=O)O")
    taken = re.search(r"stereo: C2 ([RS])", " ".join(made.describe()))
    assert taken is not None
    words = f"leaves the stereocentre C2 open; {taken.group(1)} was taken, whose mirror image"
    assert words in caplog.text


@pytest.fixture
def alanine_file(in_tmp):
    """Writes L-alanine as an SDF: with all atoms, without hydrogens, or as a drawing."""

    def write(kind: str, name: str = "ala.sdf") -> Path:
        mol = Chem.MolFromSmiles("N[C@@H](C)C(=O)O")
        if kind == "drawn":
            AllChem.Compute2DCoords(mol)
        else:
            mol = Chem.AddHs(mol)
            AllChem.EmbedMolecule(mol, randomSeed=5)
            mol = Chem.RemoveHs(mol) if kind == "heavy" else mol
        Chem.MolToMolFile(mol, name, forceV3000=kind == "v3000")
        return Path(name)

    return write


@for_each(
    ("kind", "said"),
    [
        ("whole", []),
        ("v3000", []),
        ("heavy", ["added, to the charges as drawn: 7"]),
        ("drawn", ["added, to the charges as drawn: 7", "those of a drawing", "lowest of 50"]),
    ],
)
def test_an_sdf_file(kind: str, said: list[str], alanine_file) -> None:
    path = alanine_file(kind)
    given = Chem.MolFromMolFile(str(path), removeHs=False).GetConformer().GetPositions()
    made = with_start_positions(ligand_from_file(path))
    lines = made.describe()
    assert lines[0] == "C[C@H](N)C(=O)O: C3H7NO2, 13 atoms, net charge 0"
    assert lines[2] == "stereo: C1 S"
    assert len(lines) == 3 + len(said)
    assert all(word in line for word, line in zip(said, lines[3:], strict=True))
    if kind != "drawn":
        np.testing.assert_allclose(10 * made.positions_nm[: len(given)], given, atol=1e-4)


def test_sdf_files_that_will_not_do(alanine_file) -> None:
    text = alanine_file("whole").read_text() + "$$$$\n"
    for content, words in {
        text * 2: "expected one molecule, found 2; keep one: obabel bad.sdf",
        "": "expected a molecule, found none in it",
        text[:300]: "cannot be read: EOF hit while reading atoms",
    }.items():
        Path("bad.sdf").write_text(content)
        with pytest.raises(UserInputError, match=rf"bad\.sdf: .*{re.escape(words)}"):
            ligand_from_file(Path("bad.sdf"))
    with pytest.raises(UserInputError, match=r"lost\.sdf: cannot be read: No such file"):
        ligand_from_file(Path("lost.sdf"))


def mol2(types: str, bonds: str, charge: float) -> str:
    """Acetate, with these types of its atoms, orders of its C-O bonds, and charges of its O."""
    xyz = ((0, 0, 0), (1.5, 0, 0), (2.1, 1.1, 0), (2.1, -1.1, 0), (-0.4, 1, 0), (-0.4, -0.5, 0.9))
    rows = [
        f"{i} A{i} {x} {y} {z} {kind} 1 LIG {charge if i in (3, 4) else 0.0}"
        for i, ((x, y, z), kind) in enumerate(
            zip((*xyz, (-0.4, -0.5, -0.9)), types.split(), strict=True), 1
        )
    ]
    one, other = bonds.split()
    kinds = ["1 2 1", f"2 3 {one}", f"2 4 {other}", "1 5 1", "1 6 1", "1 7 1"]
    rows += ["@<TRIPOS>BOND", *(f"{i} {bond}" for i, bond in enumerate(kinds, 1))]
    head = ["@<TRIPOS>MOLECULE", "acetate", "7 6 1", "SMALL", "USER_CHARGES", "", "@<TRIPOS>ATOM"]
    return "\n".join([*head, *rows]) + "\n"


@for_each(
    ("types", "bonds", "charge", "smiles"),
    [
        ("C.3 C.2 O.co2 O.co2 H H H", "ar ar", -0.5, "CC(=O)[O-]"),
        ("C.3 C.2 O.co2 O.co2 H H H", "ar ar", 0.0, "CC(=O)[O-]"),
        ("C.3 C.2 O.2 O.3 H H H", "2 1", -0.48, "CC(=O)[O-]"),
    ],
)
def test_mol2_files(types: str, bonds: str, charge: float, smiles: str, in_tmp) -> None:
    """Whatever orders of bonds a program writes."""
    Path("x.mol2").write_text(mol2(types, bonds, charge))
    made = with_start_positions(ligand_from_file(Path("x.mol2")))
    assert made.smiles == smiles
    assert made.charge == -1
    assert made.names == ["C1", "C2", "O1", "O2", "H1", "H2", "H3"]
    np.testing.assert_allclose(made.positions_nm[2], [0.21, 0.11, 0], atol=1e-12)


def test_mol2_files_that_will_not_do(in_tmp) -> None:
    whole = mol2("C.3 C.2 O.co2 O.co2 H H H", "ar ar", -0.5)
    for content, words in {
        mol2("c3 c o o hc hc hc", "ar ar", -0.5): "found 'c3', as GAFF has them; convert it: ante",
        mol2("C.3 C.2 O.2 O.3 H H H", "2 1", 1.5): "no orders of its bonds give its net charge of"
        " +3",
        whole.replace("6 1 7 1\n", "").replace(
            "7 6 1", "7 5 1"
        ): "A1 is a C.3 with 3 neighbours: hydrogens are missing; add "
        "them: obabel x.mol2 -O x.sdf -h",
        mol2("Xx C.2 O.2 O.3 H H H", "2 1", 0): "its ATOM and BOND sections are cut",
        whole[:200]: "its ATOM and BOND sections are cut",
        whole * 2: "expected one molecule, found 2",
        "text": "expected a molecule, found none in it",
    }.items():
        Path("x.mol2").write_text(content)
        with pytest.raises(UserInputError, match=rf"x\.mol2: .*{re.escape(words)}"):
            ligand_from_file(Path("x.mol2"))


def test_isotopes_are_left_out() -> None:
    lines = placed("[13CH3]CO").describe()
    assert "isotopes are left out: each atom has its element's usual mass" in lines
    assert lines[0].startswith("CCO: ")


def test_rdkit_is_asked_for_where_it_is_missing(monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "rdkit", None)
    with pytest.raises(UserInputError, match=r"RDKit is not installed.*pip install 'bgp4\[ligand"):
        ligand_from_smiles("CCO")
