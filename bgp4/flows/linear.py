"""`nn.Linear` by the faster of two libraries: conditioners spend most of their time in products."""

from __future__ import annotations

from torch import Tensor, nn

from bgp4.kernels.p4 import kernel_for

__all__ = ["Linear"]


class Linear(nn.Linear):
    """`nn.Linear`, by oneDNN where `kernels/p4.cpp` knows that to be faster."""

    def forward(self, input: Tensor) -> Tensor:
        kernel = kernel_for(input, self.weight)
        if kernel and input.dim() == 2 and kernel.by_one_dnn(input, self.weight):
            y: Tensor = kernel.linear(input, self.weight, self.bias)
            return y
        return super().forward(input)
