"""Checkpoints: one safetensors file, written whole or not at all, read without running code.

It holds the model (P4's buffers in mid-cycle included), the best model so far, the optimizer's
moments, every generator's state, what the next row of history needs of the steps before, and the
counters. A bundled model's holds the best model and the counters alone.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from bgp4.errors import UserInputError
from bgp4.storage.files import atomic_write_bytes
from bgp4.training.generators import Generators
from bgp4.training.guard import Guard
from bgp4.training.optimizer import TrainingOptimizer
from bgp4.training.schedule import PHASES, OldFlow, Phase

__all__ = [
    "Counters",
    "load_checkpoint",
    "load_state",
    "read_best",
    "read_counters",
    "save_best_alone",
    "save_checkpoint",
]


@dataclass
class Counters:
    """What a run has counted so far, and learned of itself.

    Attributes:
        ended: Phases that ended earlier than planned, and after which step.
        rate_factor: Of the learning rates, lower after a divergence.
        old: The flow that it began with, of another run.
    """

    step: int = 0
    skipped_steps: int = 0
    skipped_in_a_row: int = 0
    energy_evaluations: int = 0
    rejected_energies: int = 0
    replaced_workers: int = 0
    p4_merges: int = 0
    p4_rejected: int = 0
    p4_nonfinite: int = 0
    best_step: int = 0
    best_phase: str = "ml"
    best_objective: float = 1e300
    best_log_likelihood: float = -1e300
    ended: dict[Phase, int] = field(default_factory=dict)
    rate_factor: float = 1.0
    divergences: int = 0
    guard: Guard = field(default_factory=Guard)
    old: OldFlow | None = None
    cpu_s: float = 0.0
    wall_s: dict[str, float] = field(default_factory=lambda: dict.fromkeys(PHASES, 0.0))

    @classmethod
    def from_json(cls, text: str) -> Counters:
        """What `json.dumps(asdict(...))` wrote, of an earlier version as well."""
        values = json.loads(text)
        old = OldFlow(**values["old"]) if values.get("old") else None
        return cls(**values | {"guard": Guard(**values.get("guard", {})), "old": old})


def save_checkpoint(
    path: Path,
    model: nn.Module,
    best: dict[str, Tensor],
    optimizer: TrainingOptimizer,
    generators: Generators,
    window: dict[str, Tensor],
    counters: Counters,
) -> None:
    """Write everything that a resumed run needs to go on as if it had never stopped."""
    tensors = {f"model.{k}": v for k, v in model.state_dict().items()}
    tensors |= {f"best.{k}": v for k, v in best.items()}
    tensors |= {f"optimizer.{k}": v for k, v in optimizer.tensors().items()}
    for name, generator in _named(generators).items():
        tensors[f"generator.{name}"] = generator.get_state()
    tensors |= {f"window.{k}": v for k, v in window.items()}
    _write(path, tensors, counters)


def save_best_alone(source: Path, target: Path) -> None:
    """Write a checkpoint that samples as `source` does, but that no training goes on from.

    Raises:
        UserInputError: If the source is damaged.
    """
    tensors, counters = _read(source)
    _write(target, {k: v for k, v in tensors.items() if k.startswith("best.")}, counters)


def load_checkpoint(
    path: Path,
    model: nn.Module,
    optimizer: TrainingOptimizer,
    generators: Generators,
) -> tuple[dict[str, Tensor], dict[str, Tensor], Counters]:
    """Restore all in place; returns the best model's state, the window's, and the counters.

    Raises:
        UserInputError: If the file is damaged, belongs to another model, or has the best alone.
    """
    tensors, counters = _read(path)
    if not _with_prefix(tensors, "model."):
        raise UserInputError(
            f"{path}: cannot resume: it holds only a trained model to sample from; "
            "start a new run with --run"
        )
    load_state(path, model, _with_prefix(tensors, "model."))
    try:
        optimizer.restore(_with_prefix(tensors, "optimizer."))
    except KeyError as error:
        raise UserInputError(
            f"{path}: cannot resume: an earlier version of bgp4 wrote it, with another "
            "optimizer; start a new run with --run"
        ) from error
    for name, generator in _named(generators).items():
        generator.set_state(tensors[f"generator.{name}"])
    return _with_prefix(tensors, "best."), _with_prefix(tensors, "window."), counters


def read_best(path: Path) -> dict[str, Tensor]:
    """The state of a run's best model.

    Raises:
        UserInputError: If the file is damaged.
    """
    tensors, _ = _read(path)
    return _with_prefix(tensors, "best.")


def read_counters(path: Path) -> Counters:
    """What a run has counted so far.

    Raises:
        UserInputError: If the file is damaged.
    """
    return _read(path)[1]


def load_state(path: Path, model: nn.Module, state: dict[str, Tensor]) -> None:
    """Load a model's state that came from `path`.

    Raises:
        UserInputError: If it belongs to another model.
    """
    try:
        model.load_state_dict(state)
    except RuntimeError as error:
        reason = " ".join(str(error).split())[:200]
        raise UserInputError(f"{path}: belongs to another model ({reason})") from error


def _write(path: Path, tensors: dict[str, Tensor], counters: Counters) -> None:
    plain = {k: v.detach().cpu().contiguous().clone() for k, v in tensors.items()}
    counted = json.dumps(asdict(counters))
    metadata = {"counters": counted, "sha256": _digest(plain, counted)}
    atomic_write_bytes(path, save(plain, metadata=metadata))


def _read(path: Path) -> tuple[dict[str, Tensor], Counters]:
    try:
        with safe_open(str(path), framework="pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            metadata = file.metadata()
        counters = Counters.from_json(metadata["counters"])
        if metadata["sha256"] != _digest(tensors, metadata["counters"]):
            raise ValueError("its checksum is another: it is damaged")
    except (SafetensorError, OSError, TypeError, KeyError, ValueError) as error:
        raise UserInputError(f"{path}: not a readable checkpoint ({error})") from error
    return tensors, counters


def _digest(tensors: dict[str, Tensor], counted: str) -> str:
    """SHA-256 of names, shapes, types, values and counters."""
    digest = hashlib.sha256(counted.encode())
    for name in sorted(tensors):
        value = tensors[name]
        digest.update(f"{name} {value.dtype} {tuple(value.shape)}".encode())
        digest.update(value.numpy().tobytes())
    return digest.hexdigest()


def _with_prefix(tensors: dict[str, Tensor], prefix: str) -> dict[str, Any]:
    return {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}


def _named(generators: Generators) -> dict[str, torch.Generator]:
    return {"data": generators.data, "latent": generators.latent, "p4": generators.p4}
