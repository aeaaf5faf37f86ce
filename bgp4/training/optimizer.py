r"""What moves the parameters: Muon the conditioners' hidden matrices, Adam all else.

Muon (K. Jordan et al. 2024, kellerjordan.github.io/posts/muon) steps along the orthogonal matrix
next to the gradient's running mean M = U S V^T, so that all its directions count alike,

.. math:: W ← W - 0.2 \sqrt{\max(n, m)}\, η\, U V^T,

with the factor of Liu et al. (arXiv 2502.16982), by which its entries are as large as Adam's.
U V^T comes, roughly, from five Newton-Schulz iterations.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

from bgp4.config import OptimizerConfig
from bgp4.flows.coupling import Conditioner
from bgp4.p4.rank_one import matmul

__all__ = ["Muon", "TrainingOptimizer", "hidden_matrices"]


def hidden_matrices(model: nn.Module) -> list[Tensor]:
    """The two-dimensional weights of all conditioners, without those of their last layers."""
    conditioners = (m for m in model.modules() if isinstance(m, Conditioner))
    return [weight for conditioner in conditioners for weight in conditioner.hidden_weights()]


class TrainingOptimizer:
    """Muon and Adam as one: one rate, one step, one state by the parameters' names.

    Args:
        model: Whose parameters it moves.

    Attributes:
        adam: The one that has P4's u and v.
    """

    def __init__(self, model: nn.Module, settings: OptimizerConfig) -> None:
        self.names: dict[Tensor, str] = {p: name for name, p in model.named_parameters()}
        hidden = set(hidden_matrices(model)) if settings.hidden == "muon" else set()
        self.adam = torch.optim.Adam([p for p in self.names if p not in hidden], fused=True)
        self._rate_factors: dict[torch.optim.Optimizer, float] = {self.adam: 1.0}
        if hidden:
            muon = Muon([p for p in self.names if p in hidden], momentum=settings.hidden_momentum)
            self._rate_factors[muon] = settings.hidden_rate_factor

    def set_rate(self, rate: float) -> None:
        """Adam's learning rate; Muon's follows."""
        for optimizer, factor in self._rate_factors.items():
            for group in optimizer.param_groups:
                group["lr"] = factor * rate

    def zero_grad(self) -> None:
        """Before a step's gradients."""
        for optimizer in self._rate_factors:
            optimizer.zero_grad()

    def step(self) -> None:
        """All parameters, by their gradients."""
        for optimizer in self._rate_factors:
            optimizer.step()

    def tensors(self) -> dict[str, Tensor]:
        """The moments: what `restore` needs."""
        return {
            f"{self.names[parameter]}.{key}": value
            for optimizer in self._rate_factors
            for parameter, state in optimizer.state.items()
            for key, value in state.items()
        }

    def restore(self, tensors: dict[str, Tensor]) -> None:
        """The state that `tensors` is of.

        Raises:
            KeyError: If it is of other parameters.
        """
        by_name: dict[str, dict[str, Tensor]] = {}
        for key, value in tensors.items():
            name, _, moment = key.rpartition(".")
            by_name.setdefault(name, {})[moment] = value
        if unknown := by_name.keys() - self.names.values():
            raise KeyError(min(unknown))
        for optimizer in self._rate_factors:
            named = (self.names[p] for group in optimizer.param_groups for p in group["params"])
            state = {i: by_name[name] for i, name in enumerate(named) if name in by_name}
            optimizer.load_state_dict({**optimizer.state_dict(), "state": state})


class Muon(torch.optim.Muon):
    """torch's, but that it iterates in the precision of the weights.

    torch's is in bfloat16, for which most CPUs have no instructions, and which rounds differently
    wherever gradients were summed in another order.
    """

    def __init__(self, params: Iterable[Tensor], momentum: float = 0.95):
        super().__init__(
            params, weight_decay=0.0, momentum=momentum, adjust_lr_fn="match_rms_adamw"
        )

    @torch.no_grad()
    def step(self, closure: Any = None) -> Any:
        """Moves each matrix that has a gradient; `closure` is not called."""
        for group in self.param_groups:
            weights = [weight for weight in group["params"] if weight.grad is not None]
            for weight in weights:
                if not self.state[weight]:
                    self.state[weight]["momentum_buffer"] = torch.zeros_like(weight)
            for alike in _stacked_together(weights):
                self._move(alike, group)

    def _move(self, weights: list[Tensor], group: dict[str, Any]) -> None:
        """Matrices of one shape, all at once."""
        gradients = [weight.grad for weight in weights if weight.grad is not None]
        means = [self.state[weight]["momentum_buffer"] for weight in weights]
        torch._foreach_lerp_(means, gradients, 1 - group["momentum"])
        ahead = torch._foreach_lerp(gradients, means, group["momentum"])  # Nesterov's
        stack = ahead[0] if len(ahead) == 1 else torch.stack(ahead)
        made = orthogonalised(stack, group["ns_coefficients"], group["ns_steps"], group["eps"])
        steps = [made] if len(ahead) == 1 else list(made.unbind())
        rate = 0.2 * math.sqrt(max(weights[0].shape)) * group["lr"]
        torch._foreach_sub_(weights, steps, alpha=rate)


def _stacked_together(weights: Iterable[Tensor]) -> Iterable[list[Tensor]]:
    """Those of one shape, where each call has its price; on a CPU each by itself."""
    groups: dict[Any, list[Tensor]] = {}
    for i, weight in enumerate(weights):
        groups.setdefault(i if weight.is_cpu else weight.shape, []).append(weight)
    return groups.values()


def orthogonalised(
    matrix: Tensor,  # (n, m) or (k, n, m), of any scale
    coefficients: tuple[float, float, float],
    steps: int,
    eps: float,
) -> Tensor:  # as `matrix`
    """U S' V^T with singular values S' near 1, of each matrix U S V^T, by Newton-Schulz.

    Each iteration takes every singular value s to a s + b s^3 + c s^5.
    """
    a, b, c = coefficients
    add_product = _add_product if matrix.dim() == 2 else torch.baddbmm
    wide = matrix if matrix.shape[-2] <= matrix.shape[-1] else matrix.mT
    norm = wide.norm() if matrix.dim() == 2 else wide.norm(dim=(1, 2), keepdim=True)
    x = wide / norm.clamp_min(eps)
    for _ in range(steps):
        gram = matmul(x, x.mT) if x.dim() == 2 else x @ x.mT
        x = add_product(x, add_product(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return x if wide is matrix else x.mT


def _add_product(
    x: Tensor,  # (n, m)
    left: Tensor,  # (n, k)
    right: Tensor,  # (k, m)
    beta: float,
    alpha: float = 1.0,
) -> Tensor:  # (n, m)
    """torch.addmm, by the faster of torch's libraries."""
    return torch.add(alpha * matmul(left, right), x, alpha=beta)
