"""GROMACS topologies: the energy of the System that they were written from, and what is refused."""

from __future__ import annotations

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
from tests.molecule.foreign import force, refused_when_changed, third_neighbours, write_gromacs
from tests.molecule.test_system import kjmol, own_kjmol


def made(alanine: Molecule, *forcefield: str) -> openmm.System:
    topology = alanine.topology.to_openmm()
    return app.ForceField(*forcefield).createSystem(topology, rigidWater=False)


@pytest.fixture
def vacuum(alanine, in_tmp, monkeypatch) -> openmm.System:
    """Whose topol.top and conf.gro are in the folder, and no force field but theirs."""
    for name in ("GMXLIB", "GMXDATA"):
        monkeypatch.delenv(name, raising=False)
    system = made(alanine, "amber14-all.xml")
    write_gromacs(system, alanine.topology, in_tmp)
    write_gro(alanine, in_tmp / "conf.gro")
    return system


def write_gro(alanine: Molecule, path: Path, order: range | list[int] = range(22)) -> None:
    atoms = [list(alanine.topology.atoms)[i] for i in order]
    lines = ["tiny", str(len(atoms))]
    for i, atom in enumerate(atoms):
        x, y, z = alanine.positions_nm[atom.index] + 1
        named = f"{atom.residue.index + 1:5d}{atom.residue.name:5s}{atom.name:>5s}{i + 1:5d}"
        lines.append(f"{named}{x:16.12f}{y:16.12f}{z:16.12f}")
    path.write_text("\n".join([*lines, "5 5 5", ""]))


def loaded(**changes: object) -> Molecule:
    config = {"top": "topol.top", "positions": "conf.gro", **changes}
    return load_molecule(SystemConfig(**config))


def test_the_energy_in_vacuum(vacuum, alanine) -> None:
    found = loaded()
    assert own_kjmol(found) == pytest.approx(kjmol(vacuum, found.positions_nm), abs=1e-6)
    np.testing.assert_allclose(found.positions_nm - 1, alanine.positions_nm, atol=1e-6)
    names = [[str(a) for a in one.topology.atoms] for one in (found, alanine)]
    assert names[0] == names[1]
    assert found.zmatrix == alanine.zmatrix


@pytest.mark.parametrize("model", ["OBC2", "GBn2"])
def test_implicit_solvent_is_that_of_force_field_files(model, vacuum, alanine) -> None:
    """Radii by elements and bonds, and the surface term."""
    expected = made(alanine, "amber14-all.xml", f"implicit/{model.lower()}.xml")
    found = loaded(implicit_solvent=model)
    assert own_kjmol(found) == pytest.approx(kjmol(expected, found.positions_nm), abs=1e-6)


def test_pairs_that_are_not_listed_do_not_interact(vacuum, alanine) -> None:
    """As in GROMACS, where all atoms up to nrexcl bonds apart are excluded."""
    text = Path("topol.top").read_text()
    first = third_neighbours(vacuum)[0]
    line = f"[ pairs ]\n{first[0] + 1} {first[1] + 1} 1\n"
    assert line in text
    Path("topol.top").write_text(text.replace(line, "[ pairs ]\n"))
    nonbonded = force(vacuum, openmm.NonbondedForce)
    nonbonded.addException(*first, 0.0, 1.0, 0.0, replace=True)
    found = loaded()
    assert own_kjmol(found) == pytest.approx(kjmol(vacuum, found.positions_nm), abs=1e-6)


def test_files_to_include_are_looked_for(vacuum, in_tmp, monkeypatch) -> None:
    """Beside the .top, in the folder that the config names, and where GROMACS looks."""
    expected = own_kjmol(loaded())
    (in_tmp / "share" / "top").mkdir(parents=True)
    Path("tiny.ff").rename(in_tmp / "share" / "top" / "tiny.ff")
    with pytest.raises(UserInputError) as raised:
        loaded(include_dir="nowhere")
    assert "topol.top, line 1: no file tiny.ff/forcefield.itp to include in ., nowhere" in str(
        raised.value
    )
    assert "--include-dir" in str(raised.value)
    assert own_kjmol(loaded(include_dir=in_tmp / "share" / "top")) == expected
    monkeypatch.setenv("GMXDATA", str(in_tmp / "share"))
    assert own_kjmol(loaded()) == expected
    monkeypatch.setenv("GMXDATA", "nowhere")
    monkeypatch.setenv("GMXLIB", f"nowhere:{in_tmp / 'share' / 'top'}")
    assert own_kjmol(loaded()) == expected


def test_init_takes_positions_from_where_gromacs_does(vacuum) -> None:
    system = proposed_config("topol.top", "x").system
    assert (str(system.positions), system.implicit_solvent) == ("conf.gro", "OBC2")
    Path("conf.gro").rename("topol.gro")
    assert str(proposed_config("topol.top", "x").system.positions) == "topol.gro"
    Path("topol.gro").rename("other.gro")
    with pytest.raises(UserInputError, match=r"positions next to it, in topol.gro .*--positions"):
        proposed_config("topol.top", "x")
    chosen = proposed_config("topol.top", "x", positions=Path("other.gro"), include_dir=Path())
    assert (str(chosen.system.positions), str(chosen.system.include_dir)) == ("other.gro", ".")


BREAKS = [
    ("T18 3 NME", "T99 3 NME", r"the atom type T99 \(topol.top, line \d+\) is in no \[ atomtypes"),
    ("Peptide 3", "Peptide 2", r"topol.top, line 3: expected nrexcl 3, found 2"),
    ("[ molecules ]", "[ moles ]", r"\[ molecules \] is missing"),
    ("Peptide 1\n", "Peptide 1\n[ angle_restraints ]\n1 2 1 3 1 90 5 1\n", r"passes over \[ angle"),
    ("#ifdef POSRES", "#define POSRES\n#ifdef POSRES", r"line \d+: no file posre.itp to include"),
    ("#endif\n", "", r"topol.top: #ifdef without #endif"),
    ("#ifdef POSRES", "#if POSRES", r"line \d+: expected #include, #define, .* found '#if POSRES'"),
    (
        "[ angles ]",
        "[ angles ]\n1 2 3 8 1 1",
        r"in \[ angles \] line '1 2 3 8 1 1' \(topol.top, li",
    ),
    ("[ angles ]", "[ angles ]\n1 2 3 1", r"the angle ACE1-\w+-ACE1-\w+-ACE1-\w+ \(atom types T0"),
    (
        "Peptide 1\n",
        "Peptide 2\n",
        r"conf.gro: expected positions of the 44 atoms of topol.top, fo",
    ),
    ("[ angles ]", "[ constraints ]\n1 3 2 0.17\n[ angles ]", r"constrain.*of \[ constraints \]"),
    ('#include "tiny.ff', '#include "topol.top"\n#include "tiny.ff', r"topol.top includes itse"),
    ("#ifdef POSRES", "#else", r"topol.top, line \d+: #else without #ifdef"),
]


@for_each(("old", "new", "words"), BREAKS)
def test_a_topology_that_is_not_whole(old, new, words, alanine, vacuum) -> None:
    refused_when_changed(Path("topol.top"), old, new, words, loaded)


def test_positions_of_other_atoms(vacuum, alanine) -> None:
    write_gro(alanine, Path("conf.gro"), [*range(1, 22), 0])
    with pytest.raises(UserInputError, match=r"conf.gro: atom 0 is CH3 C, and H1 H in topol.top"):
        loaded()
    write_gro(alanine, Path("conf.gro"), range(21))
    with pytest.raises(UserInputError, match=r"of the 22 atoms of topol\.top, found 21"):
        loaded()


def test_united_atoms_are_refused(vacuum) -> None:
    path = Path("tiny.ff/forcefield.itp")
    path.write_text(path.read_text().replace("T1 6 12.01 ", "T1 6 15.035 ", 1))
    with pytest.raises(UserInputError, match=r"atom CH3 of residue ACE1 has 15\.035 Da, a carbon"):
        loaded()


def test_elements_follow_from_masses_where_a_name_misleads(vacuum, alanine) -> None:
    """OpenMM's reader takes an atom NA1 without an atomic number for sodium."""
    types = Path("tiny.ff/forcefield.itp")
    atom = next(a for a in alanine.topology.atoms if a.element.symbol == "N")
    types.write_text(types.read_text().replace(f"T{atom.index} 7 ", f"T{atom.index} ", 1))
    path = Path("topol.top")
    line = f"T{atom.index} {atom.residue.index + 1} {atom.residue.name} N "
    assert line in path.read_text()
    path.write_text(path.read_text().replace(line, line.replace(" N ", " NA1 "), 1))
    assert loaded().topology.atom(atom.index).element.symbol == "N"
