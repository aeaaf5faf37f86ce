"""Independent samples per second: a trained run against molecular dynamics.

A sample of the flow is worth its effective sample size; a frame of MD is worth its share of a
statistical inefficiency, which is measured here on the slowest torsion. Both are optimistic
alike about what is hardly ever visited: φ > 0, which MD at 300 K enters once in nanoseconds.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from bgp4.config import ModelConfig
from bgp4.dynamics.simulate import simulate
from bgp4.energies.select import weighing_energy
from bgp4.flows.build import build_transform
from bgp4.parallel.hardware import wait_for
from bgp4.parallel.ranks import CPU
from bgp4.sampling.generate import TrainedRun, generate, load_trained
from bgp4.statistics.weights import effective_sample_size
from bgp4.studies.bench.simulation import Way, bench_simulation
from bgp4.studies.bench.timing import per_second
from bgp4.training.run import RunFolder

__all__ = ["bench_sampling", "flow_rates"]

FRAME_PS = 0.1


def bench_sampling(
    run: Path = Path("runs/ala2"),
    n: int = 10_000,
    replicas: int = 128,
    md_ps: float = 50.0,
    equilibration_ps: float = 20.0,
    seconds: float = 5.0,
    device: torch.device = CPU,
) -> dict[str, Any]:
    """A run's samples against MD of the same molecule, on all cores.

    Args:
        run: Folder of a trained run, or the name of a bundled model.
        n: Samples to draw and weigh.
        replicas: Of the MD that the statistical inefficiency comes from.
        md_ps: Length of each replica, ps.
        equilibration_ps: Left out before it, ps.
        seconds: For the speeds of MD.
        device: Where the flow and its energies are computed; MD is on the CPU.

    Returns:
        {"results": [{"method", "independent_per_s", ...}], "settings": {...}}: `flow` has
        samples/s with and without weights and the ESS, `md_openmm` and `md_batched` steps/s.
        "scaling" has the conformations/s of untrained flows, by atoms, blocks and batch.

    Raises:
        UserInputError: If there is no such run.
    """
    folder = RunFolder.find(run)
    trained = load_trained(folder, device)
    flow = flow_rates(trained, n)
    inefficiency_ps = _inefficiency_ps(trained, replicas, md_ps, equilibration_ps)
    md = _md_rows(trained, seconds, inefficiency_ps)
    trained_s = _trained_s(folder)
    return {
        "results": [flow, *md],
        "ratios": {
            f"flow/{row['method']}": flow["independent_per_s"] / row["independent_per_s"]
            for row in md
        },
        "scaling": scaling(device=device),
        "settings": {
            "run": str(run),
            "n": n,
            "inefficiency_ps": inefficiency_ps,
            "replicas": replicas,
            "md_ps": md_ps,
            "training_s": trained_s,
            "md_samples_during_training": trained_s * max(r["independent_per_s"] for r in md),
        },
    }


def _md_rows(trained: TrainedRun, seconds: float, inefficiency_ps: float) -> list[dict[str, Any]]:
    """Steps, and independent conformations, that each engine of MD makes in a second."""
    timestep_ps = trained.config.simulate.timestep_fs / 1000
    molecules = {Way(engine, None): trained.molecule for engine in ("openmm", "batched")}
    return [
        {
            "method": f"md_{row['engine']}",
            "steps_per_s": row["replica_steps_per_s"],
            "independent_per_s": row["replica_steps_per_s"] * timestep_ps / inefficiency_ps,
        }
        for row in bench_simulation(seconds, molecules=molecules)["results"]
    ]


def _trained_s(folder: RunFolder) -> float:
    """Wall time of all phases of a training, s."""
    walls = folder.info().get("wall_time_s", {})
    return sum(seconds for stage, seconds in walls.items() if stage.startswith("train"))


def scaling(
    atoms: Sequence[int] = (22, 42, 62),
    blocks: Sequence[int] = (3, 6, 12, 25),
    batches: Sequence[int] = (64, 512, 4096),
    seconds: float = 0.5,
    rounds: int = 3,
    device: torch.device = CPU,
) -> list[dict[str, float]]:
    """Conformations per second of the default flow, float64, one of atoms, blocks and batch varied.

    The median of `rounds`, in which all take turns. A flow of n atoms has 3 n - 6 variables, a
    twelfth of them circular, as alanine dipeptide has.
    """
    middle = (atoms[0], ModelConfig().blocks, batches[1])
    cases = dict.fromkeys(
        [
            middle,
            *((n, *middle[1:]) for n in atoms),
            *((middle[0], b, middle[2]) for b in blocks),
            *((*middle[:2], size) for size in batches),
        ]
    )
    rates = [[_rate(*case, seconds, device) for case in cases] for _ in range(rounds)]
    return [
        {"atoms": n, "blocks": b, "batch": size, "generated_per_s": float(np.median(found))}
        for (n, b, size), found in zip(cases, zip(*rates, strict=True), strict=True)
    ]


@torch.no_grad()
def _rate(n_atoms: int, blocks: int, batch: int, seconds: float, device: torch.device) -> float:
    features = 3 * n_atoms - 6
    circular = round(features / 12)
    flow = build_transform(ModelConfig(blocks=blocks), features - circular, circular, 0)
    flow.to(device, torch.float64)
    z = torch.rand(batch, features, dtype=torch.float64, device=device)

    def generate_once() -> None:
        flow.inverse(z)
        wait_for(device)

    generate_once()
    return per_second(generate_once, batch, seconds)


def flow_rates(trained: TrainedRun, n: int) -> dict[str, Any]:
    """Rates of the float64 model, alone and with its weights."""
    started = time.perf_counter()
    for _ in generate(trained.model, n, 0, None):
        pass
    generated = time.perf_counter() - started
    settings, kelvin = trained.config.energies, trained.config.temperature_k
    start = trained.molecule.positions_nm[None]
    device = trained.model.device
    with weighing_energy(settings, trained.molecule, kelvin, start, device=device) as energy:
        started = time.perf_counter()
        log_weight = [s.log_weight for s in generate(trained.model, n, 0, energy)]
        weighed = time.perf_counter() - started
    ess = effective_sample_size(np.concatenate(log_weight))
    return {
        "method": "flow",
        "generated_per_s": n / generated,
        "weighed_per_s": n / weighed,
        "ess": ess,
        "independent_per_s": ess * n / weighed,
    }


def _inefficiency_ps(
    trained: TrainedRun, replicas: int, md_ps: float, equilibration_ps: float
) -> float:
    """The largest statistical inefficiency of a torsion's cosine or sine, ps, from plain MD.

    Estimated as in Chodera et al., J. Chem. Theory Comput. 3, 26 (2007).
    """
    from pymbar.timeseries import statistical_inefficiency_multiple

    config, coordinates = trained.config, trained.model.coordinates.to(CPU)
    timestep_ps = config.simulate.timestep_fs / 1000
    settings = {
        "temperatures_k": (),
        "all_temperatures": False,
        "stacks": replicas,
        "frames": replicas * round(md_ps / FRAME_PS),
        "steps_per_frame": round(FRAME_PS / timestep_ps),
        "equilibration_frames": round(equilibration_ps / FRAME_PS),
    }
    plain = config.model_copy(update={"simulate": config.simulate.model_copy(update=settings)})
    made = simulate(plain)
    q, _ = coordinates(torch.as_tensor(made.positions_nm).double().flatten(1))
    _, _, torsions = coordinates.split(q)
    series = torch.cat([torsions.cos(), torsions.sin()], dim=1).numpy()
    return FRAME_PS * max(
        float(statistical_inefficiency_multiple(list(column.reshape(replicas, -1))))
        for column in series.T
    )
