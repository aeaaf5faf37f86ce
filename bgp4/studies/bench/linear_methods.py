"""What `bgp4 bench linear` compares: training steps of linear layers, and of flows with them."""

import importlib
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from nflows.transforms.lu import LULinear  # type: ignore[import-untyped]
from torch import Tensor, nn

from bgp4.config import ModelConfig
from bgp4.flows.build import build_transform
from bgp4.p4 import P4InvLinear, P4Schedule, merge_step, p4_layers
from bgp4.p4.rank_one import matmul
from bgp4.parallel.hardware import wait_for
from bgp4.parallel.ranks import CPU

__all__ = [
    "DIRECTIONS",
    "FLOWS",
    "FLOW_FEATURES",
    "METHODS",
    "SCHEDULE",
    "Maker",
    "MergedStep",
    "Step",
]

Step = Callable[[], object]
Map = Callable[[Tensor], tuple[Tensor, Tensor | None]]
Maker = Callable[[int, int, torch.dtype, str], Step]


def _training_step(
    layer: nn.Module,
    apply: Map,
    n: int,
    batch: int,
    dtype: torch.dtype,
) -> Step:
    """Forward, log|det| and backward, with the gradients of a -mean(log q)."""
    x = torch.randn(batch, n, dtype=dtype, requires_grad=True)
    gradient = torch.randn(batch, n, dtype=dtype) / batch
    _, logabsdet = apply(x)
    weight = None if logabsdet is None else torch.full_like(logabsdet, -1 / batch)
    inputs = [x, *layer.parameters()]

    def step() -> object:
        y, logabsdet = apply(x)
        if logabsdet is None:
            return torch.autograd.grad(y, inputs, gradient)
        return torch.autograd.grad((y, logabsdet), inputs, (gradient, weight))

    return step


class MergedStep:
    """A step with its merges; refinement is timed apart and shared out over its period."""

    def __init__(
        self,
        step: Step,
        layers: Sequence[Any],  # with a perturbation u
        merge: Callable[[int], object],  # called with the number of each step
        refine: Callable[[Any], object],  # called with a layer
    ) -> None:
        self.step, self.layers, self.merge, self.refine = step, layers, merge, refine
        self.count = 0

    def __call__(self) -> None:
        self.step()
        self.count += 1
        self.merge(self.count)

    def prepare(self) -> float:
        """Puts new perturbations in; returns the seconds of refinement per step."""
        self.count = 0
        with torch.no_grad():
            for layer in self.layers:
                layer.u.normal_(std=0.1 / len(layer.u))
        wait_for(torch.get_default_device())
        start = time.perf_counter()
        for layer in self.layers:
            self.refine(layer)
        wait_for(torch.get_default_device())
        elapsed = time.perf_counter() - start
        return elapsed / (SCHEDULE.merge_every * SCHEDULE.refine_every)


def _merged(model: nn.Module, step: Step) -> Step:
    """The step of a model that may have P4Inv layers."""
    layers = [layer for layer in p4_layers(model) if isinstance(layer, P4InvLinear)]
    if not layers:
        return step
    return MergedStep(
        step,
        layers,
        lambda count: merge_step(model, None, count, MERGE_ONLY),
        lambda layer: layer.refine(SCHEDULE.refine_order),
    )


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


class _MatrixExponential(_Matrix):
    """y = exp(W) x, whose log|det| is the trace of W and whose inverse is exp(-W), O(n^3)."""

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return torch.addmm(self.bias, x, torch.matrix_exp(self.W).T), self.W.trace()

    def inverse(self, y: Tensor) -> tuple[Tensor, Tensor]:
        return (y - self.bias) @ torch.matrix_exp(-self.W).T, -self.W.trace()


def _p4inv(n: int, batch: int, dtype: torch.dtype, direction: str) -> Step:
    layer = P4InvLinear(n, dtype=dtype)
    apply = layer if direction == "forward" else layer.inverse
    return _merged(layer, _training_step(layer, apply, n, batch, dtype))


def _flow(mixing: str, blocks: int, n: int, batch: int, dtype: torch.dtype, direction: str) -> Step:
    """The flow as it is trained: affine couplings with their default conditioners."""
    model = ModelConfig.model_validate({"mixing": mixing, "coupling": "affine", "blocks": blocks})
    device = torch.get_default_device()
    with CPU:  # whose generators it is drawn from
        flow = build_transform(model, n, n_circular=0, seed=0)
    flow.to(device, dtype)
    apply = flow if direction == "forward" else flow.inverse
    return _merged(flow, _training_step(flow, apply, n, batch, dtype))


def _two_gemm(
    multiply: Callable[[Tensor, Tensor], Tensor],
    n: int,
    batch: int,
    dtype: torch.dtype,
    direction: str,
) -> Step:
    x, gradient = torch.randn(2, batch, n, dtype=dtype)
    W = torch.randn(n, n, dtype=dtype)
    return lambda: (multiply(x, W.T), multiply(gradient, W))


def _p4_floor(n: int, batch: int, dtype: torch.dtype, direction: str) -> Step:
    """Two products, A^-1 read once, the batch's four matrices passed over once each."""
    x, gradient = torch.randn(2, batch, n, dtype=dtype)
    A, A_inv = torch.randn(2, n, n, dtype=dtype)
    u, v = torch.randn(2, n, dtype=dtype)

    def step() -> object:
        w, y = A_inv.mv(u), matmul(x, A.T)
        y.addr_(x.mv(v), w)
        gx = matmul(gradient, A)
        r = gradient.mv(u)
        return y, gx.addr_(r, v)

    return step


def _relative_gradient(n: int, batch: int, dtype: torch.dtype, direction: str) -> Step:
    """The gradient times W^T W, which needs no inverse (Gresele et al., arXiv 2006.15090).

    It trains the likelihood without its value: no log|det| is computed, and no inverse.
    """
    _forward_only(direction)
    x, gradient = torch.randn(2, batch, n, dtype=dtype)
    W = torch.randn(n, n, dtype=dtype)

    def step() -> object:
        y = x @ W.T
        return gradient @ W, torch.addmm(W, gradient.T, y @ W, beta=-1), gradient.sum(0)

    return step


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


def _matrix_exp(n: int, batch: int, dtype: torch.dtype, direction: str) -> Step:
    if n > 1024:
        raise NotImplementedError("takes minutes a step")
    layer = _MatrixExponential(n, dtype)
    return _training_step(layer, getattr(layer, direction), n, batch, dtype)


def _nflows_lu(n: int, batch: int, dtype: torch.dtype, direction: str) -> Step:
    layer = LULinear(n).to(dtype)
    return _training_step(layer, getattr(layer, direction), n, batch, dtype)


def _bgflow(n: int, batch: int, dtype: torch.dtype, direction: str) -> Step:
    """The layer of the paper's authors with its own scheduler, merged and corrected as often.

    Its last version needs ``np.infty``, which NumPy 2 removed; it is put back in this process.
    """
    vars(np).setdefault("infty", np.inf)
    pppp = importlib.import_module("bgflow.nn.flow.pppp")
    layer = pppp.InvertiblePPPP(n).to(dtype)
    inverse = direction == "inverse"
    step = _training_step(layer, lambda x: layer(x, inverse=inverse), n, batch, dtype)
    optimizer = torch.optim.SGD(layer.parameters(), lr=0.0)
    scheduler = pppp.PPPPScheduler(layer, optimizer, n_force_merge=None, n_correct=None)

    def merge(count: int) -> None:
        if count % SCHEDULE.merge_every == 0:
            scheduler.step()

    return MergedStep(step, [layer], merge, lambda layer: layer.correct())


def _forward_only(direction: str) -> None:
    if direction != "forward":
        raise NotImplementedError("has no inverse")


SCHEDULE = P4Schedule()
MERGE_ONLY = P4Schedule(refine_every=0)
FLOW_FEATURES = 60  # internal coordinates of alanine dipeptide
DIRECTIONS = ("forward", "inverse")
METHODS: dict[str, Maker] = {
    "two_gemm": partial(_two_gemm, torch.matmul),
    "two_gemm_best": partial(_two_gemm, matmul),
    "p4_floor": _p4_floor,
    "linear": _linear,
    "standard": _standard,
    "lu": _lu,
    "nflows_lu": _nflows_lu,
    "matrix_exp": _matrix_exp,
    "relative_gradient": _relative_gradient,
    "bgflow": _bgflow,
    "p4inv": _p4inv,
}
FLOWS = {f"flow_{mixing}": partial(_flow, mixing) for mixing in ("p4inv", "lu", "permutation")}
