"""Phases, temperatures and learning rates of a training's steps."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from pydantic import ValidationError

from bgp4.config import Config
from bgp4.training.schedule import PHASES, Schedule
from tests.for_each import for_each


def config(
    data_k: float | None = None, path: str | None = "ala2_300k.h5", **training: object
) -> Config:
    return Config.model_validate(
        {
            "system": "AlanineDipeptideImplicit",
            "temperature_k": 300,
            "data": {"path": path, "temperature_k": data_k},
            "training": training,
        }
    )


def test_learning_rate() -> None:
    schedule = Schedule.of(
        config(steps=1000, energy_fraction=0.4, learning_rate=1e-3, energy_learning_rate=1e-4)
    )
    rate = [schedule.rate(step) for step in range(1, 1001)]
    assert schedule.lengths["ml"] == 600
    assert rate[0] == pytest.approx(1e-3 / 100)
    assert rate[49] == pytest.approx(0.5e-3, rel=0.03)
    assert rate[600] == pytest.approx(1e-4 / 100)
    for phase, peak in ((rate[:600], 1e-3), (rate[600:], 1e-4)):
        assert np.argmax(phase) == 99
        assert (np.diff(phase[:100]) > 0).all()
        assert (np.diff(phase[100:]) < 0).all()
        assert 0.85 * peak < max(phase) <= peak
        assert phase[-1] == pytest.approx(0.02 * peak, rel=0.05)
    halfway = 0.02 + 0.98 * 0.5
    assert rate[300] == pytest.approx(1e-3 * halfway)


@for_each(("fraction", "steps"), product([0.0, 1.0, 0.5], [1, 2, 7]))
def test_learning_rates_of_short_runs_are_positive(fraction: float, steps: int) -> None:
    schedule = Schedule.of(config(steps=steps, energy_fraction=fraction))
    for step in range(1, steps + 1):
        assert 0 < schedule.rate(step) <= schedule.learning_rate


def test_data_of_the_runs_temperature_need_no_annealing() -> None:
    schedule = Schedule.of(config(steps=10, energy_fraction=0.4))
    assert [schedule.phase(step) for step in (1, 6, 7, 10)] == ["ml", "ml", "kl", "kl"]
    assert {schedule.temperature_k(step) for step in range(1, 11)} == {300.0}
    assert [schedule.data_weight(step, 0.75) for step in (6, 7)] == [1.0, 0.25]


def test_from_the_datas_temperature_to_the_runs_in_equal_ratios() -> None:
    schedule = Schedule.of(config(1000, steps=10, energy_fraction=0.8, anneal_fraction=0.5))
    phases = [schedule.phase(step) for step in range(1, 11)]
    assert phases == ["ml"] * 2 + ["anneal"] * 4 + ["kl"] * 4
    assert [step for step in range(1, 11) if schedule.ends_phase(step)] == [2, 6, 10]
    kelvin = np.array([schedule.temperature_k(step) for step in range(1, 11)])
    np.testing.assert_allclose(kelvin[:2], 1000)
    np.testing.assert_allclose(kelvin[5:], 300)
    np.testing.assert_allclose(kelvin[2:6] / kelvin[1:5], 0.3**0.25)
    assert [schedule.data_weight(step, 0.75) for step in (2, 3, 7)] == [1.0, 0.0, 0.0]


@pytest.mark.parametrize("data_k", [300, 1000])
def test_made_up_data_serve_the_first_phase_alone(data_k: float) -> None:
    schedule = Schedule.of(config(data_k, path=None, steps=10, energy_fraction=0.8))
    assert [schedule.data_weight(step, 0.75) for step in (2, 3, 10)] == [1.0, 0.0, 0.0]


@pytest.mark.parametrize(("data_k", "path"), [(1000, "a.h5"), (300, None)])
def test_without_energies_there_is_no_way_from_other_data(data_k: float, path: str | None) -> None:
    with pytest.raises(ValidationError, match="energy_fraction above 0"):
        config(data_k, path=path, energy_fraction=0)


def test_likelihood_that_ends_early_leaves_its_steps_to_the_energies() -> None:
    schedule = Schedule.of(config(1000, steps=100, energy_fraction=0.6, anneal_fraction=0.5))
    schedule.end("ml", 9)
    assert schedule.lengths == {"ml": 9, "anneal": 45, "kl": 46}
    phases = [schedule.phase(step) for step in range(1, 101)]
    assert [phases.count(phase) for phase in PHASES] == [9, 45, 46]
    assert schedule.temperature_k(9) == 1000.0
    assert schedule.temperature_k(54) == 300.0


def test_likelihood_is_judged_more_often_where_it_may_end() -> None:
    schedule = Schedule.of(config(1000, steps=1000, energy_fraction=0.8, evaluate_every=300))
    assert [s for s in range(1, 1001) if schedule.evaluates(s)] == [
        *range(25, 201, 25),
        *(300, 600, 680, 900, 1000),
    ]
    alone = Schedule.of(config(steps=1000, energy_fraction=0.0, evaluate_every=300))
    assert [s for s in range(1, 1001) if alone.evaluates(s)] == [300, 600, 900, 1000]
