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
from bgp4.molecule.states import State, members, states
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
    mirrored: NDArray[np.bool_] = np.any(run.wrong_chirality, axis=1)
    return Evidence(
        asked=asked,
        n_samples=n,
        effective=effective,
        ess_clipped=effective_sample_size_clipped(log_weight),
        largest_weight=float(weights.max()),
        tail=tail_shape(log_weight),
        growth=float(whole / quarter) if quarter else math.nan,
        states=_states(run, chains),
        free_energies_kt=_free_energies(run),
        uncovered=heavier,
        uncovered_draws=draws,
        mirrored=float(run.sample_weights_in_space @ mirrored) if len(mirrored) else math.nan,
        reference_r_hat=_reference_r_hat(run, chains),
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
    share, md = inside.mean(axis=0), run.data_states.mean(axis=0)
    compared = tuple(
        StateEvidence(state.label, float(p), _binomial_error(float(p), n), n, float(q), m)
        for state, p, n, q, m in zip(
            run.states, share, draws, md, state_draws(run.data_states, chains), strict=True
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
        reference_r_hat=_reference_r_hat(run, chains),
        r_hat=statistics.r_hat,
    )


def evidence_of_chains(
    watched: tuple[State, ...],
    inside: NDArray[np.bool_],  # (frames, states), chain after chain
    energy: Array,  # (frames,), in any unit
    asked: int,
    chains: int,
) -> Evidence:
    """Of a simulation alone, whose chains are all that there is to judge it by."""
    draws, share = state_draws(inside, chains), inside.mean(axis=0)
    common = [i for i in range(len(watched)) if RARE < share[i] < 1 - RARE]
    series = in_chains(np.column_stack([energy, inside[:, common]]), chains)
    r_hat = max(map(split_r_hat, series))
    return Evidence(
        asked=asked,
        n_samples=len(inside),
        effective=min([effective_draws(series[0]), *(draws[i] for i in common)]),
        states=tuple(
            StateEvidence(state.label, float(p), _binomial_error(float(p), n), n, math.nan, 0.0)
            for state, p, n in zip(watched, share, draws, strict=True)
        ),
        reference_r_hat=r_hat,
        r_hat=r_hat,
    )


def evidence_of_md(config: Config, molecule: Molecule, path: Path, asked: int) -> Evidence:
    """Of a trajectory that `make_reference` wrote."""
    report = config.report.model_copy(update={"reference": str(path)})
    frames = judging_frames(config.model_copy(update={"report": report}), molecule)
    watched = tuple(states(molecule.topology, config))
    inside = members(watched, frames.positions_nm, molecule.topology)
    energy = frames.energy_kjmol
    assert energy is not None
    return evidence_of_chains(watched, inside, energy, asked, chains_of(path))


def state_draws(
    inside: NDArray[np.bool_],  # (frames, states), chain after chain
    chains: int,
) -> list[float]:  # (states,)
    """Independent frames for each state; for states that never change, as few as for any."""
    found = [effective_draws(values) for values in in_chains(inside, chains)]
    changes = [0 < share < 1 for share in inside.mean(axis=0)]
    fewest = min((d for d, moving in zip(found, changes, strict=True) if moving), default=1.0)
    return [d if moving else fewest for d, moving in zip(found, changes, strict=True)]


def _states(run: RunResult, chains: int) -> tuple[StateEvidence, ...]:
    if not run.states:
        return ()
    inside, weights = run.sample_states, run.sample_weights_in_space
    share, md = weights @ inside, run.data_states.mean(axis=0)
    variance = (weights[:, None] ** 2 * (inside - share) ** 2).sum(axis=0)
    replicates = bootstrap(
        lambda drawn: (drawn @ inside) / max(drawn.sum(), np.finfo(float).tiny),
        *(weights, run.bootstrap, run.rng()),
    )
    errors = np.atleast_1d(bootstrap_error(replicates))
    every = zip(
        run.states, share, errors, variance, md, state_draws(run.data_states, chains), strict=True
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


def _reference_r_hat(run: RunResult, chains: int) -> float:
    share = run.data_states.mean(axis=0)
    common = run.data_states[:, (share > RARE) & (share < 1 - RARE)]
    return max(map(split_r_hat, in_chains(np.column_stack([run.data_energy_kt, common]), chains)))
