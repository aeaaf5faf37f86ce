"""Training data: Langevin MD, or parallel tempering where the config has a temperature ladder.

Processes run independent stacks of replicas; each stack has one replica for each temperature,
and neighbours in temperature exchange after every frame. The first temperature is recorded.
"""

from __future__ import annotations

import logging
import multiprocessing
import signal
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bgp4 import __version__
from bgp4.config import Config, dump_config
from bgp4.errors import UserInputError
from bgp4.replicas import ENGINES, DynamicsSettings, Replicas
from bgp4.system import Molecule, load_molecule
from bgp4.units import kt_in_kjmol

__all__ = ["Simulation", "exchange", "run_stacks", "simulate", "write_trajectory"]

log = logging.getLogger(__name__)

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Simulation:
    """Frames at the run's temperature.

    Attributes:
        positions_nm: (frames, atoms, 3), nm, each frame centred; stack after stack, in time order.
        energy_kjmol: (frames,), from OpenMM, of exactly these float32 positions, kJ/mol.
        time_ps: (frames,), since the end of the stack's equilibration.
        acceptance: Exchange acceptance of each neighbouring pair of temperatures.
        engine: Which engine made them.
    """

    positions_nm: NDArray[np.float32]
    energy_kjmol: NDArray[np.float64]
    time_ps: NDArray[np.float64]
    acceptance: NDArray[np.float64]
    engine: str


def simulate(config: Config, progress: Progress = lambda done, total: None) -> Simulation:
    """Run the config's stacks and compute the energies of their frames.

    Args:
        config: `simulate`, `system`, `temperature_k`, `seed` and `energies` matter.
        progress: Called with rounds done and rounds in all.

    Raises:
        UserInputError: If the ladder does not start at `temperature_k`, a platform is unknown, or
            the dynamics diverge (the time step is too long).
    """
    from bgp4.energies.openmm import OpenMMEnergy

    settings = config.simulate
    ladder = settings.temperatures_k or (config.temperature_k,)
    if ladder[0] != config.temperature_k:
        raise UserInputError(
            f"config key simulate.temperatures_k: expected the ladder to start at temperature_k "
            f"({config.temperature_k:g} K), found {ladder[0]:g} K"
        )
    molecule = load_molecule(config.system)
    engine = _engine(settings.engine, molecule)
    jobs = _jobs(config, molecule, ladder, engine)
    with OpenMMEnergy(
        molecule, config.temperature_k, config.energies.platform, config.energies.workers
    ) as energy:
        results = _run_processes(jobs, progress)
        per_stack = np.concatenate([frames for frames, _ in results])
        n = settings.frames
        positions = per_stack.reshape(-1, molecule.n_atoms, 3)[:n]
        energies = energy.evaluate(positions).energy_kjmol
    time = np.tile(np.arange(1, per_stack.shape[1] + 1), len(per_stack))[:n]
    time_ps = time * settings.steps_per_frame * settings.timestep_fs / 1000
    acceptance = np.mean([accepted for _, accepted in results], axis=0)
    return Simulation(positions, energies, time_ps, acceptance, engine)


def write_trajectory(
    path: Path, simulation: Simulation, molecule: Molecule, config: Config
) -> None:
    """Write an HDF5 trajectory (mdtraj's format; float32 nm, energies in kJ/mol), atomically."""
    import mdtraj

    temporary = path.with_name(path.name + ".part")
    try:
        with mdtraj.formats.HDF5TrajectoryFile(str(temporary), "w") as file:
            file.topology = molecule.topology
            file.title = f"{molecule.name} at {config.temperature_k:g} K"
            file.application = f"bgp4 {__version__}"
            file.write(
                coordinates=simulation.positions_nm,
                time=simulation.time_ps.astype(np.float32),
                potentialEnergy=simulation.energy_kjmol.astype(np.float32),
                temperature=np.full(len(simulation.time_ps), config.temperature_k, np.float32),
            )
            attributes = file._handle.create_group("/", "bgp4")._v_attrs
            attributes.config = dump_config(config)
            attributes.engine = simulation.engine
            attributes.exchange_acceptance = simulation.acceptance
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def _engine(name: str, molecule: Molecule) -> str:
    """`auto` is the batched engine where it knows every force, else OpenMM."""
    if name == "openmm":
        return name
    from bgp4.energies.forcefield import UnsupportedForce, read_force_field

    try:
        read_force_field(molecule.system_xml)
    except UnsupportedForce as unsupported:
        if name == "batched":
            raise UserInputError(
                f"config key simulate.engine: batched does not know {unsupported}; use openmm"
            ) from unsupported
        log.info("simulating with OpenMM: the batched engine does not know %s", unsupported)
        return "openmm"
    return "batched"


@dataclass(frozen=True)
class _Job:
    """What one process does."""

    engine: str
    dynamics: DynamicsSettings
    frames: int
    equilibration_frames: int
    steps_per_frame: int


def _jobs(config: Config, molecule: Molecule, ladder: tuple[float, ...], engine: str) -> list[_Job]:
    """One job for each process, with its share of the stacks."""
    settings = config.simulate
    shares = [
        len(share) for share in np.array_split(np.arange(settings.stacks), settings.processes)
    ]
    return [
        _Job(
            engine,
            DynamicsSettings(
                molecule.system_xml,
                molecule.positions_nm,
                ladder,
                stacks,
                settings.timestep_fs,
                settings.friction_per_ps,
                settings.platform,
                seed=2**16 * config.seed + i,
            ),
            -(-settings.frames // settings.stacks),
            settings.equilibration_frames,
            settings.steps_per_frame,
        )
        for i, stacks in enumerate(shares)
        if stacks
    ]


Result = tuple[NDArray[np.float32], NDArray[np.float64]]


def run_stacks(
    replicas: Replicas,
    job: _Job,
    progress: Callable[[int], None] = lambda rounds: None,
) -> Result:
    """Equilibrate and record.

    Returns:
        Frames of the first temperature, (stacks, frames, atoms, 3) float32 in nm, each centred,
        and the exchange acceptance of each neighbouring pair.
    """
    ladder = np.array(job.dynamics.temperatures_k)
    stacks, n_temperatures = job.dynamics.stacks, len(ladder)
    frames = np.empty((stacks, job.frames, *job.dynamics.positions_nm.shape), np.float32)
    rng = np.random.default_rng(job.dynamics.seed)
    tried, accepted = np.zeros((2, max(n_temperatures - 1, 0)))
    for round_ in range(-job.equilibration_frames, job.frames):
        replicas.run(job.steps_per_frame)
        energies = replicas.energies_kjmol()
        if not np.isfinite(energies).all():
            raise ValueError(
                f"the energy is not finite after {round_ + job.equilibration_frames} frames: "
                "shorten simulate.timestep_fs"
            )
        if round_ >= 0:
            positions = replicas.positions_nm(0)
            frames[:, round_] = positions - positions.mean(axis=1, keepdims=True)
        low = np.arange(round_ % 2, n_temperatures - 1, 2)
        source, swapped = exchange(energies, ladder, low, rng)
        replicas.permute(source)
        tried[low] += stacks
        accepted[low] += swapped.sum(axis=0)
        if round_ % 20 == 19:
            progress(round_ + 1 + job.equilibration_frames)
    return frames, accepted / np.maximum(tried, 1)


def exchange(
    energies_kjmol: NDArray[np.float64],  # (stacks, temperatures)
    temperatures_k: NDArray[np.float64],  # (temperatures,)
    low: NDArray[np.int64],  # (pairs,), the colder of each pair that may swap
    rng: np.random.Generator,
) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Metropolis exchange of neighbouring temperatures.

    Accepted with probability min(1, exp[(β_i - β_j)(E_i - E_j)]) (Sugita, Okamoto, Chem. Phys.
    Lett. 314, 141 (1999)).

    Returns:
        For each stack and temperature, which replica goes on there, (stacks, temperatures); and
        which pairs were swapped, (stacks, pairs).
    """
    beta = np.array([1 / kt_in_kjmol(t) for t in temperatures_k])
    gain = (beta[low] - beta[low + 1]) * (energies_kjmol[:, low] - energies_kjmol[:, low + 1])
    swapped = np.log(rng.random(gain.shape)) < gain
    source = np.tile(np.arange(len(beta)), (len(energies_kjmol), 1))
    source[:, low] += swapped
    source[:, low + 1] -= swapped
    return source, swapped


def _run_processes(jobs: Sequence[_Job], progress: Progress) -> list[Result]:
    """Each job in its own process; ends them all if one fails or the user interrupts."""
    context = multiprocessing.get_context("spawn")
    total = sum(job.frames + job.equilibration_frames for job in jobs)
    pipes: list[Any] = []
    processes: list[Any] = []
    done: dict[Any, int] = {}
    results: dict[Any, Result] = {}
    try:
        for job in jobs:
            ours, theirs = context.Pipe(duplex=False)
            process = context.Process(target=_serve_job, args=(theirs, job), daemon=True)
            process.start()
            theirs.close()
            pipes.append(ours)
            processes.append(process)
        while len(results) < len(jobs):
            ready: list[Any] = wait([p for p in pipes if p not in results])
            for pipe in ready:
                message = pipe.recv()
                if isinstance(message, Exception):
                    raise UserInputError(f"simulation failed: {message}") from message
                if isinstance(message, int):
                    done[pipe] = message
                    progress(sum(done.values()), total)
                else:
                    results[pipe] = message
        return [results[pipe] for pipe in pipes]
    except EOFError as error:
        raise RuntimeError("a simulation process died") from error
    finally:
        for process in processes:
            if len(results) < len(jobs):
                process.kill()
            process.join()


def _serve_job(pipe: Connection, job: _Job) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    import openmm

    try:
        pipe.send(run_stacks(ENGINES[job.engine](job.dynamics), job, pipe.send))
    except ValueError as error:
        pipe.send(error)
    except openmm.OpenMMException as error:
        pipe.send(ValueError(f"{' '.join(str(error).split())}; shorten simulate.timestep_fs"))
