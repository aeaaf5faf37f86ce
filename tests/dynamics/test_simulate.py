"""Training data: exchanges in detailed balance, both engines at the right temperature, the file."""

from __future__ import annotations

from dataclasses import replace
from itertools import count

import h5py
import mdtraj
import numpy as np
import openmm
import pytest
from numpy.typing import NDArray
from scipy import stats

from bgp4.config import Config, DataConfig, SystemConfig, load_config
from bgp4.data.frames import Frames, load_frames
from bgp4.dynamics.replicas import ENGINES, BatchedReplicas, DynamicsSettings
from bgp4.dynamics.rounds import Job, Kept, exchange, run_stacks
from bgp4.dynamics.simulate import _engine, simulate, write_trajectory
from bgp4.errors import UserInputError
from bgp4.molecule.molecule import Molecule, load_molecule

R = 8.31446261815324e-3
LENGTH, STIFFNESS = 0.15, 20_000.0
LADDER = (300.0, 500.0)

engines = pytest.mark.parametrize("engine", sorted(ENGINES))


def test_exchange_keeps_every_temperature_at_its_distribution() -> None:
    """In d harmonic coordinates E / kT has the gamma distribution of shape d / 2."""
    ladder, n, d = np.array([300.0, 400.0, 600.0, 700.0]), 40_000, 12
    rng = np.random.default_rng(0)
    energies = rng.gamma(d / 2, R * ladder, (n, 4))
    for low in (np.array([0, 2]), np.array([1])):
        source, swapped = exchange(energies, ladder, low, rng)
        assert (np.sort(source, axis=1) == np.arange(4)).all()
        assert ((source != np.arange(4)).sum(1) == 2 * swapped.sum(1)).all()
        energies = np.take_along_axis(energies, source, axis=1)
        for t, column in zip(ladder, energies.T, strict=True):
            assert stats.kstest(column / (R * t), stats.gamma(d / 2).cdf).pvalue > 1e-3


def test_exchange_accepts_by_metropolis() -> None:
    """Backwards always, forwards with exp[(β0 - β1)(E0 - E1)]: detailed balance of the pair."""
    ladder, n = np.array([300.0, 450.0]), 40_000
    rng = np.random.default_rng(1)
    cold, hot = 3.0, 6.0
    gain = (1 / (R * 300) - 1 / (R * 450)) * (cold - hot)
    _, forwards = exchange(np.tile([cold, hot], (n, 1)), ladder, np.array([0]), rng)
    _, backwards = exchange(np.tile([hot, cold], (n, 1)), ladder, np.array([0]), rng)
    assert backwards.all()
    assert forwards.mean() == pytest.approx(np.exp(gain), abs=4 * 0.5 / n**0.5)


@pytest.fixture(scope="module")
def chain(alanine) -> Molecule:
    """Five atoms in a row with harmonic bonds alone: each bond is independent of the others."""
    system, force = openmm.System(), openmm.HarmonicBondForce()
    for mass in (12.0, 1.0, 16.0, 12.0, 14.0):
        system.addParticle(mass)
    for i in range(4):
        force.addBond(i, i + 1, LENGTH, STIFFNESS)
    system.addForce(force)
    positions = np.column_stack([LENGTH * np.arange(5), 0.05 * (np.arange(5) % 2), np.zeros(5)])
    return replace(
        alanine, system_xml=openmm.XmlSerializer.serialize(system), positions_nm=positions
    )


def settings(molecule: Molecule, **changes: object) -> DynamicsSettings:
    made = DynamicsSettings(
        system_xml=molecule.system_xml,
        positions_nm=molecule.positions_nm,
        temperatures_k=LADDER,
        stacks=24,
        timestep_fs=1.0,
        friction_per_ps=20.0,
        platform="Reference",
        seed=3,
    )
    return replace(made, **changes)


def bond_moments(kelvin: float) -> tuple[float, float]:
    """Mean and variance of p(r) ∝ r² exp(-k (r - r0)² / 2 kT), by quadrature."""
    r = np.linspace(LENGTH - 0.12, LENGTH + 0.12, 4001)
    p = r**2 * np.exp(-STIFFNESS * (r - LENGTH) ** 2 / (2 * R * kelvin))
    mean = (p * r).sum() / p.sum()
    return mean, (p * (r - mean) ** 2).sum() / p.sum()


def bonds(positions: NDArray) -> NDArray:
    return np.linalg.norm(np.diff(positions, axis=-2), axis=-1)


@engines
def test_harmonic_bonds_have_their_temperature(engine, chain) -> None:
    """Also after exchanges, which rescale velocities: at both temperatures, within four errors."""
    replicas = ENGINES[engine](settings(chain))
    ladder, rng = np.array(LADDER), np.random.default_rng(0)
    replicas.run(300)
    kept: list[list[NDArray]] = [[], []]
    for _ in range(25):
        replicas.run(40)
        for t in (0, 1):
            kept[t].append(bonds(replicas.positions_nm(t)))
        source, swapped = exchange(replicas.energies_kjmol(), ladder, np.array([0]), rng)
        replicas.permute(source)
    assert swapped.any()
    for kelvin, values in zip(LADDER, kept, strict=True):
        lengths = np.concatenate(values).ravel()
        mean, variance = bond_moments(kelvin)
        n = len(lengths) / 3  # frames 40 fs apart are not quite independent
        assert lengths.mean() == pytest.approx(mean, abs=4 * (variance / n) ** 0.5)
        assert lengths.var() == pytest.approx(variance, rel=4 * (2 / n) ** 0.5)


@engines
def test_energies_are_those_of_the_positions(engine, chain, plain_openmm) -> None:
    replicas = ENGINES[engine](settings(chain, stacks=3))
    replicas.run(50)
    for t in (0, 1):
        expected, _ = plain_openmm(chain.system_xml, replicas.positions_nm(t))
        np.testing.assert_allclose(replicas.energies_kjmol()[:, t], expected, rtol=1e-3, atol=1e-3)


@engines
def test_permute_moves_configurations_within_their_stack(engine, chain) -> None:
    replicas = ENGINES[engine](settings(chain, stacks=3))
    replicas.run(50)
    energies = replicas.energies_kjmol()
    source = np.array([[1, 0], [0, 1], [1, 0]])
    replicas.permute(source)
    moved = np.take_along_axis(energies, source, axis=1)
    np.testing.assert_allclose(replicas.energies_kjmol(), moved, rtol=1e-9)


@engines
def test_the_same_seed_makes_the_same_frames(engine, chain) -> None:
    def run(seed: int) -> NDArray:
        job = Job(engine, settings(chain, stacks=2, seed=seed), 3, 2, 20)
        return run_stacks(ENGINES[engine](job.dynamics), job)[0]

    frames = run(1)
    assert frames.shape == (2, 3, 1, 5, 3)
    np.testing.assert_allclose(frames.mean(axis=3), 0, atol=1e-7)
    np.testing.assert_array_equal(frames, run(1))
    assert not np.array_equal(frames, run(2))


def test_all_temperatures_are_recorded_each_at_its_own(chain) -> None:
    """Five atoms' four harmonic bonds have 2 kT of energy on average."""
    job = Job("batched", settings(chain, stacks=64), 40, 20, 50, recorded=2)
    frames, _ = run_stacks(BatchedReplicas(job.dynamics), job)
    assert frames.shape == (64, 40, 2, 5, 3)
    lengths = np.linalg.norm(np.diff(frames.astype(float), axis=3), axis=-1)
    energies = (0.5 * STIFFNESS * (lengths - LENGTH) ** 2).sum(-1).mean((0, 1))
    assert energies == pytest.approx(2 * R * np.array(LADDER), rel=0.05)
    one = run_stacks(BatchedReplicas(job.dynamics), replace(job, recorded=1))[0]
    np.testing.assert_array_equal(one, frames[:, :, :1])


@pytest.mark.parametrize("recorded", [1, 2])
@pytest.mark.parametrize("stop_after", [1, 4])
@pytest.mark.parametrize(
    ("engine", "platform"), [("batched", "Reference"), ("openmm", "Reference"), ("openmm", "CPU")]
)
def test_stacks_go_on_where_they_stopped(
    chain, tmp_path, engine, platform, stop_after, recorded
) -> None:
    """To the bit; in equilibration or later, and whatever was written after the state."""
    dynamics = settings(chain, stacks=3, platform=platform)
    whole = Job(engine, dynamics, 5, equilibration_frames=2, steps_per_frame=10, recorded=recorded)
    expected, acceptance = run_stacks(ENGINES[engine](dynamics), whole)
    kept = Kept.in_folder(tmp_path, 0)
    job, rounds = replace(whole, kept=kept), count()
    stopped = run_stacks(
        ENGINES[engine](dynamics), job, stopping=lambda: next(rounds) == stop_after - 1
    )
    assert stopped is None
    with kept.frames_path.open("ab") as file:
        file.write(b"half a frame")
    for _ in range(2):
        frames, accepted = run_stacks(ENGINES[engine](dynamics), job)
        np.testing.assert_array_equal(frames, expected)
        np.testing.assert_array_equal(accepted, acceptance)


@pytest.mark.parametrize("damage", ["state", "frames", "other replicas"])
def test_damaged_states_are_said_to_be(chain, tmp_path, damage: str) -> None:
    dynamics, kept = settings(chain, stacks=2), Kept.in_folder(tmp_path, 0)
    job = Job("batched", dynamics, 3, 0, 2, kept=kept)
    run_stacks(BatchedReplicas(dynamics), job)
    if damage == "other replicas":
        job = replace(job, dynamics=settings(chain, stacks=3))
    else:
        path = kept.state_path if damage == "state" else kept.frames_path
        path.write_bytes(path.read_bytes()[:-5])
    with pytest.raises(UserInputError, match=r"cannot resume from it .*remove the folder"):
        run_stacks(BatchedReplicas(job.dynamics), job)


def test_engines_agree_on_a_molecule(plain_openmm) -> None:
    molecule = load_molecule(SystemConfig(testsystem="AlanineDipeptideVacuum"))
    means = {}
    for engine in sorted(ENGINES):
        dynamics = settings(molecule, temperatures_k=(300.0,), stacks=16)
        job = Job(engine, dynamics, frames=15, equilibration_frames=8, steps_per_frame=50)
        frames, acceptance = run_stacks(ENGINES[engine](dynamics), job)
        assert acceptance.shape == (0,)
        energies, _ = plain_openmm(molecule.system_xml, frames.reshape(-1, 22, 3))
        means[engine] = energies.reshape(16, 15).mean(axis=1)
    assert stats.ttest_ind(*means.values()).pvalue > 1e-3
    spread = np.concatenate(list(means.values())).std()
    assert abs(means["batched"].mean() - means["openmm"].mean()) < 4 * spread * (2 / 16) ** 0.5


def test_without_friction_the_energy_does_not_drift(alanine) -> None:
    """The middle scheme is then velocity Verlet: its energy error oscillates, and stays."""
    replicas = BatchedReplicas(
        settings(alanine, temperatures_k=(300.0,), stacks=16, friction_per_ps=0.0, timestep_fs=0.5)
    )

    def total_kjmol() -> NDArray:
        """With velocities half a step back, whose kinetic energy is off by the second order."""
        kinetic = 0.5 * (replicas.mass * replicas.v.square()).sum((1, 2))
        return replicas.energies_kjmol()[:, 0] + kinetic.numpy()

    replicas.run(500)
    early = np.mean([total_kjmol() for _ in range(50) if replicas.run(4) is None], axis=0)
    replicas.run(4000)
    late = np.mean([total_kjmol() for _ in range(50) if replicas.run(4) is None], axis=0)
    assert replicas.v.square().mean() > 0.1, "it moves"
    kt = R * 300
    assert abs((late - early).mean()) < 0.1 * kt, "over 66 degrees of freedom and 2 ps"
    assert np.abs(late - early).max() < 0.5 * kt


def test_every_kind_of_atom_has_the_temperature(alanine) -> None:
    replicas = BatchedReplicas(settings(alanine, temperatures_k=(300.0,), stacks=256))
    replicas.run(500)
    kinetic = []
    for _ in range(20):
        replicas.run(50)
        kinetic.append((replicas.mass * replicas.v.square()).mean(2).numpy() / R)
    kelvin = np.concatenate(kinetic).mean(0)
    elements = np.array([atom.element.symbol for atom in alanine.topology.atoms])
    for element in sorted(set(elements)):
        n = 20 * 256 * 3 * (elements == element).sum() / 10  # not quite independent
        assert kelvin[elements == element].mean() == pytest.approx(300, rel=4 * (2 / n) ** 0.5)


@pytest.mark.slow
def test_engines_agree_on_energies_and_backbone_torsions(alanine, plain_openmm) -> None:
    """At 1000 K, where picoseconds mix: distributions over independent replicas, by chi-squared."""
    found = {}
    for engine, stacks, frames in (("openmm", 48, 10), ("batched", 480, 10)):
        dynamics = settings(
            alanine, temperatures_k=(1000.0,), stacks=stacks, friction_per_ps=2.0, platform="CPU"
        )
        job = Job(engine, dynamics, frames, equilibration_frames=5, steps_per_frame=400)
        positions = run_stacks(ENGINES[engine](dynamics), job)[0].reshape(-1, 22, 3)
        trajectory = mdtraj.Trajectory(positions, alanine.topology)
        angles = [f(trajectory)[1][:, 0] for f in (mdtraj.compute_phi, mdtraj.compute_psi)]
        found[engine] = plain_openmm(alanine.system_xml, positions)[0], *angles
    for energies_or_angles in zip(found["openmm"], found["batched"], strict=True):
        edges = np.quantile(energies_or_angles[1], np.linspace(0, 1, 9))
        edges[0], edges[-1] = -np.inf, np.inf
        counts = [np.histogram(values, edges)[0] for values in energies_or_angles]
        assert stats.chi2_contingency(counts).pvalue > 1e-4


def tiny(smoke_config: Config, **changes: object) -> Config:
    return smoke_config.model_copy(
        update={"simulate": smoke_config.simulate.model_copy(update=changes)}
    )


def test_the_trajectory_it_writes(smoke_config, alanine, tmp_path, plain_openmm) -> None:
    config = tiny(smoke_config, temperatures_k=(1000.0, 1200.0), frames=15)
    calls = []
    simulation = simulate(config, lambda done, total: calls.append((done, total)))
    path = tmp_path / "made.h5"
    write_trajectory(path, simulation, alanine, config)
    assert [p.name for p in tmp_path.iterdir()] == ["made.h5"]
    assert all(done <= total for done, total in calls)

    trajectory = mdtraj.load(str(path))
    assert trajectory.n_frames == 15
    assert [str(a) for a in trajectory.topology.atoms] == [str(a) for a in alanine.topology.atoms]
    expected, _ = plain_openmm(alanine.system_xml, trajectory.xyz)
    frames = load_frames(config.data.model_copy(update={"path": str(path)}), alanine)
    assert frames.temperature_k == 1000
    np.testing.assert_allclose(frames.energy_kjmol, expected, rtol=0, atol=2e-3)
    np.testing.assert_allclose(trajectory.time, np.r_[1:9, 1:8] * 0.01, rtol=1e-5)
    with h5py.File(path) as file:
        attributes = dict(file["bgp4"].attrs)
        assert attributes["exchange_acceptance"].shape == (1,), "a pickle, where not an array"
        (tmp_path / "again.yaml").write_bytes(attributes["config"])
    assert load_config(str(tmp_path / "again.yaml")) == config


@engines
def test_a_ladder_has_frames_of_each_temperature(
    smoke_config, alanine, tmp_path, plain_openmm, engine
) -> None:
    config = tiny(
        smoke_config,
        engine=engine,
        temperatures_k=(1000.0, 1100.0, 1250.0),
        frames=15,
        all_temperatures=True,
    )
    path = tmp_path / "ladder.h5"
    write_trajectory(path, simulate(config), alanine, config)
    written = mdtraj.load(str(path))
    expected, _ = plain_openmm(alanine.system_xml, written.xyz)
    with h5py.File(path) as file:
        np.testing.assert_allclose(file["potentialEnergy"], expected, rtol=0, atol=2e-3)
    assert written.n_frames == 45
    np.testing.assert_allclose(written.time, np.tile(np.r_[1:9, 1:8], 3) * 0.01, rtol=1e-5)
    with h5py.File(path) as file:
        np.testing.assert_array_equal(file["temperature"], np.repeat([1000, 1100, 1250], 15))
        assert file["bgp4"].attrs["temperatures_k"].tolist() == [1000, 1100, 1250]

    def read(**changes: object) -> Frames:
        return load_frames(DataConfig(path=str(path), **changes), alanine)

    frames = read()
    assert frames.temperature_k == 1250, "the hottest is what likelihood learns"
    np.testing.assert_array_equal(frames.positions_nm, written.xyz[30:])
    np.testing.assert_allclose(frames.energy_kjmol, expected[30:], rtol=0, atol=2e-3)
    assert [rung.temperature_k for rung in frames.cooler] == [1000, 1100]
    for i, rung in enumerate(frames.cooler):
        np.testing.assert_array_equal(rung.positions_nm, written.xyz[15 * i : 15 * (i + 1)])
    chosen = read(temperature_k=1100, start=2, stride=3)
    np.testing.assert_array_equal(chosen.positions_nm, written.xyz[17:30:3])
    (rung,) = chosen.cooler
    np.testing.assert_array_equal(rung.positions_nm, written.xyz[2:15:3])
    with pytest.raises(UserInputError, match=r"temperature_k: .*\(1000, 1100, 1250 K\), found 300"):
        read(temperature_k=300)
    with pytest.raises(UserInputError, match=r"frames of several temperatures; expected one such"):
        load_frames(DataConfig(path=(str(path), str(path))), alanine)
    hot = tiny(smoke_config, frames=7)
    other = tmp_path / "hot.h5"
    write_trajectory(other, simulate(hot), alanine, hot)
    with pytest.raises(
        UserInputError, match=r"one temperature, found 1000 K in .*hot.h5 and 1250 K"
    ):
        load_frames(DataConfig(path=(str(other), str(path))), alanine)
    one = tiny(smoke_config, frames=7).model_copy(update={"temperature_k": 1250.0})
    write_trajectory(other, simulate(one), alanine, one)
    both = load_frames(DataConfig(path=(str(other), str(path))), alanine)
    assert both.positions_nm.shape == (22, 22, 3)
    np.testing.assert_array_equal(both.positions_nm[7:], frames.positions_nm)
    assert len(both.cooler) == 2
    with h5py.File(path, "a") as file:
        attributes, kept = file["bgp4"].attrs, file["bgp4"].attrs["temperatures_k"]
        attributes["temperatures_k"] = "300 K and more"
    with pytest.raises(UserInputError, match="each frame's kinetic one"):
        read()
    with h5py.File(path, "a") as file:
        file["bgp4"].attrs["temperatures_k"] = kept
    with mdtraj.formats.HDF5TrajectoryFile(str(path), "a") as file:
        file.write(written.xyz[:1], time=0.0, potentialEnergy=0.0, temperature=1250.0)
    with pytest.raises(UserInputError, match=r"as many frames of each of its 3 .* 46 in all"):
        read()


def test_a_ladder_ends_at_the_datas_temperature(smoke_config) -> None:
    ladder = ["simulate.all_temperatures=true", "simulate.temperatures_k=[300,500,1000]"]
    ladder += ["temperature_k=300", "data.temperature_k=1000"]
    config = load_config("ala2_smoke.yaml", ladder)
    assert config.of_data == config
    assert not config.of_reference.simulate.all_temperatures
    assert config.of_reference.seed != config.seed, "it judges what was learned from other frames"
    assert config.of_reference.simulate.temperatures_k == (300, 500, 1000)
    for wrong in ("simulate.temperatures_k=[]", "simulate.temperatures_k=[300,900]"):
        with pytest.raises(
            UserInputError, match=r"all_temperatures: .*data.temperature_k \(1000\)"
        ):
            load_config("ala2_smoke.yaml", [*ladder, wrong])


def test_wrong_input(smoke_config) -> None:
    with pytest.raises(UserInputError, match=r"temperatures_k: .*start at temperature_k .*300 K"):
        simulate(tiny(smoke_config, temperatures_k=(300.0, 400.0)))
    with pytest.raises(UserInputError, match=r"unknown OpenMM platform 'Quantum'.*Reference"):
        simulate(tiny(smoke_config, platform="Quantum"))
    for platform in ("Reference", "CPU"):
        with pytest.raises(UserInputError, match=r"simulation failed: .*timestep_fs"):
            simulate(tiny(smoke_config, timestep_fs=80.0, steps_per_frame=200, platform=platform))
    with pytest.raises(UserInputError, match=r"simulate.engine: .*'openmm'"):
        load_config("ala2_smoke.yaml", ["simulate.engine=gromacs"])


def test_the_engine_that_knows_every_force(alanine) -> None:
    system = openmm.XmlSerializer.deserialize(alanine.system_xml)
    system.addForce(openmm.CustomBondForce("r^2"))
    odd = replace(alanine, system_xml=openmm.XmlSerializer.serialize(system))
    assert _engine("auto", alanine) == "batched"
    assert _engine("openmm", alanine) == "openmm"
    assert _engine("auto", odd) == "openmm"
    words = r"simulate.engine: batched .* CustomBondForce with the energy r\^2; use openmm"
    with pytest.raises(UserInputError, match=words):
        _engine("batched", odd)
