"""Figures 3 to 5 with every method at its best learning rate: iterations to the same loss.

linear_best_rates.py [--seeds N] [--quick]

The figures train all methods at one small rate, where P4Inv follows the path of the matrix itself.
Here the rate goes down from 1 by factors of sqrt 2, until it has become worse three times. The best
has the fewest iterations to the figure's loss, median over seeds, of which all converge. Prints a
table.
"""

import argparse
import math
from collections.abc import Iterator, Mapping
from dataclasses import replace
from statistics import median

import torch
from torch import Tensor

from bgp4.studies.paper import fig4, fig5
from bgp4.studies.paper.linear_maps import (
    LinearFit,
    fit_linear,
    positive_definite,
    rotation,
)

RATES = [2 ** (-k / 2) for k in range(20)]
PATIENCE = 3
FIT = LinearFit(iterations=10_000, records=1)
METHODS = {
    "matrix itself": replace(FIT, method="direct"),
    **{f"P4Inv, N = {n}": replace(FIT, merge_every=n) for n in (1, 10, 50)},
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--quick", action="store_true", help="small matrices and a large loss")
    options = parser.parse_args()
    torch.set_num_threads(1)
    print(
        "| figure | method | best rate | iterations, median | of seeds | over the matrix itself |"
    )
    print("|---|---|---|---|---|---|")
    for figure, targets in problems(range(options.seeds), options.quick).items():
        for row in rows(targets, 1e-2 if options.quick else 1e-6):
            print(f"| {figure} | {row} |", flush=True)


def problems(seeds: range, quick: bool) -> dict[str, dict[int, Tensor]]:
    """The figures' targets by seed."""
    dimensions = (6, fig4.QUICK.n, fig5.QUICK.n) if quick else (32, fig4.FULL.n, fig5.FULL.n)
    definite, turned, inverted = dimensions
    return {
        f"3, positive definite, n = {definite}": {
            seed: positive_definite(definite, 4.0, seed) for seed in seeds
        },
        f"4, rotation, n = {turned}": {seed: rotation(turned, seed) for seed in seeds},
        f"5, −I, n = {inverted}": dict.fromkeys(seeds, -torch.eye(inverted, dtype=torch.float64)),
    }


def rows(targets: Mapping[int, Tensor], tolerance: float) -> Iterator[str]:
    """Of each method: its best rate, and what it takes."""
    least = math.nan
    for name, fit in METHODS.items():
        rate, iterations = best_rate(targets, replace(fit, tolerance=tolerance))
        middle = median(iterations)
        least = middle if fit.method == "direct" else least
        each = ", ".join(f"{n:,.0f}" for n in iterations)
        yield f"{name} | {rate:.3g} | {middle:,.0f} | {each} | {middle / least:.1f}"


def best_rate(targets: Mapping[int, Tensor], fit: LinearFit) -> tuple[float, list[float]]:
    """The rate at which all seeds converge in the fewest iterations, and those of each seed.

    No rate is tried for longer than twice what the best so far has taken.
    """
    best, found, worse = math.nan, [math.inf], 0
    for rate in RATES:
        limit = int(min(fit.iterations, 2 * median(found)))
        tried = iterations(targets, replace(fit, learning_rate=rate, iterations=limit))
        if median(tried) < median(found):
            best, found, worse = rate, tried, 0
        elif best > 0:
            worse += 1
        if worse == PATIENCE:
            break
    return best, found


def iterations(targets: Mapping[int, Tensor], fit: LinearFit) -> list[float]:
    """Of each seed; all infinite where one does not converge."""
    found: list[float] = []
    for seed, target in targets.items():
        trace = fit_linear(target, fit, seed)
        if not trace.converged:
            return [math.inf] * len(targets)
        found.append(trace.finished)
    return found


if __name__ == "__main__":
    main()
