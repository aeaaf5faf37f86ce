"""Averages of a poor flow by reweighting and by refining, against a reference, over seeds.

    python scripts/refined_averages.py runs/poor --truth ala2 -n 20000 --seeds 5

For each watched state and for the helix (ψ between -100 and 52 degrees): the truth, the mean of the
estimates over seeds, their scatter, the error that each claims, and the root mean square of
(estimate - truth) / error, which is 1 where error bars are right. Costs are energies and processor
time of one seed.
"""

from __future__ import annotations

import argparse
import math
import time
from pathlib import Path

import mdtraj
import numpy as np
from numpy.typing import NDArray

from bgp4.energies.base import Energy
from bgp4.molecule.states import members, states
from bgp4.sampling.draw import energy_of_weights
from bgp4.sampling.generate import TrainedRun, generate, load_trained
from bgp4.sampling.refined import RefinedChains
from bgp4.statistics.chains import effective_draws
from bgp4.statistics.samples import Samples, concatenated
from bgp4.statistics.weights import bootstrap, bootstrap_error
from bgp4.training.run import RunFolder

Array = NDArray[np.float64]
HELIX_DEG = (-100.0, 52.0)


def observables(trained: TrainedRun, positions_nm: NDArray) -> dict[str, Array]:
    """Indicators, (n,), of states and of the helix."""
    topology = trained.molecule.topology
    watched = states(topology, trained.config)
    inside = members(watched, positions_nm, topology).astype(float)
    found = {state.label: inside[:, i] for i, state in enumerate(watched)}
    frames = mdtraj.Trajectory(np.asarray(positions_nm, np.float32), topology)
    for i, psi in enumerate(np.degrees(mdtraj.compute_psi(frames)[1]).T):
        low, high = HELIX_DEG
        found[f"helix {i + 1}"] = ((psi > low) & (psi < high)).astype(float)
    return found


def by_weights(samples: Samples, values: Array) -> tuple[float, float]:
    """Weighted mean and its bootstrap error."""
    weights = samples.weights
    drawn = bootstrap(lambda w: w @ values / w.sum(), weights, 200, np.random.default_rng(0))
    return float(weights @ values), float(bootstrap_error(drawn))


def by_chains(values: Array, chains: int) -> tuple[float, float]:
    """Mean of states, all chains after a cycle at a time, and its error."""
    cycles = len(values) // chains
    series = values[: cycles * chains].reshape(cycles, chains).T
    share = float(series.mean())
    return share, math.sqrt(max(share * (1 - share), 1e-12) / effective_draws(series))


Estimates = dict[str, tuple[float, float]]


def reweighted(trained: TrainedRun, energy: Energy, n: int, seed: int) -> Estimates:
    samples = concatenated(list(generate(trained.model, n, seed, energy)))
    found = observables(trained, samples.positions_nm)
    return {label: by_weights(samples, values) for label, values in found.items()}


def refined(trained: TrainedRun, energy: Energy, n: int, seed: int) -> Estimates:
    chains = RefinedChains(trained, energy, seed)
    samples = concatenated(list(chains.states(n)))
    found = observables(trained, samples.positions_nm)
    n_chains = chains.statistics.chains
    return {label: by_chains(values, n_chains) for label, values in found.items()}


def measured(
    trained: TrainedRun, method: str, n: int, seeds: int
) -> tuple[list[Estimates], int, float]:
    """Estimates of each seed; energies and processor seconds of one."""
    estimate = {"reweighted": reweighted, "refined": refined}[method]
    with energy_of_weights(trained, trained.config.temperature_k) as energy:
        started = time.process_time()
        found = [estimate(trained, energy, n, seed) for seed in range(seeds)]
        taken = time.process_time() - started
        return found, energy.n_evaluations // seeds, taken / seeds


def main() -> None:
    parser = argparse.ArgumentParser(description=str(__doc__).split("\n\n")[0])
    parser.add_argument("runs", nargs="+", type=Path)
    parser.add_argument(
        "--truth", type=Path, required=True, help="A good run of the same molecule."
    )
    parser.add_argument("-n", type=int, default=20_000)
    parser.add_argument("--seeds", type=int, default=5)
    asked = parser.parse_args()
    good = load_trained(RunFolder.find(asked.truth))
    (truth,), *_ = measured(good, "reweighted", 5 * asked.n, 1)
    print("| run | by | of | truth | mean | scatter | claimed error | rms z | energies | CPU s |")
    print("|---|---|---|---|---|---|---|---|---|---|")
    for path in asked.runs:
        trained = load_trained(RunFolder.find(path))
        for method in ("reweighted", "refined"):
            found, energies, cpu_s = measured(trained, method, asked.n, asked.seeds)
            for label, (right, wrong_by) in truth.items():
                values, errors = np.array([one[label] for one in found]).T
                z = (values - right) / np.hypot(errors, wrong_by).clip(1e-9)
                print(
                    f"| {path.name} | {method} | {label} | {100 * right:.2f} % | "
                    f"{100 * values.mean():.2f} % | {100 * values.std(ddof=1):.2f} % | "
                    f"{100 * errors.mean():.2f} % | {math.sqrt((z**2).mean()):.1f} | "
                    f"{energies:,} | {cpu_s:.0f} |"
                )


if __name__ == "__main__":
    main()
