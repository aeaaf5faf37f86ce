"""Where a flow is poor: the ESS of q(y | t) at fixed torsions t, and that of q(t).

python scripts/ess_given_torsions.py RUN [KELVIN]
"""

from __future__ import annotations

import math
import sys

import torch
from torch import Tensor

import bgp4
from bgp4.energies.batched import BatchedEnergy

TORSIONS, EACH = 128, 128
"""Sets of torsions, and samples of the other variables for each."""


def ess(
    log_weight: Tensor,  # (..., n)
) -> Tensor:  # (...,)
    """Effective sample size, a fraction of 1."""
    weight = torch.softmax(log_weight, -1)
    return 1 / (weight.square().sum(-1) * weight.shape[-1])


@torch.no_grad()
def main(run: str, kelvin: float) -> None:
    """Print both, and the ESS of all samples."""
    model = bgp4.load(run, device="cpu")
    flow = model.flow
    z = flow.draw_latent(TORSIONS * EACH, torch.Generator().manual_seed(1))
    first = flow.standardise.n_linear
    z[:, first:] = z[:TORSIONS, first:].repeat_interleave(EACH, 0)
    made = flow.from_latent(z)
    energy_kt, _ = BatchedEnergy(model.molecule, kelvin).reduced(made.positions_nm)
    log_weight = torch.where(made.valid, -energy_kt - made.log_prob_xyz, -torch.inf)
    by_torsions = log_weight.unflatten(0, (TORSIONS, EACH))
    within = ess(by_torsions).nanmedian()
    across = ess(torch.logsumexp(by_torsions, 1) - math.log(EACH))
    print(f"{run}, {kelvin:g} K: ESS {ess(log_weight):.1%}")
    print(f"at fixed torsions {within:.1%} (median), of the torsions {across:.1%}")


if __name__ == "__main__":
    main(sys.argv[1], float(sys.argv[2]) if len(sys.argv) > 2 else 300.0)
