"""Independent trainings of one architecture as one batched computation."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Generator, Tensor, nn
from torch.func import functional_call, stack_module_state, vmap
from torch.nn import functional as F

from bgp4.p4 import P4Schedule, merge_step
from bgp4.studies.paper.mnist import Digits

__all__ = ["Curves", "SGDSettings", "fit_replicas"]

Make = Callable[[Generator], nn.Module]


@dataclass(frozen=True)
class SGDSettings:
    """Plain SGD: no momentum, no decay.

    Attributes:
        epochs: Passes over the images, each in a new order for each replica.
        batch: Images a step.
        learning_rate: Constant.
        merge_every: N, steps between merges of rank-one updates.
    """

    epochs: int
    batch: int
    learning_rate: float
    merge_every: int


@dataclass(frozen=True)
class Curves:
    """What replicas did, epoch by epoch.

    Attributes:
        loss: Mean cross-entropy over an epoch's batches, (epochs, replicas).
        accuracy: On the test images after the epoch, (epochs, replicas).
    """

    loss: Tensor
    accuracy: Tensor


class Replicas:
    """Models of one architecture whose parameters and buffers are slices of stacked tensors.

    The stack is what is computed and trained with; each model remains a module of its own, whose
    in-place changes, such as merges, show in the stack.
    """

    def __init__(self, models: Sequence[nn.Module]) -> None:
        self.models = models
        self.parameters, self.buffers = stack_module_state(list(models))
        self.template = copy.deepcopy(models[0]).to("meta")
        for i, model in enumerate(models):
            for name, parameter in model.named_parameters():
                parameter.data = self.parameters[name].data[i]
            for name, buffer in model.named_buffers():
                buffer.data = self.buffers[name][i]

    def __call__(
        self,
        x: Tensor,  # (replicas, batch, features)
    ) -> Tensor:
        """Each model on its own batch, (replicas, batch, outputs)."""
        return self._map(x, 0)

    def on_all(
        self,
        x: Tensor,  # (batch, features)
    ) -> Tensor:
        """Each model on the same batch, (replicas, batch, outputs)."""
        return self._map(x, None)

    def _map(self, x: Tensor, axis: int | None) -> Tensor:
        def call(parameters: dict[str, Tensor], buffers: dict[str, Tensor], x: Tensor) -> Tensor:
            y: Tensor = functional_call(self.template, (parameters, buffers), (x,))
            return y

        y: Tensor = vmap(call, (0, 0, axis))(self.parameters, self.buffers, x)
        return y


def fit_replicas(
    make: Make,
    train: Digits,
    test: Digits,
    settings: SGDSettings,
    seeds: Sequence[int],
    report: Callable[[int], None] = lambda epoch: None,
) -> Curves:
    """Train a classifier for each seed, which alone decides its start, batches and merges."""
    generators = [Generator().manual_seed(seed) for seed in seeds]
    replicas = Replicas([make(generator) for generator in generators])
    optimizer = torch.optim.SGD(replicas.parameters.values(), settings.learning_rate)
    schedule = P4Schedule(merge_every=settings.merge_every)
    losses, accuracies, step = [], [], 0
    for epoch in range(settings.epochs):
        order = torch.stack([torch.randperm(len(train.labels), generator=g) for g in generators])
        total = torch.zeros(len(seeds))
        batches = order.split(settings.batch, dim=1)
        for index in batches:
            step += 1
            loss = _cross_entropy(replicas(train.images[index]), train.labels[index])
            optimizer.zero_grad()
            loss.sum().backward()
            optimizer.step()
            for model, generator in zip(replicas.models, generators, strict=True):
                merge_step(model, None, step, schedule, generator)
            total += loss.detach()
        losses.append(total / len(batches))
        accuracies.append(_accuracy(replicas, test))
        report(epoch + 1)
    return Curves(torch.stack(losses), torch.stack(accuracies))


def _cross_entropy(
    logits: Tensor,  # (replicas, batch, classes)
    labels: Tensor,  # (replicas, batch)
) -> Tensor:
    """Cross-entropy of each replica, (replicas,)."""
    return F.cross_entropy(logits.transpose(1, 2), labels, reduction="none").mean(1)


@torch.no_grad()
def _accuracy(replicas: Replicas, test: Digits) -> Tensor:
    """Share of digits that each replica gets right, (replicas,)."""
    batches = zip(test.images.split(TEST_BATCH), test.labels.split(TEST_BATCH), strict=True)
    right = sum((replicas.on_all(x).argmax(-1) == y).sum(1) for x, y in batches)
    return torch.as_tensor(right) / len(test.labels)


TEST_BATCH = 1000
