"""What is known of a run's ensemble: its weights, and how it compares with an independent MD."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bgp4.answers.free_energy import free_energies
from bgp4.config import Config
from bgp4.data.judging import judging_frames
from bgp4.dynamics.simulate import config_of
from bgp4.errors import UserInputError
from bgp4.molecule.molecule import Molecule
from bgp4.molecule.states import members, members_by_symmetry, states
from bgp4.molecule.symmetry import symmetries
from bgp4.pipeline.judgement import Evidence, StateEvidence, disagrees
from bgp4.report.result import DATA_BLOCKS, RunResult
from bgp4.report.torsions import wrong_chirality
from bgp4.sampling.refined import RefinedStatistics
from bgp4.statistics.bennett import End, two_ended_difference
from bgp4.statistics.chains import effective_draws, in_chains, split_r_hat
from bgp4.statistics.samples import Samples
from bgp4.statistics.tail import tail_shape
from bgp4.statistics.weights import (
    bootstrap,
    bootstrap_error,
    effective_sample_size_clipped,
    effective_sample_size_growth,
)

__all__ = [
    "chains_of",
    "evidence_of_chains",
    "evidence_of_md",
    "evidence_of_refined",
    "evidence_of_run",
    "state_draws",
]

Array = NDArray[np.float64]

MOST_DRAWS = 1e6
"""What a share is worth that follows from the molecule's symmetry."""

PIECES = 8
"""Of a trajectory whose chains are not known: they are judged as if they were chains."""

RARE = 0.01
"""States of a smaller share do not say whether chains agree."""


def chains_of(reference: Path) -> int:
    """How many chains a trajectory is made of, one after the other."""
    try:
        return config_of(reference).simulate.stacks
    except UserInputError:
        return PIECES


def evidence_of_run(run: RunResult, asked: int, chains: int) -> Evidence:
    """Of a flow's weighted samples.

    Args:
        run: With frames of an independent simulation.
        asked: Effective samples.
        chains: That these frames are made of.
    """
    log_weight, n = run.safe_log_weight, run.n_samples
    if not run.accepted.any():
        return Evidence(asked, n, 0.0)
    weights, effective = run.weights, n * run.samples.ess
    quarter, whole = effective_sample_size_growth(log_weight, (max(n // 4, 1), n))
    heavier, draws = _heavier_frames(run, chains)
    frames = _frames_by_symmetry(run)
    mirrored: NDArray[np.bool_] = np.any(run.wrong_chirality, axis=1)
    return Evidence(
        asked=asked,
        n_samples=n,
        effective=effective,
        ess_clipped=effective_sample_size_clipped(log_weight),
        largest_weight=float(weights.max()),
        tail=tail_shape(log_weight),
        growth=float(whole / quarter) if quarter else math.nan,
        states=_states(run, frames, chains),
        free_energies_kt=_free_energies(run),
        uncovered=heavier,
        uncovered_draws=draws,
        mirrored=float(run.sample_weights_in_space @ mirrored) if len(mirrored) else math.nan,
        reference_r_hat=_reference_r_hat(run, frames, chains),
    )


def evidence_of_refined(
    run: RunResult, refined: Samples, statistics: RefinedStatistics, asked: int, chains: int
) -> Evidence:
    """Of refined chains, beside the same reference.

    Args:
        run: That was refined.
        refined: States of the chains, all chains after a cycle at a time.
        statistics: Of the chains.
        asked: Effective samples.
        chains: That the reference's frames are made of.
    """
    inside = members(run.states, refined.positions_nm, run.topology).astype(np.float64)
    cycles = len(inside) // statistics.chains
    by_chain = inside[: cycles * statistics.chains].reshape(cycles, statistics.chains, -1)
    draws = [effective_draws(by_chain[:, :, i].T) for i in range(len(run.states))]
    share, frames = inside.mean(axis=0), _frames_by_symmetry(run)
    compared = tuple(
        StateEvidence(state.label, float(p), _binomial_error(float(p), n), n, float(q), m)
        for state, p, n, q, m in zip(
            *(run.states, share, draws, frames.mean(axis=0), state_draws(frames, chains)),
            strict=True,
        )
    )
    positions = (run.data_positions_nm, run.reference_positions_nm, run.stereocentres)
    mirrored = wrong_chirality(refined.positions_nm, *positions).any(axis=1)
    return Evidence(
        asked=asked,
        n_samples=len(inside),
        effective=statistics.effective if statistics.agree else 0.0,
        states=compared,
        mirrored=float(mirrored.mean()),
        reference_r_hat=_reference_r_hat(run, frames, chains),
        r_hat=statistics.r_hat,
    )


def evidence_of_chains(
    config: Config,
    molecule: Molecule,
    positions_nm: NDArray[np.floating],  # (frames, atoms, 3), chain after chain
    energy: Array,  # (frames,), in any unit
    asked: int,
    chains: int,
) -> Evidence:
    """Of a simulation alone, whose chains are all that there is to judge it by."""
    topology = molecule.topology
    watched = tuple(states(topology, config))
    inside = members(watched, positions_nm, topology)
    frames = members_by_symmetry(
        *(watched, positions_nm, topology), symmetries(topology, molecule.positions_nm)
    )
    share, draws = inside.mean(axis=0), state_draws(inside.astype(np.float64), chains)
    known, worth = frames.mean(axis=0), state_draws(frames, chains)
    common = [i for i in range(len(watched)) if RARE < known[i] < 1 - RARE]
    series = in_chains(np.column_stack([energy, frames[:, common]]), chains)
    r_hat = max(map(split_r_hat, series))
    return Evidence(
        asked=asked,
        n_samples=len(inside),
        effective=min([effective_draws(series[0]), *(worth[i] for i in common)]),
        states=tuple(
            StateEvidence(state.label, float(p), _binomial_error(float(p), n), n, math.nan, 0.0)
            for state, p, n in zip(watched, share, draws, strict=True)
        ),
        r_hat=r_hat,
        is_md=True,
    )


def evidence_of_md(config: Config, molecule: Molecule, path: Path, asked: int) -> Evidence:
    """Of a trajectory that `make_reference` wrote."""
    report = config.report.model_copy(update={"reference": str(path)})
    frames = judging_frames(config.model_copy(update={"report": report}), molecule)
    energy = frames.energy_kjmol
    assert energy is not None
    return evidence_of_chains(config, molecule, frames.positions_nm, energy, asked, chains_of(path))


def state_draws(
    frames: Array,  # (frames, states), chain after chain, by symmetry or not
    chains: int,
) -> list[float]:  # (states,)
    """Independent frames that each state's share is worth; of states that never change, as few as
    of any.
    """
    found = [_worth(values) for values in in_chains(frames, chains)]
    changes = [0 < share < 1 for share in frames.mean(axis=0)]
    fewest = min((d for d, moving in zip(found, changes, strict=True) if moving), default=1.0)
    return [d if moving else fewest for d, moving in zip(found, changes, strict=True)]


def _worth(
    values: Array,  # (chains, states)
) -> float:
    """Independent frames with the same error of the mean; all there may be if it has none."""
    share, variance = values.mean(), values.var()
    if variance * MOST_DRAWS <= share * (1 - share):
        return MOST_DRAWS
    return min(effective_draws(values) * float(share * (1 - share) / variance), MOST_DRAWS)


def _frames_by_symmetry(run: RunResult) -> Array:  # (frames, states)
    groups = symmetries(run.topology, run.reference_positions_nm)
    return members_by_symmetry(run.states, run.data_positions_nm, run.topology, groups)


def _states(run: RunResult, frames: Array, chains: int) -> tuple[StateEvidence, ...]:
    if not run.states:
        return ()
    inside, weights = run.sample_states, run.sample_weights_in_space
    share = weights @ inside
    variance = (weights[:, None] ** 2 * (inside - share) ** 2).sum(axis=0)
    replicates = bootstrap(
        lambda drawn: (drawn @ inside) / max(drawn.sum(), np.finfo(float).tiny),
        *(weights, run.bootstrap, run.rng()),
    )
    errors = np.atleast_1d(bootstrap_error(replicates))
    every = zip(
        *(run.states, share, errors, variance),
        *(frames.mean(axis=0), state_draws(frames, chains)),
        strict=True,
    )
    found = [
        StateEvidence(
            state.label,
            float(p),
            float(error),
            float(p * (1 - p) / var) if var > 0 and 0 < p < 1 else float(run.n_effective),
            float(q),
            draws,
        )
        for state, p, error, var, q, draws in every
    ]
    return tuple(
        _with_both_ends(run, state, place) if disagrees(state, len(found)) else state
        for place, state in enumerate(found)
    )


def _with_both_ends(run: RunResult, state: StateEvidence, place: int) -> StateEvidence:
    """With the estimate that does not depend on the reference's crossings."""
    work = _work(run)
    if work is None:
        return state
    known, accepted = np.isfinite(work), run.accepted[run.in_space]
    samples = End(-run.safe_log_weight[run.accepted], run.sample_states[accepted, place])
    frames = End(work[known], run.data_states[known, place])
    found = two_ended_difference(samples, frames, run.bootstrap, run.rng(), DATA_BLOCKS)
    return state._replace(both_ends_kt=found.value_kt, both_ends_error_kt=found.error_kt)


def _binomial_error(share: float, n: float) -> float:
    return math.sqrt(max(share * (1 - share), 0.0) / max(n, 1.0))


def _work(run: RunResult) -> Array | None:
    """u + log q of held-out frames, (frames,), NaN for those that trained the flow."""
    if run.data_log_prob is None or np.isnan(run.data_log_prob).all():
        return None
    return run.data_energy_kt + run.data_log_prob


def _free_energies(run: RunResult) -> tuple[tuple[float, float], ...]:
    work = _work(run)
    if work is None:
        return ()
    found = free_energies(run.samples, md_work_kt=work[np.isfinite(work)], seed=run.seed)
    both = (found.by_weights, found.by_bar)
    return tuple((one.value, one.error) for one in both if one is not None)


def _heavier_frames(run: RunResult, chains: int) -> tuple[float, float]:
    """Share of the frames that weigh more than any sample, and independent ones behind it."""
    work = _work(run)
    if work is None:
        return math.nan, 0.0
    heavier = -work > run.safe_log_weight.max()
    known = np.isfinite(work)
    return float(heavier[known].mean()), effective_draws(in_chains(heavier[:, None], chains)[0])


def _reference_r_hat(run: RunResult, frames: Array, chains: int) -> float:
    share = frames.mean(axis=0)
    common = frames[:, (share > RARE) & (share < 1 - RARE)]
    return max(map(split_r_hat, in_chains(np.column_stack([run.data_energy_kt, common]), chains)))
