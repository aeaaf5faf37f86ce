"""What each part of the flow is worth: ablation.py FOLDER [--minutes M] [--seeds N].

Trains configs/ala2_annealed.yaml with parts replaced, each for the same CPU time on one thread, and
writes FOLDER/ablation.json and a table. A run that is there is not trained again.
"""

import argparse
import json
import shutil
import time
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import numpy as np
import torch

from bgp4.config import Config, load_config
from bgp4.data import load_frames, split_blocks
from bgp4.energies.select import training_energy, weighing_energy
from bgp4.run import RunFolder
from bgp4.sampling.generate import generate, load_trained
from bgp4.sampling.reweight import clip_log_weights, effective_sample_size
from bgp4.system import load_molecule
from bgp4.training.loop import fitted_generator, train
from bgp4.training.trainer import Trainer

VARIANTS = {
    "P4Inv, hybrid (default)": [],
    "permutation, hybrid": ["model.mixing=permutation"],
    "LU, hybrid": ["model.mixing=lu"],
    "P4Inv, affine": ["model.coupling=affine"],
    "P4Inv, spline": ["model.coupling=spline", "model.blocks=3"],
}
SAMPLES = 20_000
PROBE_STEPS = (1, *range(101, 117))
"""One of likelihood to sixteen with energies, as in the config."""

ROUNDS = 4


def configured(overrides: list[str], seed: int, steps: int) -> Config:
    return load_config(
        "ala2_annealed.yaml", [*overrides, f"seed={seed}", f"training.steps={steps}"]
    )


def cpu_seconds_per_step() -> dict[str, float]:
    """Of each variant, the least of a few rounds in which they take turns."""
    trainers = {}
    for name, overrides in VARIANTS.items():
        config = configured(overrides, 0, 1_000)
        molecule = load_molecule(config.system)
        frames = load_frames(config.data, molecule)
        split = split_blocks(len(frames.positions_nm), config.data.heldout_fraction, 0)
        model = fitted_generator(config, molecule.zmatrix, frames.positions_nm[split.train])
        energy = training_energy(
            config.energies, molecule, config.temperature_k, frames.positions_nm[:16]
        )
        trainers[name] = Trainer(
            config, RunFolder(Path("probe")), model, energy, frames, split, molecule
        )
    spent: dict[str, list[float]] = {name: [] for name in trainers}
    for _ in range(ROUNDS):
        for name, trainer in trainers.items():
            started = time.process_time()
            for step in PROBE_STEPS:
                trainer.step(step)
            spent[name].append((time.process_time() - started) / len(PROBE_STEPS))
    return {name: min(values) for name, values in spent.items()}


def judged(run: RunFolder) -> dict[str, Any]:
    """ESS of fresh samples, and what the training was."""
    trained = load_trained(run)
    frames = trained.molecule.positions_nm[None]
    with weighing_energy(
        trained.config.energies, trained.molecule, trained.config.temperature_k, frames
    ) as energy:
        parts = [part.log_weight for part in generate(trained.model, SAMPLES, 1, energy)]
    log_weight = np.concatenate(parts)
    info = run.info()
    return {
        "ess_raw": effective_sample_size(log_weight),
        "ess_clipped": effective_sample_size(clip_log_weights(log_weight)),
        "parameters": info["n_parameters"],
        "core_hours": info["core_hours"],
    }


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("--minutes", type=float, default=3.0)
    parser.add_argument("--seeds", type=int, default=3)
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)
    path = options.folder / "ablation.json"
    done = json.loads(path.read_text()) if path.is_file() else {}
    if not done:
        per_step = cpu_seconds_per_step()
        done = {
            n: {"steps": int(60 * options.minutes / s), "runs": []} for n, s in per_step.items()
        }
    for seed in range(options.seeds):
        for name, overrides in VARIANTS.items():
            runs = done[name]["runs"]
            if len(runs) > seed:
                continue
            run = options.folder / f"{name.replace(', ', '-').split(' ')[0]}-{seed}"
            shutil.rmtree(run, ignore_errors=True)
            runs.append(judged(train(configured(overrides, seed, done[name]["steps"]), run)))
            path.write_text(json.dumps(done, indent=2) + "\n")
    print("| flow | parameters | steps | ESS, raw | ESS, top 1e-4 clipped |\n|---|---|---|---|---|")
    for name, found in done.items():
        runs = found["runs"]
        raw, clipped = ([100 * run[key] for run in runs] for key in ("ess_raw", "ess_clipped"))
        print(
            f"| {name} | {runs[0]['parameters']:,} | {found['steps']:,} "
            + "".join(f"| {mean(ess):.1f} ± {stdev(ess):.1f} % " for ess in (raw, clipped))
            + "|"
        )


if __name__ == "__main__":
    main()
