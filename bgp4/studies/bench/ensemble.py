"""What an ensemble costs by parallel tempering and by a flow, training included, to the same error.

The reference of a `bgp4 run` says how many frames of parallel tempering are worth an independent
one, for the state that is worst off; speeds are measured here, side by side; the training's
processor time is what it was.
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any, NamedTuple

from bgp4.config import SimulateConfig, existing_data
from bgp4.data.judging import judging_frames
from bgp4.dynamics.simulate import config_of
from bgp4.errors import UserInputError
from bgp4.molecule.states import members_by_symmetry, states
from bgp4.molecule.symmetry import symmetries
from bgp4.pipeline.evidence import state_draws
from bgp4.sampling.generate import TrainedRun, load_trained
from bgp4.studies.bench.sampling import flow_rates
from bgp4.studies.bench.simulation import Way, bench_simulation
from bgp4.training.run import RunFolder

__all__ = ["Speed", "bench_ensemble", "pays_from", "targets"]

SHARE_ERROR, ERROR_KT = 0.01, 0.1
FREE_ENERGIES_KT = (3.0, 6.0)
MANY = 10_000


class Speed(NamedTuple):
    """Of a method: independent conformations take `begin_s + n * each_s` seconds."""

    method: str
    begin_s: float
    each_s: float

    def seconds(self, n: float) -> float:
        """For n of them."""
        return self.begin_s + n * self.each_s


def targets() -> dict[str, float]:
    """Independent conformations that an error needs.

    A share p has the variance p (1 - p) / n, and -ln(p / (1 - p)) has 1 / (n p (1 - p)) kT².

    >>> round(targets()["a share of 50 % within 1 %"])
    2500
    """
    found = {f"{MANY:,} conformations": float(MANY)}
    found["a share of 50 % within 1 %"] = 0.25 / SHARE_ERROR**2
    for value in FREE_ENERGIES_KT:
        p = 1 / (1 + math.exp(value))
        found[f"ΔF of {value:g} kT within {ERROR_KT:g} kT"] = 1 / (ERROR_KT**2 * p * (1 - p))
    return found


def pays_from(flow: Speed, other: Speed) -> float | None:
    """Independent conformations from which on the flow is faster, training included; None if never.

    >>> pays_from(Speed("flow", 100.0, 0.0), Speed("md", 0.0, 1.0))
    100.0
    """
    if flow.each_s >= other.each_s:
        return None
    return max((flow.begin_s - other.begin_s) / (other.each_s - flow.each_s), 0.0)


def bench_ensemble(run: Path, n: int = 10_000, seconds: float = 5.0) -> dict[str, Any]:
    """A folder of `bgp4 run` against parallel tempering of the same molecule, on all cores.

    Args:
        run: The folder.
        n: Samples to draw and weigh.
        seconds: For the speeds of MD.

    Returns:
        {"results": [{"method", "target", "seconds"}, ...], "ratios": {...}, "settings": {...}}.

    Raises:
        UserInputError: If it is no such folder, or its reference is not its own.
    """
    folder, reference = _finished(run)
    trained = load_trained(folder)
    settings = config_of(reference).simulate
    draws_per_frame = _draws_per_frame(trained, reference, settings)
    ways = {Way(engine, None): trained.molecule for engine in ("openmm", "batched")}
    rows = bench_simulation(seconds, molecules=ways)["results"]
    rates = {row["engine"]: row["replica_steps_per_s"] for row in rows}
    tempering = [_tempering(e, rate, settings, draws_per_frame) for e, rate in rates.items()]
    sampled = flow_rates(trained, n)
    flow = Speed(
        "flow", _begin_s(folder, trained, rates["batched"]), 1 / sampled["independent_per_s"]
    )
    return {
        "results": [
            {"method": one.method, "target": target, "seconds": one.seconds(needed)}
            for target, needed in targets().items()
            for one in (*tempering, flow)
        ],
        "ratios": [
            {"target": target}
            | {f"{o.method}/flow": o.seconds(m) / flow.seconds(m) for o in tempering}
            for target, m in targets().items()
        ],
        "settings": {
            "run": str(run),
            "molecule": trained.molecule.name,
            "ess": sampled["ess"],
            "draws_per_frame": draws_per_frame,
            "training_s": _training_s(folder),
            "pays_from": {one.method: pays_from(flow, one) for one in tempering},
        },
    }


def _finished(run: Path) -> tuple[RunFolder, Path]:
    """Its last training and its reference."""
    path = run / "status.json"
    if not path.is_file():
        raise UserInputError(f"--run {run}: expected a folder that `bgp4 run` made")
    status = json.loads(path.read_text(encoding="utf-8"))
    if not status.get("rounds"):
        raise UserInputError(f"--run {run}: no training is finished there; go on with `bgp4 run`")
    name = str(status["reference"])
    return RunFolder.open(Path(status["rounds"][-1]["run"])), existing_data(name, "reference")


def _draws_per_frame(trained: TrainedRun, reference: Path, settings: SimulateConfig) -> float:
    """Independent frames, per frame, for the state that is worst off, symmetry considered."""
    report = trained.config.report.model_copy(update={"reference": str(reference)})
    config = trained.config.model_copy(update={"report": report})
    frames = judging_frames(config, trained.molecule)
    topology = trained.molecule.topology
    groups = symmetries(topology, trained.molecule.positions_nm)
    inside = members_by_symmetry(states(topology, config), frames.positions_nm, topology, groups)
    visited = inside[:, (inside.mean(axis=0) > 0) & (inside.mean(axis=0) < 1)]
    if not visited.shape[1]:
        raise UserInputError(
            f"{reference}: no state changes there, so that no draws can be counted"
        )
    return min(*state_draws(visited, settings.stacks), len(visited)) / len(visited)


def _tempering(
    engine: str, steps_per_s: float, settings: SimulateConfig, draws_per_frame: float
) -> Speed:
    """All temperatures are simulated for the frames of one."""
    frame_s = len(settings.temperatures_k) * settings.steps_per_frame / steps_per_s
    begin_s = settings.equilibration_frames * settings.stacks * frame_s
    return Speed(f"tempering_{engine}", begin_s, frame_s / draws_per_frame)


def _training_s(folder: RunFolder) -> float:
    """Processor time of a training, and of those that it began with."""
    info = folder.info()
    own = 3600 * float(info.get("core_hours") or 0.0)
    begun = info.get("begun_with")
    before = RunFolder(Path(begun["run"])) if begun else None
    return own + (_training_s(before) if before and before.config_path.is_file() else 0.0)


def _begin_s(folder: RunFolder, trained: TrainedRun, steps_per_s: float) -> float:
    """Training, and the MD that it began with."""
    settings = trained.config.of_data.simulate
    rounds = settings.frames + settings.equilibration_frames * settings.stacks
    steps = settings.steps_per_frame * settings.recorded * rounds
    md_s = steps / steps_per_s if trained.config.data.paths else 0.0
    return md_s + _training_s(folder)
