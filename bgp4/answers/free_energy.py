r"""Absolute free energies of a run's molecule, by its weights and from both ends.

The configuration integral over the internal coordinates,

.. math:: Z = \int \exp(-E / kT) \prod b^2 \prod \sin θ\, dq,

has the unit nm^(3N - 6): translation (a volume V) and rotation (8π²) are left out, and so are the
momenta, which depend on masses and temperature alone. Atoms are labelled: Z counts each
arrangement of equivalent atoms that the flow makes. With constrained bonds it is the integral over
the others, nm^(3N - 6 - constraints), by the measure that constrained MD samples.

A flow with density q gives Z = <exp(-E / kT) / q>, the mean over all its samples. With the mean
energy U, the entropy is S / k = U / kT + ln Z.
"""

from __future__ import annotations

from typing import NamedTuple

import mdtraj
import networkx as nx
import numpy as np
from numpy.typing import NDArray

from bgp4.answers.ensembles import RunEnsemble
from bgp4.answers.weighted import BLOCKS, REPEATS, Estimate
from bgp4.errors import UserInputError
from bgp4.molecule.topology import bond_graph
from bgp4.sampling.density import heldout_log_prob
from bgp4.sampling.draw import energy_of_weights
from bgp4.statistics.bennett import two_ended
from bgp4.statistics.samples import Samples
from bgp4.statistics.weights import bootstrap, bootstrap_error
from bgp4.units import kjmol_to_kt

__all__ = [
    "FreeEnergies",
    "differences",
    "free_energies",
    "free_energies_of_run",
    "refuse_incomparable",
]

Array = NDArray[np.float64]


class FreeEnergies(NamedTuple):
    """Of an ensemble, all in kT of its temperature.

    Attributes:
        by_weights: F / kT = -ln Z, from the flow's weights.
        mean_energy: U / kT.
        entropy: S / k = U / kT + ln Z, in the units of Z.
        by_bar: F / kT by Bennett's acceptance ratio; None without held-out MD frames.
        unit: Of Z, such as nm^60.
    """

    by_weights: Estimate
    mean_energy: Estimate
    entropy: Estimate
    by_bar: Estimate | None
    unit: str

    @property
    def estimates(self) -> tuple[Estimate, ...]:
        """All of them, those that there are."""
        every = (self.by_weights, self.by_bar, self.mean_energy, self.entropy)
        return tuple(one for one in every if one is not None)


def free_energies(
    samples: Samples,
    n_constraints: int = 0,
    md_work_kt: Array | None = None,  # (frames,)
    of_chain: bool = False,
    seed: int = 0,
) -> FreeEnergies:
    """From samples of a flow, and MD frames that it did not learn from.

    Args:
        samples: The flow's own, rejected ones among them.
        n_constraints: Of the System.
        md_work_kt: E / kT + log q of MD frames in time order.
        of_chain: Whether the samples are states of a chain instead, which do not say Z.
        seed: Of the bootstrap.

    Raises:
        UserInputError: If the samples are states of a chain, or none has a weight.
    """
    log_weight = samples.safe_log_weight
    accepted = np.isfinite(log_weight)
    if not accepted.any():
        raise UserInputError("free energy: expected weighted samples, found none with a weight")
    if of_chain:
        raise UserInputError(
            "free energy: expected the flow's own samples, found states of a chain, whose equal "
            "weights do not say Z; draw samples without --unbiased and --refine"
        )
    shift, n = float(log_weight[accepted].max()), len(log_weight)
    energy_kt = np.where(accepted, samples.energy_kt, 0.0)

    def statistic(weights: Array) -> Array:
        total = weights.sum()
        with np.errstate(divide="ignore"):  # a replicate may have none
            free = -(np.log(total / n) + shift)
        mean = weights @ energy_kt / max(total, np.finfo(float).tiny)
        return np.array([free, mean, mean - free])

    weights = np.exp(log_weight - shift)
    replicates = bootstrap(statistic, weights, REPEATS, np.random.default_rng(seed))
    named = zip(
        ("F = -kT ln Z", "U", "S / k"),
        *(statistic(weights), bootstrap_error(replicates)),
        strict=True,
    )
    own = [Estimate(name, float(value), float(error), "kT") for name, value, error in named]
    by_bar = None
    if md_work_kt is not None and len(md_work_kt):
        rng = np.random.default_rng(seed)
        found = two_ended(-log_weight[accepted], n, md_work_kt, REPEATS, rng, BLOCKS)
        by_bar = Estimate("F by BAR", *found, "kT")
    exponent = 3 * samples.positions_nm.shape[1] - 6 - n_constraints
    return FreeEnergies(own[0], own[1], own[2]._replace(unit=""), by_bar, f"nm^{exponent}")


def free_energies_of_run(ensemble: RunEnsemble, seed: int = 0) -> FreeEnergies:
    """Of a run, with BAR where it has MD frames of the temperature that it did not learn from."""
    trained, frames = ensemble.trained, ensemble.frames
    work = None
    if frames is not None and ensemble.temperature_k == trained.config.temperature_k:
        log_prob = heldout_log_prob(trained, frames)
        if log_prob is not None:
            work = _work(ensemble, frames.positions_nm, log_prob)
    held = len(trained.molecule.constraints)
    return free_energies(ensemble.samples, held, work, ensemble.equal, seed)


def _work(ensemble: RunEnsemble, positions_nm: NDArray[np.floating], log_prob: Array) -> Array:
    known = np.isfinite(log_prob)
    with energy_of_weights(ensemble.trained, ensemble.temperature_k) as energy:
        found = energy.evaluate(positions_nm[known]).energy_kjmol
    work: Array = kjmol_to_kt(found, ensemble.temperature_k) + log_prob[known]
    return work[np.isfinite(work)]


def differences(first: FreeEnergies, second: FreeEnergies) -> list[Estimate]:
    """Second minus first, with the errors of both."""
    named = {
        "ΔF": (first.by_weights, second.by_weights),
        "ΔF by BAR": (first.by_bar, second.by_bar),
        "ΔU": (first.mean_energy, second.mean_energy),
        "TΔS": (first.entropy, second.entropy),
    }
    return [
        Estimate(name, b.value - a.value, float(np.hypot(a.error, b.error)), "kT")
        for name, (a, b) in named.items()
        if a is not None and b is not None
    ]


def refuse_incomparable(first: RunEnsemble, second: RunEnsemble) -> str | None:
    """Raise UserInputError unless a difference of two free energies means something.

    Returns:
        What a user should know of it, or None.
    """
    topologies = [one.trained.molecule.topology for one in (first, second)]
    formulas = [_formula(topology) for topology in topologies]
    if formulas[0] != formulas[1]:
        raise UserInputError(
            f"compare: expected the same atoms, found {formulas[0]} in {first.name} and "
            f"{formulas[1]} in {second.name}; energies of different atoms have no common zero"
        )
    held = [len(one.trained.molecule.constraints) for one in (first, second)]
    if held[0] != held[1]:
        raise UserInputError(
            f"compare: {first.name} has {held[0]} constrained bonds and {second.name} {held[1]}; "
            "their Z have different units; train both with the same constraints"
        )
    if first.temperature_k != second.temperature_k:
        raise UserInputError(
            f"compare: {first.name} is at {first.temperature_k:g} K and {second.name} at "
            f"{second.temperature_k:g} K; set one temperature by --temperature"
        )
    graphs = [_labelled(topology) for topology in topologies]
    same = nx.is_isomorphic(*graphs, node_match=lambda a, b: a["element"] == b["element"])
    if same:
        return None
    return (
        "the two have different bonds: a force field's energies of these have no common zero, and "
        "the difference means something only with energies that do (quantum chemistry, or a "
        "potential trained on it)"
    )


def _formula(topology: mdtraj.Topology) -> str:
    symbols = [atom.element.symbol for atom in topology.atoms]
    return "".join(f"{s}{symbols.count(s)}" for s in sorted(set(symbols)))


def _labelled(topology: mdtraj.Topology) -> nx.Graph:
    graph = bond_graph(topology)
    elements = {atom.index: atom.element.symbol for atom in topology.atoms}
    nx.set_node_attributes(graph, elements, "element")
    return graph
