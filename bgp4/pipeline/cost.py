"""How long the commands after `bgp4 init` take here, from a measurement of two seconds or three.

MD runs for some steps, and losses and gradients of each phase are taken a few times, of a flow and
a batch of the config's sizes. All else is counted: replicas, rounds, steps, processes.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import NamedTuple

import numpy as np
import torch
from networkx import bridges
from numpy.typing import NDArray
from torch import Tensor

from bgp4.config import Config
from bgp4.coordinates import internal_coordinates
from bgp4.dynamics.replicas import ENGINES, DynamicsSettings
from bgp4.energies.base import Energy, Evaluation
from bgp4.energies.batched import BatchedEnergy
from bgp4.energies.pool import available_cores
from bgp4.energies.worker import evaluate_with, make_context
from bgp4.molecule.molecule import Molecule
from bgp4.molecule.topology import bond_graph, peptide_torsions
from bgp4.parallel.threads import threads
from bgp4.training.generators import Generators
from bgp4.training.objective import Objective
from bgp4.training.schedule import Schedule
from bgp4.training.train import fitted_generator

__all__ = ["Cost", "cost_lines", "duration", "measured_cost"]

MD_S, ENERGY_S, TRAINING_S = 0.3, 0.2, 0.8
"""Processor time for measuring each."""

WHOLE_STEP = 1.2
"""A step of training over its losses and gradients: the optimizer, merges and evaluations.

Loading torch's optimizers takes seconds, so they are not measured.
"""

STEPS_AT_A_TIME = 5
CONFORMATIONS = 256
SPREAD = 0.01
"""Of bonds in nm, of angles and stiff torsions in rad."""


class Cost(NamedTuple):
    """On this machine, with nothing beside: processor time is measured.

    Attributes:
        md_steps_per_s: Of all replicas together.
        replicas: That are simulated side by side.
        simulate_s: For the frames to learn from.
        reference_s: For those to compare with.
        train_s: For all steps.
        cores: That the process may use.
    """

    md_steps_per_s: float
    replicas: int
    simulate_s: float
    reference_s: float
    train_s: float
    cores: int


def measured_cost(
    config: Config,
    molecule: Molecule,
    relaxed_nm: NDArray[np.float64],  # (atoms, 3)
    batched: bool,
) -> Cost:
    """Run a few steps of what the config asks for.

    Args:
        relaxed_nm: Positions at a minimum of the energy.
        batched: Whether the batched energies support every force.
    """
    start_s = time.process_time()  # as long as other commands take to load the same
    cores = available_cores()
    energy_s = _openmm_energy_s(config, molecule, relaxed_nm) / cores
    data, reference = (
        _Dynamics.of(one, molecule, relaxed_nm, batched, cores) for one in (config.of_data, config)
    )
    per_energy_s = 0.0 if batched else energy_s
    train_s = _training_s(config, molecule, relaxed_nm, per_energy_s)
    frames_s = config.simulate.frames * energy_s
    by_openmm = 1 if batched else config.simulate.recorded
    starts_s = 2 * start_s  # a simulation's processes start after it
    return Cost(
        data.steps_per_s,
        data.replicas,
        data.whole_s + starts_s + by_openmm * frames_s,
        reference.whole_s + starts_s + frames_s,
        start_s + train_s,
        cores,
    )


def cost_lines(cost: Cost) -> Iterator[str]:
    yield (
        f"MD: {float(f'{cost.md_steps_per_s:.2g}'):,.0f} steps a second, of {cost.replicas} "
        f"replicas on {cost.cores} core{'s' * (cost.cores > 1)} if these are free"
    )
    yield (
        f"simulate takes about {duration(cost.simulate_s)}, train {duration(cost.train_s)}, "
        f"simulate --reference {duration(cost.reference_s)}"
    )


def duration(seconds: float) -> str:
    """Two digits, in the unit in which it is a small number."""
    units = {"s": 1, "min": 60, "h": 3600}
    unit = next((unit for unit, length in units.items() if seconds < 100 * length), "h")
    return f"{float(f'{max(seconds / units[unit], 1):.2g}'):g} {unit}"


def _seconds_each(function: Callable[[], object], budget_s: float) -> float:
    """Processor time of a call: the mean, without the first unless that alone takes the budget."""
    times: list[float] = []
    while sum(times) < budget_s:
        started = time.process_time()
        function()
        times.append(time.process_time() - started)
    return sum(times[1:]) / len(times[1:]) if times[1:] else times[0]


def _openmm_energy_s(config: Config, molecule: Molecule, relaxed_nm: NDArray[np.float64]) -> float:
    """Of one worker."""
    context = make_context(molecule.system_xml, config.energies.platform)
    return _seconds_each(lambda: evaluate_with(context, relaxed_nm[None]), ENERGY_S)


class _Dynamics(NamedTuple):
    steps_per_s: float
    replicas: int
    whole_s: float

    @classmethod
    def of(
        cls,
        config: Config,
        molecule: Molecule,
        relaxed_nm: NDArray[np.float64],
        batched: bool,
        cores: int,
    ) -> _Dynamics:
        """Measured with the replicas of one process, of which others run beside it."""
        settings = config.simulate
        ladder = settings.temperatures_k or (config.temperature_k,)
        stacks = math.ceil(settings.stacks / settings.processes)
        own = stacks if batched else 1
        replicas = ENGINES["batched" if batched else "openmm"](
            DynamicsSettings(
                molecule.system_xml,
                relaxed_nm,
                ladder if batched else ladder[:1],
                own,
                settings.timestep_fs,
                settings.friction_per_ps,
                settings.platform,
                seed=config.seed,
            )
        )
        seconds = _seconds_each(lambda: replicas.run(STEPS_AT_A_TIME), MD_S) / STEPS_AT_A_TIME
        if not batched:  # one after the other
            seconds *= stacks * len(ladder)
        seconds *= max(settings.processes / cores, 1)
        rounds = math.ceil(settings.frames / settings.stacks) + settings.equilibration_frames
        n = settings.stacks * len(ladder)
        return cls(n / seconds, n, rounds * settings.steps_per_frame * seconds)


class _NoEnergy(Energy):
    """Energies that cost nothing."""

    def _evaluate(self, positions: NDArray[np.float64]) -> Evaluation:
        return Evaluation(np.zeros(len(positions)), np.zeros_like(positions), {})


def _training_s(
    config: Config, molecule: Molecule, relaxed_nm: NDArray[np.float64], per_energy_s: float
) -> float:
    """All steps, of which each phase's are measured.

    Args:
        per_energy_s: Of energies that are not batched, 0 where they are.
    """
    settings, kelvin = config.training, config.temperature_k
    with threads(settings.threads):
        conformations = _conformations(config, molecule, relaxed_nm)
        model = fitted_generator(config, molecule.zmatrix, conformations, molecule.constraints)
        x = model.standardised(torch.as_tensor(conformations))[0].to(model.dtype)
        energy = (
            _NoEnergy(molecule.n_atoms, kelvin)
            if per_energy_s
            else BatchedEnergy(molecule, kelvin, torch.float32)
        )
        schedule = Schedule.of(config)
        objective = Objective(model, energy, x, settings, schedule)
        generators = Generators.from_seed(config.seed)

        def gradients(step: int) -> None:
            objective.losses(step, generators).loss.backward()

        first = {"ml": 1, "energy": schedule.lengths["ml"] + 1}
        each = {
            phase: _seconds_each(partial(gradients, step), TRAINING_S / len(first))
            for phase, step in first.items()
        }
    likely, with_energy = schedule.lengths["ml"], settings.steps - schedule.lengths["ml"]
    steps_s = WHOLE_STEP * (likely * each["ml"] + with_energy * each["energy"])
    return steps_s + with_energy * settings.energy_batch_size * per_energy_s


def _conformations(
    config: Config, molecule: Molecule, relaxed_nm: NDArray[np.float64]
) -> NDArray[np.float32]:  # (conformations, atoms, 3), nm
    """With circles where the data's will be: their number decides the flow's size."""
    coordinates = internal_coordinates(molecule.zmatrix, molecule.constraints)
    centre, _ = coordinates(torch.as_tensor(relaxed_nm).reshape(1, -1))
    circles = torch.as_tensor(_turning(molecule))
    rng = np.random.default_rng(config.seed)
    q: Tensor = centre + SPREAD * torch.as_tensor(rng.normal(size=(CONFORMATIONS, len(circles))))
    turned = torch.as_tensor(rng.uniform(-np.pi, np.pi, q.shape))
    flat, _ = coordinates.inverse(torch.where(circles, turned, q))
    return flat.unflatten(1, (-1, 3)).numpy().astype(np.float32)


def _turning(molecule: Molecule) -> NDArray[np.bool_]:  # (features,)
    """Columns of torsions about bonds outside rings, peptide bonds apart."""
    graph, rows = bond_graph(molecule.topology), molecule.zmatrix.rows
    stiff = {frozenset(four[1:3]) for four in peptide_torsions(molecule.topology)}
    turning = {frozenset(bond) for bond in bridges(graph)} - stiff
    torsions = [
        graph.has_edge(row.angle, row.torsion) and frozenset((row.bond, row.angle)) in turning
        for row in rows
    ]
    others = 2 * len(rows) + 3  # as many angles as torsions and one more, another bond than angles
    return np.array([False] * others + torsions)
