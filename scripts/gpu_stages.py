"""The stages of scripts/gpu_check.py.

Each gives {"verdict", "table": [what to tell], ...}: `right` or `wrong` where it compares, else
`done`. The CPU, in float64, is what is compared with.
"""

from __future__ import annotations

import math
import tempfile
import time
import warnings
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from gpu_steps import Steps, bundled_ala2, in_batches, peptides
from torch import Tensor

from bgp4.energies.batched import BatchedEnergy
from bgp4.flows.spline import (
    Knots,
    circular_knots,
    linear_tail_knots,
    spline_forward,
    spline_inverse,
)
from bgp4.molecule.molecule import Molecule
from bgp4.p4 import P4InvLinear, P4Schedule, matrix_state, merge_step
from bgp4.parallel.hardware import full_precision, gpu_facts, wait_for
from bgp4.parallel.ranks import CPU, device_named
from bgp4.sampling.draw import draw_samples
from bgp4.sampling.request import SampleRequest
from bgp4.training import train as training
from bgp4.training.run import RunFolder


class Stage(NamedTuple):
    """A function of this module, and the most seconds that it may take."""

    function: str
    seconds: float


STAGES = {
    "machine": Stage("machine", 60),
    "energies": Stage("energies", 60),
    "splines": Stage("splines", 60),
    "p4": Stage("p4", 60),
    "step": Stage("step", 90),
    "launches": Stage("launches", 90),
    "graph": Stage("graph", 90),
    "bench energy": Stage("bench_energy", 90),
    "bench simulation": Stage("bench_simulation", 60),
    "bench linear": Stage("bench_linear", 90),
    "rates": Stage("rates", 150),
    "bench sampling": Stage("bench_sampling", 90),
    "train ala2": Stage("train_ala2", 300),
}


@dataclass(frozen=True)
class Setting:
    """Where it is measured, and whether in tiny sizes."""

    device: torch.device
    quick: bool

    @classmethod
    def of(cls, name: str, quick: bool) -> Setting:
        return cls(device_named(name), quick)


Result = dict[str, Any]


def machine(setting: Setting) -> Result:
    gpu = gpu_facts(setting.device)
    packages = {"torch": torch.__version__, "numpy": np.__version__, "triton": _triton()}
    words = [f"{key} {value}" for key, value in (gpu or packages).items()]
    return {"verdict": "done", "gpu": gpu, "packages": packages, "table": words}


def _triton() -> str | None:
    try:
        import triton
    except ImportError:
        return None
    return str(triton.__version__)


def _compared(found: dict[str, tuple[float, float]]) -> Result:
    """Verdict on deviations and the most that each may be."""
    right = all(off <= most for off, most in found.values())
    words = [f"{name} {off:.1e}" for name, (off, _) in found.items()]
    return {
        "verdict": "right" if right else "wrong",
        "deviations": {name: {"found": off, "most": most} for name, (off, most) in found.items()},
        "table": words,
    }


def _off(found: Tensor, expected: Tensor) -> float:
    """The largest deviation, relative to the largest value."""
    expected = expected.detach().double().cpu()
    scale = float(expected.abs().max().clamp_min(1e-30))
    return float((found.detach().double().cpu() - expected).abs().max()) / scale


def energies(setting: Setting) -> Result:
    """kJ/mol, and kJ/mol/nm of the largest force, on MD frames and what clashes."""
    found: dict[str, tuple[float, float]] = {}
    for name, (_, molecule) in peptides().items():
        rng = np.random.default_rng(0)
        noise = rng.normal(0, 0.01, (64, molecule.n_atoms, 3))
        x = molecule.positions_nm + noise
        expected = BatchedEnergy(molecule, 300.0).evaluate(x)
        for dtype, most in ((torch.float64, 1e-9), (torch.float32, 2e-5)):
            made = BatchedEnergy(molecule, 300.0, dtype, setting.device).evaluate(x)
            kind = f"{name} {str(dtype).removeprefix('torch.')}"
            for part, one, other in (
                ("energy", made.energy_kjmol, expected.energy_kjmol),
                ("force", made.forces_kjmol_nm, expected.forces_kjmol_nm),
            ):
                off = _off(torch.as_tensor(one), torch.as_tensor(other))
                found[f"{kind} {part}"] = off, most
    return _compared(found)


def splines(setting: Setting) -> Result:
    """Values, log-slopes and gradients of both kinds, in both directions."""
    found: dict[str, tuple[float, float]] = {}
    kinds: dict[str, tuple[int, Callable[[Tensor], Knots], float]] = {
        "interval": (25, lambda p: linear_tail_knots(p, 5.0), 8.0),
        "circle": (24, circular_knots, math.pi),
    }
    for dtype, most in ((torch.float64, 1e-9), (torch.float32, 1e-3)):
        for kind, (n, knots, reach) in kinds.items():
            generator = torch.Generator().manual_seed(0)
            p = torch.randn(512, 20, n, generator=generator, dtype=torch.float64)
            x = reach * (2 * torch.rand(512, 20, generator=generator, dtype=torch.float64) - 1)
            for spline in (spline_forward, spline_inverse):
                ours, theirs = (
                    _with_gradients(lambda a, b, f=spline, k=knots: f(a, k(b)), x, p, to, of)
                    for to, of in ((setting.device, dtype), (CPU, torch.float64))
                )
                off = max(_off(a, b) for a, b in zip(ours, theirs, strict=True))
                name = spline.__name__.removeprefix("spline_")
                found[f"{kind} {name} {str(dtype).removeprefix('torch.')}"] = off, most
    return _compared(found)


def _with_gradients(
    function: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]],
    x: Tensor,
    p: Tensor,
    device: torch.device,
    dtype: torch.dtype,
) -> list[Tensor]:
    a, b = (t.to(device, dtype).requires_grad_() for t in (x, p))
    values = function(a, b)
    return [*values, *torch.autograd.grad(values[0].sum() + values[1].sum(), (a, b))]


def p4(setting: Setting) -> Result:
    """Both directions with gradients, and 20 merges of 4 layers."""
    made = []
    for device in (setting.device, CPU):
        generator = torch.Generator().manual_seed(0)
        n = 41
        draw = torch.randn(n + 64, n, generator=generator, dtype=torch.float64)
        matrix = torch.eye(n, dtype=torch.float64) + 0.3 * draw[:n] / n**0.5
        layers = [P4InvLinear(n, matrix_state(matrix), generator) for _ in range(4)]
        model = torch.nn.Sequential(*layers).double().to(device)
        x, values = draw[n:].to(device), []
        for step in range(1, 21):
            with torch.no_grad():
                for layer in layers:
                    layer.u.copy_(0.05 * torch.randn(n, generator=generator).double())
            merge_step(model, None, step, P4Schedule(merge_every=1, refine_every=5), generator)
        for layer in layers:
            z, logabsdet = layer(x)
            back, _ = layer.inverse(z)
            gradients = torch.autograd.grad(z.square().sum() + logabsdet.sum(), [layer.u, layer.v])
            values += [z, logabsdet, back, *gradients, layer.A_inv]
        made.append(values)
    off = max(_off(a, b) for a, b in zip(*made, strict=True))
    return _compared({"layers and merges": (off, 1e-9)})


def step(setting: Setting) -> Result:
    """Losses and gradients of 12 steps of each phase, merges among them, in float64."""
    config, molecule = bundled_ala2()
    config = in_batches(config, 32 if setting.quick else 256)
    made = {}
    for device in (setting.device, CPU):
        steps = Steps(config, molecule, device, torch.float64)
        made[device] = [
            value
            for first in steps.first.values()
            for number in range(first, first + 12)
            for value in steps(number).values()
        ]
    ours, theirs = (torch.tensor(made[device]) for device in (setting.device, CPU))
    off = float(((ours - theirs).abs() / theirs.abs()).max())
    return _compared({"losses and norms": (off, 1e-5)})


def launches(setting: Setting) -> Result:
    """What a step tells the GPU, and how often the host waits for it."""
    if setting.device.type != "cuda":
        return {"verdict": "done", "table": ["only a GPU can tell"]}
    config, molecule = bundled_ala2()
    steps = Steps(in_batches(config, 512), molecule, setting.device, torch.float32)
    found, words = {}, []
    for phase, first in steps.first.items():
        begin = first + 10 - first % 10 + 1  # the first merges in its tenth step
        steps(begin)
        steps(begin + 1)
        torch.cuda.set_sync_debug_mode("warn")
        with warnings.catch_warnings(record=True) as seen:
            warnings.simplefilter("always")
            steps(begin + 2)
        torch.cuda.set_sync_debug_mode("default")
        with torch.profiler.profile() as profile:
            steps(begin + 3)
        calls = Counter({event.key: event.count for event in profile.key_averages()})
        found[phase] = {
            "launches": sum(n for key, n in calls.items() if "LaunchKernel" in key),
            "copies": sum(n for key, n in calls.items() if "Memcpy" in key and "cuda" in key),
            "waits": sum("synchroniz" in str(w.message) for w in seen),
        }
        words.append(f"{phase}: " + ", ".join(f"{n} {key}" for key, n in found[phase].items()))
    return {"verdict": "done", "steps": found, "table": words}


def graph(setting: Setting) -> Result:
    """Losses and gradients of a phase as one CUDA graph, which bgp4 does not use yet: whether they
    are right, and how fast.
    """
    if setting.device.type != "cuda":
        return {"verdict": "done", "table": ["only a GPU can tell"]}
    config, molecule = bundled_ala2()
    found: dict[str, tuple[float, float]] = {}
    words = []
    for size in (512, 4096):
        for phase in ("likelihood", "energies"):
            steps = Steps(in_batches(config, size), molecule, setting.device, torch.float32)
            off, rate = _replayed(steps, phase)
            found[f"{phase} {size}"] = off, 1e-3
            words.append(f"{phase} {size}: {rate:.4g} replays/s")
    made = _compared(found)
    return made | {"table": [*words, *made["table"]]}


def _replayed(steps: Steps, phase: str) -> tuple[float, float]:
    """How far a graph's gradients are off, and replays a second."""
    objective, parameters = steps.objective, list(steps.objective.model.parameters())
    batch = objective.draw(steps.first[phase], steps.generators)

    def gradients() -> None:
        steps.optimizer.zero_grad()
        objective.losses_of(batch).loss.backward()

    with full_precision():
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            for _ in range(3):
                gradients()
        torch.cuda.current_stream().wait_stream(side)
        expected = [p.grad.clone() for p in parameters if p.grad is not None]
        steps.optimizer.zero_grad()
        captured = torch.cuda.CUDAGraph()
        with torch.cuda.graph(captured):
            objective.losses_of(batch).loss.backward()
        captured.replay()
    found = [p.grad for p in parameters if p.grad is not None]
    off = max(_off(a, b) for a, b in zip(found, expected, strict=True) if b.any())
    torch.cuda.synchronize()
    begun, n = time.perf_counter(), 200
    for _ in range(n):
        captured.replay()
    torch.cuda.synchronize()
    return off, n / (time.perf_counter() - begun)


def rates(setting: Setting) -> Result:
    """Steps a second of both phases, float32, on the device and on the CPU."""
    sizes = (32,) if setting.quick else (512, 4096)
    seconds = 0.2 if setting.quick else 3.0
    rows, words = [], []
    for name, (config, molecule) in peptides().items():
        for size in sizes:
            for device in dict.fromkeys((setting.device, CPU)):
                steps = Steps(in_batches(config, size), molecule, device, torch.float32)
                for phase, first in steps.first.items():
                    rate = _steps_per_s(steps, first, device, seconds)
                    rows.append(
                        {
                            **{"molecule": name, "batch": size, "phase": phase},
                            **{"device": device.type, "steps_per_s": rate},
                        }
                    )
                    words.append(f"{name} {size} {phase} {device.type}: {rate:.3g}/s")
    return {"verdict": "done", "results": rows, "table": words}


def _steps_per_s(steps: Steps, first: int, device: torch.device, seconds: float) -> float:
    """Of at least one, merges as they come."""
    steps(first)
    wait_for(device)
    begun, done = time.perf_counter(), 0
    while time.perf_counter() - begun < seconds:
        done += 1
        steps(first + done)
    wait_for(device)
    return done / (time.perf_counter() - begun)


def bench_energy(setting: Setting) -> Result:
    """The bundled molecule alone: peptides of other lengths are made by openmmtools."""
    from bgp4.studies.bench import energy

    seconds, batches = (0.05, (16,)) if setting.quick else (2.0, (512, 4096, 65536))
    _, molecule = bundled_ala2()

    def methods(of: Molecule, stack: Any) -> Any:
        made = energy._main_methods(of, stack, setting.device)
        return {name: made[name] for name in made if name != "openmm_pool"}

    rows = energy._measure(molecule, "OBC1", batches, methods, seconds, 2)
    words = [f"{r['method']} {r['batch']}: {r['evaluations_per_s']:.3g}/s" for r in rows]
    return {"verdict": "done", "results": rows, "table": words}


def bench_linear(setting: Setting) -> Result:
    from bgp4.studies.bench import linear

    names = ["two_gemm", "p4_floor", "linear", "standard", "lu", "relative_gradient", "p4inv"]
    sizes = (8,) if setting.quick else (64, 512, 4096)
    with full_precision():
        made = linear.bench_linear(
            *(sizes, 256, names), rounds=3, budget_s=60.0, flow_blocks=0, device=setting.device
        )
    words = [
        f"n {row['n']} {row['direction']}: P4Inv over nn.Linear {row['p4inv/linear']:.2f}"
        for row in made["ratios"]
        if "p4inv/linear" in row
    ]
    return {"verdict": "done", **made, "table": words}


def bench_sampling(setting: Setting) -> Result:
    """Samples of the bundled model with weights, a second and by their ESS."""
    n = 200 if setting.quick else 100_000
    made = _sampled(RunFolder.find(Path("ala2")), n, setting)
    return {"verdict": "done", **made, "table": [f"{k} {v:.4g}" for k, v in made.items()]}


def _sampled(run: RunFolder, n: int, setting: Setting) -> dict[str, float]:
    request = SampleRequest(n, device=setting.device.type)
    with tempfile.TemporaryDirectory() as folder:
        begun = time.perf_counter()
        drawn = draw_samples(run, Path(folder) / "samples.h5", request)
        spent = time.perf_counter() - begun
    return {"n": drawn.n, "ess": drawn.ess, "samples_per_s": drawn.n / spent}


def train_ala2(setting: Setting) -> Result:
    """The default run from start to end, or as far as time goes, and its samples."""
    config, molecule = bundled_ala2()
    if setting.quick:
        few = {"steps": 20, "evaluate_every": 10, "energy_batch_size": 32, "batch_size": 32}
        config = config.model_copy(update={"training": config.training.model_copy(update=few)})
    training.load_molecule = lambda system: molecule
    begun, whole = time.perf_counter(), True
    with tempfile.TemporaryDirectory() as folder:
        run = RunFolder(Path(folder) / "run")
        try:
            training.train(config, run.path, device=setting.device.type)
        except KeyboardInterrupt:
            whole = False
        wall = time.perf_counter() - begun
        rows = run.history_path.read_text().splitlines()
        last = dict(zip(rows[0].split(","), rows[-1].split(","), strict=True))
        made: dict[str, Any] = {"steps": int(last["step"]), "wall_s": wall, "whole": whole}
        if whole:
            made |= _sampled(run, 200 if setting.quick else 50_000, setting)
            made["run"] = run.info()
    words = [f"{k} {v:.4g}" for k, v in made.items() if isinstance(v, int | float)]
    return {"verdict": "done", **made, "last_row": last, "table": words}


def bench_simulation(setting: Setting) -> Result:
    """Steps times replicas a second of MD, on the device and on all cores."""
    from bgp4.studies.bench import simulation

    seconds, (_, molecule) = 0.2 if setting.quick else 6.0, bundled_ala2()
    ways = {simulation.Way(engine, None): molecule for engine in ("openmm", "batched")}
    made = simulation.bench_simulation(seconds, 2, ways, setting.device)
    words = [f"{r['engine']} {r['replica_steps_per_s']:.3g}/s" for r in made["results"]]
    return {"verdict": "done", **made, "table": words}
