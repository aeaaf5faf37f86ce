"""`p4.cpp`, compiled against the installed torch: P4Inv on a CPU."""

from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from bgp4.kernels.compiled import load_compiled

__all__ = ["Kernel", "eager", "kernel_for", "load_kernel", "serves", "within_torch_func"]

SOURCE = Path(__file__).with_name("p4.cpp")
TORCH = Path(torch.__file__).parent
INCLUDE = TORCH / "include"
DTYPES = (torch.float32, torch.float64)
FLAGS = (
    "-std=c++20",
    f"-D_GLIBCXX_USE_CXX11_ABI={int(torch.compiled_with_cxx11_abi())}",
    *("-fassociative-math", f"-I{INCLUDE}", f"-I{INCLUDE / 'torch' / 'csrc' / 'api' / 'include'}"),
    *(f"-L{TORCH / 'lib'}", "-ltorch_cpu", "-lc10"),
)


class Kernel(NamedTuple):
    """The operators: `P4Forward`, `P4Inverse`, `perturbation`, a merge in place, and products.

    Those are A B, x W^T + b with its gradients, and whether oneDNN would do x W^T.
    """

    forward: Any
    inverse: Any
    perturbation: Any
    merge: Any
    matmul: Any
    linear: Any
    by_one_dnn: Any


def kernel_for(tensor: Tensor, of_layer: Tensor | None = None) -> Kernel | None:
    """The operators for an input and a layer of this tensor, or None where torch has to serve."""
    return load_kernel() if serves(tensor, of_layer) else None


def serves(tensor: Tensor, of_layer: Tensor | None = None) -> bool:
    """Whether C++ may see these: all on a CPU, and neither compiled nor within torch.func.

    It reads what a pointer points at, which for a GPU's tensor is anybody's memory.
    """
    there = of_layer is None or (of_layer.is_cpu and of_layer.dtype in DTYPES)
    return eager() and there and tensor.is_cpu and tensor.dtype in DTYPES


def eager() -> bool:
    """Whether operations are done as they are called: neither compiled nor within torch.func."""
    return not torch.compiler.is_compiling() and not within_torch_func()


def within_torch_func() -> bool:
    """Whether vmap, grad, jacrev or the like of torch.func looks on."""
    return not torch.compiler.is_compiling() and torch._C._are_functorch_transforms_active()


@cache
def load_kernel() -> Kernel | None:
    """The operators, or None without a C++ compiler."""
    otherwise = "P4Inv layers run in Python, slower where they are small"
    return load_compiled(SOURCE, _load, otherwise, FLAGS, [TORCH / "version.py"])


def _load(library: str) -> Kernel:
    torch.ops.load_library(library)
    names = [f"p4_{name}" for name in Kernel._fields]
    return Kernel(*(getattr(torch.ops.bgp4, name).default for name in names))
