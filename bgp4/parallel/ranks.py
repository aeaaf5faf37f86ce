"""Several processes at work on one run, as torchrun starts them.

All ranks draw the same random numbers and each works on its own share of a batch; sums over the
ranks are those of the whole batch. A process that torchrun did not start is one rank by itself: all
of this is then the identity, and torch.distributed is never set up.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta

import torch
import torch.distributed as dist
from torch import Tensor

from bgp4.errors import RunError, UserInputError
from bgp4.parallel.hardware import full_precision

__all__ = ["ALONE", "CPU", "Ranks", "device_named", "is_writer", "joined"]

WRITER = 0

SILENT_S = 600
"""After which a process is given up by the others."""

CPU = torch.device("cpu")


@dataclass(frozen=True)
class Ranks:
    """One process's place among those of a run, and what they do together.

    Attributes:
        rank: Which of them this is, from 0.
        size: How many there are.
        local_size: How many of them are on this machine.
        device: Where this one computes.
    """

    rank: int = 0
    size: int = 1
    local_size: int = 1
    device: torch.device = CPU

    @property
    def is_writer(self) -> bool:
        """Whether this is the rank that writes files and reports progress."""
        return self.rank == WRITER

    def share(self, n: int) -> slice:
        """This rank's part of n rows.

        >>> [Ranks(rank, size=3).share(8) for rank in range(3)]
        [slice(0, 2, None), slice(2, 5, None), slice(5, 8, None)]
        """
        return slice(n * self.rank // self.size, n * (self.rank + 1) // self.size)

    def of_machine(self, n: int) -> int:
        """This rank's part of n cores or workers of its machine, at least one."""
        return max(1, n // self.local_size)

    def total(self, *values: float) -> tuple[float, ...]:
        """The sum of each value over the ranks."""
        if self.size == 1:
            return values
        summed = torch.tensor(values, dtype=torch.float64)
        _add_up(summed)
        return tuple(summed.tolist())

    def sum_(self, tensors: Iterable[Tensor]) -> None:
        """Replace each tensor by its sum over the ranks, all in one message."""
        if self.size == 1:
            return
        kept = list(tensors)
        flat = torch.cat([t.flatten() for t in kept])
        _add_up(flat)
        for tensor, summed in zip(kept, flat.split([t.numel() for t in kept]), strict=True):
            tensor.copy_(summed.view_as(tensor))

    def gather(
        self,
        part: Tensor,  # (share of n, ...)
        n: int,
    ) -> Tensor:  # (n, ...)
        """All n rows, of which each rank has its share; without gradient."""
        if self.size == 1:
            return part.detach()
        whole = part.new_zeros(n, *part.shape[1:])
        whole[self.share(n)] = part.detach()
        _add_up(whole)
        return whole

    def send(self, tensors: Iterable[Tensor]) -> None:
        """Tensors on the CPU to the writer, which has to `receive` them."""
        for tensor in tensors:
            with _with_the_others():
                dist.send(tensor.contiguous(), WRITER)

    def receive(self, tensors: Iterable[Tensor], source: int) -> None:
        """Fill tensors with those that rank `source` sends."""
        for tensor in tensors:
            with _with_the_others():
                dist.recv(tensor, source)


ALONE = Ranks()


def _add_up(values: Tensor) -> None:
    """Replace them by their sum over the ranks.

    GPUs that add up wait for one that has failed as long as for one that is slow. CPUs notice at
    once, so that they meet first.
    """
    with _with_the_others():
        if values.device.type == "cuda":
            dist.all_reduce(torch.zeros(()))
        dist.all_reduce(values)


@contextmanager
def _with_the_others() -> Iterator[None]:
    """What torch.distributed says where a process is missing, in plain words."""
    try:
        yield
    except RuntimeError as error:
        raise RunError(
            "torchrun: another process of this run has ended, or has been silent for "
            f"{SILENT_S} s; see its own message ({' '.join(str(error).split())[:200]})"
        ) from error


def is_writer() -> bool:
    """Whether this process is the one of its run that writes files and reports progress."""
    return not dist.is_torchelastic_launched() or int(os.environ["RANK"]) == WRITER


@contextmanager
def joined(device: str) -> Iterator[Ranks]:
    """Join the processes that torchrun started with this one, while the block runs.

    All but the writer log errors alone. An exception leaves the others' next sum without its
    partner, and so ends them too.

    Args:
        device: auto, cpu or cuda; of several CUDA devices, each process of a machine takes its own.

    Raises:
        UserInputError: If there is no such device.
    """
    if not dist.is_torchelastic_launched() or int(os.environ["WORLD_SIZE"]) == 1:
        with full_precision():
            yield Ranks(device=device_named(device))
        return
    names = ("RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE", "LOCAL_RANK")
    rank, size, local_size, local_rank = (int(os.environ[name]) for name in names)
    ranks = Ranks(rank, size, local_size, device_named(device, local_rank))
    backend = "cpu:gloo,cuda:nccl" if ranks.device.type == "cuda" else "gloo"
    dist.init_process_group(backend, timeout=timedelta(seconds=SILENT_S))
    ranks.total(0)  # none goes on, and writes, before all have checked their input
    if not ranks.is_writer:
        logging.getLogger("bgp4").setLevel(logging.ERROR)
    with full_precision():
        yield ranks
    ranks.total(0)  # none ends, and takes its connections along, before all are done
    dist.destroy_process_group()


def device_named(name: str, local_rank: int | None = None) -> torch.device:
    """The device that auto, cpu or cuda is here; of several GPUs, that of a process.

    Raises:
        UserInputError: If there is no such device.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if name == "cuda" and not torch.cuda.is_available():
        raise UserInputError("--device cuda: torch finds no CUDA device here; use cpu or auto")
    if name == "cpu" or local_rank is None:
        return torch.device(name)
    if local_rank >= torch.cuda.device_count():
        raise UserInputError(
            f"--device cuda: expected a CUDA device for each process, found "
            f"{torch.cuda.device_count()}; lower torchrun's --nproc-per-node"
        )
    torch.cuda.set_device(local_rank)
    return torch.device(name, local_rank)
