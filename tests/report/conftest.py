"""Runs made of alanine dipeptide frames: bonds vibrate, phi and psi are drawn at random."""

from collections.abc import Callable
from typing import Any

import mdtraj
import networkx as nx
import numpy as np
import pytest
from openmmtools.testsystems import AlanineDipeptideImplicit, TolueneVacuum

from bgp4.molecule.states import State, states_of_bonds
from bgp4.molecule.topology import rotatable_torsions
from bgp4.report.result import RunResult
from bgp4.statistics.samples import Samples
from bgp4.studies.bench.peptides import alanine_peptide
from bgp4.training.history import state_column
from tests.report.made import with_samples

PHI = (6, 8)
PSI = (8, 14)
N_FRAMES, N_SAMPLES = 600, 300


@pytest.fixture
def blank_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pictures are drawn but not rendered, which takes most of a report's time."""
    monkeypatch.setattr("bgp4.report.report.png_bytes", lambda figure: b"\x89PNG")
    monkeypatch.setattr("bgp4.report.report.svg_bytes", lambda figure: b"<svg></svg>")


@pytest.fixture(scope="session")
def molecule() -> tuple[mdtraj.Topology, np.ndarray]:
    made = AlanineDipeptideImplicit(constraints=None)
    return mdtraj.Topology.from_openmm(made.topology), np.asarray(made.positions._value)


def rotated(
    positions: np.ndarray,  # (atoms, 3)
    bond: tuple[int, int],
    moving: np.ndarray,
    angle: float,
) -> np.ndarray:
    """Positions with the `moving` atoms turned about a bond (Rodrigues' formula)."""
    axis = positions[bond[1]] - positions[bond[0]]
    axis = axis / np.linalg.norm(axis)
    arm = positions[moving] - positions[bond[1]]
    turned = positions.copy()
    turned[moving] = (
        positions[bond[1]]
        + arm * np.cos(angle)
        + np.cross(axis, arm) * np.sin(angle)
        + np.outer(arm @ axis, axis) * (1 - np.cos(angle))
    )
    return turned


@pytest.fixture(scope="session")
def frames_with(molecule: Any) -> Callable[[np.ndarray, np.ndarray, int], np.ndarray]:
    """Make frames with given phi and psi, (n, atoms, 3) float32, and thermal-like noise."""
    _, start = molecule  # extended: phi = psi = pi
    beyond_phi = np.r_[9:14, 14:22]
    beyond_psi = np.r_[15:22]

    def make(phi: np.ndarray, psi: np.ndarray, seed: int) -> np.ndarray:
        noise = np.random.default_rng(seed).normal(0, 0.002, (len(phi), *start.shape))
        frames = [
            rotated(rotated(start, PHI, beyond_phi, a + np.pi), PSI, beyond_psi, b + np.pi)
            for a, b in zip(phi, psi, strict=True)
        ]
        return (np.array(frames) + noise).astype(np.float32)

    return make


def phi_states(topology: mdtraj.Topology) -> tuple[State, ...]:
    """φ > 0 of each residue, as where the peptide bonds are trans."""
    return tuple(state for state in states_of_bonds(topology) if state.label.startswith("φ "))


@pytest.fixture(scope="session")
def good_run(molecule: Any, frames_with: Any) -> RunResult:
    """Samples of MD's own distribution with weights near one."""
    topology, start = molecule
    rng = np.random.default_rng(0)

    def angles(n: int) -> tuple[np.ndarray, np.ndarray]:
        phi = np.where(rng.random(n) < 0.2, rng.normal(1.0, 0.2, n), rng.normal(-1.5, 0.4, n))
        return phi, rng.normal(0.5, 1.0, n)

    energy = rng.normal(10, 3, N_SAMPLES)
    log_prob = -energy + rng.normal(0, 0.3, N_SAMPLES)
    data_energy = rng.normal(10, 3, N_FRAMES)
    data_work = np.random.default_rng(7).normal(-(0.3**2), 0.3, N_FRAMES)  # Crooks' relation
    step = np.arange(100, 2100, 100)
    return RunResult(
        name="ala2",
        temperature_k=300.0,
        topology=topology,
        reference_positions_nm=start,
        data_positions_nm=frames_with(*angles(N_FRAMES), seed=1),
        data_energy_kt=data_energy,
        noisy_energy_kt=rng.normal(45, 8, 200),
        samples=Samples(frames_with(*angles(N_SAMPLES), seed=2), log_prob, energy),
        history={
            "step": step,
            "phase": np.where(step <= 1000, "ml", "kl"),
            "nll": -170.0 - step / 1000,
            "kl": np.where(step <= 1000, np.nan, -170.0),
            "heldout_log_likelihood": 170 + step / 1000,
            "ess": np.where(step % 200 == 0, step / 5000, np.nan),
            state_column("φ ALA2 > 0"): np.full(len(step), 0.2),
        },
        config_yaml="system: AlanineDipeptideImplicit\ntemperature_k: 300\n",
        run_info={
            "seed": 0,
            "versions": {"torch": "2.13.0"},
            "wall_time_s": {"ml": 12.5, "kl": 31.0},
            "n_energy_evaluations": 512_000,
            "log_likelihood_heldout": 171.2,
        },
        bins=16,
        bootstrap=20,
        states=phi_states(topology),
        data_log_prob=np.where(np.arange(N_FRAMES) < 400, np.nan, data_work - data_energy),
    )


def frames_of(
    topology: mdtraj.Topology,
    start: np.ndarray,  # (atoms, 3)
    turns: dict[str, np.ndarray],  # by the torsion's label, (n,), rad from the start
    seed: int,
    n: int,
) -> np.ndarray:  # (n, atoms, 3)
    """Frames with torsions turned, and thermal-like noise."""
    frames = np.repeat(start[None], n, axis=0)
    graph = nx.Graph([(a.index, b.index) for a, b in topology.bonds])
    atoms = {torsion.label: torsion.atoms for torsion in rotatable_torsions(topology)}
    for label, angles in turns.items():
        _, j, k, _ = atoms[label]
        cut = nx.restricted_view(graph, [], [(j, k)])
        beyond = np.array(sorted(nx.node_connected_component(cut, k) - {k}))
        frames = np.array(
            [rotated(x, (j, k), beyond, a) for x, a in zip(frames, angles, strict=True)]
        )
    noise = np.random.default_rng(seed).normal(0, 0.002, frames.shape)
    return (frames + noise).astype(np.float32)


@pytest.fixture(scope="session")
def peptide_run(good_run: RunResult) -> RunResult:
    """Ace-(Ala)3-NMe, φ and ψ of MD and samples alike, but for ψ of the third residue, ALA4."""
    molecule = alanine_peptide(3)
    rng = np.random.default_rng(11)

    def frames(n: int, shift: float, seed: int) -> np.ndarray:
        turns = {f"{x} ALA{i}": rng.normal(0, 0.4, n) for x in "φψ" for i in (2, 3, 4)}
        turns["ψ ALA4"] += shift
        return frames_of(molecule.topology, molecule.positions_nm, turns, seed, n)

    return with_samples(
        good_run,
        name="peptide",
        topology=molecule.topology,
        reference_positions_nm=molecule.positions_nm,
        data_positions_nm=frames(N_FRAMES, 0.0, 1),
        sample_positions_nm=frames(N_SAMPLES, 2.0, 2),
        states=phi_states(molecule.topology),
    )


@pytest.fixture(scope="session")
def toluene_run(good_run: RunResult) -> RunResult:
    """No torsion but a methyl group's; the bond C6-C7 of the samples is too long."""
    made = TolueneVacuum(constraints=None)
    topology = mdtraj.Topology.from_openmm(made.topology)
    start = np.asarray(made.positions._value)
    samples = frames_of(topology, start, {}, 2, N_SAMPLES)
    samples[:, [6, 12, 13, 14]] += (
        0.02 * (start[6] - start[5]) / np.linalg.norm(start[6] - start[5])
    )
    return with_samples(
        good_run,
        name="toluene",
        topology=topology,
        reference_positions_nm=start,
        data_positions_nm=frames_of(topology, start, {}, 1, N_FRAMES),
        sample_positions_nm=samples.astype(np.float32),
        states=phi_states(topology),
    )
