"""CHARMM structures with parameters: the energy of an OpenMM System, and what is refused."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import openmm
import pytest
from openmm import app

from bgp4.config import SystemConfig
from bgp4.errors import UserInputError
from bgp4.molecule.molecule import Molecule, load_molecule
from bgp4.pipeline.proposal import proposed_config
from tests.for_each import for_each
from tests.molecule.foreign import (
    KCAL,
    force,
    particles,
    refused_when_changed,
    rows,
    write_charmm,
    write_crd,
)
from tests.molecule.test_system import kjmol, own_kjmol

FILES = ("par_my.prm", "top_my.rtf")


@pytest.fixture
def vacuum(alanine, in_tmp) -> openmm.System:
    """Whose my.psf, par_my.prm, top_my.rtf and my.crd are in the folder.

    It is Amber's without the scaling of charges, which CHARMM's files do not have.
    """
    topology = alanine.topology.to_openmm()
    system = app.ForceField("amber14-all.xml").createSystem(topology, rigidWater=False)
    write_charmm(system, alanine.topology, in_tmp)
    write_crd(alanine.positions_nm, alanine.topology, in_tmp / "my.crd")
    nonbonded, atoms = force(system, openmm.NonbondedForce), particles(system)
    for i, (a, b, charge, sigma, depth) in enumerate(rows(nonbonded, "Exception")):
        if charge or depth:
            charge = atoms[int(a)][0] * atoms[int(b)][0]
        nonbonded.setExceptionParameters(i, int(a), int(b), charge, sigma, depth)
    return system


def loaded(**changes: object) -> Molecule:
    config = {"psf": "my.psf", "parameters": FILES, "positions": "my.crd", **changes}
    return load_molecule(SystemConfig(**config))


def test_the_energy_in_vacuum(vacuum, alanine) -> None:
    found = loaded()
    assert own_kjmol(found) == pytest.approx(kjmol(vacuum, alanine.positions_nm), abs=1e-4)
    np.testing.assert_allclose(found.positions_nm, alanine.positions_nm, atol=1e-9)
    names = [[str(a) for a in one.topology.atoms] for one in (found, alanine)]
    assert names[0] == names[1]
    assert found.zmatrix == alanine.zmatrix


def test_terms_that_only_charmm_has(vacuum, alanine) -> None:
    """Between the ends of an angle (Urey-Bradley), and harmonic in an improper torsion."""
    i, j, k, *_ = (int(x) for x in rows(force(vacuum, openmm.HarmonicAngleForce), "Angle")[0])
    prm, psf = Path("par_my.prm"), Path("my.psf")
    lines = prm.read_text().splitlines()
    angle = next(n for n, line in enumerate(lines) if line.startswith(f"T{i} T{j} T{k} "))
    lines[angle] += " 30.0 2.1"
    place = lines.index("NONBONDED nbxmod  5 atom cdiel")
    lines[place:place] = ["IMPROPER", "T14 T10 T16 T15 12.0 0 20.0"]
    prm.write_text("\n".join(lines))
    psf.write_text(psf.read_text().replace("0 !NIMPHI: impropers", "1 !NIMPHI\n15 11 17 16\n"))
    force(vacuum, openmm.HarmonicBondForce).addBond(i, k, 0.21, 2 * 30 * KCAL * 100)
    angle_rad = math.radians(20.0)
    apart = f"theta-({angle_rad})"
    improper = openmm.CustomTorsionForce(f"k*min(abs({apart}), {2 * math.pi}-abs({apart}))^2")
    improper.addPerTorsionParameter("k")
    improper.addTorsion(14, 10, 16, 15, [12 * KCAL])
    vacuum.addForce(improper)
    expected = kjmol(vacuum, alanine.positions_nm)
    assert own_kjmol(loaded()) == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize("model", ["OBC2", "GBn2"])
def test_implicit_solvent_is_that_of_force_field_files(model, vacuum, alanine) -> None:
    """Amber's charges are in the files, so solvation is what Amber's force field has."""
    topology = alanine.topology.to_openmm()
    energies = [
        kjmol(app.ForceField(*names).createSystem(topology), alanine.positions_nm)
        for names in (("amber14-all.xml", f"implicit/{model.lower()}.xml"), ("amber14-all.xml",))
    ]
    found = own_kjmol(loaded(implicit_solvent=model)) - own_kjmol(loaded())
    assert found == pytest.approx(energies[0] - energies[1], abs=1e-4)


def test_positions_are_a_pdb_files_too(vacuum, alanine) -> None:
    import mdtraj

    mdtraj.Trajectory(alanine.positions_nm, alanine.topology).save("my.pdb")
    np.testing.assert_allclose(
        loaded(positions="my.pdb").positions_nm, alanine.positions_nm, atol=1e-4
    )


def test_init(vacuum) -> None:
    with pytest.raises(UserInputError, match=r"a psf has no parameters.*--parameters par_all36"):
        proposed_config("my.psf", "x")
    system = proposed_config("my.psf", "x", parameters=tuple(map(Path, FILES))).system
    assert (str(system.positions), system.implicit_solvent) == ("my.crd", "OBC2")
    assert load_molecule(system).n_atoms == 22
    for option in ({"xml": Path("x.xml")}, {"include_dir": Path()}):
        with pytest.raises(UserInputError, match=r"my.psf: --\S+ does not go with a psf"):
            proposed_config("my.psf", "x", parameters=(Path("a.prm"),), **option)


BREAKS = [
    ("top_my.rtf", "MASS 3 T2", "MASS 3 T98", r"par_my.prm: the atom type T2 is declared in no MA"),
    ("my.psf", " T3 ", " T97 ", r"my.psf: the atom type T97 is not in par_my.prm, top_my.rtf; nam"),
    ("par_my.prm", "T0 T1 ", "T0 T0 ", r"the bond ACE1-H1-ACE1-CH3 \(atom types T0, T1\) has no"),
    ("par_my.prm", "T0 T1 T2 ", "T0 T0 T2 ", r"the angle ACE1-H1-ACE1-CH3-ACE1-H2 \(atom types T0"),
    ("my.psf", "PSF EXT", "PSF EXT DRUDE", "PSF of the Drude polarisable force field"),
    ("my.psf", "PSF EXT", "PDB EXT", "my.psf: cannot be read: Unrecognized PSF file"),
    ("my.psf", "!NATOM", "!NATO", "my.psf: cannot be read"),
    ("par_my.prm", "BONDS", "BONDS\nT0 T1 many 1.0", "par_my.prm: cannot be read"),
    (
        "my.crd",
        "22 EXT",
        "21 EXT",
        "my.crd: expected positions of the 22 atoms of my.psf, found 21",
    ),
    ("my.crd", "1 1 ACE H1 ", "1 1 ACE CX ", "my.crd: atom 0 is CX C, and H1 H in my.psf"),
    ("my.crd", "22 EXT", "23 EXT", "my.crd: cannot be read"),
]


@for_each(("name", "old", "new", "words"), BREAKS)
def test_files_that_are_not_whole(name, old, new, words, vacuum) -> None:
    refused_when_changed(Path(name), old, new, words, loaded)


def test_parameters_by_other_names(vacuum) -> None:
    """The ending says what a file is, and the start of its name where it is .inp."""
    expected = own_kjmol(loaded())
    for name in FILES:
        Path(name).rename(Path(name).with_suffix(".inp"))
    renamed = tuple(str(Path(name).with_suffix(".inp")) for name in FILES)
    assert own_kjmol(loaded(parameters=renamed)) == expected
    Path("par_my.inp").rename("par_my.txt")
    with pytest.raises(UserInputError, match=r"par_my.txt: expected a CHARMM file that ends in"):
        loaded(parameters=("par_my.txt", renamed[1]))
    with pytest.raises(UserInputError, match=r"no such file: lost\.prm"):
        loaded(parameters=("lost.prm",))


@for_each(
    ("changes", "words"),
    [
        ({"psf": "a.psf"}, "also needs positions"),
        ({"psf": "a.psf", "positions": "a.crd"}, "psf also needs parameters"),
        ({"top": "a.top", "positions": "a.gro", "parameters": ["a.prm"]}, "with no other source"),
        ({"pdb": "a.pdb", "xml": "a.xml", "include_dir": "x"}, "include_dir is for the files"),
        ({"pdb": "a.pdb", "top": "a.top"}, "expected exactly one of"),
    ],
)
def test_keys_that_do_not_go_together(changes, words) -> None:
    with pytest.raises(ValueError, match=words):
        SystemConfig(**changes)
