"""When to merge, refine, and reset optimizer state.

The training step calls :func:`merge_step` once after every ``optimizer.step()``. Every
``merge_every`` steps it merges each layer's perturbation if it is well conditioned, and otherwise
lets u and v continue to train. The bounds, and what is reset, follow Krämer, Köhler, Noé
(arXiv 2010.07033).
"""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import reduce
from operator import add

import torch
from torch import Tensor, nn
from torch.optim import Adam, AdamW, Optimizer

from bgp4.kernels.p4 import kernel_for
from bgp4.p4.dense import P4Dense
from bgp4.p4.linear import P4InvLinear, drawn_normal
from bgp4.p4.together import alike, due_of, merge_together

__all__ = ["P4Report", "P4Schedule", "determinant_penalty", "merge_step", "p4_layers"]


@dataclass(frozen=True)
class P4Schedule:
    """The rules of merging.

    Attributes:
        merge_every: optimizer steps between merges (the paper's N).
        refine_every: merges of a layer between refinements of its inverse (N_correct); 0: never.
        refine_order: 2 (Newton-Schulz, two matrix products) or 7 (Soleymani, six; the paper's).
            Within the default tolerance one step of order 2 reaches rounding error.
        min_log_factor: a merge must keep log|f| above this; the sign of f may be either.
        logabsdet_bounds: a merge must not carry log|det A| out of these bounds, which are those
            of the paper up to 64 features and grow in proportion to n beyond; None: no bounds,
            for maps that contract or turn inside out, such as those towards -I.
            A merge that moves log|det A| back towards the bounds is always allowed.
        residual_tolerance: ||A A_inv - I||_F above which inverse and determinant are computed
            from scratch after a merge. None: sqrt(n eps); ``math.inf``: never.
    """

    merge_every: int = 10
    refine_every: int = 50
    refine_order: int = 2
    min_log_factor: float = -6.0
    logabsdet_bounds: tuple[float, float] | None = (-2.5, 15.5)
    residual_tolerance: float | None = None

    def __post_init__(self) -> None:
        if self.merge_every < 1:
            raise ValueError(f"merge_every: expected at least 1, got {self.merge_every}")
        if self.refine_every < 0:
            raise ValueError(f"refine_every: expected at least 0, got {self.refine_every}")
        if self.refine_order not in (2, 7):
            raise ValueError(f"refine_order: expected 2 or 7, got {self.refine_order}")

    def bounds(self, features: int) -> tuple[float, float]:
        """The bounds on log|det| for a layer of this size."""
        low, high = self.logabsdet_bounds or (-torch.inf, torch.inf)
        scale = max(1.0, features / 64)
        return low * scale, high * scale

    def tolerance(self, layer: P4InvLinear) -> float:
        """||A A_inv - I||_F that this layer's inverse may have."""
        if self.residual_tolerance is not None:
            return self.residual_tolerance
        return (layer.features * torch.finfo(layer.A.dtype).eps) ** 0.5

    def objection(self, features: int, logabsdet: float, change: float) -> str | None:
        """Why a layer must not merge what is due: "factor", "logabsdet", or None.

        Args:
            logabsdet: log|det A| before the merge.
            change: log|f|.
        """
        if not self.min_log_factor < change < math.inf:
            return "factor"
        low, high = self.bounds(features)
        new = logabsdet + change
        if (new <= low and change < 0) or (new >= high and change > 0):
            return "logabsdet"
        return None


@dataclass(frozen=True)
class P4Report:
    """What one or several merge steps did; reports add up with ``+``.

    Attributes:
        merged: layers merged.
        rejected: layers whose u, v train on, counted by reason.
        refined: refinements of an inverse.
        recomputed: inverses and determinants computed from scratch, the residual being too large.
        nonfinite: layers whose u or v was not finite; that perturbation is lost.
        worst_residual: the largest estimate of ||A A_inv - I||_F after a merge, before repair.
    """

    merged: int = 0
    rejected: Counter[str] = field(default_factory=Counter)
    refined: int = 0
    recomputed: int = 0
    nonfinite: int = 0
    worst_residual: float = 0.0

    def __add__(self, other: "P4Report") -> "P4Report":
        return P4Report(
            self.merged + other.merged,
            self.rejected + other.rejected,
            self.refined + other.refined,
            self.recomputed + other.recomputed,
            self.nonfinite + other.nonfinite,
            max(self.worst_residual, other.worst_residual),
        )


def p4_layers(model: nn.Module) -> list[P4InvLinear | P4Dense]:
    """All P4 layers of a model, each once."""
    return [m for m in model.modules() if isinstance(m, P4InvLinear | P4Dense)]


def merge_step(
    model: nn.Module,
    optimizer: Optimizer | None,
    step: int,
    schedule: P4Schedule | None = None,
    generator: torch.Generator | None = None,
) -> P4Report:
    """Merges and refines what is due after optimizer step number `step`, counted from 1.

    Args:
        optimizer: whose Adam moments of v are reset at a merge; those of u are kept, which
            helps. Other optimizers are left alone.
        generator: where each new v ~ N(0, I) is drawn from; save it with a checkpoint to
            continue a run exactly.
    """
    schedule = schedule or P4Schedule()
    if step % schedule.merge_every != 0:
        return _NOTHING_DUE
    together, reports = [], []
    for layer in p4_layers(model):
        if isinstance(layer, P4InvLinear) and not kernel_for(layer.A):
            together.append(layer)
        else:
            reports.append(_merge_layer(layer, optimizer, schedule, generator))
    for group in alike(together):
        reports.append(_merge_layers(group, optimizer, schedule, generator))
    return reduce(add, reports, _NOTHING_DUE)


def determinant_penalty(
    model: nn.Module,
    schedule: P4Schedule | None = None,
    weight: float = 0.1,
    margin: float = 0.5,
) -> Tensor:
    """A loss term that keeps merges possible, shape ().

    weight * sum relu(low - t)^2 + relu(t - high)^2 over the layers' t = log|f| and
    t = log|det(A + u v^T)|, with the schedule's bounds drawn in by `margin`.
    """
    schedule = schedule or P4Schedule()
    terms = [
        _excess(
            torch.stack([layer.factor().logabs, layer.logabsdet()]), low + margin, high - margin
        )
        for layer in p4_layers(model)
        if isinstance(layer, P4InvLinear)
        for low, high in [schedule.bounds(layer.features)]
    ]
    return weight * torch.stack(terms).sum() if terms else torch.zeros(())


def _excess(t: Tensor, low: float, high: float) -> Tensor:
    return (torch.relu(low - t).square() + torch.relu(t - high).square()).sum()


@torch.no_grad()
def _merge_layer(
    layer: P4InvLinear | P4Dense,
    optimizer: Optimizer | None,
    schedule: P4Schedule,
    generator: torch.Generator | None,
) -> P4Report:
    if isinstance(layer, P4Dense):
        if not _finite(layer):
            return _reset(layer, optimizer, generator)
        layer.merge(generator)
        _reset_moments(optimizer, layer.v)
        return P4Report(merged=1)
    due = layer.perturbation()
    # Whatever is not finite in u or v is in f too, so that the usual case needs one look.
    if not math.isfinite(due.f) and not _finite(layer):
        return _reset(layer, optimizer, generator)
    if reason := schedule.objection(layer.features, layer.A_logabsdet.item(), due.logabs):
        return P4Report(rejected=Counter([reason]))
    residual = layer.merge(generator, due)
    _reset_moments(optimizer, layer.v)
    return _repair(layer, schedule, residual, int(layer.merges))


@torch.no_grad()
def _merge_layers(
    layers: Sequence[P4InvLinear],
    optimizer: Optimizer | None,
    schedule: P4Schedule,
    generator: torch.Generator | None,
) -> P4Report:
    """The same of layers that are alike, all at once."""
    known, dues = due_of(layers)
    report = _NOTHING_DUE
    draws: dict[int, Tensor] = {}
    for i, (layer, due) in enumerate(zip(layers, dues, strict=True)):
        if not math.isfinite(due.factor) and not _finite(layer):
            report += _reset(layer, optimizer, generator)
        elif reason := schedule.objection(layer.features, due.logabsdet, due.logabs):
            report += P4Report(rejected=Counter([reason]))
        else:
            draws[i] = drawn_normal(layer.v, generator)
    if not draws:
        return report
    residuals = merge_together(layers, known, draws)
    _reset_moments(optimizer, *(layers[i].v for i in draws))
    for i, residual in zip(draws, residuals, strict=True):
        report += _repair(layers[i], schedule, residual, dues[i].merges + 1)
    return report


def _finite(layer: P4InvLinear | P4Dense) -> bool:
    return bool(layer.u.isfinite().all() and layer.v.isfinite().all())


def _reset(
    layer: P4InvLinear | P4Dense,
    optimizer: Optimizer | None,
    generator: torch.Generator | None,
) -> P4Report:
    layer.reset_perturbation(generator)
    _forget(optimizer, layer.u, layer.v)
    return P4Report(nonfinite=1)


def _repair(layer: P4InvLinear, schedule: P4Schedule, residual: float, merges: int) -> P4Report:
    """The report of a merge, after repair of the inverse where that is needed or due.

    A worn inverse has misjudged the determinant too, which refining would not mend: beyond the
    tolerance both are recomputed.
    """
    due = schedule.refine_every > 0 and merges % schedule.refine_every == 0
    worn = residual > schedule.tolerance(layer)
    if worn:
        layer.recompute()
    elif due:
        layer.refine(schedule.refine_order)
    refined = int(due and not worn)
    return P4Report(merged=1, refined=refined, recomputed=int(worn), worst_residual=residual)


def _reset_moments(optimizer: Optimizer | None, *parameters: Tensor) -> None:
    """Sets Adam's state of parameters to that before their first step."""
    if isinstance(optimizer, Adam | AdamW):
        states = (optimizer.state.get(parameter, {}) for parameter in parameters)
        if moments := [value for state in states for value in state.values()]:
            torch._foreach_zero_(moments)


def _forget(optimizer: Optimizer | None, *parameters: Tensor) -> None:
    """Drops the optimizer's state of parameters whose gradients were not finite."""
    state = {} if optimizer is None else optimizer.state
    for parameter in parameters:
        state.pop(parameter, None)


_NOTHING_DUE = P4Report()
