"""From a molecule's file to its report, for files that other packages ship or make."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import h5py
import mdtraj
import numpy as np
import pytest
import torch
from openmm import app
from openmmtools.testsystems import get_data_filename
from pdbfixer import PDBFixer

from bgp4.config import SystemConfig
from bgp4.coordinates import InternalCoordinates
from bgp4.molecule.molecule import Molecule, load_molecule
from bgp4.pipeline.proposal import proposed_config
from bgp4.storage.bundled import find_data
from bgp4.studies.bench.peptides import FF96, alanine_peptide
from tests import linear

SHORT = {
    "simulate.frames": 400,
    "simulate.stacks": 4,
    "simulate.steps_per_frame": 20,
    "simulate.equilibration_frames": 5,
    "simulate.processes": 1,
    "training.steps": 40,
    "training.batch_size": 64,
    "training.energy_batch_size": 64,
    "training.evaluate_every": 10,
    "report.samples": 300,
    "report.bootstrap": 10,
    "energies.workers": 1,
}


def copied(name: str) -> Callable[[], str]:
    """A data file of openmmtools', with positions beside a prmtop."""

    def copy() -> str:
        source = Path(get_data_filename(f"data/{name}"))
        for path in source.parent.glob(f"{source.stem}.*"):
            if path.suffix in (source.suffix, ".crd", ".inpcrd"):
                Path(path.name).write_bytes(path.read_bytes())
        return source.name

    return copy


def mutated(residue: str) -> Callable[[], str]:
    """Tetra-alanine with another residue in its middle, by pdbfixer."""

    def make() -> str:
        fixer = PDBFixer(str(find_data("ala4.pdb")))
        (chain,) = fixer.topology.chains()
        fixer.applyMutations([f"ALA-3-{residue}"], chain.id)
        fixer.findMissingResidues()
        fixer.missingResidues = {}
        fixer.findMissingAtoms()
        fixer.addMissingAtoms(seed=1)
        fixer.addMissingHydrogens(7.0)
        with Path("mutant.pdb").open("w") as file:
            app.PDBFile.writeFile(fixer.topology, fixer.positions, file, keepIds=True)
        return "mutant.pdb"

    return make


def polyalanine(residues: int, forcefield: tuple[str, ...] = FF96) -> Callable[[], str]:
    """Ace-(Ala)n-NMe from one residue of alanine dipeptide, as the force field has its residues."""

    def make() -> str:
        molecule, path = alanine_peptide(residues, forcefield), Path("peptide.pdb")
        mdtraj.Trajectory(molecule.positions_nm, molecule.topology).save(str(path))
        bonds = "".join(
            f"CONECT{a.index + 1:5d}{b.index + 1:5d}\n" for a, b in molecule.topology.bonds
        )
        path.write_text(path.read_text().replace("END\n", bonds + "END\n"))
        return path.name

    return make


def restrained() -> str:
    """Tetra-alanine, and a force field of one term that only OpenMM knows."""
    script = "bond = openmm.CustomBondForce('(r-1)^4')\nbond.addBond(0, 9)\nsys.addForce(bond)"
    Path("more.xml").write_text(
        f"<ForceField><Script>import openmm\n{script}</Script></ForceField>"
    )
    return polyalanine(3)()


def in_a_line(name: str) -> Callable[[], str]:
    """A molecule with a triple bond, and its System beside it."""
    return lambda: str(linear.written(name, Path()).pdb)


def named(*forcefield: str) -> tuple[str, ...]:
    return tuple(word for name in forcefield for word in ("--forcefield", name))


SILDN = named("amber99sbildn.xml", "amber99_obc.xml")
FF19SB = named("amber19-all.xml", "implicit/gbn2.xml")
CHARMM36 = ("charmm36.xml", "implicit/gbn2.xml")
OBC2 = ("amber14-all.xml", "implicit/obc2.xml")

MOLECULES: dict[str, tuple[Callable[[], str], tuple[str, ...], int]] = {
    "alanine dipeptide in vacuum": (lambda: "AlanineDipeptideVacuum", (), 22),
    "alanine dipeptide, prmtop, OBC2": (
        copied("alanine-dipeptide-gbsa/alanine-dipeptide.prmtop"),
        (),
        22,
    ),
    "alanine dipeptide, amber99sbildn": (
        copied("alanine-dipeptide-gbsa/alanine-dipeptide.pdb"),
        SILDN,
        22,
    ),
    "tri-alanine": (polyalanine(2), (), 32),
    "tetra-alanine": (polyalanine(3), SILDN, 42),
    "tetra-alanine, ff19SB": (polyalanine(3), FF19SB, 42),
    "tetra-alanine, CHARMM36": (polyalanine(3, CHARMM36), named(*CHARMM36), 42),
    "tetra-alanine, by OpenMM": (restrained, named(*OBC2, "more.xml"), 42),
    "proline": (mutated("PRO"), (), 46),
    "phenylalanine": (mutated("PHE"), (), 52),
    "tryptophan": (mutated("TRP"), (), 56),
    "xylene": (copied("T4-lysozyme-L99A-implicit/ligand.prmtop"), (), 18),
    "a bicyclic diamine": (copied("cb7-b2/ligand.prmtop"), (), 30),
    "viologen": (copied("cb7-viologen/leap/ligand.prmtop"), (), 58),
    "hex-1-yne": (in_a_line("hex-1-yne"), ("--xml", "linear.xml"), 16),
    "but-2-yne": (in_a_line("but-2-yne"), ("--xml", "linear.xml"), 10),
}


def bgp4(*args: str) -> str:
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-m", "bgp4", *args], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def loaded(name: str) -> Molecule:
    make, options, _ = MOLECULES[name]
    given = list(zip(options[::2], options[1::2], strict=True))
    forcefield = tuple(value for key, value in given if key == "--forcefield")
    xml = next((Path(value) for key, value in given if key == "--xml"), None)
    return load_molecule(proposed_config(make(), "my", forcefield, xml).system)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", MOLECULES)
def test_internal_coordinates_there_and_back(name: str, in_tmp) -> None:
    """In float64 to 1e-9 nm; both log-determinants against autograd, modulo rigid motion."""
    molecule = loaded(name)
    assert molecule.n_atoms == MOLECULES[name][2]
    coordinates = InternalCoordinates(molecule.zmatrix)
    noise = np.random.default_rng(0).normal(0, 0.003, (8, molecule.n_atoms, 3))
    x = torch.as_tensor(molecule.positions_nm + noise).flatten(1)
    q, logabsdet = coordinates(x)
    back, logabsdet_back = coordinates.inverse(q)
    again, _ = coordinates(back)
    turn = again - q
    turn[:, -(molecule.n_atoms - 3) :] = (
        torch.remainder(turn[:, -(molecule.n_atoms - 3) :] + np.pi, 2 * np.pi) - np.pi
    )
    assert turn.abs().max() < 1e-9
    apart = [torch.pdist(v.reshape(-1, 3)) for v in (x[0], back[0])]
    assert (apart[0] - apart[1]).abs().max() < 1e-9
    torch.testing.assert_close(logabsdet, -logabsdet_back)
    jacobian = torch.func.jacrev(lambda v: coordinates.inverse(v[None])[0][0])(q[0])
    gram = torch.linalg.slogdet(_without_rigid_motion(jacobian, back[0])).logabsdet
    torch.testing.assert_close(logabsdet_back[0], gram)


def _without_rigid_motion(jacobian: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
    """∂x/∂q with the six rigid motions that the frame leaves out beside it, (3N, 3N).

    They are those of the frame: the first atom moves by R, the second and third turn about it.
    """
    n = len(x) // 3
    moves = [torch.eye(3).repeat(n, 1).double()[:, i] for i in range(3)]
    position = x.reshape(n, 3)
    axes = torch.eye(3).double()
    turns = [torch.linalg.cross(axis.expand(n, 3), position).flatten() for axis in axes]
    return torch.cat([jacobian, torch.stack(moves + turns, dim=1)], dim=1)


@pytest.mark.slow
@pytest.mark.parametrize("name", MOLECULES)
def test_from_its_file_to_its_report(name: str, in_tmp) -> None:
    make, options, n_atoms = MOLECULES[name]
    sets = [word for key, value in SHORT.items() for word in ("--set", f"{key}={value}")]
    assert "wrote my.yaml" in bgp4("init", make(), "-o", "my.yaml", *options)
    simulate = ("simulate", "--config", "my.yaml", *sets)
    assert "wrote my_1000k.h5 (400 frames at 1000 K" in bgp4(*simulate)
    assert "wrote my_300k.h5 (400 frames at 300 K" in bgp4(*simulate, "--reference")
    assert "wrote runs/my" in bgp4("train", "--config", "my.yaml", *sets)
    assert "wrote runs/my/samples.h5" in bgp4("sample", "runs/my", "-n", "300")
    assert "wrote runs/my/report/index.html" in bgp4("report", "runs/my")
    samples = mdtraj.load("runs/my/samples.h5")
    assert (samples.n_frames, samples.n_atoms) == (300, n_atoms)
    with h5py.File("runs/my/samples.h5") as file:
        log_weight = file["bgp4/log_weight"][:]
        energy, log_prob = file["bgp4/energy_kt"][:], file["bgp4/log_prob"][:]
    np.testing.assert_allclose(log_weight, -energy - log_prob)
    assert np.isfinite(log_weight).mean() > 0.9
    metrics = json.loads(Path("runs/my/report/metrics.json").read_text())
    assert metrics["n_samples"] == 300
    assert 0 < metrics["ess_raw"] <= 1
    assert metrics["wrong_chirality_fraction"] in (None, 0)


@pytest.mark.slow
def test_a_run_needs_nothing_outside_its_folder(in_tmp) -> None:
    bgp4("init", polyalanine(1)(), "-o", "my.yaml")
    sets = [word for key, value in SHORT.items() for word in ("--set", f"{key}={value}")]
    bgp4("simulate", "--config", "my.yaml", *sets)
    bgp4("train", "--config", "my.yaml", *sets)
    for path in in_tmp.glob("*.*"):
        path.unlink()
    Path("runs/my").rename("moved")
    assert "wrote moved/samples.h5" in bgp4("sample", "moved", "-n", "50")


def test_a_ring_is_closed_by_the_energy() -> None:
    """Every bond of the tree is a coordinate; a ring's last one is not, whatever the ring."""
    toluene = load_molecule(SystemConfig(testsystem="TolueneVacuum"))
    assert toluene.topology.n_bonds == len(toluene.zmatrix.bonds) + 1
