"""Wall-clock time of linear flow layers: a training step with log-determinant, both directions.

Every method does a forward pass, log|det| and a backward pass to its parameters and its input.
The P4Inv figure contains its merges every 10 steps and its refinements, amortised. Methods take
turns within one run, so that a busy machine disturbs them alike. The floor, ``two_gemm``, is the
two bare matrix products that no exact method can avoid.
"""

import importlib
import statistics
import time
from collections.abc import Callable, Sequence
from typing import Any

import torch
from nflows.transforms.lu import LULinear  # type: ignore[import-untyped]
from torch import Tensor, nn

from bgp4.p4 import P4InvLinear, P4Schedule, merge_step

__all__ = ["DIRECTIONS", "METHODS", "bench_linear"]

Step = Callable[[], object]
Map = Callable[[Tensor], tuple[Tensor, Tensor | None]]


def bench_linear(
    sizes: Sequence[int] = (64, 512, 4096),
    batch: int = 256,
    methods: Sequence[str] | None = None,
    rounds: int = 15,
    budget_s: float = 300.0,
    threads: int = 1,
    dtype: torch.dtype = torch.float32,
    seed: int = 0,
) -> dict[str, Any]:
    """Times the methods at each size.

    Args:
        methods: some of :data:`METHODS`; all by default.
        rounds: samples per method, fewer where `budget_s` ends first, but at least one.
        budget_s: seconds for all sizes together, in equal shares.

    Returns:
        ``{"results": [{"method", "n", "direction", "median_s", "min_s"}, ...], "settings"}``;
        seconds are per step, and ``settings["skipped"]`` says what could not run and why.
    """
    names = list(METHODS if methods is None else methods)
    if unknown := set(names) - set(METHODS):
        raise ValueError(f"methods: expected some of {list(METHODS)}, got {sorted(unknown)}")
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    skipped: dict[str, str] = {}
    results = []
    try:
        for n in sizes:
            torch.manual_seed(seed)
            steps = _build(names, n, batch, dtype, skipped)
            samples = _take_turns(steps, _block_length(n), rounds, budget_s / len(sizes))
            results += [_row(key, n, values) for key, values in samples.items()]
    finally:
        torch.set_num_threads(before)
    settings = {
        "batch": batch,
        "threads": threads,
        "dtype": str(dtype).removeprefix("torch."),
        "rounds": rounds,
        "budget_s": budget_s,
        "seed": seed,
        "torch": torch.__version__,
        "merge_every": SCHEDULE.merge_every,
        "refine_every": SCHEDULE.refine_every,
        "skipped": skipped,
    }
    return {"results": results, "settings": settings}


def _build(
    names: Sequence[str],
    n: int,
    batch: int,
    dtype: torch.dtype,
    skipped: dict[str, str],
) -> dict[tuple[str, str], Step]:
    """The steps that run here, each run once to warm up; the rest is noted in `skipped`."""
    steps = {}
    for name in names:
        for direction in DIRECTIONS:
            try:
                step = METHODS[name](n, batch, dtype, direction)
                step()
            except (ImportError, AttributeError, NotImplementedError, RuntimeError) as error:
                skipped[f"{name} {direction} n={n}"] = f"{type(error).__name__}: {error}"[:200]
            else:
                steps[name, direction] = step
    return steps


def _take_turns(
    steps: dict[tuple[str, str], Step],
    block: int,
    rounds: int,
    budget_s: float,
) -> dict[tuple[str, str], list[float]]:
    """Seconds per step of every sample; a sample is one block of steps."""
    samples: dict[tuple[str, str], list[float]] = {key: [] for key in steps}
    start = time.perf_counter()
    for _ in range(rounds):
        for key, step in steps.items():
            length = SCHEDULE.merge_every if key[0] == "p4inv" else block
            samples[key].append(_seconds(step, length))
        if time.perf_counter() - start > budget_s:
            break
    return samples


def _seconds(step: Step, length: int) -> float:
    extra = getattr(step, "prepare", lambda: 0.0)()
    start = time.perf_counter()
    for _ in range(length):
        step()
    return (time.perf_counter() - start) / length + extra


def _block_length(n: int) -> int:
    return 10 if n <= 1024 else 1


def _row(key: tuple[str, str], n: int, samples: list[float]) -> dict[str, Any]:
    return {
        "method": key[0],
        "n": n,
        "direction": key[1],
        "median_s": statistics.median(samples),
        "min_s": min(samples),
    }


def _training_step(
    layer: nn.Module,
    apply: Map,
    n: int,
    batch: int,
    dtype: torch.dtype,
) -> Step:
    """Forward, log|det| and backward, as -mean(log q) with a fixed gradient of the value."""
    x = torch.randn(batch, n, dtype=dtype, requires_grad=True)
    gradient = torch.randn(batch, n, dtype=dtype) / batch
    inputs = [x, *layer.parameters()]

    def step() -> object:
        y, logabsdet = apply(x)
        if logabsdet is None:
            return torch.autograd.grad(y, inputs, gradient)
        weight = torch.full_like(logabsdet, -1 / batch)
        return torch.autograd.grad((y, logabsdet), inputs, (gradient, weight))

    return step


class _P4Step:
    """A P4Inv step with its merge; refinement is timed apart and shared out over its period."""

    def __init__(self, n: int, batch: int, dtype: torch.dtype, direction: str) -> None:
        self.layer = P4InvLinear(n, dtype=dtype)
        apply = self.layer if direction == "forward" else self.layer.inverse
        self.step = _training_step(self.layer, apply, n, batch, dtype)
        self.count = 0

    def __call__(self) -> None:
        self.step()
        self.count += 1
        merge_step(self.layer, None, self.count, MERGE_ONLY)

    def prepare(self) -> float:
        """Puts a new perturbation in; returns the seconds of refinement per step."""
        self.count = 0
        with torch.no_grad():
            self.layer.u.normal_(std=0.1 / self.layer.features)
        start = time.perf_counter()
        self.layer.refine(SCHEDULE.refine_order)
        elapsed = time.perf_counter() - start
        return elapsed / (SCHEDULE.merge_every * SCHEDULE.refine_every)


class _Matrix(nn.Module):
    """y = W x with determinant and inverse computed anew at every step, O(n^3)."""

    def __init__(self, n: int, dtype: torch.dtype) -> None:
        super().__init__()
        self.W = nn.Parameter(torch.eye(n, dtype=dtype) + 0.1 * torch.randn(n, n) / n**0.5)
        self.bias = nn.Parameter(torch.zeros(n, dtype=dtype))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return torch.addmm(self.bias, x, self.W.T), torch.linalg.slogdet(self.W)[1]

    def inverse(self, y: Tensor) -> tuple[Tensor, Tensor]:
        return (y - self.bias) @ torch.linalg.inv(self.W).T, -torch.linalg.slogdet(self.W)[1]


class _Triangular(_Matrix):
    """y = L U x with unit-lower L and upper U, both kept in W; inverted by substitution."""

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        L, U = self.W.tril(-1), self.W.triu()
        t = x @ U.T
        return torch.addmm(t + self.bias, t, L.T), self._logabsdet()

    def inverse(self, y: Tensor) -> tuple[Tensor, Tensor]:
        solve = torch.linalg.solve_triangular
        t = solve(self.W.T, y - self.bias, upper=True, left=False, unitriangular=True)
        return solve(self.W.T, t, upper=False, left=False), -self._logabsdet()

    def _logabsdet(self) -> Tensor:
        return self.W.diagonal().abs().log().sum()


def _two_gemm(n: int, batch: int, dtype: torch.dtype, direction: str) -> Step:
    x, W = torch.randn(batch, n, dtype=dtype), torch.randn(n, n, dtype=dtype)
    return lambda: (x @ W.T, x @ W)


def _linear(n: int, batch: int, dtype: torch.dtype, direction: str) -> Step:
    _forward_only(direction)
    layer = nn.Linear(n, n, dtype=dtype)
    return _training_step(layer, lambda x: (layer(x), None), n, batch, dtype)


def _standard(n: int, batch: int, dtype: torch.dtype, direction: str) -> Step:
    layer = _Matrix(n, dtype)
    return _training_step(layer, getattr(layer, direction), n, batch, dtype)


def _lu(n: int, batch: int, dtype: torch.dtype, direction: str) -> Step:
    layer = _Triangular(n, dtype)
    return _training_step(layer, getattr(layer, direction), n, batch, dtype)


def _nflows_lu(n: int, batch: int, dtype: torch.dtype, direction: str) -> Step:
    layer = LULinear(n).to(dtype)
    return _training_step(layer, getattr(layer, direction), n, batch, dtype)


def _bgflow(n: int, batch: int, dtype: torch.dtype, direction: str) -> Step:
    """The layer of the paper's authors, merged every 10 steps by its own scheduler.

    Its last version needs ``np.infty``, which NumPy 2 removed; it is put back in this process.
    """
    import numpy as np

    vars(np).setdefault("infty", np.inf)
    pppp = importlib.import_module("bgflow.nn.flow.pppp")
    layer = pppp.InvertiblePPPP(n).to(dtype)
    inverse = direction == "inverse"
    step = _training_step(layer, lambda x: layer(x, inverse=inverse), n, batch, dtype)
    optimizer = torch.optim.SGD(layer.parameters(), lr=0.0)
    scheduler = pppp.PPPPScheduler(layer, optimizer, n_force_merge=None)
    count = iter(range(1, 10**9))

    def step_and_merge() -> None:
        step()
        if next(count) % SCHEDULE.merge_every == 0:
            scheduler.step()

    return step_and_merge


def _forward_only(direction: str) -> None:
    if direction != "forward":
        raise NotImplementedError("has no inverse")


SCHEDULE = P4Schedule()
MERGE_ONLY = P4Schedule(refine_every=0)
DIRECTIONS = ("forward", "inverse")
METHODS: dict[str, Callable[[int, int, torch.dtype, str], Step]] = {
    "two_gemm": _two_gemm,
    "linear": _linear,
    "standard": _standard,
    "lu": _lu,
    "nflows_lu": _nflows_lu,
    "bgflow": _bgflow,
    "p4inv": _P4Step,
}
