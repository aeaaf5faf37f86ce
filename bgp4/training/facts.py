"""What run.json says of a training: where it came from, and what it cost."""

from __future__ import annotations

import math
from typing import Any

from bgp4.config import Config
from bgp4.data.frames import Frames, Split
from bgp4.data.provenance import provenance
from bgp4.energies.base import Energy
from bgp4.flows.generator import BoltzmannGenerator
from bgp4.molecule.molecule import Molecule
from bgp4.parallel.hardware import gpu_facts
from bgp4.storage.files import sha256
from bgp4.training.checkpoint import Counters

__all__ = ["facts_at_end", "facts_at_start"]


def facts_at_start(
    config: Config,
    molecule: Molecule,
    model: BoltzmannGenerator,
    energy: Energy,
    frames: Frames,
    split: Split,
) -> dict[str, Any]:
    """Provenance, sizes and data of a run."""
    return {
        **provenance(config, molecule),
        "device": str(model.device),
        **({"gpu": gpu} if (gpu := gpu_facts(model.device)) else {}),
        "training_energy": type(energy).__name__,
        "n_parameters": sum(p.numel() for p in model.parameters()),
        "n_linear": model.standardise.n_linear,
        "n_circular": model.standardise.n_circular,
        "n_constraints": len(molecule.constraints),
        "data": _data(config, frames, split),
    }


def _data(config: Config, frames: Frames, split: Split) -> dict[str, Any]:
    if not frames.paths:
        begun_at_k = config.data.temperature_k or config.temperature_k
        return {"source": "energies alone", "begun_at_k": begun_at_k}
    return {
        "path": [str(path) for path in frames.paths],
        "sha256": [sha256(path) for path in frames.paths],
        "frames": len(frames.positions_nm),
        "heldout": len(split.heldout),
        **({"cooler_k": [rung.temperature_k for rung in frames.cooler]} if frames.cooler else {}),
        "cis_left_out": frames.n_cis,
        "constrained_bonds": len(frames.constrained),
    }


def facts_at_end(counters: Counters) -> dict[str, Any]:
    """The best model, and counts and times of all steps."""
    best = counters.best_log_likelihood
    return {
        "log_likelihood_heldout": best if math.isfinite(best) else None,
        "best_step": counters.best_step,
        "n_energy_evaluations": counters.energy_evaluations,
        "n_rejected_energies": counters.rejected_energies,
        "n_replaced_workers": counters.replaced_workers,
        "n_skipped_steps": counters.skipped_steps,
        "n_divergences": counters.divergences,
        "core_hours": round(counters.cpu_s / 3600, 4),
        "p4_merges": counters.p4_merges,
        "p4_rejected_merges": counters.p4_rejected,
        "p4_nonfinite": counters.p4_nonfinite,
        "wall_time_s": {f"train_{k}": round(v, 1) for k, v in counters.wall_s.items() if v},
    }
