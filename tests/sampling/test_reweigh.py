"""Samples under another energy: the same weights as by other ways, and refusals by name."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import mdtraj
import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from openmm import XmlSerializer, app

import bgp4
from bgp4.config import SystemConfig
from bgp4.energies.external import FunctionEnergy, ase_function, named_object
from bgp4.errors import UserInputError
from bgp4.molecule.molecule import Molecule, load_molecule
from bgp4.sampling.draw import draw_samples
from bgp4.sampling.files import read_attributes, read_samples, sidecar
from bgp4.sampling.request import ReweighRequest, SampleRequest
from bgp4.sampling.reweigh import Overlap, Reweighed, resampled, reweigh
from bgp4.statistics.samples import REJECTED_ENERGY_KT, Samples
from bgp4.storage.bundled import find_data
from bgp4.training.run import RunFolder

N = 400
KT = 8.31446261815324e-3 * 300
ILDN = ("amber99sbildn.xml", "implicit/obc1.xml")

Array = NDArray[np.float64]


@pytest.fixture(scope="module")
def ala2() -> RunFolder:
    return RunFolder.find(Path("ala2"))


@pytest.fixture(scope="module")
def molecule(ala2) -> Molecule:
    return ala2.molecule()


@pytest.fixture(scope="module")
def folder(tmp_path_factory, molecule) -> Path:
    """With the molecule's PDB file, and a config of it in another force field."""
    made = tmp_path_factory.mktemp("reweigh")
    frame = mdtraj.Trajectory(molecule.positions_nm[None], molecule.topology)
    frame.save_pdb(str(made / "ala2.pdb"))
    config(made / "ildn.yaml", made / "ala2.pdb")
    return made


def config(path: Path, pdb: Path, kelvin: float = 300, **more: object) -> None:
    lines = [
        f"pdb: {pdb}",
        f"forcefield: [{', '.join(ILDN)}]",
        *(f"{k}: {v}" for k, v in more.items()),
    ]
    path.write_text(
        "".join(["system:\n", *(f"  {line}\n" for line in lines), f"temperature_k: {kelvin}\n"])
    )


@pytest.fixture(scope="module")
def drawn(ala2, folder) -> Samples:
    draw_samples(ala2, folder / "drawn.h5", SampleRequest(N, seed=3))
    return read_samples(folder / "drawn.h5")


@pytest.fixture(scope="module")
def ildn_kjmol(folder, plain_openmm) -> Callable[[NDArray], Array]:
    """Energies of OpenMM's own System of the other force field, in a plain Context."""
    pdb = app.PDBFile(str(folder / "ala2.pdb"))
    system = app.ForceField(*ILDN).createSystem(pdb.topology)
    xml = XmlSerializer.serialize(system)
    return lambda positions_nm: plain_openmm(xml, positions_nm)[0]


def test_the_same_system_gives_the_same_weights(ala2, folder, drawn) -> None:
    """Whether the samples are drawn anew or taken from a file."""
    for name, given in {
        "new": {"n": N, "seed": 3},
        "file": {"samples": folder / "drawn.h5"},
    }.items():
        done = reweigh(ala2, folder / f"{name}.h5", ReweighRequest(system="ala2.yaml", **given))
        same = read_samples(folder / f"{name}.h5")
        np.testing.assert_array_equal(same.positions_nm, drawn.positions_nm)
        np.testing.assert_array_equal(same.log_weight, drawn.log_weight)
        assert done.overlap.ess == done.overlap.ess_before == drawn.ess
        assert done.overlap.relative == pytest.approx(1, abs=1e-12)
        assert (done.n, done.n_rejected) == (N, 0)
        assert read_attributes(folder / f"{name}.h5")["seed"] == 3


def test_another_temperature_is_that_of_sample(ala2, tmp_path) -> None:
    draw_samples(ala2, tmp_path / "a.h5", SampleRequest(N, seed=3, temperature_k=330.0))
    reweigh(ala2, tmp_path / "b.h5", ReweighRequest(temperature_k=330.0, n=N, seed=3))
    one, other = (read_samples(tmp_path / f"{name}.h5") for name in "ab")
    np.testing.assert_array_equal(other.log_weight, one.log_weight)
    assert read_attributes(tmp_path / "b.h5")["temperature_k"] == 330


def test_another_force_field_is_openmms(ala2, folder, drawn, ildn_kjmol, tmp_path) -> None:
    request = ReweighRequest(system=str(folder / "ildn.yaml"), samples=folder / "drawn.h5")
    done = reweigh(ala2, tmp_path / "s.h5", request)
    found = read_samples(tmp_path / "s.h5")
    expected = ildn_kjmol(drawn.positions_nm) / KT
    np.testing.assert_allclose(found.energy_kt, expected, rtol=0, atol=1e-3)
    np.testing.assert_array_equal(found.log_prob, drawn.log_prob)
    weights = np.exp(-expected - drawn.log_prob - np.max(-expected - drawn.log_prob))
    kish = weights.sum() ** 2 / (N * (weights**2).sum())
    assert done.overlap.ess == pytest.approx(kish, rel=1e-2)
    assert done.overlap.ess <= done.overlap.ess_clipped < done.overlap.ess_before
    assert read_attributes(tmp_path / "s.h5")["reweighed"] == f"--system {folder / 'ildn.yaml'}"


def jackknife(statistic: Callable[[NDArray[np.bool_]], float], n: int, blocks: int = 20) -> float:
    """Standard error of a statistic, by leaving out one block of frames after another."""
    block = np.arange(n) * blocks // n
    left = np.array([statistic(block != i) for i in range(blocks)])
    return float(np.sqrt((blocks - 1) / blocks * ((left - left.mean()) ** 2).sum()))


def test_ff96_to_ff99sb_ildn_is_as_by_md(ala2, ildn_kjmol, folder) -> None:
    """The exponential average over MD frames of ff96: its free energy, and a share of ψ."""
    ensemble = bgp4.load("ala2").sample(4000, seed=1)
    moved = ensemble.reweighted(folder / "ildn.yaml")
    frames = mdtraj.load(str(find_data("ala2_300k.h5")), stride=40)
    with mdtraj.formats.HDF5TrajectoryFile(str(find_data("ala2_300k.h5"))) as file:
        old_kjmol = np.asarray(file.read(stride=40).potentialEnergy, dtype=float)
    log_ratio = -(ildn_kjmol(frames.xyz) - old_kjmol) / KT
    psi = [6, 8, 14, 16]

    def extended(trajectory: mdtraj.Trajectory) -> NDArray[np.bool_]:
        return np.abs(mdtraj.compute_dihedrals(trajectory, [psi])[:, 0]) > 2

    def answers(log_before: Array, log_after: Array, inside: NDArray) -> list[Callable]:
        shift = log_after.max()
        old, new = np.exp(log_before - log_before.max()), np.exp(log_after - shift)
        return [
            lambda kept: -np.log(new[kept].sum() / old[kept].sum()) - shift + log_before.max(),
            lambda kept: (new * inside)[kept].sum() / new[kept].sum(),
        ]

    by_flow = answers(ensemble.log_weight, moved.log_weight, extended(ensemble.trajectory()))
    by_md = answers(np.zeros(len(log_ratio)), log_ratio, extended(frames))
    for flow, md in zip(by_flow, by_md, strict=True):
        values = [f(np.ones(n, bool)) for f, n in ((flow, len(moved)), (md, len(frames)))]
        errors = [jackknife(f, n) for f, n in ((flow, len(moved)), (md, len(frames)))]
        assert abs(values[0] - values[1]) < 4 * np.hypot(*errors)
        assert np.hypot(*errors) < 0.2, "kT, or a share of 1: else the comparison says nothing"


def test_a_function_of_positions_and_elements(ensemble, plain_openmm, molecule) -> None:
    def kjmol(positions_nm: Array, elements: tuple[str, ...]) -> Array:
        assert elements == tuple(atom.element.symbol for atom in molecule.topology.atoms)
        return plain_openmm(molecule.system_xml, positions_nm)[0]

    same = ensemble.reweighted(kjmol)
    np.testing.assert_allclose(same.log_weight, ensemble.log_weight, rtol=0, atol=1e-3)
    warm = ensemble.reweighted(kjmol, temperature_k=330.0)
    expected = ensemble.at_temperature(330.0).log_weight
    np.testing.assert_allclose(warm.log_weight, expected, rtol=0, atol=1e-3)


class Restrained(torch.nn.Module):
    """The run's energy, and a spring between the first atom and the last."""

    def __init__(self, model: bgp4.Model) -> None:
        super().__init__()
        self.model = model

    def forward(self, positions_nm: torch.Tensor, elements: tuple[str, ...]) -> torch.Tensor:
        assert isinstance(positions_nm, torch.Tensor)
        distance = (positions_nm[:, 0] - positions_nm[:, -1]).norm(dim=-1)
        return self.model.energy(positions_nm) * KT + 50 * (distance - 0.7) ** 2


@pytest.fixture(scope="module")
def model() -> bgp4.Model:
    return bgp4.load("ala2", device="cpu")


@pytest.fixture(scope="module")
def ensemble(model) -> bgp4.Ensemble:
    return model.sample(N, seed=3)


def test_a_torch_module(model, ensemble) -> None:
    held = ensemble.reweighted(Restrained(model))
    ends = ensemble.positions_nm[:, [0, -1]].astype(float)
    spring = 50 * (np.linalg.norm(ends[:, 0] - ends[:, 1], axis=1) - 0.7) ** 2 / KT
    np.testing.assert_allclose(held.log_weight, ensemble.log_weight - spring, rtol=0, atol=1e-6)


def test_an_energy_of_ours_stays_open(model, ensemble) -> None:
    same = ensemble.reweighted(model.potential)
    np.testing.assert_array_equal(same.log_weight, ensemble.log_weight)
    with pytest.raises(UserInputError, match="the energy is at 300 K, found temperature_k 310"):
        ensemble.reweighted(model.potential, temperature_k=310.0)
    assert np.isfinite(model.energy(ensemble.positions_nm[:2])).all()


def test_what_a_function_rejects_has_no_weight(ensemble) -> None:
    def half(positions_nm: Array, elements: tuple[str, ...]) -> Array:
        energy = ensemble.energy_kt * KT
        return np.where(np.arange(N) % 2, energy, np.nan)

    left = ensemble.reweighted(half)
    assert left.n_rejected == N // 2
    assert (left.energy_kt[::2] == REJECTED_ENERGY_KT).all()
    np.testing.assert_allclose(left.log_weight[1::2], ensemble.log_weight[1::2], atol=1e-9)


@pytest.mark.parametrize(
    ("function", "words"),
    [
        (lambda x, elements: x, rf"shape \({N},\), found shape \({N}, 22, 3\)"),
        (lambda x, elements: "energy", rf"shape \({N},\), found str"),
        (lambda x, elements: x.energy, "it raised AttributeError: .*test_reweigh.py, line"),
        (lambda x, elements: np.zeros(len(x)), "does not overlap with this energy: ESS"),
    ],
)
def test_functions_that_are_no_energy(ensemble, function, words: str) -> None:
    with pytest.raises(UserInputError, match=f"reweighted: .*{words}"):
        ensemble.reweighted(function)


def test_functions_and_calculators_by_name(tmp_path, monkeypatch) -> None:
    (tmp_path / "mine.py").write_text("def zero(x, elements): return 0 * x[:, 0, 0]\n")
    (tmp_path / "bad.py").write_text("\n1 / 0\n")
    found = named_object(f"{tmp_path / 'mine.py'}:zero", "--energy")
    assert found(np.ones((3, 2, 3)), ("H", "H")).tolist() == [0, 0, 0]
    assert named_object("math:sqrt", "--energy")(4) == 2
    for spec, words in {
        "mine.py": "expected file.py:name or package.module:name",
        "none.py:x": "no such file: none.py",
        f"{tmp_path / 'mine.py'}:one": "AttributeError: .*'one'",
        f"{tmp_path / 'bad.py'}:x": r"ZeroDivisionError: .*bad.py, line 2",
        "no.such:x": "ModuleNotFoundError: .*'no'",
    }.items():
        with pytest.raises(UserInputError, match=f"--energy .*{words}"):
            named_object(spec, "--energy")


def test_a_calculator_of_ase() -> None:
    ase = pytest.importorskip("ase")
    from ase.calculators.calculator import CalculationFailed
    from ase.calculators.emt import EMT

    class Failing(EMT):
        def calculate(self, atoms=None, *args: object) -> None:
            if atoms.get_distance(0, 1) < 1.0:
                raise CalculationFailed
            super().calculate(atoms, *args)

    positions_nm = np.array([[[0, 0, 0], [0, 0, d]] for d in (0.11, 0.13, 0.05)])
    energy = FunctionEnergy(ase_function(Failing, "--ase"), ["C", "O"], 300.0, "--ase")
    found = energy.evaluate(positions_nm)
    for kjmol, frame in zip(found.energy_kjmol[:2], positions_nm, strict=False):
        atoms = ase.Atoms("CO", 10 * frame, calculator=EMT())
        assert kjmol == pytest.approx(atoms.get_potential_energy() / (ase.units.kJ / ase.units.mol))
    assert list(found.rejected) == [2]
    with pytest.raises(UserInputError, match="--ase: it raised ZeroDivisionError"):
        ase_function(lambda: 1 / 0, "--ase")


def test_resampling_repeats_by_weight(ensemble) -> None:
    drawn = ensemble.resampled(1000, seed=2)
    assert (drawn.log_weight == 0).all()
    values = ensemble.energy_kt
    counts = np.array([(drawn.energy_kt == value).sum() for value in values])
    assert counts.sum() == 1000
    assert np.abs(counts - 1000 * ensemble.weights).max() < 1
    np.testing.assert_array_equal(drawn.samples.log_prob, -drawn.energy_kt)
    means = [ensemble.resampled(50, seed).energy_kt.mean() for seed in range(40)]
    assert np.mean(means) == pytest.approx(
        ensemble.average(values), abs=4 * np.std(means) / 40**0.5
    )


def test_what_has_no_weight_is_not_drawn(alanine) -> None:
    kt = np.array([REJECTED_ENERGY_KT, 0.0, 0.0, REJECTED_ENERGY_KT])
    samples = Samples(np.zeros((4, 22, 3), np.float32), np.zeros(4), kt)
    for seed in range(20):
        drawn = resampled(samples, 3, np.random.default_rng(seed))
        assert (drawn.energy_kt == 0).all()


def test_equal_weights_into_a_file(ala2, folder, drawn, tmp_path) -> None:
    given = {"samples": folder / "drawn.h5", "resample": 50, "colvar": tmp_path / "COLVAR"}
    done = reweigh(ala2, tmp_path / "s.xtc", ReweighRequest(**given))
    assert done.files == [tmp_path / "s.xtc", sidecar(tmp_path / "s.xtc"), tmp_path / "COLVAR"]
    assert done.n == 50
    table = np.genfromtxt(done.files[1], delimiter=",", names=True)
    assert (table["log_weight"] == 0).all()
    assert mdtraj.load(str(tmp_path / "s.xtc"), top=ala2.molecule().topology).n_frames == 50


def reweighed(run: RunFolder, output: Path, **given: object) -> Reweighed:
    return reweigh(run, output, ReweighRequest(**given))


def test_other_molecules_are_refused_by_name(ala2, folder, molecule, tmp_path) -> None:
    with pytest.raises(UserInputError, match=r"--system ala4.yaml: expected the 22 atoms of .*42"):
        reweighed(ala2, tmp_path / "s.h5", system="ala4.yaml")
    lines = (folder / "ala2.pdb").read_text().splitlines(keepends=True)
    atoms = [i for i, line in enumerate(lines) if line[:6] in ("ATOM  ", "HETATM")]
    lines[atoms[9]], lines[atoms[10]] = lines[atoms[10]], lines[atoms[9]]
    (tmp_path / "moved.pdb").write_text("".join(lines))
    config(tmp_path / "moved.yaml", tmp_path / "moved.pdb")
    named = rf"atom 10 is {molecule.topology.atom(9)} \(H\), found {molecule.topology.atom(10)}"
    with pytest.raises(UserInputError, match=named):
        reweighed(ala2, tmp_path / "s.h5", system=str(tmp_path / "moved.yaml"))
    assert not (tmp_path / "s.h5").exists()


def test_constraints_are_another_ensemble(ala2, folder, ensemble, tmp_path) -> None:
    config(tmp_path / "held.yaml", folder / "ala2.pdb", constraints="HBonds")
    words = "expected the constraints of .*, which holds no bond, found all bonds to hydrogen"
    with pytest.raises(UserInputError, match=words):
        reweighed(ala2, tmp_path / "s.h5", system=str(tmp_path / "held.yaml"))
    with pytest.raises(UserInputError, match=words):
        ensemble.reweighted(tmp_path / "held.yaml")
    held = load_molecule(SystemConfig(testsystem="AlanineDipeptideImplicit", constraints="HBonds"))
    known = bgp4.Ensemble(ensemble.samples, 300.0, held.topology, {}, held.constraints)
    with pytest.raises(UserInputError, match="which holds all bonds to hydrogen, found none"):
        known.reweighted("ala2.yaml")


def test_without_overlap(ala2, folder, tmp_path) -> None:
    config(tmp_path / "hot.yaml", folder / "ala2.pdb", kelvin=3000)
    with pytest.raises(UserInputError, match=r"does not overlap .* `bgp4 train --config .*--from"):
        reweighed(ala2, tmp_path / "s.h5", system=str(tmp_path / "hot.yaml"), n=N)
    assert not list(tmp_path.glob("*s.h5*"))


def test_options(ala2, folder, smoke_run, tmp_path) -> None:
    for given, words in {
        (): "expected what to weigh by: --system",
        (("system", "a.yaml"), ("energy", "b.py:c")): "--energy: it does not go with --system",
        (("energy", "b.py:c"), ("ase", "d:E")): "--ase: it does not go with --energy",
        (("system", "a"), ("samples", Path("s.h5")), ("n", 5)): "-n: .* --samples",
        (("temperature_k", -1.0),): "--temperature: expected K above 0",
    }.items():
        with pytest.raises(UserInputError, match=words):
            ReweighRequest(**dict(given))
    with pytest.raises(UserInputError, match=r"--system: no such file: no.yaml"):
        reweighed(ala2, tmp_path / "s.h5", system="no.yaml")
    with pytest.raises(UserInputError, match="the run's own samples lie there"):
        reweighed(smoke_run, smoke_run.samples_path, system="ala2.yaml")
    bare = draw_samples(ala2, tmp_path / "bare.h5", SampleRequest(5, weights=False))
    with pytest.raises(
        UserInputError, match=r"--samples .*: expected weights, found samples without"
    ):
        reweighed(ala2, tmp_path / "s.h5", system="ala2.yaml", samples=bare.files[0])


def test_overlap_of_gaussians() -> None:
    """1 / (1 + chi²) of N(0, s²) against N(0, 1) is s sqrt(2 - s²), whatever was drawn from."""
    s, rng = 1.2, np.random.default_rng(0)
    x = 2 * rng.normal(size=200_000)
    positions = np.zeros((len(x), 1, 3), np.float32)
    drawn = Samples(positions, -(x**2) / 8 - np.log(2), x**2 / 2)
    moved = drawn._replace(energy_kt=x**2 / (2 * s**2))
    found = Overlap.of(drawn, moved)
    assert found.relative == pytest.approx(s * np.sqrt(2 - s**2), abs=0.01)
    assert found.ess == moved.ess
    assert Overlap.of(drawn, drawn).relative == pytest.approx(1)
