"""The molecules of scripts/gpu_check.py, and training steps of their flows."""

from __future__ import annotations

import math
from pathlib import Path

import torch

from bgp4.config import Config, load_config
from bgp4.coordinates import fit_standardise, internal_coordinates
from bgp4.energies.batched import BatchedEnergy
from bgp4.flows.build import build_generator
from bgp4.molecule.molecule import Molecule, load_molecule
from bgp4.parallel.hardware import full_precision
from bgp4.storage.bundled import bundled_configs
from bgp4.training.generators import Generators
from bgp4.training.objective import Objective
from bgp4.training.optimizer import TrainingOptimizer
from bgp4.training.run import RunFolder
from bgp4.training.schedule import Schedule
from bgp4.training.step import train_step

__all__ = ["Steps", "bundled_ala2", "in_batches", "peptides"]


def bundled_ala2() -> tuple[Config, Molecule]:
    """The default run's config, and its molecule without openmmtools, which makes test systems."""
    return load_config("ala2.yaml"), RunFolder.find(Path("ala2")).molecule()


def peptides() -> dict[str, tuple[Config, Molecule]]:
    """Alanine dipeptide and what other peptides have a config."""
    found = {"ala2": bundled_ala2()}
    for name in ("ala4", "ala6"):
        if f"{name}.yaml" in bundled_configs():
            config = load_config(f"{name}.yaml")
            found[name] = config, load_molecule(config.system)
    return found


class Steps:
    """Training steps of an untrained flow, on made-up frames: as fast as those of real ones."""

    def __init__(
        self, config: Config, molecule: Molecule, device: torch.device, dtype: torch.dtype
    ) -> None:
        coordinates = internal_coordinates(molecule.zmatrix, molecule.constraints)
        generator = torch.Generator().manual_seed(0)
        start = torch.as_tensor(molecule.positions_nm).reshape(1, -1).double()
        q = coordinates(start)[0].repeat(1000, 1)
        q += 0.02 * torch.randn(q.shape, generator=generator, dtype=q.dtype) * q.abs()
        circles = q[:, -(q.shape[1] // 12) :]
        circles.copy_(math.pi * (2 * torch.rand(circles.shape, generator=generator) - 1))
        made = fit_standardise(q, molecule.n_atoms - 3, "auto", fixed=coordinates.fixed)
        model = build_generator(config, coordinates, made).to(device)
        model.transform.to(dtype)
        energy = BatchedEnergy(molecule, config.temperature_k, dtype, device)
        x = made.cpu()(q)[0].to(device, dtype)
        model.to(device)
        schedule = Schedule.of(config, 1000.0)
        self.objective = Objective(model, energy, x, config.training, schedule)
        self.optimizer = TrainingOptimizer(model, config.training.optimizer)
        self.generators = Generators.from_seed(config.seed)
        self.first = {"likelihood": 1, "energies": schedule.lengths["ml"] + 1}

    def __call__(self, step: int) -> dict[str, float]:
        with full_precision():
            made = train_step(self.objective, self.optimizer, step, 1e-4, self.generators)
        return {"loss": made.loss, "norm": made.gradient_norm}


def in_batches(config: Config, size: int) -> Config:
    changed = config.training.model_copy(update={"batch_size": size, "energy_batch_size": size})
    return config.model_copy(update={"training": changed})
