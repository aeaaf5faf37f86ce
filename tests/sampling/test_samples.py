"""The sample files: what others read from them is what the model and OpenMM say."""

from __future__ import annotations

from pathlib import Path

import h5py
import mdtraj
import numpy as np
import pytest
import torch
from openmm.app import PDBxFile
from scipy.io import netcdf_file

from bgp4.energies.batched import BatchedEnergy
from bgp4.energies.openmm import OpenMMEnergy
from bgp4.errors import UserInputError
from bgp4.sampling import draw as draw_module
from bgp4.sampling import generate as generate_module
from bgp4.sampling.colvar import check_colvar
from bgp4.sampling.draw import draw_samples
from bgp4.sampling.files import read_samples, sidecar
from bgp4.sampling.generate import generate, load_trained
from bgp4.sampling.request import SampleRequest
from bgp4.statistics.samples import REJECTED_ENERGY_KT, Samples, concatenated
from bgp4.training.run import RunFolder

N = 60
KT = 8.31446261815324e-3 * 1000
PRECISION_NM = {
    **{".h5": 0, ".pdb": 5.1e-5, ".cif": 5.1e-6, ".dcd": 1e-6, ".xtc": 5.1e-4, ".nc": 1e-6}
}


@pytest.fixture(scope="module")
def folder(smoke_run, tmp_path_factory) -> Path:
    """N samples of one seed in every format."""
    made = tmp_path_factory.mktemp("samples")
    for suffix in PRECISION_NM:
        drawn = draw_samples(smoke_run, made / f"s{suffix}", SampleRequest(N, seed=4))
        assert all(file.is_file() for file in drawn.files)
    return made


@pytest.fixture(scope="module")
def fields(folder) -> dict[str, np.ndarray]:
    with h5py.File(folder / "s.h5") as file:
        return {name: np.asarray(values) for name, values in file["bgp4"].items()}


def test_no_other_files(folder) -> None:
    names = {f"s{suffix}" for suffix in PRECISION_NM} | {"s.weights.csv"}
    assert {p.name for p in folder.iterdir()} == names


def test_mdtraj_reads_it_as_it_is(folder, alanine) -> None:
    trajectory = mdtraj.load(str(folder / "s.h5"))
    assert trajectory.n_frames == N
    assert [str(a) for a in trajectory.topology.atoms] == [str(a) for a in alanine.topology.atoms]
    assert trajectory.topology.n_bonds == alanine.topology.n_bonds
    lengths = mdtraj.compute_distances(trajectory, [[0, 1], [4, 5]])
    assert ((lengths > 0.08) & (lengths < 0.2)).all(), "nm"


def test_the_fields_of_the_contract(fields) -> None:
    assert set(fields) == {"log_weight", "energy_kt", "log_prob"}
    assert all(values.shape == (N,) for values in fields.values())
    assert all(np.isfinite(values).all() for values in fields.values())
    np.testing.assert_array_equal(fields["log_weight"], -fields["energy_kt"] - fields["log_prob"])


def test_energies_are_those_of_a_plain_context(folder, fields, alanine, plain_openmm) -> None:
    energies, _ = plain_openmm(alanine.system_xml, mdtraj.load(str(folder / "s.h5")).xyz)
    ordinary = fields["energy_kt"] < REJECTED_ENERGY_KT
    assert ordinary.mean() > 0.9
    expected = energies / KT
    np.testing.assert_allclose(fields["energy_kt"][ordinary], expected[ordinary], rtol=1e-5)


def test_log_densities_are_those_of_the_model(folder, fields, smoke_run) -> None:
    """Within what float32 positions lose."""
    model = load_trained(smoke_run).model
    with torch.no_grad():
        positions = torch.as_tensor(mdtraj.load(str(folder / "s.h5")).xyz)
        expected = model.log_prob_xyz(positions).numpy()
    valid = fields["energy_kt"] < REJECTED_ENERGY_KT
    np.testing.assert_allclose(fields["log_prob"][valid], expected[valid], rtol=0, atol=0.05)


@pytest.mark.parametrize("suffix", [".pdb", ".cif", ".dcd", ".xtc", ".nc"])
def test_formats_agree_within_their_precision(folder, alanine, suffix: str) -> None:
    reference = mdtraj.load(str(folder / "s.h5")).xyz
    top = {} if suffix in (".pdb", ".cif") else {"top": alanine.topology}
    trajectory = mdtraj.load(str(folder / f"s{suffix}"), **top)
    assert trajectory.n_frames == N
    np.testing.assert_allclose(trajectory.xyz, reference, rtol=0, atol=PRECISION_NM[suffix])


def test_openmm_reads_the_models_of_an_mmcif_file(folder, alanine) -> None:
    read, expected = PDBxFile(str(folder / "s.cif")), mdtraj.load(str(folder / "s.h5")).xyz
    assert read.getNumFrames() == N
    for i in (0, N - 1):
        positions = read.getPositions(asNumpy=True, frame=i)._value
        np.testing.assert_allclose(positions, expected[i], rtol=0, atol=PRECISION_NM[".cif"])
    ours = [(a.name, a.element.symbol, a.residue.name) for a in alanine.topology.atoms]
    theirs = [(a.name, a.element.symbol, a.residue.name) for a in read.topology.atoms()]
    assert theirs == ours
    assert read.topology.getNumBonds() == alanine.topology.n_bonds


def test_a_netcdf_file_follows_ambers_convention(folder) -> None:
    """As its specification has it, by a reader that knows nothing of molecules."""
    with netcdf_file(str(folder / "s.nc"), mmap=False) as file:
        assert (file.Conventions, file.ConventionVersion) == (b"AMBER", b"1.0")
        angstrom, time = file.variables["coordinates"], file.variables["time"]
        assert angstrom.dimensions == ("frame", "atom", "spatial")
        assert (angstrom.units, time.units) == (b"angstrom", b"picosecond")
        np.testing.assert_array_equal(time[:], np.arange(N))
        expected = mdtraj.load(str(folder / "s.h5")).xyz
        np.testing.assert_allclose(angstrom[:] / 10, expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("suffix", [".pdb", ".dcd", ".xtc", ".nc"])
def test_mdanalysis_reads_it(folder, suffix: str) -> None:
    mdanalysis = pytest.importorskip("MDAnalysis")
    universe = mdanalysis.Universe(str(folder / "s.pdb"), str(folder / f"s{suffix}"))
    expected = 10 * mdtraj.load(str(folder / "s.h5")).xyz
    found = np.array([frame.positions.copy() for frame in universe.trajectory])
    np.testing.assert_allclose(found, expected, rtol=0, atol=20 * PRECISION_NM[suffix])


def test_columns_as_plumed_takes_them(smoke_run, fields, tmp_path) -> None:
    """REWEIGHT_BIAS weighs by exp(bias / kT); the first line names the columns."""
    table = tmp_path / "COLVAR"
    drawn = draw_samples(smoke_run, tmp_path / "s.h5", SampleRequest(N, seed=4, colvar=table))
    assert drawn.files == [tmp_path / "s.h5", table]
    marker, what, *names = table.read_text().splitlines()[0].split()
    assert (marker, what) == ("#!", "FIELDS")
    columns = dict(zip(names, np.loadtxt(table, unpack=True), strict=True))
    np.testing.assert_array_equal(columns["time"], np.arange(N))
    np.testing.assert_allclose(columns["energy"], fields["energy_kt"] * KT, rtol=1e-9)
    np.testing.assert_allclose(columns["log_weight"], fields["log_weight"], rtol=1e-9)
    np.testing.assert_allclose(columns["log_prob"], fields["log_prob"], rtol=1e-9)
    weights, expected = (
        np.exp(v - v.max()) for v in (columns["bgp4.bias"] / KT, fields["log_weight"])
    )
    np.testing.assert_allclose(weights / weights.sum(), expected / expected.sum(), rtol=1e-6)


def test_columns_beside_nothing_else(smoke_run, tmp_path) -> None:
    request = SampleRequest(5, colvar=tmp_path / "C")
    (tmp_path / "C").write_text("#! FIELDS time phi\n")
    with pytest.raises(UserInputError, match=r"--colvar .*C: the file exists and bgp4 did not"):
        check_colvar(tmp_path / "C", [])
    draw_samples(smoke_run, tmp_path / "s.xtc", request)
    check_colvar(tmp_path / "C", [tmp_path / "s.xtc"])
    with pytest.raises(UserInputError, match="expected another file than that of -o"):
        check_colvar(tmp_path / "s.xtc", [tmp_path / "s.xtc"])
    with pytest.raises(UserInputError, match=r"--colvar .*no such folder"):
        check_colvar(tmp_path / "no" / "C", [])
    with pytest.raises(UserInputError, match="--colvar: --no-weights gives no energies"):
        SampleRequest(5, weights=False, colvar=tmp_path / "C")


def test_the_sidecar_has_the_same_rows(folder, fields) -> None:
    table = np.genfromtxt(sidecar(folder / "s.xtc"), delimiter=",", names=True)
    assert table.dtype.names == ("log_weight", "energy_kt", "log_prob")
    for name, values in fields.items():
        np.testing.assert_allclose(table[name], values, rtol=1e-12)


def test_reading_back(folder, fields) -> None:
    samples = read_samples(folder / "s.h5")
    assert samples.positions_nm.dtype == np.float32
    np.testing.assert_array_equal(samples.log_weight, fields["log_weight"])
    with pytest.raises(UserInputError, match=r"s.pdb: cannot be read .*expected a whole HDF5"):
        read_samples(folder / "s.pdb")


def test_the_same_seed_draws_the_same(smoke_run, folder, tmp_path) -> None:
    first = read_samples(folder / "s.h5")
    draw_samples(smoke_run, tmp_path / "same.h5", SampleRequest(N, weights=False, seed=4))
    draw_samples(smoke_run, tmp_path / "other.h5", SampleRequest(N, weights=False, seed=5))
    same, other = read_samples(tmp_path / "same.h5"), read_samples(tmp_path / "other.h5")
    np.testing.assert_array_equal(same.positions_nm, first.positions_nm)
    np.testing.assert_array_equal(same.log_prob, first.log_prob)
    assert not np.allclose(other.positions_nm, first.positions_nm, atol=1e-3)


def test_chunks_are_joined(smoke_run, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(generate_module, "CHUNK", 25)
    for suffix in (".h5", ".xtc"):
        draw_samples(smoke_run, tmp_path / f"s{suffix}", SampleRequest(N, weights=False))
    samples = read_samples(tmp_path / "s.h5")
    assert len(np.unique(samples.log_prob)) == len(samples.positions_nm) == N
    with mdtraj.formats.XTCTrajectoryFile(str(tmp_path / "s.xtc")) as file:
        positions, time, _, _ = file.read()
    np.testing.assert_allclose(positions, samples.positions_nm, atol=5.1e-4)
    np.testing.assert_array_equal(time, np.arange(N))


def test_openmm_judges_where_it_is_asked_to(smoke_run, fields, tmp_path) -> None:
    drawn = draw_samples(
        smoke_run, tmp_path / "s.h5", SampleRequest(N, seed=4, check_energies=True)
    )
    with h5py.File(tmp_path / "s.h5") as file:
        energy_kt = file["bgp4/energy_kt"][:]
    possible = energy_kt < 1e3
    assert 0 < np.abs(energy_kt - fields["energy_kt"])[possible].max() < 1e-3
    assert 0 < drawn.energy_difference_kt < 1e-3, "OpenMM's CPU platform is in single precision"


def test_without_weights(smoke_run, tmp_path) -> None:
    drawn = draw_samples(smoke_run, tmp_path / "s.h5", SampleRequest(10, weights=False))
    samples = read_samples(tmp_path / "s.h5")
    assert np.isnan(drawn.ess)
    assert np.isnan(samples.energy_kt).all()
    assert np.isnan(samples.log_weight).all()
    assert np.isfinite(samples.log_prob).all()


def test_weights_at_another_temperature(smoke_run, fields, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(draw_module, "MIN_EFFECTIVE_SAMPLES", 0)
    draw_samples(smoke_run, tmp_path / "warm.h5", SampleRequest(N, seed=4, temperature_k=1050.0))
    warm = read_samples(tmp_path / "warm.h5")
    ordinary = fields["energy_kt"] < REJECTED_ENERGY_KT
    np.testing.assert_allclose(
        warm.energy_kt[ordinary] * 1050, fields["energy_kt"][ordinary] * 1000, rtol=1e-4
    )
    with h5py.File(tmp_path / "warm.h5") as file:
        assert file["bgp4"].attrs["temperature_k"] == 1050
        texts = [v for v in file["bgp4"].attrs.values() if isinstance(v, str | bytes)]
        assert len(texts) == 3
        assert all(isinstance(v, np.bytes_) for v in texts), "of fixed length, in no heap"


def test_a_temperature_without_overlap_is_refused(smoke_run, tmp_path) -> None:
    with pytest.raises(UserInputError, match=r"--temperature 100: .*does not overlap.* ESS"):
        draw_samples(smoke_run, tmp_path / "cold.h5", SampleRequest(N, temperature_k=100.0))
    assert list(tmp_path.iterdir()) == []


def test_what_is_no_conformation_has_no_weight(smoke_run, alanine, monkeypatch) -> None:
    trained = load_trained(smoke_run)
    with torch.no_grad():
        made = trained.model.generate(5, torch.Generator().manual_seed(0))
    bad = made._replace(
        possible=torch.tensor([True, False, True, True, True]),
        overshoot=torch.zeros(5),
        log_prob_xyz=torch.where(torch.arange(5) == 1, torch.nan, made.log_prob_xyz),
        positions_nm=torch.where(
            (torch.arange(5) == 2)[:, None, None], torch.zeros(()).double(), made.positions_nm
        ),
    )
    monkeypatch.setattr(trained.model, "from_latent", lambda z: bad)
    with OpenMMEnergy(alanine, 1000.0, "Reference", workers=1) as energy:
        (samples,) = generate(trained.model, 5, 0, energy)
    assert samples.energy_kt[[1, 2]].tolist() == [REJECTED_ENERGY_KT] * 2
    assert np.isfinite(samples.log_weight).all()
    weights = np.exp(samples.log_weight - samples.log_weight.max())
    assert weights[1] == weights[2] == 0
    assert isinstance(samples, Samples)


def test_an_error_on_the_way_leaves_no_file(smoke_run, tmp_path, monkeypatch) -> None:
    def broken(*_: object) -> object:
        raise ZeroDivisionError

    monkeypatch.setattr(BatchedEnergy, "_evaluate", broken)
    request = SampleRequest(5, colvar=tmp_path / "COLVAR")
    for suffix in PRECISION_NM:
        with pytest.raises(ZeroDivisionError):
            draw_samples(smoke_run, tmp_path / f"s{suffix}", request)
    assert list(tmp_path.iterdir()) == []


def test_wrong_names(smoke_run, tmp_path) -> None:
    with pytest.raises(UserInputError, match=r"ends in .h5, .pdb, .*, .nc, found .txt"):
        draw_samples(smoke_run, tmp_path / "s.txt", SampleRequest(5))
    with pytest.raises(UserInputError, match="no such folder"):
        draw_samples(smoke_run, tmp_path / "nowhere" / "s.h5", SampleRequest(5))
    assert not RunFolder(smoke_run.path).samples_path.exists()


def test_a_gpu_makes_the_samples_of_a_cpu_many_chunks_at_a_time(smoke_run, monkeypatch) -> None:
    trained = load_trained(smoke_run)
    monkeypatch.setattr(generate_module, "CHUNK", 5)
    small = concatenated(list(generate(trained.model, 23, 1, None)))
    monkeypatch.setattr(generate_module, "CHUNKS_OF_GPU", 3)
    monkeypatch.setattr(type(trained.model), "device", torch.device("cuda"))
    monkeypatch.setattr("bgp4.flows.generator.sent", lambda value, device: value)
    chunks = list(generate(trained.model, 23, 1, None))
    assert [len(chunk.log_prob) for chunk in chunks] == [15, 8]
    for values, expected in zip(concatenated(chunks), small, strict=True):
        np.testing.assert_allclose(values, expected, rtol=1e-5, atol=1e-6)
