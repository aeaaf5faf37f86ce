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
from bgp4.energies.select import weighing_energy
from bgp4.run import RunFolder
from bgp4.sampling.generate import generate, load_trained
from bgp4.sampling.reweight import clip_log_weights, effective_sample_size
from bgp4.training.loop import train

VARIANTS = {
    "P4Inv, hybrid (default)": [],
    "permutation, hybrid": ["model.mixing=permutation"],
    "LU, hybrid": ["model.mixing=lu"],
    "P4Inv, affine": ["model.coupling=affine"],
    "P4Inv, spline": ["model.coupling=spline", "model.blocks=3"],
}
PROBE_STEPS = 40
SAMPLES = 20_000


def configured(overrides: list[str], seed: int, steps: int) -> Config:
    return load_config(
        "ala2_annealed.yaml", [*overrides, f"seed={seed}", f"training.steps={steps}"]
    )


def cpu_seconds_per_step(overrides: list[str], folder: Path) -> float:
    """Mean over a run's phases, start-up apart: from two runs of different lengths."""
    spent = []
    for steps in (PROBE_STEPS, 3 * PROBE_STEPS):
        shutil.rmtree(folder, ignore_errors=True)
        started = time.process_time()
        train(configured(overrides, 0, steps), folder)
        spent.append(time.process_time() - started)
    shutil.rmtree(folder)
    return (spent[1] - spent[0]) / (2 * PROBE_STEPS)


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
        "steps": trained.config.training.steps,
        "parameters": info["n_parameters"],
        "train_s": sum(v for k, v in info["wall_time_s"].items() if k.startswith("train")),
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
    for seed in range(options.seeds):
        for name, overrides in VARIANTS.items():
            runs = done.setdefault(name, [])
            if len(runs) > seed:
                continue
            steps = runs[0]["steps"] if runs else 0
            if not steps:
                per_step = cpu_seconds_per_step(overrides, options.folder / "probe")
                steps = int(60 * options.minutes / per_step)
            run = options.folder / f"{name.replace(', ', '-').split(' ')[0]}-{seed}"
            shutil.rmtree(run, ignore_errors=True)
            runs.append(judged(train(configured(overrides, seed, steps), run)))
            path.write_text(json.dumps(done, indent=2) + "\n")
    print("| flow | parameters | steps | ESS, raw | ESS, top 1e-4 clipped |\n|---|---|---|---|---|")
    for name, runs in done.items():
        raw, clipped = ([100 * run[key] for run in runs] for key in ("ess_raw", "ess_clipped"))
        print(
            f"| {name} | {runs[0]['parameters']:,} | {runs[0]['steps']:,} "
            + "".join(f"| {mean(ess):.1f} ± {stdev(ess):.1f} % " for ess in (raw, clipped))
            + "|"
        )


if __name__ == "__main__":
    main()
