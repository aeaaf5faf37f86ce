"""Recipes of training side by side, at equal CPU time on one thread.

    compare_recipes.py FOLDER [--config NAME ...] [--steps N] [--seeds N] [--recipes FILE.yaml]
        [--set key=value ...]

A recipe is a name and the overrides of `bgp4 train --set`, after those that all of them share. The
first takes N steps, each other as many as take the same CPU time, by the clock of a few steps in
which all take turns. Writes FOLDER/recipes.json and prints a table for each config. What is there
is not trained again; what was interrupted goes on.
"""

import argparse
import json
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import numpy as np
import torch
import yaml
from numpy.typing import NDArray
from scipy import stats

from bgp4.config import Config, load_config
from bgp4.data.frames import load_frames, split_blocks
from bgp4.energies.select import training_energy, weighing_energy
from bgp4.molecule.molecule import load_molecule
from bgp4.sampling.generate import generate, load_trained
from bgp4.statistics.weights import clip_log_weights, effective_sample_size
from bgp4.storage.files import atomic_write_text
from bgp4.training.run import RunFolder
from bgp4.training.train import fitted_generator, train
from bgp4.training.trainer import Trainer

SAMPLES = 20_000
ROUNDS = 4
PROBE_STEPS = 16
"""With energies, after one of likelihood."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--config", nargs="+", default=["ala2_annealed.yaml"])
    parser.add_argument("--steps", type=int, default=1758)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--recipes", type=Path, default=Path(__file__).with_name("recipes.yaml"))
    parser.add_argument("--set", nargs="+", default=[], metavar="KEY=VALUE")
    options = parser.parse_args()
    torch.set_num_threads(1)
    read = yaml.safe_load(options.recipes.read_text())
    recipes = {recipe: [*options.set, *overrides] for recipe, overrides in read.items()}
    options.folder.mkdir(parents=True, exist_ok=True)
    path = options.folder / "recipes.json"
    results = json.loads(path.read_text()) if path.is_file() else {}
    for name in options.config:
        found = with_steps(results.get(name, {}), name, recipes, options.steps)
        results[name] = found
        for seed in range(options.seeds):
            for recipe, overrides in recipes.items():
                entry = found[recipe]
                if str(seed) not in entry["runs"]:
                    config = configured(name, overrides, seed, entry["steps"])
                    run = options.folder / Path(name).stem / f"{slug(recipe)}-{seed}"
                    entry["runs"][str(seed)] = judged(trained(config, run))
                    atomic_write_text(path, json.dumps(results, indent=2) + "\n")
        print(f"\n{name}\n\n" + "\n".join(table({r: found[r] for r in recipes})))


def with_steps(
    known: dict[str, Any], name: str, recipes: dict[str, list[str]], steps: int
) -> dict[str, Any]:
    """Of each recipe how many steps it takes; those that are new, or have changed, are probed."""
    first = next(iter(recipes))
    kept = {r: known[r] for r in recipes if r in known and known[r]["overrides"] == recipes[r]}
    if first in kept and kept[first]["steps"] != steps:
        raise SystemExit(f"{name}: begun with {kept[first]['steps']} steps; take another folder")
    new = {r: recipes[r] for r in recipes if r not in kept}
    if new:
        seconds = cpu_seconds_per_step(name, {first: recipes[first], **new})
        for recipe, overrides in new.items():
            n = round(steps * seconds[first] / seconds[recipe])
            kept[recipe] = {"overrides": overrides, "steps": n, "runs": {}}
    return kept


def configured(name: str, overrides: list[str], seed: int, steps: int) -> Config:
    return load_config(name, [*overrides, f"seed={seed}", f"training.steps={steps}"])


def cpu_seconds_per_step(name: str, recipes: dict[str, list[str]]) -> dict[str, float]:
    """Of each recipe, the least of a few rounds in which they take turns."""
    trainers = {r: a_trainer(configured(name, sets, 0, 1000)) for r, sets in recipes.items()}
    spent: dict[str, list[float]] = {recipe: [] for recipe in recipes}
    for _ in range(ROUNDS):
        for recipe, trainer in trainers.items():
            likelihood = trainer.schedule.lengths["ml"]
            steps = (1, *range(likelihood + 1, likelihood + 1 + PROBE_STEPS))
            started = time.process_time()
            for step in steps:
                trainer.step(step)
            spent[recipe].append((time.process_time() - started) / len(steps))
    return {recipe: min(values) for recipe, values in spent.items()}


def a_trainer(config: Config) -> Trainer:
    """Ready to step, and without a folder."""
    molecule = load_molecule(config.system)
    frames = load_frames(config.data, molecule)
    split = split_blocks(len(frames.positions_nm), config.data.heldout_fraction, 0)
    model = fitted_generator(
        config, molecule.zmatrix, frames.positions_nm[split.train], molecule.constraints
    )
    some = frames.positions_nm[split.heldout][:16]
    energy = training_energy(config.energies, molecule, config.temperature_k, some)
    return Trainer(config, RunFolder(Path("none")), model, energy, frames, split, molecule)


def trained(config: Config, path: Path) -> RunFolder:
    """The run of a config, gone on with where it was begun."""
    begun = RunFolder(path).checkpoint_path.is_file()
    if begun and RunFolder(path).config() != config:
        raise SystemExit(f"{path}: a run of another config; remove it")
    return train(config, path, resume=begun, device="cpu")


def judged(run: RunFolder) -> dict[str, Any]:
    """ESS of fresh samples, and what the training took."""
    trained = load_trained(run)
    config, frames = trained.config, trained.molecule.positions_nm[None]
    with weighing_energy(config.energies, trained.molecule, config.temperature_k, frames) as energy:
        parts = [part.log_weight for part in generate(trained.model, SAMPLES, 1, energy)]
    log_weight = np.concatenate(parts)
    info = run.info()
    return {
        "kl_less_log_z": trimmed_mean(-log_weight),
        "ess_raw": effective_sample_size(log_weight),
        "ess_clipped": effective_sample_size(clip_log_weights(log_weight)),
        "parameters": info["n_parameters"],
        "energies": info["n_energy_evaluations"],
        "skipped_steps": info["n_skipped_steps"],
        "core_hours": info["core_hours"],
    }


def trimmed_mean(
    values: NDArray[np.float64],  # (n,)
) -> float:
    """Without the lowest and highest hundredth."""
    return float(stats.trim_mean(values, 0.01))


def slug(recipe: str) -> str:
    return "".join(c if c.isalnum() or c in "-." else "_" for c in recipe)


def table(found: dict[str, Any]) -> Iterator[str]:
    titles = (
        "recipe",
        "parameters",
        "steps",
        "energies",
        "core-hours",
        "KL - log Z, trimmed",
        "ESS, raw",
        "clipped",
        "runs",
    )
    yield "| " + " | ".join(titles) + " |"
    yield len(titles) * "|---" + "|"
    for recipe, entry in found.items():
        runs = list(entry["runs"].values())
        hours = mean(run["core_hours"] for run in runs)
        esss = (spread([100 * run[key] for run in runs]) for key in ("ess_raw", "ess_clipped"))
        kl = spread([run["kl_less_log_z"] for run in runs], digits=2)
        counts = (runs[0]["parameters"], entry["steps"], runs[0]["energies"])
        cells = [*(f"{n:,}" for n in counts), f"{hours:.3f}", f"{kl} kT"]
        cells += [f"{ess} %" for ess in esss]
        yield f"| {recipe} | {' | '.join(cells)} | {len(runs)} |"


def spread(values: list[float], digits: int = 1) -> str:
    of_many = f" ± {stdev(values):.{digits}f}" if len(values) > 1 else ""
    return f"{mean(values):.{digits}f}{of_many}"


if __name__ == "__main__":
    main()
