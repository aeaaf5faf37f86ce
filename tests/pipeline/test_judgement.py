"""Verdicts: good ensembles are called so, and each made bad on purpose by its name."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path

import mdtraj
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bgp4.pipeline.evidence import MOST_DRAWS, chains_of, evidence_of_run, state_draws
from bgp4.pipeline.judgement import Evidence, StateEvidence, judge
from bgp4.pipeline.verdict import Grade, Judgement, Trust
from bgp4.report.collect import collect_run
from bgp4.report.result import RunResult
from bgp4.storage.bundled import find_data
from bgp4.training.run import RunFolder

ASKED = 9000


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> RunResult:
    """The bundled model of alanine dipeptide, which is good."""
    path = tmp_path_factory.mktemp("judged") / "samples.h5"
    return dataclasses.replace(collect_run(RunFolder.find(Path("ala2")), path), bootstrap=50)


def judged(run: RunResult, asked: int = ASKED) -> Judgement:
    reference = find_data("ala2_300k.h5")
    assert reference is not None
    return judge(evidence_of_run(run, asked, chains_of(reference)))


def failed(judgement: Judgement) -> set[str]:
    return {check.name for check in judgement.checks if check.grade == Grade.FAILED}


def phi_psi(run: RunResult, positions_nm) -> tuple[np.ndarray, np.ndarray]:
    frames = mdtraj.Trajectory(positions_nm, run.topology)
    return mdtraj.compute_phi(frames)[1][:, 0], mdtraj.compute_psi(frames)[1][:, 0]


def without(run: RunResult, lost, lost_frames) -> RunResult:
    """The same with a flow that is cut off outside a region: exact weights, a mode less."""
    kept = run.samples.rows(~lost)
    kept = kept._replace(log_prob=kept.log_prob - math.log(np.mean(~lost)))
    log_prob = np.where(lost_frames, -1000.0, run.data_log_prob - math.log(np.mean(~lost)))
    return dataclasses.replace(run, samples=kept, data_log_prob=log_prob)


def test_a_good_run_has_converged(run) -> None:
    judgement = judged(run)
    assert judgement.trust == Trust.CONVERGED, judgement.reasons
    assert judgement.reasons == []


def test_fewer_samples_than_asked_for_are_usable(run) -> None:
    judgement = judged(run, 100_000)
    assert judgement.trust == Trust.USABLE
    assert "of 100,000 asked for" in judgement.reasons[0]


def test_too_few_samples(run) -> None:
    few = dataclasses.replace(run, samples=run.samples.rows(slice(100)))
    judgement = judged(few)
    assert judgement.trust == Trust.NOT
    assert failed(judgement) == {"effective samples"}
    assert "too few for an error bar" in judgement.reasons[0]


def test_a_lost_rare_state(run) -> None:
    """φ > 0 has 0.3 %; the ESS stays what it was."""
    phi, _ = phi_psi(run, run.sample_positions_nm)
    md_phi, _ = phi_psi(run, run.data_positions_nm)
    judgement = judged(without(run, phi > 0, md_phi > 0))
    assert judgement.trust == Trust.NOT
    assert "state φ ALA2 > 0" in failed(judgement)
    assert "effective samples" not in failed(judgement)


def test_a_mode_that_no_state_names(run) -> None:
    """The helix: a range of ψ, of which the run watches nothing."""
    _, psi = phi_psi(run, run.sample_positions_nm)
    _, md_psi = phi_psi(run, run.data_positions_nm)
    lost, lost_frames = (np.abs(p + 0.5) < 1.2 for p in (psi, md_psi))
    judgement = judged(without(run, lost, lost_frames), 5000)
    assert judgement.trust == Trust.NOT
    assert "coverage" in failed(judgement)
    both_ends = [c for c in judgement.checks if c.name == "free energy from both ends"]
    assert both_ends[0].grade != Grade.PASSED, both_ends[0].words


def test_an_undertrained_flow(run) -> None:
    """Weights scatter by 4 kT: a handful decides."""
    noise = 4 * np.random.default_rng(0).normal(size=run.n_samples)
    poor = run.samples._replace(log_prob=run.samples.log_prob + noise)
    judgement = judged(dataclasses.replace(run, samples=poor))
    assert judgement.trust == Trust.NOT
    assert "effective samples" in failed(judgement)


def test_mirror_images(run) -> None:
    mirrored = run.samples.positions_nm.copy()
    mirrored[::20, :, 0] *= -1
    other = run.samples._replace(positions_nm=mirrored)
    judgement = judged(dataclasses.replace(run, samples=other))
    assert "chirality" in failed(judgement)


def test_a_molecule_without_states(run) -> None:
    assert judged(dataclasses.replace(run, states=())).trust == Trust.CONVERGED


def test_no_sample_with_a_weight(run) -> None:
    nothing = run.samples._replace(energy_kt=np.full(run.n_samples, 1e6))
    judgement = judged(dataclasses.replace(run, samples=nothing))
    assert judgement.trust == Trust.NOT


GOOD = Evidence(
    asked=1000,
    n_samples=2000,
    effective=1500.0,
    ess_clipped=0.75,
    largest_weight=0.001,
    tail=0.2,
    states=(StateEvidence("A", 0.3, 0.01, 1500.0, 0.31, 800.0),),
    free_energies_kt=((10.0, 0.01), (10.01, 0.01)),
    uncovered=0.0,
    uncovered_draws=800.0,
    reference_r_hat=1.01,
)


def test_good_evidence_passes() -> None:
    assert judge(GOOD).trust == Trust.CONVERGED


@pytest.mark.parametrize(
    ("worse", "trust"),
    [
        ({"effective": 900.0}, Trust.USABLE),
        ({"effective": 100.0}, Trust.NOT),
        ({"largest_weight": 0.05}, Trust.USABLE),
        ({"largest_weight": 0.3}, Trust.NOT),
        ({"tail": 0.8}, Trust.USABLE),
        ({"tail": 1.1}, Trust.NOT),
        ({"growth": 0.4}, Trust.USABLE),
        ({"uncovered": 0.03}, Trust.NOT),
        ({"mirrored": 1e-4}, Trust.USABLE),
        ({"mirrored": 0.01}, Trust.NOT),
        ({"reference_r_hat": 1.3}, Trust.USABLE),
        ({"reference_r_hat": math.nan}, Trust.USABLE),
        ({"r_hat": 1.2}, Trust.NOT),
        ({"free_energies_kt": ((10.0, 0.01), (10.2, 0.01))}, Trust.USABLE),
        ({"free_energies_kt": ((10.0, 0.01), (11.0, 0.01))}, Trust.NOT),
        ({"free_energies_kt": ((10.0, 0.2), (10.7, 0.2))}, Trust.CONVERGED),
        ({"states": (StateEvidence("A", 0.3, 0.01, 1500.0, 0.5, 800.0),)}, Trust.NOT),
        ({"states": (StateEvidence("A", 0.0, 0.0, 1500.0, 0.02, 800.0),)}, Trust.NOT),
        ({"states": (StateEvidence("A", 0.3, 0.01, 1500.0, 0.5, 8.0),)}, Trust.USABLE),
        # the reference is short, and BAR says who is right; ln(0.7 / 0.3) = 0.85
        ({"states": (StateEvidence("A", 0.3, 0.01, 1500.0, 1.0, 30.0, 0.86, 0.05),)}, Trust.USABLE),
        ({"states": (StateEvidence("A", 0.3, 0.01, 1500.0, 1.0, 30.0, -2.0, 0.05),)}, Trust.NOT),
        ({"states": (StateEvidence("A", 0.3, 0.01, 1500.0, 1.0, 30.0, 0.86, 0.9),)}, Trust.NOT),
        ({"states": (StateEvidence("A", 0.3, 0.01, 1500.0, 1.0, 800.0, 0.86, 0.05),)}, Trust.NOT),
    ],
)
def test_what_a_single_flaw_makes_of_it(worse, trust) -> None:
    assert judge(dataclasses.replace(GOOD, **worse)).trust == trust


@given(
    st.fixed_dictionaries(
        {
            "effective": st.floats(0, 2000),
            "largest_weight": st.floats(0, 1),
            "tail": st.floats(0, 2),
            "growth": st.floats(0, 1),
            "uncovered": st.floats(0, 1),
            "mirrored": st.floats(0, 1),
            "reference_r_hat": st.floats(1, 2),
        }
    )
)
def test_no_verdict_is_better_than_its_evidence(values) -> None:
    """What is as bad in each respect, and worse in one, is never judged better."""
    order = (Trust.NOT, Trust.USABLE, Trust.CONVERGED)
    whole = judge(dataclasses.replace(GOOD, **values)).trust
    for key, value in values.items():
        alone = judge(dataclasses.replace(GOOD, **{key: value})).trust
        assert order.index(whole) <= order.index(alone)


def test_shares_that_follow_from_symmetry_are_known() -> None:
    """One half at all times; and of what is 0 or 1 at all times, no more than of others."""
    rng = np.random.default_rng(0)
    coin = rng.integers(2, size=4000).astype(float)
    half, never = np.full(4000, 0.5), np.zeros(4000)
    known, plain, unseen = state_draws(np.stack([half, coin, never], axis=1), chains=4)
    assert known == MOST_DRAWS
    assert 500 < plain <= 4000
    assert unseen == plain
    nearly = 0.5 + 0.5 * (coin - 0.5) * (rng.random(4000) < 0.01)
    assert state_draws(nearly[:, None], chains=4)[0] > 100 * 4000


def test_md_alone_needs_no_reference() -> None:
    def of_md(draws: float) -> Judgement:
        state = StateEvidence("φ > 0", 0.3, 0.02, draws, math.nan, 0.0)
        return judge(Evidence(100, 5000, 400.0, states=(state,), r_hat=1.01, is_md=True))

    assert of_md(400.0).trust == Trust.CONVERGED
    assert "nan" not in " ".join(check.words for check in of_md(400.0).checks)
    assert of_md(20.0).words == "usable (weak: length of the simulation)"


def test_a_state_that_only_a_short_reference_visits_is_named() -> None:
    lost = StateEvidence("φ > 0", 0.0, 0.0, 900.0, 0.16, 5.0)
    found = judge(Evidence(100, 1000, 900.0, states=(lost,), reference_r_hat=1.0))
    assert found.reasons == [
        "The reference has fewer than 50 independent conformations for the share of φ > 0."
    ]


@pytest.mark.parametrize(
    ("largest", "uncovered", "grade"),
    [(0.001, 0.0, Grade.PASSED), (0.001, 0.2, Grade.FAILED), (0.4, 0.2, Grade.WEAK)],
)
def test_coverage_beside_a_heavy_sample_says_nothing(largest, uncovered, grade) -> None:
    evidence = Evidence(
        *(100, 1000, 900.0),
        largest_weight=largest,
        uncovered=uncovered,
        uncovered_draws=500.0,
        reference_r_hat=1.0,
    )
    (check,) = [check for check in judge(evidence).checks if check.name == "coverage"]
    assert check.grade == grade
