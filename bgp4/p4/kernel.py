"""`kernel.cpp`, compiled against the installed torch: P4Inv on a CPU."""

from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import torch

from bgp4.compiled import load_compiled

__all__ = ["Kernel", "load_kernel"]

SOURCE = Path(__file__).with_name("kernel.cpp")
TORCH = Path(torch.__file__).parent
INCLUDE = TORCH / "include"
FLAGS = (
    "-std=c++20",
    f"-D_GLIBCXX_USE_CXX11_ABI={int(torch.compiled_with_cxx11_abi())}",
    *("-fassociative-math", f"-I{INCLUDE}", f"-I{INCLUDE / 'torch' / 'csrc' / 'api' / 'include'}"),
    *(f"-L{TORCH / 'lib'}", "-ltorch_cpu", "-lc10"),
)


class Kernel(NamedTuple):
    """The operators, of the arguments of `P4Forward` and of `P4Inverse`."""

    forward: Any
    inverse: Any


@cache
def load_kernel() -> Kernel | None:
    """The operators, or None without a C++ compiler."""
    otherwise = "P4Inv layers run in Python, slower where they are small"
    return load_compiled(SOURCE, _load, otherwise, FLAGS, [TORCH / "version.py"])


def _load(library: str) -> Kernel:
    torch.ops.load_library(library)
    return Kernel(torch.ops.bgp4.p4_forward.default, torch.ops.bgp4.p4_inverse.default)
