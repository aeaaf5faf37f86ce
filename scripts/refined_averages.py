"""Averages of a poor flow by reweighting, by refining and by annealing, against the truth.

    python scripts/refined_averages.py runs/poor --truth ala2 -n 20000 --seeds 5
    python scripts/refined_averages.py runs/poor --truth ala4_300k.h5 --annealed 2048

The truth is that of a good run's weights, or of parallel tempering's frames. Annealing is by
`annealed_populations.py`, in `POPULATIONS` populations.

For each watched state and for the helix (ψ between -100 and 52 degrees): the truth, the mean of the
estimates over seeds, their scatter, the error that each claims, and the root mean square of
(estimate - truth) / error, which is 1 where error bars are right. Costs are energies and processor
time of one seed. Last come R-hat of each seed's refined chains, above 1.05 of which `bgp4 run` does
not trust them.
"""

from __future__ import annotations

import argparse
import math
import time
from pathlib import Path

import mdtraj
import numpy as np
from annealed_populations import population
from numpy.typing import NDArray

from bgp4.energies.base import Energy
from bgp4.molecule.states import members, states
from bgp4.pipeline.evidence import chains_of
from bgp4.sampling.draw import energy_of_weights
from bgp4.sampling.generate import TrainedRun, generate, load_trained
from bgp4.sampling.refined import RefinedChains
from bgp4.statistics.chains import effective_draws, in_chains
from bgp4.statistics.samples import Samples, concatenated
from bgp4.statistics.weights import bootstrap, bootstrap_error, normalised_weights
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

R_HAT = "R-hat"
"""Not an observable: what the chains say of themselves."""

POPULATIONS = 4


def reweighted(trained: TrainedRun, energy: Energy, n: int, seed: int) -> Estimates:
    samples = concatenated(list(generate(trained.model, n, seed, energy)))
    found = observables(trained, samples.positions_nm)
    return {label: by_weights(samples, values) for label, values in found.items()}


def refined(trained: TrainedRun, energy: Energy, n: int, seed: int) -> Estimates:
    chains = RefinedChains(trained, energy, seed)
    samples = concatenated(list(chains.states(n)))
    found = observables(trained, samples.positions_nm)
    statistics = chains.statistics
    estimates = {label: by_chains(values, statistics.chains) for label, values in found.items()}
    return estimates | {R_HAT: (statistics.r_hat, 0.0)}


def annealed(trained: TrainedRun, energy: Energy, n: int, seed: int) -> Estimates:
    """Each population counts by its normalising constant; the error is from their scatter."""
    made = [
        population(trained, energy, n // POPULATIONS, POPULATIONS * seed + i)
        for i in range(POPULATIONS)
    ]
    weights = normalised_weights([log_z for _, log_z, _ in made])
    by_population = [observables(trained, x) for x, *_ in made]
    found = {}
    for label in by_population[0]:
        means = np.array([values[label].mean() for values in by_population])
        mean = float(weights @ means)
        found[label] = mean, math.sqrt(float(weights**2 @ (means - mean) ** 2))
    return found


def of_frames(path: Path, trained: TrainedRun) -> Estimates:
    """Of parallel tempering, by its chains."""
    frames = mdtraj.load(str(path))
    found = observables(trained, frames.xyz)
    chains = chains_of(path)
    share = {label: float(values.mean()) for label, values in found.items()}
    return {
        label: (p, math.sqrt(p * (1 - p) / effective_draws(in_chains(found[label], chains)[0])))
        for label, p in share.items()
    }


def measured(
    trained: TrainedRun, method: str, n: int, seeds: int
) -> tuple[list[Estimates], int, float]:
    """Estimates of each seed; energies and processor seconds of one."""
    estimate = {"reweighted": reweighted, "refined": refined, "annealed": annealed}[method]
    with energy_of_weights(trained, trained.config.temperature_k) as energy:
        started = time.process_time()
        found = [estimate(trained, energy, n, seed) for seed in range(seeds)]
        taken = time.process_time() - started
        return found, energy.n_evaluations // seeds, taken / seeds


def main() -> None:
    parser = argparse.ArgumentParser(description=str(__doc__).split("\n\n")[0])
    parser.add_argument("runs", nargs="+", type=Path)
    parser.add_argument(
        "--truth", type=Path, required=True, help="A good run, or frames of parallel tempering."
    )
    parser.add_argument("--annealed", type=int, default=0, help="Conformations; 0 for none.")
    parser.add_argument("-n", type=int, default=20_000)
    parser.add_argument("--seeds", type=int, default=5)
    asked = parser.parse_args()
    if asked.truth.suffix == ".h5":
        truth = of_frames(asked.truth, load_trained(RunFolder.find(asked.runs[0])))
    else:
        good = load_trained(RunFolder.find(asked.truth))
        (truth,), *_ = measured(good, "reweighted", 5 * asked.n, 1)
    sizes = {"reweighted": asked.n, "refined": asked.n, "annealed": asked.annealed}
    print("| run | by | of | truth | mean | scatter | claimed error | rms z | energies | CPU s |")
    print("|---|---|---|---|---|---|---|---|---|---|")
    r_hats = []
    for path in asked.runs:
        trained = load_trained(RunFolder.find(path))
        for method, n in sizes.items():
            if not n:
                continue
            found, energies, cpu_s = measured(trained, method, n, asked.seeds)
            for label, (right, wrong_by) in truth.items():
                values, errors = np.array([one[label] for one in found]).T
                z = (values - right) / np.hypot(errors, wrong_by).clip(1e-9)
                print(
                    f"| {path.name} | {method} | {label} | {100 * right:.2f} % | "
                    f"{100 * values.mean():.2f} % | {100 * values.std(ddof=1):.2f} % | "
                    f"{100 * errors.mean():.2f} % | {math.sqrt((z**2).mean()):.1f} | "
                    f"{energies:,} | {cpu_s:.0f} |",
                    flush=True,
                )
            if R_HAT in found[0]:
                r_hats.append(f"{path.name}: {', '.join(f'{one[R_HAT][0]:.2f}' for one in found)}")
    print(*r_hats, sep="\n")


if __name__ == "__main__":
    main()
