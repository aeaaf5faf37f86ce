"""Systems that are not the energy of their structure, and force fields that are not all read."""

from __future__ import annotations

import logging
from pathlib import Path

import mdtraj
import numpy as np
import openmm
import pytest
from openmm import app, unit

from bgp4.config import SystemConfig
from bgp4.energies.reference import relaxed
from bgp4.errors import UserInputError
from bgp4.molecule.checks import check_topology
from bgp4.molecule.forces import check_bond_terms, check_charges, check_forces
from bgp4.molecule.molecule import load_molecule
from bgp4.pipeline.description import description
from bgp4.storage.bundled import find_data

PHE = "phe.pdb"

ALL = ("amber14-all.xml", "implicit/obc2.xml")


def system_of(alanine) -> openmm.System:
    return openmm.XmlSerializer.deserialize(alanine.system_xml)


def without(system: openmm.System, *kinds: type) -> openmm.System:
    for index in reversed(range(system.getNumForces())):
        if isinstance(system.getForce(index), kinds):
            system.removeForce(index)
    return system


def phe(**options) -> tuple[app.PDBFile, openmm.System]:
    pdb = app.PDBFile(str(find_data(PHE)))
    made = app.ForceField(*ALL).createSystem(pdb.topology, rigidWater=False, **options)
    return pdb, made


def shuffled(pdb: app.PDBFile, order: list[int], path: Path) -> None:
    """The structure with its residues' atoms in another order: names go with their atoms."""
    frame = mdtraj.load_pdb(str(find_data(PHE)))
    table, bonds = mdtraj.load_pdb(str(find_data(PHE))).topology.to_dataframe()
    table = table.iloc[order].reset_index(drop=True)
    place = {old: new for new, old in enumerate(order)}
    bonds[:, :2] = np.vectorize(place.get)(bonds[:, :2])
    topology = mdtraj.Topology.from_dataframe(table, bonds)
    mdtraj.Trajectory(frame.xyz[:, order], topology).save_pdb(str(path))


@pytest.mark.parametrize("hydrogen_mass", [None, 3.0])
def test_another_order_of_atoms_is_seen(hydrogen_mass, in_tmp) -> None:
    """Also where hydrogens are heavy, so that masses alone say little."""
    heavy = {} if hydrogen_mass is None else {"hydrogenMass": hydrogen_mass * unit.amu}
    pdb, system = phe(**heavy)
    Path("s.xml").write_text(openmm.XmlSerializer.serialize(system))
    config = SystemConfig(pdb=find_data(PHE), xml=Path("s.xml"))
    assert load_molecule(config).n_atoms == 32
    atoms = list(pdb.topology.atoms())
    phe2 = [a.index for a in atoms if a.residue.name == "PHE"]
    order = [*range(phe2[0]), *reversed(phe2), *range(phe2[-1] + 1, 32)]
    shuffled(pdb, order, Path("other.pdb"))
    with pytest.raises(UserInputError, match=r"Da where .*; give both in the same order of atoms"):
        load_molecule(SystemConfig(pdb=Path("other.pdb"), xml=Path("s.xml")))


def test_another_order_of_like_atoms_is_seen_by_their_bonds(alanine) -> None:
    """Both carbons C and CA of alanine have one mass, and other neighbours."""
    system = system_of(alanine)
    names = [atom.name for atom in alanine.topology.atoms]
    a, b = names.index("CA"), names.index("C")
    swap = {a: b, b: a}
    for force in system.getForces():
        if isinstance(force, openmm.HarmonicBondForce):
            for i in range(force.getNumBonds()):
                one, other, *rest = force.getBondParameters(i)
                force.setBondParameters(i, swap.get(one, one), swap.get(other, other), *rest)
    check_topology(alanine.topology, system, "swapped")
    with pytest.raises(UserInputError, match="which the structure does not bond, and none between"):
        check_bond_terms(alanine.topology, system, "swapped")
    check_bond_terms(alanine.topology, system_of(alanine), "right")


def test_a_system_without_forces_is_refused(alanine) -> None:
    bare = openmm.System()
    for atom in alanine.topology.atoms:
        bare.addParticle(atom.element.mass)
    bare.addForce(openmm.CMMotionRemover())
    with pytest.raises(UserInputError, match=r"no force acts on any bond \(forces .*: none\)"):
        check_forces(alanine.topology, bare, alanine.positions_nm, "bare")


def test_bonds_that_nothing_holds_are_refused(alanine) -> None:
    """As in a System whose constraints were taken away."""
    system = system_of(alanine)
    (force,) = (f for f in system.getForces() if isinstance(f, openmm.HarmonicBondForce))
    for i in range(force.getNumBonds()):
        a, b, length, k = force.getBondParameters(i)
        if {alanine.topology.atom(j).element.symbol for j in (a, b)} == {"C", "H"}:
            force.setBondParameters(i, a, b, length, 0 * k)
    with pytest.raises(UserInputError, match=r"no force holds (9|10) of 21 bonds \(first ACE1-"):
        check_forces(alanine.topology, system, alanine.positions_nm, "stripped")


def test_bonds_held_by_other_forces_are_held(alanine, caplog) -> None:
    """By a CustomBondForce here, as AMOEBA's are."""
    system = system_of(alanine)
    (old,) = (f for f in system.getForces() if isinstance(f, openmm.HarmonicBondForce))
    custom = openmm.CustomBondForce("k*(r-r0)^2/2")
    custom.addPerBondParameter("r0")
    custom.addPerBondParameter("k")
    for i in range(old.getNumBonds()):
        a, b, length, k = old.getBondParameters(i)
        custom.addBond(a, b, [length, k])
    system = without(system, openmm.HarmonicBondForce)
    system.addForce(custom)
    check_forces(alanine.topology, system, alanine.positions_nm, "custom")
    assert not caplog.text


def test_bonded_terms_alone_are_said(alanine, caplog) -> None:
    system = without(system_of(alanine), openmm.NonbondedForce, openmm.CustomGBForce)
    check_forces(alanine.topology, system, alanine.positions_nm, "bonded")
    assert "bonded terms alone" in caplog.text


def test_solvation_of_other_charges(caplog) -> None:
    pdb, system = phe()
    topology = mdtraj.Topology.from_openmm(pdb.topology)
    check_charges(topology, system, "phe", made_here=True)
    gb = next(
        f for f in system.getForces() if isinstance(f, openmm.CustomGBForce | openmm.GBSAOBCForce)
    )
    charge, *rest = gb.getParticleParameters(3)
    parameters = (
        [charge + 0.25 * unit.elementary_charge, *rest] if unit.is_quantity(charge) else None
    )
    if parameters is None:
        gb.setParticleParameters(3, [charge + 0.25, *rest])
    else:
        gb.setParticleParameters(3, *parameters)
    with pytest.raises(UserInputError, match=r"at 1 atoms, at most by 0\.25 e"):
        check_charges(topology, system, "phe", made_here=True)
    check_charges(topology, system, "phe", made_here=False)
    assert "at most by 0.25 e" in caplog.text


def test_water_models_without_water_are_said(caplog, in_tmp) -> None:
    vacuum = SystemConfig(pdb=find_data(PHE), forcefield=("amber14-all.xml", "amber14/tip3p.xml"))
    load_molecule(vacuum)
    assert "amber14/tip3p.xml is a water model, and there is no water" in caplog.text
    caplog.clear()
    load_molecule(SystemConfig(pdb=find_data(PHE), forcefield=ALL))
    assert not caplog.text


def test_sections_that_openmm_skips_are_refused(in_tmp) -> None:
    Path("inner.xml").write_text("<ForceField><NeuralForce file='a.pt'/></ForceField>")
    Path("mine.xml").write_text("<ForceField><Include file='inner.xml'/></ForceField>")
    config = SystemConfig(pdb=find_data(PHE), forcefield=("amber14-all.xml", "mine.xml"))
    with pytest.raises(UserInputError, match=r"inner\.xml: OpenMM knows no section <NeuralForce>"):
        load_molecule(config)


def test_an_energy_far_above_the_minimum_is_said(alanine, caplog) -> None:
    from dataclasses import replace

    caplog.set_level(logging.WARNING)
    list(description(alanine, relaxed(alanine)))
    assert not caplog.text
    clash = alanine.positions_nm.copy()
    clash[-1] = clash[0] + 0.03
    clashing = replace(alanine, positions_nm=clash)
    list(description(clashing, relaxed(clashing)))
    assert "above relaxed positions: positions that clash" in caplog.text
