"""Molecules from test systems, Amber files and PDB files; what has no density is refused."""

from __future__ import annotations

import mdtraj
import numpy as np
import openmm
import pytest
from openmm import app, unit
from openmmtools import testsystems

from bgp4.config import SystemConfig
from bgp4.errors import UserInputError
from bgp4.system import Molecule, load_molecule

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


@pytest.mark.parametrize("constraints", ["HBonds", "AllBonds", "HAngles"])
def test_constrained_systems_are_refused(constraints: str) -> None:
    for config in (
        SystemConfig(testsystem="AlanineDipeptideImplicit", constraints=constraints),
        prmtop(constraints=constraints),
    ):
        with pytest.raises(UserInputError, match=r"constrained .* set system.constraints to null"):
            load_molecule(config)


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
    with pytest.raises(UserInputError, match=r"without mass \(first: \d+\)"):
        load_molecule(SystemConfig(pdb="water.pdb", forcefield=("tip4pew.xml",)))


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
    with pytest.raises(UserInputError, match="brings its own solvent"):
        load_molecule(SystemConfig(testsystem="AlanineDipeptideImplicit", implicit_solvent="OBC2"))
    with pytest.raises(UserInputError, match=r"one of system\.forcefield"):
        load_molecule(
            SystemConfig(pdb="ala2.pdb", forcefield=("amber14-all.xml",), implicit_solvent="OBC2")
        )
