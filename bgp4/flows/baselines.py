"""Linear mixing layers other than P4Inv: what it is compared with."""

from __future__ import annotations

import torch
from nflows.transforms.lu import LULinear as _NflowsLULinear
from torch import Tensor

__all__ = ["LULinear"]


class LULinear(_NflowsLULinear):
    """nflows' LU-parametrised linear layer with a working inverse in float32 and float64.

    nflows 0.14 inverts by `torch.triangular_solve`, which PyTorch has deprecated.
    """

    def inverse_no_cache(
        self,
        inputs: Tensor,  # (batch, features)
    ) -> tuple[Tensor, Tensor]:
        lower, upper = self._create_lower_upper()
        outputs = (inputs - self.bias).T
        outputs = torch.linalg.solve_triangular(lower, outputs, upper=False, unitriangular=True)
        outputs = torch.linalg.solve_triangular(upper, outputs, upper=True).T
        return outputs, -self.logabsdet() * inputs.new_ones(len(inputs))
