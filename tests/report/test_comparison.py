"""The table of several runs: errors against closed forms, and what differs."""

from dataclasses import replace

import numpy as np
import pytest

from bgp4.report.comparison import Compared, Estimate, compare
from bgp4.report.metrics import compute_metrics, json_ready
from bgp4.report.result import RunResult
from bgp4.report.wording import format_difference, format_estimate
from tests.report.made import with_samples


def table(*runs: RunResult) -> dict[str, Compared]:
    metrics = [json_ready(compute_metrics(run)) for run in runs]
    return {row.name: row for row in compare(runs, metrics)}


@pytest.fixture(scope="module")
def rows(good_run: RunResult) -> dict[str, Compared]:
    run = replace(good_run, bootstrap=200)
    noise = np.random.default_rng(3).normal(0, 1.2, run.n_samples)
    return table(run, with_samples(run, log_weight=run.samples.log_weight + noise))


def test_shares_have_binomial_errors(rows: dict[str, Compared], good_run: RunResult) -> None:
    share = rows["state_shares_samples: φ ALA2 > 0"].values[0]
    assert share.value is not None
    binomial = np.sqrt(share.value * (1 - share.value) / good_run.n_samples)
    assert share.error == pytest.approx(binomial, rel=0.15)


def test_the_error_of_the_effective_sample_size(good_run: RunResult) -> None:
    """By the delta method, for ESS = (mean w)² / mean w², w without a tail."""
    log_weight = np.random.default_rng(5).uniform(-1, 1, good_run.n_samples)
    run = with_samples(good_run, log_weight=log_weight, bootstrap=400)
    w = run.weights / run.weights.mean()
    second = np.mean(w**2)
    influence = 2 * w / second - w**2 / second**2
    expected = influence.std() / np.sqrt(len(w))
    assert table(run, run)["ess_raw"].values[0].error == pytest.approx(expected, rel=0.15)


def test_differences(rows: dict[str, Compared]) -> None:
    ess = rows["ess_raw"]
    first, second = ess.values
    assert ess.differences[0].value == 0
    assert first.value is not None
    assert second.value is not None
    assert ess.differences[1].value == second.value - first.value
    assert ess.differences[1].significant
    same = rows["state_shares_samples: φ ALA2 > 0"].differences[1]
    assert same.value == 0
    assert not same.significant


def test_rows_without_errors_and_without_numbers(
    good_run: RunResult, toluene_run: RunResult
) -> None:
    rows = table(good_run, toluene_run)
    assert rows["n_energy_evaluations"].differences[1] == Estimate(0, None)
    assert rows["delta_f_phi_kt"].values[1] == Estimate(None, None)
    assert rows["delta_f_phi_kt"].differences[1] == Estimate(None, None)
    assert "ramachandran_tv" not in table(toluene_run, toluene_run)


def test_runs_without_weight_can_be_compared(good_run: RunResult) -> None:
    n = good_run.n_samples
    broken = with_samples(good_run, energy_kt=np.full(n, 1e6), log_weight=np.full(n, -1e6))
    assert table(good_run, broken)["ess_raw"].values[1] == Estimate(0.0, None)


@pytest.mark.parametrize(
    ("key", "value", "error", "text"),
    [
        ("ess_raw", 0.93214, 0.0012, "93.21 ± 0.12 %"),
        ("ess_raw", 0.93214, None, "93.2 %"),
        ("ramachandran_tv", 0.06356, 0.00091, "0.06356 ± 0.00091"),
        ("delta_f_phi_kt", -5.763, 0.08, "−5.763 ± 0.080"),
        ("delta_f_phi_kt", None, None, "–"),
    ],
)
def test_formats(key: str, value: float | None, error: float | None, text: str) -> None:
    assert format_estimate(key, value, error) == text
    signed = text if text[0] in "−–" else f"+{text}"
    assert format_difference(key, value, error) == signed
