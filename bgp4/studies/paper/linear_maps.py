"""Training one matrix towards a target, by the methods that figures 3, 4, 5 and 8 compare.

x ~ N(0, I), y = T x, loss E |A x - y|^2 per feature, A = I at the start, plain SGD.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.stats import special_ortho_group
from torch import Tensor, nn

from bgp4.p4 import P4InvLinear, P4Schedule, determinant_penalty, merge_step, p4_layers
from bgp4.parallel.progress import Report

__all__ = [
    "METHODS",
    "LinearFit",
    "Method",
    "ScaledLayer",
    "Trace",
    "fit_all",
    "fit_linear",
    "median_iterations",
    "positive_definite",
    "rivals",
    "rotation",
]

Method = Literal["direct", "p4inv", "p4inv_inverse", "p4inv_inverse_scaled", "relative", "expm"]


@dataclass(frozen=True)
class LinearFit:
    """How a matrix is trained.

    Attributes:
        method: direct (the matrix itself), p4inv, p4inv_inverse (through the layer's inverse),
            p4inv_inverse_scaled (the same with perturbations in units of the layer's matrix),
            relative (relative gradient, Gresele et al., NeurIPS 2020), expm (A = exp S).
        iterations: SGD steps.
        learning_rate: Of the loss |A x - y|^2 summed over features.
        merge_every: N, P4Inv's steps between merges.
        batch: Fresh x for each step.
        tolerance: Loss at which training ends; it runs on to `iterations` if 0.
        penalty: Weight of the determinant penalty.
        records: How often the state is recorded.
        precision: Of all arithmetic.
    """

    method: Method = "p4inv"
    iterations: int = 10_000
    learning_rate: float = 1e-3
    merge_every: int = 10
    batch: int = 64
    tolerance: float = 1e-8
    penalty: float = 0.0
    records: int = 200
    precision: Literal["float32", "float64"] = "float32"


@dataclass(frozen=True)
class Trace:
    """What happened during a training; k records.

    Attributes:
        iteration: (k,).
        loss: |A - T|_F^2 / n, which is E |A x - y|^2 / n exactly, (k,).
        eigenvalues: Of the trained map, (k, n), complex.
        residual: max |A A^-1 - I| of P4Inv's buffers, the largest since the record before, (k,);
            zeros for other methods.
        logabsdet: log|det| and sign of the map as the method knows them, (k,).
        sign: (k,).
        true_logabsdet: The same from an LU decomposition in float64, (k,).
        true_sign: (k,).
        finished: Iterations done; fewer than asked for where the tolerance was reached.
        converged: Whether it was.
        merges: P4Inv's.
        rejected: Merges that P4Inv put off.
    """

    iteration: NDArray[np.int64]
    loss: NDArray[np.float64]
    eigenvalues: NDArray[np.complex128]
    residual: NDArray[np.float64]
    logabsdet: NDArray[np.float64]
    sign: NDArray[np.float64]
    true_logabsdet: NDArray[np.float64]
    true_sign: NDArray[np.float64]
    finished: int
    converged: bool
    merges: int
    rejected: int


class Record(NamedTuple):
    """One moment of a training; the arrays of `Trace` are these."""

    iteration: int
    loss: float
    eigenvalues: NDArray[np.complex128]
    residual: float
    logabsdet: float
    sign: float
    true_logabsdet: float
    true_sign: float


SCHEDULE = P4Schedule(logabsdet_bounds=None, refine_order=7, residual_tolerance=torch.inf)
"""The determinant goes anywhere, the inverse is refined but never computed anew."""

PENALISED = P4Schedule()
"""Whose bounds on the determinant the penalty keeps."""

CHECK_EVERY = 10

DIVERGED = 1e6
"""Loss from which none comes back."""


def fit_linear(
    target: Tensor,  # (n, n)
    fit: LinearFit,
    seed: int,
) -> Trace:
    """Train a matrix from the identity towards a target."""
    n, dtype = len(target), getattr(torch, fit.precision)
    T = target.to(dtype)
    generator = torch.Generator().manual_seed(seed)
    model = METHODS[fit.method](n, dtype, generator)
    optimizer = torch.optim.SGD(model.parameters(), fit.learning_rate)
    schedule = replace(SCHEDULE, merge_every=fit.merge_every)
    record_every = max(fit.iterations // fit.records, 1)
    rows, rejected, converged, step, residual = [_record(model, T, 0, 0.0)], 0, False, 0, 0.0
    for step in range(1, fit.iterations + 1):
        x = torch.randn(fit.batch, n, generator=generator, dtype=dtype)
        error = model(x) - x @ T.T
        loss = 0.5 * error.square().sum() / fit.batch
        if fit.penalty:
            loss = loss + determinant_penalty(model, PENALISED, fit.penalty)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        rejected += merge_step(model, optimizer, step, schedule, generator).rejected.total()
        if step % CHECK_EVERY == 0:
            value, residual = _loss(model, T), max(residual, model.residual())
            converged = value < fit.tolerance
            if converged or not value < DIVERGED:
                break
        if step % record_every == 0:
            rows.append(_record(model, T, step, residual))
            residual = 0.0
    if rows[-1].iteration != step:
        rows.append(_record(model, T, step, model.residual()))
    columns: dict[str, Any] = {
        name: np.array(column)
        for name, column in zip(Record._fields, zip(*rows, strict=True), strict=True)
    }
    merges = sum(int(layer.merges) for layer in p4_layers(model))
    return Trace(**columns, finished=step, converged=converged, merges=merges, rejected=rejected)


class Direct(nn.Module):
    """The matrix itself."""

    def __init__(self, n: int, dtype: torch.dtype, generator: torch.Generator) -> None:
        super().__init__()
        self.W = nn.Parameter(torch.eye(n, dtype=dtype))

    def forward(self, x: Tensor) -> Tensor:
        return x @ self.map().T

    def map(self) -> Tensor:
        """The matrix that `forward` applies."""
        return self.W

    def determinant(self) -> tuple[Tensor, Tensor]:
        """Sign and log|det| of the map."""
        sign, logabsdet = torch.linalg.slogdet(self.map().double())
        return sign, logabsdet

    def residual(self) -> float:
        """Residual of a stored inverse, max |A A^-1 - I|."""
        return 0.0


class RelativeGradient(Direct):
    """Gradient times W^T W (Gresele et al., "Relative gradient optimization of the Jacobian term
    in unsupervised deep learning", NeurIPS 2020): O(n^2), but keeps no inverse."""

    def __init__(self, n: int, dtype: torch.dtype, generator: torch.Generator) -> None:
        super().__init__(n, dtype, generator)
        self.W.register_hook(lambda gradient: gradient @ self.W.T @ self.W)


class Exponential(Direct):
    """exp S: always invertible, with det > 0."""

    def __init__(self, n: int, dtype: torch.dtype, generator: torch.Generator) -> None:
        super().__init__(n, dtype, generator)
        self.W = nn.Parameter(torch.zeros(n, n, dtype=dtype))

    def map(self) -> Tensor:
        exponential: Tensor = torch.linalg.matrix_exp(self.W)
        return exponential


class Perturbed(Direct):
    """P4Inv, without its bias."""

    def __init__(self, n: int, dtype: torch.dtype, generator: torch.Generator) -> None:
        nn.Module.__init__(self)
        self.layer = P4InvLinear(n, generator=generator, dtype=dtype)
        self.layer.bias.requires_grad_(False)

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x)[0]

    def map(self) -> Tensor:
        return self.layer.weight()

    def determinant(self) -> tuple[Tensor, Tensor]:
        return self.layer.sign(), self.layer.logabsdet()

    def residual(self) -> float:
        A, A_inv = self.layer.state[:2]
        return float((A @ A_inv - torch.eye(len(A))).abs().max())


class PerturbedInverse(Perturbed):
    """P4Inv through its inverse: the map is (A + u v^T)^-1."""

    def forward(self, x: Tensor) -> Tensor:
        return self.layer.inverse(x)[0]

    def map(self) -> Tensor:
        return self.layer.weight_inverse()

    def determinant(self) -> tuple[Tensor, Tensor]:
        return self.layer.sign(), -self.layer.logabsdet()


class ScaledLayer(P4InvLinear):
    """Perturbations in units of A: u = A a and v = A^T c, with SGD on a and c.

    The inverse W of A + u v^T then changes by -a c^T in first order, as by a gradient step on W
    itself; without it by -W W^T G W^T W, G the gradient, which stalls where W is nearly singular.
    """

    def __init__(self, features: int, generator: torch.Generator, dtype: torch.dtype) -> None:
        super().__init__(features, generator=generator, dtype=dtype)
        self.u.register_hook(lambda gradient: self.A @ (gradient @ self.A))
        self.v.register_hook(lambda gradient: (self.A @ gradient) @ self.A)

    def start_perturbation(self, draw: Tensor) -> None:
        """u = 0 and v = A^T draw."""
        super().start_perturbation(draw @ self.A)


class ScaledInverse(PerturbedInverse):
    """`PerturbedInverse` with a `ScaledLayer`."""

    def __init__(self, n: int, dtype: torch.dtype, generator: torch.Generator) -> None:
        nn.Module.__init__(self)
        self.layer = ScaledLayer(n, generator, dtype)
        self.layer.bias.requires_grad_(False)


METHODS: dict[Method, Callable[[int, torch.dtype, torch.Generator], Direct]] = {
    "direct": Direct,
    "p4inv": Perturbed,
    "p4inv_inverse": PerturbedInverse,
    "p4inv_inverse_scaled": ScaledInverse,
    "relative": RelativeGradient,
    "expm": Exponential,
}


def rivals(fit: LinearFit) -> dict[str, LinearFit]:
    """What the paper does not compare with: the relative gradient, and exp S.

    From the identity towards a normal matrix both take the same path, in the limit of small steps.
    A step of exp S takes about ten times as long as any other, so it gets a tenth of the steps.
    """
    return {
        "relative gradient": replace(fit, method="relative"),
        "exp S": replace(fit, method="expm", iterations=fit.iterations // 10),
    }


def fit_all(
    targets: Mapping[int, Tensor], fits: Mapping[str, LinearFit], report: Report
) -> dict[str, list[Trace]]:
    """Each fit to each seed's target; progress in percent."""
    traces: dict[str, list[Trace]] = {name: [] for name in fits}
    total = len(targets) * len(fits)
    for i, (seed, target) in enumerate(targets.items()):
        for k, (name, fit) in enumerate(fits.items()):
            report(100 * (i * len(fits) + k) // total, f"{name}, seed {seed}")
            traces[name].append(fit_linear(target, fit, seed))
    return traces


def median_iterations(traces: Sequence[Trace]) -> float:
    """Over seeds; infinite where most runs did not converge."""
    return float(np.median([t.finished if t.converged else np.inf for t in traces]))


def positive_definite(n: int, condition: float, seed: int) -> Tensor:
    """Random eigenvectors; eigenvalues uniform in log between condition^-1/2 and condition^1/2."""
    rng = np.random.default_rng(seed)
    values = np.exp(np.log(condition) * (rng.random(n) - 0.5))
    vectors = special_ortho_group.rvs(n, random_state=rng)
    return torch.as_tensor((vectors * values) @ vectors.T)


def rotation(n: int, seed: int) -> Tensor:
    """A random matrix of SO(n), uniform in the Haar measure."""
    return torch.as_tensor(special_ortho_group.rvs(n, random_state=np.random.default_rng(seed)))


@torch.no_grad()
def _loss(model: Direct, T: Tensor) -> float:
    return float((model.map() - T).double().square().sum() / len(T))


@torch.no_grad()
def _record(model: Direct, T: Tensor, step: int, residual: float) -> Record:
    matrix = model.map().double()
    true_sign, true_logabsdet = torch.linalg.slogdet(matrix)
    sign, logabsdet = model.determinant()
    return Record(
        iteration=step,
        loss=_loss(model, T),
        eigenvalues=_eigenvalues(matrix).numpy(),
        residual=residual,
        logabsdet=float(logabsdet),
        sign=float(sign),
        true_logabsdet=float(true_logabsdet),
        true_sign=float(true_sign),
    )


def _eigenvalues(
    matrix: Tensor,  # (n, n)
) -> Tensor:  # (n,), complex
    """NaN of a matrix that is not finite, with which LAPACK may crash."""
    if matrix.isfinite().all():
        return torch.linalg.eigvals(matrix)
    return torch.full((len(matrix),), torch.nan, dtype=torch.complex128)
