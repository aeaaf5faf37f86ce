"""Training data: Langevin MD, or parallel tempering where the config has a temperature ladder.

Processes run independent stacks of replicas; each stack has one replica for each temperature,
and neighbours in temperature exchange after every frame. The first temperature is recorded, or all.
"""

from __future__ import annotations

import json
import logging
import shutil
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from numpy.typing import NDArray

from bgp4.config import Config, dump_config, validate_config
from bgp4.data.provenance import provenance
from bgp4.data.turned import turned_positions
from bgp4.dynamics.replicas import ENGINES, DynamicsSettings
from bgp4.dynamics.rounds import Job, Kept, Result, run_stacks
from bgp4.energies.base import Energy
from bgp4.errors import RunError, UserInputError
from bgp4.molecule.molecule import Molecule, load_molecule
from bgp4.parallel.interrupt import way_on
from bgp4.parallel.processes import Child, end_with_parent, start_child, stop_children
from bgp4.storage.files import atomic_write_text, check_whole_hdf5, replacing, written_by_others
from bgp4.version import __version__

__all__ = [
    "FREE_ON_RESUME",
    "Simulation",
    "begin_folder",
    "config_of",
    "remove_folder",
    "simulate",
    "work_folder",
    "write_trajectory",
]

log = logging.getLogger(__name__)

Progress = Callable[[int, int], None]

FREE_ON_RESUME = ("data", "model", "training", "energies", "report", "simulate.checkpoint_s")
"""Config sections and keys that may differ when a simulation is resumed: no frame changes."""

ROUND_PATIENCE_S = 60.0
"""How long Ctrl-C waits for the end of a round, after which a process saves what it has."""


@dataclass(frozen=True)
class Simulation:
    """Frames at the run's temperature, or at all of a ladder.

    Attributes:
        positions_nm: (frames, atoms, 3), nm, each frame centred; temperature after temperature and
            stack after stack, in time order.
        temperatures_k: Those recorded, each with as many frames, K.
        energy_kjmol: (frames,), of exactly these float32 positions, kJ/mol; from OpenMM for those
            that train or judge, the last temperature's.
        time_ps: (frames,), since the end of the stack's equilibration.
        acceptance: Exchange acceptance of each neighbouring pair of temperatures.
        engine: Which engine made them.
    """

    positions_nm: NDArray[np.float32]
    temperatures_k: tuple[float, ...]
    energy_kjmol: NDArray[np.float64]
    time_ps: NDArray[np.float64]
    acceptance: NDArray[np.float64]
    engine: str

    @property
    def frames_each(self) -> int:
        """Of each temperature."""
        return len(self.time_ps) // len(self.temperatures_k)

    @property
    def temperatures(self) -> str:
        """The first and the last: 300 to 1000 K."""
        ends = dict.fromkeys([self.temperatures_k[0], self.temperatures_k[-1]])
        return " to ".join(f"{kelvin:g}" for kelvin in ends) + " K"

    @property
    def words(self) -> str:
        """How many frames of which temperatures."""
        n = len(self.temperatures_k)
        each = f"each of {n} temperatures, " if n > 1 else ""
        return f"{self.frames_each} frames at {each}{self.temperatures}"


def simulate(
    config: Config,
    progress: Progress = lambda done, total: None,
    folder: Path | None = None,
    device: str = "cpu",
) -> Simulation:
    """Run the config's stacks and compute the energies of their frames.

    Args:
        config: `simulate`, `system`, `temperature_k`, `seed` and `energies` matter.
        progress: Called with rounds done and rounds in all.
        folder: Where the processes keep what they have, and go on from what is there.
        device: cpu, or cuda, where one process has all batched stacks.

    Raises:
        UserInputError: If the ladder does not start at `temperature_k`, a platform is unknown, or
            the dynamics diverge (the time step is too long).
        RunError: If a process dies.
    """
    from bgp4.energies.batched import BatchedEnergy
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
    jobs = _jobs(config, molecule, ladder, engine, folder, device if engine == "batched" else "cpu")
    workers = config.energies
    with OpenMMEnergy(
        molecule, config.temperature_k, workers.platform, workers.workers, workers.timeout_s
    ) as energy:
        results = _run_processes(jobs, progress)
        per_stack = np.concatenate([frames for frames, _ in results])
        stacks, rounds, recorded = per_stack.shape[:3]
        shape = (recorded, stacks * rounds, molecule.n_atoms, 3)
        by_temperature = np.moveaxis(per_stack, 2, 0).reshape(shape)[:, : settings.frames]
        positions = by_temperature.reshape(-1, molecule.n_atoms, 3)
        others: Energy = energy
        if engine == "batched" and recorded > 1:  # OpenMM would take minutes
            others = BatchedEnergy(molecule, ladder[0])
        parts = [others.evaluate(some).energy_kjmol for some in by_temperature[:-1]]
        energies = np.concatenate([*parts, energy.evaluate(by_temperature[-1]).energy_kjmol])
    time = np.tile(np.arange(1, rounds + 1), stacks)[: settings.frames]
    time_ps = np.tile(time, recorded) * settings.steps_per_frame * settings.timestep_fs / 1000
    acceptance = np.mean([accepted for _, accepted in results], axis=0)
    return Simulation(positions, ladder[:recorded], energies, time_ps, acceptance, engine)


def write_trajectory(
    path: Path, simulation: Simulation, molecule: Molecule, config: Config
) -> None:
    """Write an HDF5 trajectory (mdtraj's format; float32 nm, energies in kJ/mol), atomically."""
    with written_by_others(path), replacing(path) as part:
        _write_frames(part, simulation, molecule, config)
        check_whole_hdf5(part)


def _write_frames(path: Path, simulation: Simulation, molecule: Molecule, config: Config) -> None:
    import mdtraj

    with mdtraj.formats.HDF5TrajectoryFile(str(path), "w") as file:
        file.topology = molecule.topology
        kelvin = np.array(simulation.temperatures_k)
        file.title = f"{molecule.name} at {simulation.temperatures}"
        file.application = f"bgp4 {__version__}"
        file.write(
            coordinates=simulation.positions_nm,
            time=simulation.time_ps.astype(np.float32),
            potentialEnergy=simulation.energy_kjmol.astype(np.float32),
            temperature=np.repeat(kelvin.astype(np.float32), simulation.frames_each),
        )
        attributes = file._handle.create_group("/", "bgp4")._v_attrs
        attributes.config = dump_config(config)
        attributes.provenance = json.dumps(provenance(config, molecule))
        attributes.engine = simulation.engine
        attributes.temperatures_k = kelvin
        attributes.exchange_acceptance = simulation.acceptance


def config_of(path: Path) -> Config:
    """That of a trajectory which `write_trajectory` wrote.

    Raises:
        UserInputError: If it did not.
    """
    import h5py

    try:
        with h5py.File(path) as file:
            text = file["bgp4"].attrs["config"]
        return validate_config(yaml.safe_load(text), source=str(path))
    except (OSError, KeyError, AttributeError, yaml.YAMLError) as error:
        raise UserInputError(f"{path}: not a simulation of bgp4 ({error})") from error


def work_folder(output: Path) -> Path:
    """Where a simulation into `output` keeps what it has: `.data.h5.simulation`."""
    return output.with_name(f".{output.name}.simulation")


def begin_folder(output: Path, config: Config) -> None:
    """Make the work folder of a new simulation.

    Raises:
        UserInputError: If there is one that has something to go on with.
    """
    folder = work_folder(output)
    if any(folder.glob("state_*")):
        raise UserInputError(
            f"-o {output}: an interrupted simulation is there; continue it with --resume, or "
            f"remove {folder}"
        )
    remove_folder(output)
    folder.mkdir()
    atomic_write_text(folder / "config.yaml", dump_config(config))


def remove_folder(output: Path) -> None:
    """Once the trajectory is there, or can't be."""
    folder = work_folder(output)
    (folder / "config.yaml").unlink(missing_ok=True)
    shutil.rmtree(folder, ignore_errors=True)


def _engine(name: str, molecule: Molecule) -> str:
    """`auto` is the batched engine where it knows every force, else OpenMM."""
    if name == "openmm":
        return name
    from bgp4.energies.forcefield import read_force_field
    from bgp4.energies.terms import UnsupportedForce

    try:
        read_force_field(molecule.system_xml)
    except UnsupportedForce as unsupported:
        if name == "batched":
            raise UserInputError(
                f"config key simulate.engine: batched does not support {unsupported}; use openmm"
            ) from unsupported
        log.info("simulating with OpenMM: the batched engine does not support %s", unsupported)
        return "openmm"
    return "batched"


def _jobs(
    config: Config,
    molecule: Molecule,
    ladder: tuple[float, ...],
    engine: str,
    folder: Path | None,
    device: str,
) -> list[Job]:
    """One job for each process, with its share of the stacks."""
    settings = config.simulate
    starts = np.broadcast_to(molecule.positions_nm, (settings.stacks, molecule.n_atoms, 3))
    if settings.starts == "turned":
        bonds = config.data.peptide_bonds
        starts = turned_positions(molecule, settings.stacks, config.seed, bonds)
    processes = settings.processes if device == "cpu" else 1
    return [
        Job(
            engine,
            DynamicsSettings(
                molecule.system_xml,
                share,
                ladder,
                len(share),
                settings.timestep_fs,
                settings.friction_per_ps,
                settings.platform,
                seed=2**16 * config.seed + i,
                device=device,
            ),
            -(-settings.frames // settings.stacks),
            settings.equilibration_frames,
            settings.steps_per_frame,
            settings.recorded,
            None if folder is None else Kept.in_folder(folder.absolute(), i),
            settings.checkpoint_s,
        )
        for i, share in enumerate(np.array_split(starts, processes))
        if len(share)
    ]


def _run_processes(jobs: Sequence[Job], progress: Progress) -> list[Result]:
    """Each job in its own process; at Ctrl-C they save what they have."""
    total = sum(job.frames + job.equilibration_frames for job in jobs)
    children: list[Child] = []
    try:
        for job in jobs:
            children.append(start_child(_serve_job, job))
        return _results(children, lambda done: progress(done, total))
    except KeyboardInterrupt:
        _let_save(children)
        raise
    finally:
        for child in children:
            child.process.kill()
        stop_children(children)


def _results(children: Sequence[Child], progress: Callable[[int], None]) -> list[Result]:
    """What the processes send: rounds done, and in the end their frames.

    Raises:
        UserInputError: What a process says of its input.
        RunError: If one of them dies.
    """
    waiting = {child.pipe: child for child in children}
    done: dict[Any, int] = {}
    results: dict[Any, Result] = {}
    while waiting:
        ready: list[Any] = wait(list(waiting))
        for pipe in ready:
            try:
                message = pipe.recv()
            except (EOFError, OSError) as error:
                raise RunError(f"a simulation process {waiting[pipe].fate}{_go_on()}") from error
            if isinstance(message, OSError):  # what it had saved before is kept
                raise OSError(
                    message.errno, f"{message.strerror}{_go_on()}", "the simulation's state"
                )
            if isinstance(message, Exception):
                raise UserInputError(f"simulation failed: {message}") from message
            if isinstance(message, int):
                done[pipe] = message
                progress(sum(done.values()))
            else:
                results[pipe] = message
                del waiting[pipe]
    return [results[child.pipe] for child in children]


def _go_on() -> str:
    return f"; its progress is saved, continue with {way_on()}"


def _let_save(children: Sequence[Child]) -> None:
    """Have each process save what it has, and wait for its end."""
    for child in children:
        with suppress(OSError):
            child.pipe.send("stop")
    for child in children:
        with suppress(EOFError, OSError):
            while child.pipe.poll(ROUND_PATIENCE_S):
                child.pipe.recv()


def _serve_job(pipe: Connection, job: Job) -> None:
    end_with_parent()
    import openmm

    stop = threading.Event()
    threading.Thread(target=_listen, args=(pipe, stop), daemon=True).start()
    try:
        result = run_stacks(ENGINES[job.engine](job.dynamics), job, pipe.send, stop.is_set)
        if result is not None:
            pipe.send(result)
    except (ValueError, OSError) as error:
        pipe.send(error)
    except openmm.OpenMMException as error:
        pipe.send(ValueError(f"{' '.join(str(error).split())}; shorten simulate.timestep_fs"))


def _listen(pipe: Connection, stop: threading.Event) -> None:
    """Whatever comes, or the end of the pipe, is the word to stop."""
    with suppress(EOFError, OSError):
        pipe.recv()
    stop.set()
