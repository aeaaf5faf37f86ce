"""What `bgp4 init` says of cost: counted from the config and what one step takes."""

from __future__ import annotations

import numpy as np
import pytest

from bgp4.config import Config, validate_config
from bgp4.pipeline import cost
from bgp4.pipeline.cost import Cost, cost_lines, measured_cost
from tests.for_each import for_each

STEP_S = 0.25


@pytest.fixture
def timed(monkeypatch) -> list[object]:
    """Each measured piece of work is done once, and takes as long as any other."""
    calls = []

    def seconds_each(function, budget_s: float) -> float:
        calls.append(function())
        return STEP_S

    monkeypatch.setattr(cost, "_seconds_each", seconds_each)
    monkeypatch.setattr(cost.time, "process_time", lambda: 0.0)
    return calls


def config(**simulate: object) -> Config:
    settings = {"frames": 40, "stacks": 4, "equilibration_frames": 2, "processes": 2}
    raw = {
        "system": "AlanineDipeptideImplicit",
        "temperature_k": 300,
        "data": {"path": "hot.h5", "temperature_k": 1000},
        "simulate": {**settings, "steps_per_frame": 10, "temperatures_k": [300, 400, 500]},
        "model": {"hidden": [16, 16], "blocks": 1, "torsion_blocks": 1},
        "training": {"steps": 50, "energy_fraction": 0.8, "batch_size": 8, "energy_batch_size": 8},
    }
    raw["simulate"] |= simulate
    return validate_config(raw, source="test")


def test_rounds_steps_and_energies_are_counted(timed, alanine, monkeypatch) -> None:
    monkeypatch.setattr(cost, "available_cores", lambda: 2)
    found = measured_cost(config(), alanine, alanine.positions_nm, batched=True)
    step_s, energies_s = STEP_S / cost.STEPS_AT_A_TIME, 40 * STEP_S / 2
    assert found.simulate_s == pytest.approx((40 / 12 // 1 + 1 + 2) * 10 * step_s + energies_s)
    assert found.reference_s == pytest.approx((10 + 2) * 10 * step_s + energies_s)
    assert found.train_s == pytest.approx(50 * cost.WHOLE_STEP * STEP_S)
    assert found.md_steps_per_s == pytest.approx(12 / step_s)
    assert len(timed) == 5  # an energy, MD twice, a step of either phase


def test_processes_share_cores(timed, alanine, monkeypatch) -> None:
    monkeypatch.setattr(cost, "available_cores", lambda: 2)
    two, four = (
        measured_cost(config(processes=n), alanine, alanine.positions_nm, batched=True)
        for n in (2, 4)
    )
    assert four.md_steps_per_s == pytest.approx(two.md_steps_per_s / 2)


def test_energies_of_openmm_are_paid_one_by_one(timed, alanine, monkeypatch) -> None:
    """And so are its replicas."""
    monkeypatch.setattr(cost, "available_cores", lambda: 2)
    found = measured_cost(config(), alanine, alanine.positions_nm, batched=False)
    steps_s, energies_s = 50 * cost.WHOLE_STEP * STEP_S, 40 * 8 * STEP_S / 2
    assert found.train_s == pytest.approx(steps_s + energies_s)
    step_s = 2 * 3 * STEP_S / cost.STEPS_AT_A_TIME
    assert found.md_steps_per_s == pytest.approx(12 / step_s)


def test_the_flow_is_as_large_as_that_of_md_frames(alanine, smoke_frames) -> None:
    """As many torsions are circles: those about bonds that turn, and methyl groups'."""
    made = cost._conformations(config(), alanine, alanine.positions_nm)
    assert made.shape[1:] == (22, 3)
    assert np.isfinite(made).all()
    models = [
        cost.fitted_generator(config(), alanine.zmatrix, positions)
        for positions in (made, smoke_frames.positions_nm)
    ]
    sizes = [sum(p.numel() for p in model.parameters()) for model in models]
    assert sizes[0] == pytest.approx(sizes[1], rel=0.2)


@for_each(
    ("seconds", "words"),
    [
        (0.2, "1 s"),
        (52, "52 s"),
        (99.4, "99 s"),
        (101, "1.7 min"),
        (5990, "100 min"),
        (9e5, "250 h"),
    ],
)
def test_durations(seconds: float, words: str) -> None:
    lines = list(cost_lines(Cost(123456.0, 48, seconds, 60.0, 3600.0, 2)))
    assert "MD: 120,000 steps a second, of 48 replicas on 2 cores" in lines[0]
    assert f"simulate takes about {words}, train 60 min, simulate --reference 60 s" in lines[1]


@for_each(("budget_s", "expected"), [(8.0, 1.0), (4.0, 5.0)])
def test_the_first_call_counts_where_there_is_no_other(budget_s, expected, monkeypatch) -> None:
    """It may load or compile something."""
    clock, took = [0.0], iter([5.0, *[1.0] * 9])

    def work() -> None:
        clock[0] += next(took)

    monkeypatch.setattr(cost.time, "process_time", lambda: clock[0])
    assert cost._seconds_each(work, budget_s) == expected
