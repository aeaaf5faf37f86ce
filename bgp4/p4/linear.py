r"""P4Inv: an invertible linear layer trained through rank-one perturbations.

The layer is y = (A + u v^T) x + b. A, its inverse and its determinant are buffers; u, v and b
are trained; now and then u v^T is merged into the buffers (see :mod:`bgp4.p4.schedule`).
Value, inverse, determinant and their gradients all cost O(n^2) per sample, and a training step
needs two n^2 matrix products, one less than ``nn.Linear``, since A itself has no gradient.

Reference: Krämer, Köhler, Noé, "Training Invertible Linear Layers through Rank-One
Perturbations", arXiv 2010.07033.
"""

import math
from collections.abc import Callable
from typing import Any

import torch
from nflows.transforms.linear import Linear  # type: ignore[import-untyped]
from torch import Tensor, nn

from bgp4.kernels.transfer import sent
from bgp4.p4.autograd import p4_forward, p4_inverse
from bgp4.p4.rank_one import (
    Factor,
    Perturbation,
    inverse_residual,
    merged_inverse,
    merged_matrix,
    perturbation,
    rank_one_factor,
)
from bgp4.p4.state import P4State, identity_state, merge_in_place, recompute, refine

__all__ = ["P4InvLinear", "drawn_normal", "standard_normal"]


class P4InvLinear(Linear):
    """y = (A + u v^T) x + b, a drop-in nflows ``Linear`` transform.

    ``forward`` goes data to latent, ``inverse`` back; both return ``(value, logabsdet)`` with
    logabsdet of shape (batch,) for the direction taken. ``nflows.transforms.InverseTransform``
    swaps the two, which trains the layer through its inverse.

    nflows' weight cache is bypassed: both directions are O(n^2) without it, and what is not
    stored cannot be stale.

    Args:
        features: n.
        state: A, A^-1 and its determinant at the start; the identity by default.
        generator: where v ~ N(0, I) is drawn from; torch's global generator by default.

    >>> layer = P4InvLinear(3)
    >>> z, logabsdet = layer(torch.ones(2, 3))
    >>> z.shape, logabsdet.tolist()
    (torch.Size([2, 3]), [0.0, 0.0])
    >>> layer
    P4InvLinear(features=3, merges=0, log|det|=0)
    """

    A: Tensor
    A_inv: Tensor
    A_sign: Tensor
    A_logabsdet: Tensor
    merges: Tensor

    def __init__(
        self,
        features: int,
        state: P4State | None = None,
        generator: torch.Generator | None = None,
        dtype: torch.dtype | None = None,
        device: torch.device | None = None,
    ) -> None:
        super().__init__(features)
        state = identity_state(features) if state is None else state
        if state.features != features:
            raise ValueError(f"P4InvLinear: {features} features, but A has {state.features}")
        A = state.A.to(device, dtype).clone(memory_format=torch.contiguous_format)
        self.register_buffer("A", A)
        self.register_buffer(
            "A_inv", state.A_inv.to(A).clone(memory_format=torch.contiguous_format)
        )
        self.register_buffer("A_sign", state.sign.to(A, copy=True))
        self.register_buffer("A_logabsdet", state.logabsdet.to(A.device, torch.double, copy=True))
        self.register_buffer("merges", torch.zeros((), dtype=torch.int64, device=device))
        self.bias = nn.Parameter(A.new_zeros(features))
        self.u = nn.Parameter(A.new_zeros(features))
        self.v = nn.Parameter(standard_normal(A[0], generator))

    def forward(
        self,
        inputs: Tensor,  # (batch, n)
        context: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """y = (A + u v^T) x + b and log|det(A + u v^T)|."""
        return p4_forward(inputs, *self._tensors())

    def inverse(
        self,
        inputs: Tensor,  # (batch, n)
        context: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """x = (A + u v^T)^-1 (y - b) and -log|det(A + u v^T)|."""
        return p4_inverse(inputs, *self._tensors())

    forward_no_cache, inverse_no_cache = forward, inverse

    def _tensors(self) -> tuple[Tensor, ...]:
        """u, v, b, A, A^-1 and log|det A|, past torch's search for attributes, which is slow."""
        own: dict[str, Any] = self._parameters
        buffers: dict[str, Any] = self._buffers
        A, A_inv, logabsdet = buffers["A"], buffers["A_inv"], buffers["A_logabsdet"]
        return own["u"], own["v"], own["bias"], A, A_inv, logabsdet

    def weight(self) -> Tensor:
        """A + u v^T, (n, n)."""
        return merged_matrix(self.A, self.u, self.v)

    def weight_inverse(self) -> Tensor:
        """(A + u v^T)^-1, (n, n)."""
        factor = self.factor()
        return merged_inverse(self.A_inv, factor.w, torch.mv(self.A_inv.T, self.v), factor.value)

    def logabsdet(self) -> Tensor:
        """log|det(A + u v^T)|, shape (), float64."""
        return self.A_logabsdet + self.factor().logabs

    def sign(self) -> Tensor:
        """The sign of det(A + u v^T), shape ()."""
        return self.A_sign * self.factor().sign

    def factor(self) -> Factor:
        """f = 1 + v^T A^-1 u of the present perturbation."""
        return rank_one_factor(self.A_inv, self.u, self.v)

    def perturbation(self) -> Perturbation:
        """The same without a graph, with all that a merge needs of it."""
        return perturbation(self.A_inv, self.u, self.v)

    def residual(self) -> Tensor:
        """||A A_inv - I||_F of the buffers, in O(n^3)."""
        return inverse_residual(self.A, self.A_inv)

    @property
    def state(self) -> P4State:
        """The buffers, without u and v; not a copy."""
        return P4State(self.A, self.A_inv, self.A_sign, self.A_logabsdet)

    @torch.no_grad()
    def merge(
        self,
        generator: torch.Generator | None = None,
        known: Perturbation | None = None,
    ) -> float:
        """Moves u v^T into the buffers, then u = 0 and v ~ N(0, I); the map stays the same.

        Args:
            known: :meth:`perturbation` where it is known already.

        Returns:
            An O(n^2) estimate of :meth:`residual`, inf where that is NaN, from the draw of v.

        Raises:
            ValueError: A + u v^T is singular or not finite; nothing has changed then.
        """
        draw = standard_normal(self.v, generator)
        estimate = merge_in_place(self.state, self.u, self.v, draw, known)
        self.merges.add_(1)
        self.start_perturbation(draw)
        return torch.inf if math.isnan(estimate) else estimate

    @torch.no_grad()
    def refine(
        self,
        order: int = 7,
    ) -> None:
        """Repairs A_inv by one iteration of order 2 or 7."""
        self._set_state(refine(self.state, order))

    @torch.no_grad()
    def recompute(self) -> None:
        """A_inv and the determinant of A from scratch."""
        self._set_state(recompute(self.state))

    @torch.no_grad()
    def reset_perturbation(
        self,
        generator: torch.Generator | None = None,
    ) -> None:
        """u = 0 and v ~ N(0, I), dropping the perturbation."""
        self.start_perturbation(standard_normal(self.v, generator))

    @torch.no_grad()
    def start_perturbation(
        self,
        draw: Tensor,  # (n,), from N(0, I)
    ) -> None:
        """u = 0 and v = draw."""
        self.u.zero_()
        self.v.copy_(draw)

    def _set_state(self, state: P4State) -> None:
        for buffer, value in zip(self.state, state, strict=True):
            if buffer is not value:
                buffer.copy_(value)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Any:
        """Keeps log|det A| in float64 when the layer is cast."""
        exact = self.A_logabsdet
        super()._apply(fn, recurse)
        if self.A_logabsdet.dtype != exact.dtype:
            self.A_logabsdet = exact.to(self.A_logabsdet.device)
        return self

    @torch.no_grad()
    def extra_repr(self) -> str:
        return (
            f"features={self.features}, merges={self.merges.item()}, "
            f"log|det|={self.logabsdet().item():.3g}"
        )


def standard_normal(
    like: Tensor,
    generator: torch.Generator | None = None,
) -> Tensor:
    """N(0, I) in the shape, dtype and device of `like`, drawn where the generator lives."""
    return sent(drawn_normal(like, generator), like.device)


def drawn_normal(
    like: Tensor,
    generator: torch.Generator | None = None,
) -> Tensor:
    """The same, left where it is drawn."""
    device = like.device if generator is None else generator.device
    return torch.randn(like.shape, generator=generator, dtype=like.dtype, device=device)
