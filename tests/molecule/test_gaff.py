"""GAFF2 by AmberTools' programs: stand-ins that succeed, fail or hang, and the real ones."""

from __future__ import annotations

import os
import shutil
import signal
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from openmmtools.testsystems import get_data_filename

from bgp4.cli.initialise import init_command
from bgp4.config import load_config
from bgp4.errors import UserInputError
from bgp4.molecule import gaff
from bgp4.molecule.molecule import load_molecule
from bgp4.pipeline.request import MoleculeRequest
from tests.processes import members

Chem = pytest.importorskip("rdkit.Chem")

from bgp4.molecule.ligand import Ligand, ligand_from_smiles, with_start_positions  # noqa: E402

ALANINE = "CC(=O)N[C@@H](C)C(=O)NC"
PRMTOP, INPCRD = (
    get_data_filename(f"data/alanine-dipeptide-gbsa/alanine-dipeptide.{end}")
    for end in ("prmtop", "crd")
)


@pytest.fixture(scope="module")
def ligand() -> Ligand:
    return with_start_positions(ligand_from_smiles(ALANINE))


@pytest.fixture
def programs(in_tmp, monkeypatch, ligand):
    """Stand-ins: antechamber leaves the ligand as AM1 would, tleap OpenMM's alanine dipeptide.

    What is given replaces a program's script.
    """
    folder = in_tmp / "bin"
    folder.mkdir()
    monkeypatch.setattr(sys, "executable", str(folder / "python"))
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")
    Path("minimised.pdb").write_text(Chem.MolToPDBBlock(ligand.mol))
    Path("made.mol2").write_text(
        "@<TRIPOS>ATOM\n1 C1 0 0 0 c3 1 LIG -0.2\n2 H1 0 0 1 hc 1 LIG 0.2\n@<TRIPOS>BOND\n"
    )
    Path("made.frcmod").write_text("MASS\n\nDIHE\n\nIMPROPER\n\nNONBON\n")
    usual = {
        "antechamber": f'echo "$@" >> {in_tmp}/calls; cp {in_tmp}/made.mol2 ligand.mol2; '
        f"cp {in_tmp}/minimised.pdb sqm.pdb",
        "parmchk2": f"cp {in_tmp}/made.frcmod ligand.frcmod",
        "tleap": f"cp {PRMTOP} ligand.prmtop; cp {INPCRD} ligand.inpcrd",
    }

    def put(**scripts: str) -> None:
        for name, script in {**usual, **scripts}.items():
            (folder / name).write_text(f"#!/bin/sh\n{script}\n")
            (folder / name).chmod(0o755)

    put()
    return put


def initialised(source: str | None = None, smiles: str | None = None, **options: object) -> None:
    output = options.pop("output", Path("my.yaml"))
    init_command(MoleculeRequest(source, smiles, **options), output)


def made_files() -> set[str]:
    return {path.name for path in Path().glob("my*")}


def test_init_makes_a_prmtop_and_names_it(programs, capsys) -> None:
    """From then on neither RDKit nor AmberTools is needed."""
    initialised(smiles=ALANINE)
    assert made_files() == {"my.yaml", *(f"my_gaff2.{e}" for e in ("prmtop", "inpcrd", "sdf"))}
    out = capsys.readouterr().out
    for words in (
        f"{Chem.CanonSmiles(ALANINE)}: C6H12N2O2, 22 atoms, net charge 0",
        "AM1-BCC charges: -0.200 (C1) to +0.200 (H1)",
        "please cite:",
        "J. Comput. Chem. 23, 1623 (2002)",
        "my_gaff2.prmtop (OBC2): 22 atoms",
    ):
        assert words in out
    system = load_config("my.yaml").system
    assert (str(system.prmtop), system.implicit_solvent) == ("my_gaff2.prmtop", "OBC2")
    assert load_molecule(system).n_atoms == 22
    assert "-nc 0" in Path("calls").read_text()
    (mol,) = Chem.SDMolSupplier("my_gaff2.sdf", removeHs=False)
    assert mol.GetNumAtoms() == 22
    assert Path("my.yaml").read_text().startswith(f"# {Chem.CanonSmiles(ALANINE)}: GAFF2")


def test_a_file_is_taken_like_a_smiles(programs, ligand) -> None:
    Path("drug.sdf").write_text(ligand.sdf)
    initialised("drug.sdf")
    assert load_config("my.yaml").system.kind == "prmtop"


def test_nothing_is_overwritten(programs) -> None:
    Path("my_gaff2.inpcrd").write_text("mine")
    with pytest.raises(UserInputError, match=r"my_gaff2\.inpcrd: the file exists"):
        initialised(smiles=ALANINE)
    assert Path("my_gaff2.inpcrd").read_text() == "mine"
    assert not Path("calls").exists()


def test_a_molecule_that_is_refused_later_leaves_nothing(programs) -> None:
    programs(tleap=f"head -c 9000 {PRMTOP} > ligand.prmtop; cp {INPCRD} ligand.inpcrd")
    with pytest.raises(UserInputError, match=r"my_gaff2\.prmtop: sections are missing"):
        initialised(smiles=ALANINE)
    with pytest.raises(UserInputError, match="22 atoms, expected at most 21"):
        initialised(smiles=ALANINE, max_atoms=21)
    assert made_files() == set()


@pytest.mark.parametrize(
    ("scripts", "words"),
    {
        "AM1": (
            {"antechamber": "echo Unable to achieve self consistency > sqm.out; exit 1"},
            "antechamber failed: AM1 did not converge (sqm)",
        ),
        "a library": (
            {"antechamber": "echo 'sqm: error while loading shared libraries: libx.so.3: no'"},
            "a library of the system is missing: libx.so.3; pip install 'bgp4[ligand]'",
        ),
        "no file": ({"antechamber": "true"}, "antechamber failed: it did not say why"),
        "own words": (
            {"parmchk2": "echo 'Fatal Error! Cannot open file'; exit 1"},
            "parmchk2 failed: Fatal Error! Cannot open file",
        ),
        "a bond": (
            {"tleap": "echo Could not find bond parameter for: c3 - XX; exit 0"},
            "tleap failed: Could not find bond parameter for: c3 - XX",
        ),
    }.values(),
)  # fmt: skip
def test_why_a_program_failed(scripts, words, programs) -> None:
    programs(**scripts)
    with pytest.raises(UserInputError) as refused:
        initialised(smiles=ALANINE)
    assert str(refused.value).startswith(f"--smiles {ALANINE}: ")
    assert words in str(refused.value)
    assert str(refused.value).endswith("its output: my_gaff2.log")
    assert made_files() == {"my_gaff2.log"}


HANGS = "sleep 600 & echo $$ > {0}/pid.part; mv {0}/pid.part {0}/pid; wait"


def ended(leader: int) -> bool:
    """Whether a group of killed processes is gone; that takes a moment where cores are busy."""
    patience = time.monotonic() + 60
    while members(leader) and time.monotonic() < patience:
        time.sleep(0.05)
    return not members(leader)


linux = pytest.mark.skipif(not Path("/proc/self").is_dir(), reason="no /proc to find processes in")


@linux
def test_a_program_that_hangs_is_ended_with_its_children(programs, monkeypatch, in_tmp) -> None:
    programs(antechamber=HANGS.format(in_tmp))
    monkeypatch.setattr(gaff, "LIMIT_S", 3.0)
    with pytest.raises(UserInputError, match=r"antechamber failed: it took more than 0\.05 minut"):
        initialised(smiles=ALANINE)
    assert ended(int(Path("pid").read_text()))


@pytest.fixture
def sigint() -> Iterator[None]:
    """Ctrl-C interrupts, also where a shell ignores it for a job in the background."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@linux
def test_ctrl_c_ends_it_with_its_children(programs, in_tmp, sigint) -> None:
    programs(antechamber=HANGS.format(in_tmp))

    def press() -> None:
        while not (in_tmp / "pid").exists():
            time.sleep(0.05)
        os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=press, daemon=True).start()
    with pytest.raises(KeyboardInterrupt):
        initialised(smiles=ALANINE)
    assert ended(int(Path("pid").read_text()))
    assert made_files() == set()


def test_parameters_that_gaff2_does_not_have(programs, caplog) -> None:
    Path("made.frcmod").write_text(
        "BOND\nc3-xx   0.00   0.000       ATTN, need revision\n\nANGLE\n\nIMPROPER\n\nNONBON\n"
    )
    with pytest.raises(UserInputError, match="GAFF2 has no parameters for c3-xx, nor any like"):
        initialised(smiles=ALANINE)
    Path("made.frcmod").write_text(
        "ANGLE\nc -c3-na   65.5     110.7   same as c -c3-n4, penalty score= 72.5\n"
        "c -c3-nz   65.5     110.7   same as c -c3-n4, penalty score=  0.0\n\nIMPROPER\n"
        "c-o-c-o   1.1  180.0  2.0  Using general, penalty score=230.0)\n\nNONBON\n"
    )
    initialised(smiles=ALANINE)
    assert "not very like them: 1 (parmchk2's penalty up to 72.5, for c -c3-na" in caplog.text


def test_a_proton_that_am1_moves_is_put_back(programs, ligand, caplog) -> None:
    """A second time, without minimising; the charges are then those of the start."""
    moved = Chem.Mol(ligand.mol)
    hydrogen = moved.GetNumAtoms() - 1
    x, y, z = moved.GetConformer().GetPositions()[hydrogen]
    moved.GetConformer().SetAtomPosition(hydrogen, (x, y, z + 2.0))
    Path("minimised.pdb").write_text(Chem.MolToPDBBlock(moved))
    initialised(smiles=ALANINE)
    calls = Path("calls").read_text().splitlines()
    assert ["maxcyc=0" in call for call in calls] == [False, True]
    assert f"-{ligand.names[hydrogen]} when it minimised" in caplog.text


def test_ambertools_is_asked_for_where_it_is_missing(programs, in_tmp) -> None:
    (in_tmp / "bin" / "parmchk2").unlink()
    with pytest.raises(UserInputError, match=r"parmchk2 is not installed.*'bgp4\[ligand\]'"):
        initialised(smiles=ALANINE)


def test_options_that_do_not_go_with_a_ligand(in_tmp) -> None:
    Path("x.mol2").touch()
    for options, words in (
        ({"smiles": "CCO", "forcefield": ("openff-2.2.1",)}, "OpenFF takes an SDF file"),
        ({"source": "x.mol2", "forcefield": ("openff-2.2.1",)}, "OpenFF takes an SDF file"),
        ({"smiles": "CCO", "xml": Path("x.xml")}, "--xml and --positions do not go"),
        ({"smiles": "CCO", "source": "x.pdb"}, "found both x.pdb and --smiles"),
        ({}, "found none of them"),
    ):
        with pytest.raises(UserInputError, match=words):
            initialised(**options)


@pytest.mark.skipif(
    shutil.which("antechamber", path=f"{Path(sys.executable).parent}:{os.environ.get('PATH')}")
    is None,
    reason="AmberTools is not installed",
)
def test_the_real_programs(in_tmp) -> None:
    """Methylammonium: its charge, its symmetry, GAFF2's types, radii of OBC2, L-alanine's hand."""
    import openmm
    from openmm import app

    initialised(smiles="C[NH3+]")
    prmtop = app.AmberPrmtopFile("my_gaff2.prmtop")
    names = with_start_positions(ligand_from_smiles("C[NH3+]")).names
    assert [atom.name for atom in prmtop.topology.atoms()] == names
    system = openmm.XmlSerializer.deserialize(
        load_molecule(load_config("my.yaml").system).system_xml
    )
    (force,) = (f for f in system.getForces() if isinstance(f, openmm.NonbondedForce))
    charges = [force.getParticleParameters(i)[0]._value for i in range(8)]
    assert sum(charges) == pytest.approx(1, abs=1e-5)
    assert np.ptp(charges[2:5]) == np.ptp(charges[5:8]) == 0
    assert prmtop._prmtop._raw_data["AMBER_ATOM_TYPE"][0].strip() == "c3"
    assert float(prmtop._prmtop._raw_data["RADII"][5]) == 1.3
