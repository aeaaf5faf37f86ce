"""What a GPU would be told, and how often the host would wait for it, seen on a CPU."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

FREE = {"_unsafe_view", "detach", "lift_fresh", "empty", "empty_like", "new_empty"}
"""Operations that neither are views nor make a GPU do anything."""

WAITS = {"_local_scalar_dense", "nonzero", "is_nonzero", "masked_select", "_unique2", "equal"}
"""Operations that need a number, or a number of elements, from the device."""

READS = ("tolist", "numpy", "cpu")
"""Methods of a tensor that bring it to the host, which no dispatch sees on a CPU."""


class Launches(TorchDispatchMode):
    """Counts operations by name: those that a GPU would compute, and those that wait for it."""

    def __init__(self) -> None:
        super().__init__()
        self.launched: Counter[str] = Counter()
        self.waits: Counter[str] = Counter()
        self.within_triton = False

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func._schema.name.removeprefix("aten::")
        if self.within_triton:  # whose interpreter moves tensors about
            pass
        elif name in WAITS:
            self.waits[name] += 1
        elif not func.is_view and name not in FREE:
            self.launched[name] += 1
        return func(*args, **(kwargs or {}))


class OneDevice(TorchDispatchMode):
    """Refuses operations on tensors of two devices, but for copies and for single numbers."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func._schema.name.removeprefix("aten::")
        values = [v for v in tree_leaves((args, kwargs)) if isinstance(v, Tensor) and v.dim()]
        devices = {value.device.type for value in values}
        if len(devices) > 1 and name not in ("copy_", "_to_copy", "_foreach_copy_"):
            raise AssertionError(f"{name}: tensors of {sorted(devices)}")
        return func(*args, **(kwargs or {}))


class Recorded(TorchDispatchMode):
    """Each operation with all that a CUDA graph would keep of it: shapes, and numbers."""

    def __init__(self) -> None:
        super().__init__()
        self.operations: list[tuple[str, ...]] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func._schema.name.removeprefix("aten::")
        assert name not in WAITS, name
        kept = [
            f"{v.dtype} {tuple(v.shape)}" if isinstance(v, Tensor) else repr(v)
            for v in tree_leaves((args, kwargs))
        ]
        self.operations.append((name, *kept))
        return func(*args, **(kwargs or {}))


@contextmanager
def counted() -> Iterator[Launches]:
    """Count all that the block does; no C++ kernel takes a part of it, as on a GPU."""
    with pytest.MonkeyPatch.context() as patch, Launches() as launches:
        without_kernels(patch)
        for name in READS:
            patch.setattr(Tensor, name, counting(getattr(Tensor, name), name, launches))
        count_triton(patch, launches)
        yield launches


def count_triton(patch: pytest.MonkeyPatch, launches: Launches) -> None:
    """A launch of one of Triton's kernels, interpreted, is one launch."""
    if "triton" not in sys.modules:
        return
    from triton.runtime.interpreter import GridExecutor

    interpret = GridExecutor.__call__

    def launch(*args: Any, **kwargs: Any) -> None:
        launches.launched["triton"] += 1
        launches.within_triton = True
        try:
            interpret(*args, **kwargs)
        finally:
            launches.within_triton = False

    patch.setattr(GridExecutor, "__call__", launch)


def without_kernels(patch: pytest.MonkeyPatch) -> None:
    """On a GPU's tensors no C++ runs."""
    patch.setattr("bgp4.kernels.p4.serves", lambda *_: False)


def counting(method: Callable[..., Any], name: str, launches: Launches) -> Callable[..., Any]:
    """The method, each of whose calls is counted."""

    def call(*args: Any, **kwargs: Any) -> Any:
        launches.waits[name] += not launches.within_triton
        return method(*args, **kwargs)

    return call


def stray_tensors(module: torch.nn.Module) -> Iterator[str]:
    """Names of a module's tensors that are neither parameters nor buffers: `to` leaves them."""
    for path, part in module.named_modules():
        own = {k: v for k, v in vars(part).items() if k not in ("_parameters", "_buffers")}
        own.pop("_modules")
        for name, value in own.items():
            if any(isinstance(leaf, Tensor) for leaf in tree_leaves(value)):
                yield f"{path}.{name}"
