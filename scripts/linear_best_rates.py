"""Figures 3 to 5 with every method at its best learning rate: iterations to the same loss.

linear_best_rates.py [--seeds N] [--quick]

The figures train all methods at one small rate, where P4Inv follows the path of the matrix itself.
Here the rate is halved, from where it diverges on, until it has become worse twice. The best has
the fewest iterations to the figure's loss, of the first seed; all seeds are trained at it. Prints
a table.
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

RATES, PATIENCE = 8, 2
FIT = LinearFit(iterations=20_000, records=1)
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
    print("| figure | method | best rate | iterations, median | of seeds | ratio |")
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
        rate, found = best_rate(targets, replace(fit, tolerance=tolerance))
        if math.isnan(rate):
            most = fit.iterations
            yield f"{name} | none | more than {most:,} | | more than {most / least:,.0f}"
            continue
        middle = median(found)
        least = middle if fit.method == "direct" else least
        each = ", ".join(f"{n:,.0f}" for n in found)
        yield f"{name} | {rate:.3g} | {middle:,.0f} | {each} | {middle / least:,.0f}"


def best_rate(targets: Mapping[int, Tensor], fit: LinearFit) -> tuple[float, list[float]]:
    """The rate at which the first seed takes the fewest iterations, and those of every seed.

    NaN and nothing where that seed converges at none.
    No rate is tried for longer than the best so far has taken.
    """
    first, best, least, worse = next(iter(targets)), math.nan, math.inf, 0
    highest = 1 if fit.method == "direct" else 4 / len(targets[first])  # |v|^2 is about n
    for k in range(RATES):
        rate = highest / 2**k
        limit = int(min(fit.iterations, least))
        tried = replace(fit, learning_rate=rate, iterations=limit)
        found = iterations(targets[first], tried, first)
        worse = 0 if found < least else worse + (least < math.inf)
        if found < least:
            best, least = rate, found
        if worse == PATIENCE:
            break
    if math.isnan(best):
        return best, []
    at_best = replace(fit, learning_rate=best)
    return best, [iterations(target, at_best, seed) for seed, target in targets.items()]


def iterations(target: Tensor, fit: LinearFit, seed: int) -> float:
    """Until the fit's loss is reached, or infinite."""
    trace = fit_linear(target, fit, seed)
    return trace.finished if trace.converged else math.inf


if __name__ == "__main__":
    main()
