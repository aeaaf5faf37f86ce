"""Molecules from test systems, Amber files and PDB files; what has no density is refused."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path

import mdtraj
import numpy as np
import openmm
import pytest
from openmm import app, unit
from openmmtools import testsystems

from bgp4.config import SystemConfig
from bgp4.errors import UserInputError
from bgp4.molecule.checks import check_geometry, check_system
from bgp4.molecule.molecule import Molecule, load_molecule, read_molecule
from bgp4.molecule.placing import zmatrix_from_topology
from bgp4.molecule.topology import atom_label
from bgp4.molecule.zmatrix import zmatrix_from_rows
from bgp4.storage.bundled import find_data

FOLDER = "openmmtools:data/alanine-dipeptide-gbsa/alanine-dipeptide"


def prmtop(**changes: object) -> SystemConfig:
    return SystemConfig(prmtop=f"{FOLDER}.prmtop", inpcrd=f"{FOLDER}.crd", **changes)


def kjmol(system: openmm.System, positions: object) -> float:
    context = openmm.Context(
        system,
        openmm.VerletIntegrator(0.001),
        openmm.Platform.getPlatformByName("Reference"),
    )
    context.setPositions(positions)
    energy = context.getState(energy=True).getPotentialEnergy()
    return energy.value_in_unit(unit.kilojoule_per_mole)


def own_kjmol(molecule: Molecule) -> float:
    return kjmol(openmm.XmlSerializer.deserialize(molecule.system_xml), molecule.positions_nm)


def test_a_test_system(alanine) -> None:
    made = testsystems.AlanineDipeptideImplicit(constraints=None)
    assert own_kjmol(alanine) == pytest.approx(kjmol(made.system, made.positions))
    assert alanine.name == "AlanineDipeptideImplicit"
    assert [a.name for a in alanine.topology.atoms] == [a.name for a in made.topology.atoms()]


def test_amber_files(alanine) -> None:
    same = load_molecule(prmtop(implicit_solvent="OBC1"))
    np.testing.assert_allclose(same.positions_nm, alanine.positions_nm)
    assert own_kjmol(same) == pytest.approx(own_kjmol(alanine), abs=1e-3)
    assert "(OBC1)" in same.name
    vacuum, obc2 = (own_kjmol(load_molecule(prmtop(implicit_solvent=s))) for s in (None, "OBC2"))
    assert len({round(e) for e in (own_kjmol(alanine), vacuum, obc2)}) == 3


def test_a_pdb_file(alanine, in_tmp) -> None:
    mdtraj.Trajectory(alanine.positions_nm, alanine.topology).save("ala2.pdb")
    forcefield = ("amber14-all.xml", "implicit/obc2.xml")
    made = load_molecule(SystemConfig(pdb="ala2.pdb", forcefield=forcefield))
    pdb = app.PDBFile("ala2.pdb")
    system = app.ForceField(*forcefield).createSystem(pdb.topology, constraints=None)
    assert own_kjmol(made) == pytest.approx(kjmol(system, pdb.positions))
    np.testing.assert_allclose(made.positions_nm, alanine.positions_nm, atol=1e-4)


@pytest.mark.parametrize(("constraints", "n"), [("HBonds", 12), ("AllBonds", 21)])
def test_constrained_bonds_are_the_systems(constraints: str, n: int, in_tmp) -> None:
    """Of every kind of source, with OpenMM's own lengths; a molecule.json keeps them."""
    mdtraj.Trajectory(*_start()).save("ala2.pdb")
    for config in (
        SystemConfig(testsystem="AlanineDipeptideImplicit", constraints=constraints),
        prmtop(constraints=constraints),
        SystemConfig(pdb="ala2.pdb", forcefield=("amber14-all.xml",), constraints=constraints),
    ):
        molecule = load_molecule(config)
        system = openmm.XmlSerializer.deserialize(molecule.system_xml)
        expected = {
            (min(i, j), max(i, j)): length._value
            for i, j, length in map(system.getConstraintParameters, range(n))
        }
        held = molecule.constraints
        found = {
            tuple(pair): d for pair, d in zip(held.pairs.tolist(), held.lengths_nm, strict=True)
        }
        assert found == expected
        assert system.getNumConstraints() == n == len(held)
        Path("molecule.json").write_text(molecule.to_json())
        assert read_molecule(Path("molecule.json")).constraints.bonds == held.bonds


def _start() -> tuple[np.ndarray, mdtraj.Topology]:
    made = testsystems.AlanineDipeptideVacuum(constraints=None)
    topology = mdtraj.Topology.from_openmm(made.topology)
    return made.positions.value_in_unit(unit.nanometer), topology


def test_constraints_that_are_no_bonds_are_refused() -> None:
    for config in (
        SystemConfig(testsystem="AlanineDipeptideImplicit", constraints="HAngles"),
        prmtop(constraints="HAngles"),
    ):
        words = r"9 of 30 constraints .*not bonded \(first ACE1-H1-ACE1-H2\).*constraints to HBonds"
        with pytest.raises(UserInputError, match=words):
            load_molecule(config)


def test_a_constrained_bond_that_closes_a_ring_is_refused() -> None:
    toluene = SystemConfig(testsystem="TolueneVacuum", constraints="AllBonds")
    with pytest.raises(UserInputError, match=r"bond TOL1-C\d-TOL1-C\d is no coordinate .*HBonds"):
        load_molecule(toluene)
    assert len(load_molecule(toluene.model_copy(update={"constraints": "HBonds"})).constraints) == 8


WATER = """\
HETATM    1  O   HOH A   1       0.000   0.000   0.000  1.00  0.00           O
HETATM    2  H1  HOH A   1       0.957   0.000   0.000  1.00  0.00           H
HETATM    3  H2  HOH A   1      -0.240   0.927   0.000  1.00  0.00           H
HETATM    4  M   HOH A   1       0.072   0.093   0.000  1.00  0.00          EP
END
"""


def test_periodic_and_massless_systems_are_refused(in_tmp) -> None:
    (in_tmp / "water.pdb").write_text(WATER)
    with pytest.raises(UserInputError, match="is periodic"):
        load_molecule(SystemConfig(testsystem="LennardJonesFluid"))
    with pytest.raises(UserInputError, match=r"1 residues of solvent \(first HOH1\)"):
        load_molecule(SystemConfig(pdb="water.pdb", forcefield=("tip4pew.xml",)))
    system = openmm.System()
    for mass in (12.0, 0.0):
        system.addParticle(mass)
    with pytest.raises(UserInputError, match=r"without mass \(first: 1\)"):
        check_system(system, "it")


def bad_files(name: str) -> SystemConfig:
    if name == "pdb":
        return SystemConfig(pdb="bad.pdb", forcefield=("amber14-all.xml",))
    return SystemConfig(prmtop="bad.prmtop", inpcrd=f"{FOLDER}.crd")


@pytest.mark.parametrize("name", ["pdb", "prmtop"])
@pytest.mark.parametrize("content", ["", "nonsense\n" * 3])
def test_files_that_are_none(in_tmp, name: str, content: str) -> None:
    (in_tmp / f"bad.{name}").write_text(content)
    with pytest.raises(UserInputError, match=rf"bad\.{name}"):
        load_molecule(bad_files(name))


def test_names_that_are_none(alanine, in_tmp) -> None:
    mdtraj.Trajectory(alanine.positions_nm, alanine.topology).save("ala2.pdb")
    with pytest.raises(UserInputError, match=r"nothing\.xml"):
        load_molecule(SystemConfig(pdb="ala2.pdb", forcefield=("nothing.xml",)))
    with pytest.raises(UserInputError, match=r"openmmtools test system, found 'NoSuch'"):
        load_molecule(SystemConfig(testsystem="NoSuch"))
    with pytest.raises(UserInputError, match=r"system.prmtop: no such file: a.prmtop"):
        load_molecule(SystemConfig(prmtop="a.prmtop", inpcrd="a.crd"))
    with pytest.raises(UserInputError, match="has its own solvent"):
        load_molecule(SystemConfig(testsystem="AlanineDipeptideImplicit", implicit_solvent="OBC2"))
    with pytest.raises(UserInputError, match=r"in system\.forcefield"):
        load_molecule(
            SystemConfig(pdb="ala2.pdb", forcefield=("amber14-all.xml",), implicit_solvent="OBC2")
        )


FORCEFIELD = ("amber14-all.xml", "implicit/obc2.xml")


@pytest.fixture(scope="module")
def peptide_lines() -> list[str]:
    """The PDB file of tetra-alanine that comes along."""
    path = find_data("ala4.pdb")
    assert path is not None
    return path.read_text().splitlines()


def load_pdb(lines: list[str], **changes: object) -> Molecule:
    Path("x.pdb").write_text("\n".join(lines) + "\n")
    return load_molecule(SystemConfig(**({"pdb": "x.pdb", "forcefield": FORCEFIELD} | changes)))


def element(line: str) -> str:
    return line[76:78].strip() if line.startswith("ATOM") else ""


def renamed(old: str, new: str, lines: list[str]) -> list[str]:
    assert any(old in line for line in lines)
    return [line.replace(old, new) for line in lines]


def scaled(factor: float, lines: list[str]) -> list[str]:
    def xyz(line: str) -> str:
        return "".join(f"{factor * float(line[i : i + 8]):8.3f}" for i in (30, 38, 46))

    return [ln[:30] + xyz(ln) + ln[54:] if ln.startswith("ATOM") else ln for ln in lines]


BAD_PDBS = {
    "no hydrogens": (
        lambda s: [line for line in s if element(line) != "H" and "CONECT" not in line],
        ["residues ACE1, ALA2", "missing 3", "pdbfixer"],
    ),
    "one hydrogen short": (
        lambda s: [line for line in s if "HB2 ALA 1   3" not in line],
        ["residue ALA3", "missing 1", "pdbfixer"],
    ),
    "a residue without parameters": (
        lambda s: renamed("ALA 1   3", "LIG 1   3", s),
        ["residue LIG3 is not in amber14-all.xml", "no bonds", "CONECT"],
    ),
    "a name twice": (
        lambda s: renamed(" HB2 ALA 1   3", " HB1 ALA 1   3", s),
        ["x.pdb", "same name", "HB1 ALA"],
    ),
    "nm": (
        lambda s: scaled(0.1, s),
        ["x.pdb: neighbouring atoms are 0.109 Å apart", "look like nm"],
    ),
    "ten times too large": (lambda s: scaled(10, s), ["bond ACE1-CH3-ACE1-C", "1.53 nm"]),
    "solvent": (
        lambda s: [*s[:-1], *WATER.splitlines()[:3], "END"],
        ["1 residues of solvent (first HOH1)", "implicit/obc2.xml"],
    ),
    "two molecules": (
        lambda s: [*s[:43], *[ln[:21] + "2" + ln[22:] for ln in s[:43]], "END"],
        ["one covalently connected molecule, found 2", "ACE1-H1"],
    ),
}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("change", "words"), BAD_PDBS.values(), ids=BAD_PDBS.keys())
def test_structures_that_will_not_do(change, words, peptide_lines, in_tmp) -> None:
    with pytest.raises(UserInputError) as raised:
        load_pdb(change(peptide_lines))
    message = str(raised.value)
    assert "\n" not in message
    assert all(word in message for word in words), message


def test_atoms_that_clash_are_named(alanine) -> None:
    """The N-methyl group turned onto the acetyl's oxygen, all its bonds as they were."""
    index = {f"{a.residue.name}-{a.name}": a.index for a in alanine.topology.atoms}
    group = [index[f"NME-{name}"] for name in ("C", "H1", "H2", "H3")]
    positions = alanine.positions_nm.copy()
    shift = positions[index["ACE-O"]] + [0.03, 0, 0] - positions[index["NME-H1"]]
    loose = alanine.topology.copy()
    loose._bonds = [b for b in loose.bonds if not {b[0].index, b[1].index} & set(group)]
    positions[group] += shift
    with pytest.raises(UserInputError, match=r"ACE1-O and NME3-H1 are 0.030 nm apart"):
        check_geometry(loose, positions, alanine.zmatrix, "it")


def test_a_bridge_whose_bond_is_no_coordinate_is_refused() -> None:
    """Of the two cysteines of a made-up loop, by rows that follow it around."""
    topology = mdtraj.Topology()
    residue = topology.add_residue("CYS", topology.add_chain())
    elements = ["S", *["C"] * 8, "S"]
    atoms = [
        topology.add_atom(f"X{i}", mdtraj.element.Element.getBySymbol(e), residue)
        for i, e in enumerate(elements)
    ]
    for i in range(10):
        topology.add_bond(atoms[i], atoms[i - 1])
    angle = 2 * np.pi * np.arange(10) / 10
    circle = 0.25 * np.stack([np.cos(angle), np.sin(angle), 0 * angle], axis=1)
    around = [tuple(range(i, max(i - 4, -1), -1)) for i in range(10)]
    words = r"a disulfide bridge closes a ring of 10 .*whose bond CYS0-X0-CYS0-X9 is no coordinate"
    with pytest.raises(UserInputError, match=words):
        check_geometry(topology, circle, zmatrix_from_rows(around, 10), "it")
    check_geometry(topology, circle, zmatrix_from_topology(topology), "it")


def test_two_molecules_and_solvent_are_refused() -> None:
    with pytest.raises(UserInputError, match="found 2: 126 atoms from CUC1-N1"):
        load_molecule(SystemConfig(testsystem="HostGuestVacuum"))
    with pytest.raises(UserInputError, match=r"749 residues of solvent \(first HOH4\)"):
        load_molecule(SystemConfig(testsystem="AlanineDipeptideExplicit"))


def test_mmcif_is_read_as_pdb_is(peptide_lines, in_tmp) -> None:
    made = load_pdb(peptide_lines)
    pdb = app.PDBFile("x.pdb")
    with Path("x.cif").open("w") as file:
        app.PDBxFile.writeFile(pdb.topology, pdb.positions, file, keepIds=True)
    same = load_molecule(SystemConfig(pdb="x.cif", forcefield=FORCEFIELD))
    assert same.zmatrix == made.zmatrix
    assert own_kjmol(same) == pytest.approx(own_kjmol(made), abs=0.1)


def test_a_serialised_system_with_its_structure(peptide_lines, in_tmp) -> None:
    made = load_pdb(peptide_lines)
    Path("system.xml").write_text(made.system_xml)
    serialised = {"forcefield": (), "xml": "system.xml"}
    same = load_pdb(peptide_lines, **serialised)
    assert (same.system_xml, same.zmatrix) == (made.system_xml, made.zmatrix)
    one, two, *rest = peptide_lines[1:]
    with pytest.raises(UserInputError, match=r"particle of 12\.01 Da"):
        load_pdb([peptide_lines[0], two, one, *rest], **serialised)
    with pytest.raises(UserInputError, match="42 particles, but its structure 41 atoms"):
        load_pdb(peptide_lines[1:], **serialised)
    with pytest.raises(UserInputError, match=r"x.pdb: cannot be read"):
        load_pdb(peptide_lines, forcefield=(), xml="x.pdb")
    Path("other.xml").write_text(openmm.XmlSerializer.serialize(openmm.VerletIntegrator(0.001)))
    with pytest.raises(UserInputError, match="a serialised OpenMM System, found VerletIntegrator"):
        load_pdb(peptide_lines, forcefield=(), xml="other.xml")


def test_openff_is_asked_for_where_it_is_missing(in_tmp) -> None:
    if importlib.util.find_spec("openff"):
        pytest.skip("it is here")
    with pytest.raises(UserInputError, match="conda install -c conda-forge openmmforcefields"):
        load_molecule(SystemConfig(sdf="drug.sdf"))


def test_a_zmatrix_of_ones_own(alanine) -> None:
    rows = [[atom_label(alanine.topology, i) for i in row] for row in alanine.zmatrix.table()]
    config = SystemConfig(testsystem="AlanineDipeptideImplicit", zmatrix=rows)
    assert load_molecule(config).zmatrix == alanine.zmatrix
    psi_first = [*rows[:3], *reversed(rows[3:])]
    for bad, words in {
        "a row short": (rows[:-1], "expected 22 rows"),
        "no such atom": ([["ALA9-N"], *rows[1:]], "such as ACE1-H1"),
        "an index beyond": ([[22], *rows[1:]], "below 22"),
        "atoms placed later": (psi_first, "row 4: expected a new atom"),
        "an atom twice": ([*rows[:4], rows[3], *rows[5:]], "row 5: expected a new atom"),
        "a row too short": ([*rows[:5], rows[5][:3], *rows[6:]], "row 6: expected 4"),
    }.values():
        with pytest.raises(UserInputError, match=re.escape(words)):
            load_molecule(config.model_copy(update={"zmatrix": bad}))


def test_a_molecule_and_its_file(alanine, peptide_lines, in_tmp) -> None:
    for molecule in (alanine, load_pdb(peptide_lines)):
        Path("m.json").write_text(molecule.to_json())
        same = read_molecule(Path("m.json"))
        assert (same.name, same.system_xml) == (molecule.name, molecule.system_xml)
        assert (same.topology, same.zmatrix) == (molecule.topology, molecule.zmatrix)
        np.testing.assert_array_equal(same.positions_nm, molecule.positions_nm)


@pytest.mark.parametrize("damage", ["", "{}", "[1]", '{"name": 1}', "nonsense"])
def test_a_file_that_is_no_molecule(damage: str, in_tmp) -> None:
    Path("m.json").write_text(damage)
    with pytest.raises(UserInputError, match=r"m\.json: expected a molecule"):
        read_molecule(Path("m.json"))
