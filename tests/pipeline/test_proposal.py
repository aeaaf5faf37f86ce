"""`bgp4 init`: a config that works, from whatever names a molecule, and what is said of it."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import mdtraj
import numpy as np
import pytest
import yaml
from openmmtools.testsystems import get_data_filename

from bgp4.cli.initialise import init_command
from bgp4.config import load_config
from bgp4.coordinates import ZMatrix, zmatrix_from_bonds
from bgp4.energies.reference import relaxed
from bgp4.errors import UserInputError
from bgp4.molecule.molecule import Molecule, load_molecule
from bgp4.pipeline.description import description
from bgp4.pipeline.proposal import config_text, ladder, proposed_config
from bgp4.pipeline.request import MoleculeRequest
from bgp4.storage.bundled import find_data
from tests import linear


def initialised(source: str, output: str = "my.yaml", **options: object) -> None:
    init_command(MoleculeRequest(source, **options), Path(output))


@pytest.fixture
def pdb(in_tmp) -> str:
    source = find_data("ala4.pdb")
    assert source is not None
    (in_tmp / "my.pdb").write_bytes(source.read_bytes())
    return "my.pdb"


def test_a_pdb_file(pdb, capsys) -> None:
    initialised(pdb)
    out = capsys.readouterr().out
    for words in (
        "my.pdb: 42 atoms, 41 bonds, ACE1 ALA2 ALA3 ALA4 NME5",
        "stereocentres, whose chirality is kept: ALA2-CA, ALA3-CA, ALA4-CA",
        "every force is supported",
        "wrote my.yaml; next: bgp4 simulate --config my.yaml",
    ):
        assert words in out
    config = load_config("my.yaml")
    assert config.system.forcefield == ("amber14-all.xml", "implicit/obc2.xml")
    assert config.data.paths == ("my_1000k.h5",)
    assert config.data.temperature_k == config.of_data.temperature_k == 1000
    assert config.of_data.simulate.temperatures_k == ()
    assert config.report.reference == "my_300k.h5"
    assert config.data.peptide_bonds == "trans"
    assert config.simulate.temperatures_k[0] == config.temperature_k == 300
    assert load_molecule(config.system).n_atoms == 42


def test_the_zmatrix_in_the_config_can_be_taken(pdb) -> None:
    """Uncommented, it is the one that follows from the bonds."""
    initialised(pdb)
    text = Path("my.yaml").read_text()
    shown = text.replace("  # zmatrix", "  zmatrix").replace("  #   - ", "    - ")
    given = yaml.safe_load(shown)["system"]["zmatrix"]
    config = load_config("my.yaml").system
    own = config.model_copy(update={"zmatrix": tuple(tuple(row) for row in given)})
    assert len(given) == 42
    assert load_molecule(own).zmatrix == load_molecule(config).zmatrix


def test_the_table_says_what_the_coordinates_are(alanine) -> None:
    """Each torsion's value is mdtraj's of these atoms; rows are as many as atoms."""
    said = description(alanine, relaxed(alanine))
    lines = [line.split() for line in said if line.startswith("  ")]
    assert len(lines) == 22
    by_name = {str(a): a.index for a in alanine.topology.atoms}
    trajectory = mdtraj.Trajectory(alanine.positions_nm, alanine.topology)
    for first, bond, angle, torsion, length, bend, turn, *_ in lines[3:]:
        atoms = [by_name[name] for name in (first, bond, angle, torsion)]
        expected = [
            mdtraj.compute_distances(trajectory, [atoms[:2]])[0, 0],
            np.degrees(mdtraj.compute_angles(trajectory, [atoms[:3]])[0, 0]),
            np.degrees(mdtraj.compute_dihedrals(trajectory, [atoms])[0, 0]),
        ]
        found = [float(length), float(bend), float(turn)]
        off = np.abs(np.subtract(found, expected))
        off[2] = min(off[2], 360 - off[2])
        assert (off < [1e-3, 0.1, 0.2]).all(), (first, found, expected)


def test_amber_files_with_positions_beside(in_tmp) -> None:
    for suffix in (".prmtop", ".inpcrd"):
        source = Path(get_data_filename(f"data/cb7-b2/ligand{suffix}"))
        (in_tmp / f"guest{suffix}").write_bytes(source.read_bytes())
    initialised("guest.prmtop")
    system = load_config("my.yaml").system
    assert (str(system.positions), system.implicit_solvent) == ("guest.inpcrd", "OBC2")
    Path("guest.inpcrd").rename("elsewhere.crd")
    with pytest.raises(UserInputError, match=r"next to it, in guest.inpcrd .*--positions"):
        initialised("guest.prmtop", "other.yaml")
    initialised("guest.prmtop", "other.yaml", positions=Path("elsewhere.crd"))
    assert not (in_tmp / "third.yaml").exists()


def test_a_test_system_and_another_temperature(in_tmp) -> None:
    initialised("AlanineDipeptideVacuum", temperature_k=350.0)
    config = load_config("my.yaml")
    assert config.system.testsystem == "AlanineDipeptideVacuum"
    assert config.temperature_k == config.simulate.temperatures_k[0] == 350


@pytest.mark.filterwarnings("ignore")
def test_a_force_field_that_only_openmm_knows(pdb, capsys) -> None:
    """All that batches do not support is named."""
    script = (
        "bond = openmm.CustomBondForce('(r-1)^4')\nbond.addBond(0, 9)\n"
        "walls = openmm.CustomExternalForce('max(0, x-9)')\nwalls.addParticle(0)\n"
        "sys.addForce(bond)\nsys.addForce(walls)"
    )
    Path("more.xml").write_text(
        f"<ForceField><Script>import openmm\n{script}</Script></ForceField>"
    )
    initialised(pdb, forcefield=("amber14-all.xml", "implicit/gbn2.xml", "more.xml"))
    words = (
        "by OpenMM, which is slower: batches do not support CustomBondForce with the energy "
        "(r-1)^4, CustomExternalForce"
    )
    assert words in capsys.readouterr().out
    settings = load_config("my.yaml").simulate
    assert settings.platform in ("Reference", "CPU")


def chain(n_atoms: int) -> ZMatrix:
    return zmatrix_from_bonds(["C"] * n_atoms, list(pairwise(range(n_atoms))))


def test_the_ladder() -> None:
    """As for alanine dipeptide, and closer for more atoms."""
    assert ladder(chain(22), 300.0)[0] == 300
    assert len(ladder(chain(22), 300.0)) == 6
    ladders = [ladder(chain(n), 300.0) for n in (22, 42, 100)]
    ratios = [max(np.divide(t[1:], t[:-1])) for t in ladders]
    assert ratios == sorted(ratios, reverse=True)
    assert ladders[-1][-1] == 750


@pytest.mark.parametrize(("source", "reach"), [("ala6.pdb", 5), ("ala4.pdb", None)])
def test_conditioners_of_large_molecules_see_a_neighbourhood(in_tmp, source, reach) -> None:
    initialised(str(find_data(source)))
    model = load_config("my.yaml").model
    assert model.reach == reach
    assert model.distances == (64 if reach else None)
    assert model.hidden == ((64, 64) if reach else (192, 192))


def test_torsions_of_large_molecules_learn_from_a_ladder(in_tmp) -> None:
    """From the run's temperature to the data's, as closely as any; other molecules from MD."""
    initialised(str(find_data("ala6.pdb")))
    config = load_config("my.yaml")
    temperatures = config.simulate.temperatures_k
    assert config.simulate.all_temperatures
    assert config.data.paths == ("my_ladder.h5",)
    assert (temperatures[0], temperatures[-1]) == (300, config.data.temperature_k) == (300, 1000)
    ratios = [max(np.divide(t[1:], t[:-1])) for t in (temperatures, ladder(chain(62), 300.0))]
    assert ratios[0] == pytest.approx(ratios[1], rel=0.05)
    assert "MD at 300 to 1000 K: my_ladder.h5" in Path("my.yaml").read_text()
    initialised(str(find_data("ala4.pdb")), output="small.yaml")
    assert not load_config("small.yaml").simulate.all_temperatures


def test_a_ladder_goes_on_to_where_rings_turn(in_tmp) -> None:
    """As closely as before."""
    ring = linear.loaded("cyclohexane", in_tmp).zmatrix
    assert ladder(ring, 300.0)[-1] == 1200
    ratios = [
        max(np.divide(t[1:], t[:-1])) for t in (ladder(chain(18), 300.0), ladder(ring, 300.0))
    ]
    assert ratios[1] == pytest.approx(ratios[0], rel=0.05)


@pytest.mark.parametrize(
    ("source", "words"),
    {
        "lost.pdb": "no such file: lost.pdb",
        "notes.txt": "expected a .pdb, .cif, .prmtop, .top, .psf, .sdf or .mol2 file",
        "NoSuchSystem": "openmmtools test system, found 'NoSuchSystem'",
    }.items(),
)
def test_what_is_no_molecule(source, words, in_tmp) -> None:
    with pytest.raises(UserInputError, match=words):
        initialised(source)
    assert list(in_tmp.iterdir()) == []


def test_nothing_is_overwritten(pdb) -> None:
    Path("my.yaml").write_text("mine")
    with pytest.raises(UserInputError, match=r"my\.yaml: the file exists"):
        initialised(pdb)
    with pytest.raises(UserInputError, match="no such folder: nowhere"):
        initialised(pdb, "nowhere/my.yaml")
    assert Path("my.yaml").read_text() == "mine"


def test_labels_that_yaml_would_misread(alanine) -> None:
    """Atoms named with a quote or a star, as sugars and nucleotides have them."""
    topology = alanine.topology.copy()
    topology.atom(4).name = "C5'"
    topology.atom(6).name = "N*"
    odd = Molecule("odd", alanine.system_xml, topology, alanine.positions_nm, alanine.zmatrix)
    text = config_text(proposed_config("AlanineDipeptideImplicit", "odd"), odd, Path("odd.yaml"))
    shown = text.replace("  # zmatrix", "  zmatrix").replace("  #   - ", "    - ")
    labels = {name for row in yaml.safe_load(shown)["system"]["zmatrix"] for name in row}
    assert {"ACE1-C5'", "ALA2-N*"} <= labels


def test_a_molecule_that_is_too_large_is_refused(pdb) -> None:
    with pytest.raises(UserInputError, match=r"42 atoms, expected at most 41.*--max-atoms 42"):
        initialised(pdb, max_atoms=41)
    assert not Path("my.yaml").exists()
    initialised(pdb, max_atoms=42)
    assert Path("my.yaml").exists()
