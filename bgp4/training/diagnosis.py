"""Why a training can't go on: the term, and the coordinate or tensor, that is not finite."""

from __future__ import annotations

import math

import mdtraj
import torch
from torch import Tensor

from bgp4.flows.generator import BoltzmannGenerator
from bgp4.training.step import StepResult

__all__ = ["coordinate_names", "diagnose"]

LOOKED_AT = 4096
"""Frames, or samples, at most."""

USUAL = 6.0
"""Standard deviations within which a coordinate is not to blame."""


def coordinate_names(model: BoltzmannGenerator, topology: mdtraj.Topology) -> list[str]:
    """Names of the columns of x, such as `angle ACE1-H1, ACE1-CH3, ACE1-H2`."""
    zmatrix, rows = model.coordinates.zmatrix, model.coordinates.zmatrix.rows
    a, b, c = zmatrix.root
    named: list[tuple[str, tuple[int, ...]]] = [("bond", (a, b)), ("bond", (b, c))]
    named += [("distance" if row.ear else "bond", row.atoms[:2]) for row in rows]
    named.append(("angle", (a, b, c)))
    for row in rows:
        angle = ("bend" if row.bends else "angle", row.atoms[:3])
        named.append(("distance", (row.atom, row.angle)) if row.ear else angle)
    named += [("bend" if row.bends else "torsion", row.atoms) for row in rows]
    atoms = list(topology.atoms)
    of_q = [f"{kind} {', '.join(str(atoms[i]) for i in indices)}" for kind, indices in named]
    return [of_q[i] for i in model.standardise.order.tolist()]


@torch.no_grad()
def diagnose(
    model: BoltzmannGenerator,
    topology: mdtraj.Topology,
    x_train: Tensor,  # (frames, features)
    result: StepResult,
    terms: list[str],
) -> str:
    """What is not finite after a step that was skipped, in a few words.

    Args:
        terms: Those that the step's loss had: likelihood, energy.
    """
    if wrong := [name for name, t in model.state_dict().items() if not _finite(t)]:
        return f"the flow itself is not, in {_listed(wrong)}"
    values = {"likelihood": result.nll, "energy": result.kl}
    broken = [term for term in terms if not math.isfinite(values[term])]
    found = [
        f"the {term} ({values[term]:g}{_where(model, topology, x_train, term)})" for term in broken
    ]
    gradients = [
        n for n, p in model.named_parameters() if p.grad is not None and not _finite(p.grad)
    ]
    if gradients and not broken:
        found.append(f"the gradient of {_listed(gradients)} ({' and '.join(terms)} being finite)")
    return " and ".join(found) or "the sum of all terms"


def _where(model: BoltzmannGenerator, topology: mdtraj.Topology, x_train: Tensor, term: str) -> str:
    """The coordinate that stands out among the conformations that a term is not finite for."""
    if term == "likelihood":
        x, kind = x_train[:LOOKED_AT], "frames"
        bad = ~model.log_prob_x(x).isfinite()
    else:
        z = model.draw_latent(LOOKED_AT, torch.Generator().manual_seed(0))
        x, kind = model.transform.inverse(z)[0], "samples"
        bad = ~model.conformations(x.double(), x.new_zeros(len(x)).double()).possible
    if not bad.any():
        return ""
    size = x[bad].double().abs().nan_to_num(nan=math.inf).mean(0)
    counted = f": of {int(bad.sum())} of {len(x)} {kind}, "
    if size.max() < USUAL:
        return f"{counted}with {_largest(model)}"
    name = coordinate_names(model, topology)[int(size.argmax())]
    off = "not finite" if size.max().isinf() else f"{size.max():.3g} standard deviations off"
    return f"{counted}{name} is {off}"


def _largest(model: BoltzmannGenerator) -> str:
    """The parameter that has the largest value."""
    sizes = {name: float(p.abs().max()) for name, p in model.named_parameters() if p.numel()}
    name = max(sizes, key=sizes.__getitem__)
    return f"values up to {sizes[name]:.3g} in {name}"


def _finite(tensor: Tensor) -> bool:
    return bool(tensor.isfinite().all())


def _listed(names: list[str]) -> str:
    more = f" and {len(names) - 1} more" if len(names) > 1 else ""
    return f"{names[0]}{more}"
