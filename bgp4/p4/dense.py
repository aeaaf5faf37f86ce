"""P4 for ordinary networks: a dense layer trained by rank-one updates, no inverse kept.

Figure 10 of Krämer, Köhler, Noé (arXiv 2010.07033): an MLP whose layers learn through u and v
alone. As E[v v^T] = I, the expected change of u v^T is the ordinary gradient step of the matrix.
"""

import math

import torch
from torch import Tensor, nn

from bgp4.p4.linear import standard_normal
from bgp4.p4.rank_one import merged_matrix, product

__all__ = ["P4Dense"]


class P4Dense(nn.Module):
    """y = (A + u v^T) x + b with A a buffer, initialised as ``nn.Linear`` is.

    Args:
        generator: where A, b and v are drawn from; torch's global generator by default.

    >>> layer = P4Dense(5, 2)
    >>> layer(torch.ones(7, 5)).shape
    torch.Size([7, 2])
    >>> layer
    P4Dense(in_features=5, out_features=2, merges=0)
    """

    A: Tensor
    merges: Tensor

    def __init__(
        self,
        in_features: int,
        out_features: int,
        generator: torch.Generator | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        bound = 1 / math.sqrt(in_features)
        A = torch.empty(out_features, in_features, dtype=dtype)
        b = torch.empty(out_features, dtype=dtype)
        self.register_buffer("A", A.uniform_(-bound, bound, generator=generator))
        self.register_buffer("merges", torch.zeros((), dtype=torch.int64))
        self.bias = nn.Parameter(b.uniform_(-bound, bound, generator=generator))
        self.u = nn.Parameter(torch.zeros_like(b))
        self.v = nn.Parameter(standard_normal(A[0], generator))

    def forward(
        self,
        x: Tensor,  # (..., in_features)
    ) -> Tensor:
        """(A + u v^T) x + b, shape (..., out_features)."""
        return product(self.A, self.u, self.v, x) + self.bias

    def weight(self) -> Tensor:
        """A + u v^T, (out_features, in_features)."""
        return merged_matrix(self.A, self.u, self.v)

    @torch.no_grad()
    def merge(
        self,
        generator: torch.Generator | None = None,
    ) -> None:
        """Moves u v^T into A, then u = 0 and v ~ N(0, I); the map stays the same."""
        merged_matrix(self.A, self.u, self.v, out=self.A)
        self.merges.add_(1)
        self.reset_perturbation(generator)

    @torch.no_grad()
    def reset_perturbation(
        self,
        generator: torch.Generator | None = None,
    ) -> None:
        """u = 0 and v ~ N(0, I), dropping the perturbation."""
        self.u.zero_()
        self.v.copy_(standard_normal(self.v, generator))

    def extra_repr(self) -> str:
        out_features, in_features = self.A.shape
        return (
            f"in_features={in_features}, out_features={out_features}, merges={self.merges.item()}"
        )
