"""What is said of files that will not do: the fault itself, where it is, and a step that works."""

from __future__ import annotations

import logging
from pathlib import Path

import mdtraj
import numpy as np
import openmm
import pytest
from openmm import app
from openmmtools.testsystems import AlanineDipeptideVacuum, get_data_filename

from bgp4.config import DataConfig, SystemConfig
from bgp4.data.frames import load_frames
from bgp4.errors import UserInputError
from bgp4.molecule.molecule import load_molecule
from bgp4.pipeline.proposal import proposed_config
from bgp4.storage.bundled import find_data
from tests.for_each import for_each

FORCEFIELD = ("amber14-all.xml", "implicit/obc2.xml")


@pytest.fixture(scope="module")
def lines() -> list[str]:
    """Of Ace-Ala3-NMe, with elements, and CONECT records of none."""
    return Path(find_data("ala4.pdb")).read_text().splitlines()


def atoms(lines: list[str]) -> list[str]:
    return [line for line in lines if line.startswith("ATOM")]


def refusal(pdb_lines: list[str], name: str = "x.pdb") -> str:
    Path(name).write_text("\n".join(pdb_lines) + "\n")
    with pytest.raises(UserInputError) as raised:
        load_molecule(SystemConfig(pdb=Path(name), forcefield=FORCEFIELD))
    return str(raised.value)


def edited(lines: list[str], change) -> list[str]:
    return [change(ln) if ln.startswith("ATOM") else ln for ln in lines]


def without_heavy(line: str) -> str:
    return "" if line[12:16].strip() == "CB" else line


PDBS = {
    "heavy atoms": (
        lambda s: edited(s, without_heavy),
        ["residues ALA2, ALA3, ALA4 lack heavy atoms (ALA2: CB)", "--add-atoms=all"],
        ["--add-atoms=hydrogen"],
    ),
    "a terminal oxygen by another name": (
        lambda s: [ln.replace(" HB1 ALA 1   3", " QQ1 ALA 1   3") for ln in s],
        ["QQ1 of residue ALA3 has no bonds, since ALA has no atom of that name"],
        ["caps", "pdbfixer"],
    ),
    "the other hand's name": (
        lambda s: [ln.replace("ALA 1   3", "DAL 1   3") for ln in s if ln[:6] != "CONECT"],
        ["residue DAL3 is not in", "rename it to that", "ALA"],
        ["ALA2", "pdbfixer"],
    ),
    "a residue of another force field file": (
        lambda s: [ln.replace("ALA 1   3", "NLN 1   3") for ln in s if ln[:6] != "CONECT"],
        ["NLN3", "amber14/GLYCAM_06j-1.xml has NLN"],
        ["pdbfixer"],
    ),
    "two molecules of the same numbers": (
        lambda s: [*atoms(s), *(ln.replace("ALA 1   3", "VAL 1   3") for ln in atoms(s))],
        ["residue number 3 is both ALA and VAL in one chain"],
        ["pdbfixer"],
    ),
    "elements of no molecule": (
        lambda s: edited(s, lambda ln: ln[:76] + "IN" if " CB  ALA 1   3" in ln else ln),
        ["atom CB of residue ALA3 is read as indium", "columns 77-78"],
        ["SDF"],
    ),
    "guessed elements": (
        lambda s: edited(
            s, lambda ln: ln[:12] + " CL1" + ln[16:76] if " CB  ALA 1   3" in ln else ln
        ),
        ["atom CL1 of residue ALA3 is read as chlorine", "guessed from the name"],
        ["SDF"],
    ),
    "numbers run together": (
        lambda s: edited(
            s, lambda ln: ln[:30] + "  12.3x6" + ln[38:] if " CB  ALA 1   3" in ln else ln
        ),
        [", ATOM: expected a number for x in columns 31 to 38, found '  12.3x6'"],
        ["ValueError"],
    ),
    "a box that is no box": (
        lambda s: ["CRYST1   500.00 500  90   500.00  90.00  90.00  90.00 P 1", *atoms(s)],
        ["line 1, CRYST1: expected a number for "],
        ["ValueError"],
    ),
    "far away": (
        lambda s: edited(
            s, lambda ln: ln[:30] + " 170.000" + ln[38:] if " N   ALA 1   3" in ln else ln
        ),
        ["the bond ", "nm long, expected 0.06 to 0.35"],
        ["triple bond"],
    ),
}


@pytest.mark.parametrize(("change", "said", "unsaid"), PDBS.values(), ids=PDBS.keys())
def test_structures(change, said, unsaid, lines, in_tmp) -> None:
    message = refusal([line for line in change(lines) if line])
    assert "\n" not in message
    assert all(word in message for word in said), message
    assert not any(word in message for word in unsaid), message


def test_a_ring_of_head_and_tail_is_recognised(in_tmp) -> None:
    """Four alanines on a circle, without caps, N beside C."""
    made = app.PDBFile(str(find_data("ala4.pdb")))
    text = [
        ln for ln in Path(find_data("ala4.pdb")).read_text().splitlines() if " ALA " in ln[12:22]
    ]
    positions = np.array([[float(ln[i : i + 8]) for i in (30, 38, 46)] for ln in text])
    names = [(ln[22:26].strip(), ln[12:16].strip()) for ln in text]
    first, last = names.index(("2", "N")), names.index(("4", "C"))
    moved = positions.copy()
    moved[last] = positions[first] + [1.33, 0, 0]
    written = [
        ln[:30] + "".join(f"{x:8.3f}" for x in xyz) + ln[54:]
        for ln, xyz in zip(text, moved, strict=True)
    ]
    message = refusal(written)
    assert made.topology.getNumResidues() == 5
    assert "N of ALA2 and C of ALA4 are 0.133 nm apart: a peptide closed head to tail" in message


def test_a_box_that_cuts_the_molecule_is_said(lines, in_tmp) -> None:
    box = 20.0
    cut = [
        ln[:30]
        + f"{float(ln[30:38]) % box if float(ln[30:38]) < 4 else float(ln[30:38]) - box:8.3f}"
        + ln[38:]
        for ln in atoms(lines)
    ]
    message = refusal(["CRYST1   20.000   40.000   40.000  90.00  90.00  90.00 P 1", *cut])
    assert "the box cuts the molecule: make it whole" in message


def test_an_atom_type_that_no_file_has(lines, in_tmp) -> None:
    Path("more.xml").write_text(
        "<ForceField><Residues><Residue name='LIG'><Atom name='X' type=\"XQ\"/></Residue>"
        "</Residues></ForceField>"
    )
    Path("x.pdb").write_text("\n".join(lines) + "\n")
    config = SystemConfig(pdb=Path("x.pdb"), forcefield=("amber14-all.xml", "more.xml"))
    with pytest.raises(
        UserInputError, match=r"more\.xml uses the atom type or class XQ, which none"
    ):
        load_molecule(config)


def test_advice_goes_with_the_source(in_tmp) -> None:
    """A serialised System with constrained angles has no key to take them away."""
    made = AlanineDipeptideVacuum(constraints=app.HAngles)
    Path("s.xml").write_text(openmm.XmlSerializer.serialize(made.system))
    with Path("a.pdb").open("w") as file:
        app.PDBFile.writeFile(made.topology, made.positions, file)
    with pytest.raises(UserInputError, match="anew with constraints=HBonds") as raised:
        load_molecule(SystemConfig(pdb=Path("a.pdb"), xml=Path("s.xml")))
    assert "system.constraints" not in str(raised.value)


def test_models_and_locations_are_said(lines, in_tmp, caplog) -> None:
    caplog.set_level(logging.INFO, logger="bgp4")
    one = atoms(lines)
    two = ["MODEL        1", *one, "ENDMDL", "MODEL        2", *one, "ENDMDL", "END"]
    Path("nmr.pdb").write_text("\n".join(two) + "\n")
    load_molecule(SystemConfig(pdb=Path("nmr.pdb"), forcefield=FORCEFIELD))
    assert "nmr.pdb: the first of 2 models is taken" in caplog.text
    alternate = [ln[:16] + place + ln[17:] for ln in one for place in ("A", "B")]
    Path("alt.pdb").write_text("\n".join(alternate) + "\n")
    load_molecule(SystemConfig(pdb=Path("alt.pdb"), forcefield=FORCEFIELD))
    assert "alt.pdb: atoms in several locations (A, B)" in caplog.text


PRMTOP = "data/alanine-dipeptide-gbsa/alanine-dipeptide.prmtop"


@pytest.fixture
def prmtop(in_tmp) -> Path:
    text = Path(get_data_filename(PRMTOP)).read_text()
    Path("a.prmtop").write_text(text)
    return Path("a.prmtop")


@pytest.fixture
def ala(alanine) -> mdtraj.Trajectory:
    xyz = np.repeat(alanine.positions_nm[None], 3, axis=0) + 0.01 * np.arange(3)[:, None, None]
    return mdtraj.Trajectory(xyz, alanine.topology)


@pytest.mark.parametrize("ending", [".pdb", ".nc", ".gro", ".ncrst", ".rst7"])
def test_positions_beside_a_prmtop(ending, prmtop, ala, alanine, caplog) -> None:
    """Of every kind of file, those of its first frame."""
    caplog.set_level(logging.INFO, logger="bgp4")
    (ala if ending in (".pdb", ".nc") else ala[0]).save(f"a{ending}")
    config = proposed_config("a.prmtop", "a", positions=Path(f"a{ending}"))
    found = load_molecule(config.system)
    apart = [
        np.linalg.norm(x[:, None] - x[None], axis=-1) for x in (found.positions_nm, ala.xyz[0])
    ]
    np.testing.assert_allclose(*apart, atol=2e-3)
    assert ("a trajectory of 3 frames" in caplog.text) == (ending == ".nc")


def test_positions_of_other_atoms_are_refused(prmtop, ala) -> None:
    ala.atom_slice(range(21)).save("short.pdb")
    with pytest.raises(UserInputError, match=r"positions of the 22 atoms of a\.prmtop, found 21"):
        load_molecule(proposed_config("a.prmtop", "a", positions=Path("short.pdb")).system)


def test_prmtops_that_are_not_whole(prmtop, ala) -> None:
    ala[0].save("a.pdb")
    text = prmtop.read_text()
    prmtop.write_text(text.replace("%FLAG POINTERS", "%FLAG NOTHING"))
    with pytest.raises(UserInputError, match=r"a\.prmtop: cannot be read: .* missing \(POINTERS\)"):
        load_molecule(proposed_config("a.prmtop", "a").system)
    prmtop.write_text("title\n 22 7 12\n")
    with pytest.raises(UserInputError, match="no %FLAG sections: a prmtop of before Amber 7"):
        load_molecule(proposed_config("a.prmtop", "a").system)


def test_a_prmtop_by_another_name(prmtop, ala) -> None:
    prmtop.rename("a.top")
    ala[0].save("a.pdb")
    assert load_molecule(proposed_config("a.top", "a").system).n_atoms == 22


@for_each(
    ("name", "words"),
    [
        ("x.gro", "bgp4 init topol.top --positions x.gro"),
        ("x.itp", "give the .top that includes it"),
        ("x.crd", "bgp4 init x.psf --positions x.crd"),
        ("x.xyz", "bgp4 init --smiles"),
        ("x.xml", "bgp4 init STRUCTURE.pdb --xml x.xml"),
    ],
)
def test_files_of_other_kinds_are_told_the_way(name, words, in_tmp) -> None:
    Path(name).write_text("text\n")
    with pytest.raises(UserInputError) as raised:
        proposed_config(name, "x")
    assert words in str(raised.value)


def test_openmms_warnings_are_ours(prmtop, ala, caplog, recwarn) -> None:
    """Radii that are not the solvent model's, as a line of the log."""
    ala[0].save("a.pdb")
    head, radii = prmtop.read_text().split("%FLAG RADII")
    values = radii.index("E+0") - 10
    prmtop.write_text(f"{head}%FLAG RADII{radii[:values]}1.99{radii[values + 4 :]}")
    load_molecule(SystemConfig(prmtop=prmtop, inpcrd=Path("a.pdb"), implicit_solvent="OBC2"))
    assert "the GB radii in it are not those that OBC2 was made for" in caplog.text
    assert not [w for w in recwarn if "GB" in str(w.message)]


def trajectory_refusal(alanine, path: str) -> str:
    with pytest.raises(UserInputError) as raised:
        load_frames(DataConfig(path=path), alanine)
    return str(raised.value)


def numbered(topology: mdtraj.Topology, order: list[int]):
    """A topology's table of atoms in another order."""
    return topology.to_dataframe()[0].iloc[order].reset_index(drop=True)


def test_trajectories(alanine, ala, in_tmp) -> None:
    """Empty, by another name, of no known ending, with other names, and with virtual sites."""
    for name in ("a.dcd", "a.xtc"):
        Path(name).touch()
        assert "the file is empty (0 bytes)" in trajectory_refusal(alanine, name)
    ala.save("b.nc")
    Path("b.nc").rename("b.mdcrd")
    assert "it is a .nc file; rename it to b.nc" in trajectory_refusal(alanine, "b.mdcrd")
    np.save("c.npy", ala.xyz)
    message = trajectory_refusal(alanine, "c.npy")
    assert "no reader for files that end in .npy" in message
    assert "dict_keys" not in message
    renamed = alanine.topology.copy()
    renamed.atom(0).name = "1HH3"
    mdtraj.Trajectory(ala.xyz, renamed).save("d.h5")
    message = trajectory_refusal(alanine, "d.h5")
    assert "atom 0 is 1HH3, expected H1" in message
    assert "atom_slice" not in message
    order = [1, 0, *range(2, 22)]
    swapped = mdtraj.Topology.from_dataframe(numbered(alanine.topology, order))
    mdtraj.Trajectory(ala.xyz[:, order], swapped).save("e.h5")
    assert "atom order differs" in trajectory_refusal(alanine, "e.h5")
    with_site = alanine.topology.copy()
    with_site.add_atom("MCH3", mdtraj.element.virtual, with_site.residue(0))
    xyz = np.concatenate([ala.xyz, ala.xyz[:, :1]], axis=1)
    shuffled = [22, *range(5, 22), *range(5)]
    shuffled_topology = mdtraj.Topology.from_dataframe(numbered(with_site, shuffled))
    mdtraj.Trajectory(xyz[:, shuffled], shuffled_topology).save("f.h5")
    assert "1 of them are virtual sites" in trajectory_refusal(alanine, "f.h5")


def test_hydrogens_too_many(lines, in_tmp) -> None:
    """A second HA, with the bond that CONECT gives it."""
    extra = "ATOM    900  HA9 ALA 1   3       7.900   7.400   0.600  1.00  0.00           H"
    at = next(i for i, ln in enumerate(lines) if " CA  ALA 1   3" in ln)
    serial = lines[at][6:11]
    changed = [*lines[: at + 1], extra, *lines[at + 1 : -1], f"CONECT{serial}  900", "END"]
    assert "residue ALA3 has more hydrogens than any form of it" in refusal(changed)
