"""Metrics of runs whose answers are known: perfect, biased, collapsed, broken."""

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bgp4.report.definitions import METRICS
from bgp4.report.metrics import compute_metrics, json_ready, low_energy_fraction
from bgp4.report.result import RunResult
from tests.report.made import with_samples

PHI = "φ ALA2 > 0"

FIXED_KEYS = {
    "n_samples",
    "ess_raw",
    "ess_clipped",
    "log_likelihood_heldout",
    "ramachandran_tv",
    "ramachandran_kl",
    "ramachandran_js",
    "ramachandran_tv_reweighted",
    "ramachandran_kl_reweighted",
    "ramachandran_js_reweighted",
    "delta_f_phi_kt",
    "delta_f_phi_error_kt",
    "mean_energy_shift_kt",
    "mean_energy_shift_kjmol",
    "mean_energy_shift_reweighted_kt",
    "low_energy_fraction",
    "wrong_chirality_fraction",
    "n_energy_evaluations",
    "wall_time_s",
}


@pytest.fixture(scope="module")
def metrics(good_run: RunResult) -> dict[str, Any]:
    return compute_metrics(good_run)


def test_keys_are_those_defined_and_documented(metrics: dict[str, Any]) -> None:
    assert set(metrics) == set(METRICS)
    assert set(metrics) >= FIXED_KEYS
    page = (Path(__file__).parents[2] / "docs" / "metrics.md").read_text(encoding="utf-8")
    assert not [key for key in METRICS if f"`{key}`" not in page]


def test_good_run(metrics: dict[str, Any], good_run: RunResult) -> None:
    assert metrics["n_samples"] == 300
    assert metrics["ess_raw"] == pytest.approx(np.exp(-(0.3**2)), abs=0.03)
    assert metrics["ess_raw"] <= metrics["ess_clipped"]
    assert metrics["state_shares_md"] == {PHI: np.mean(good_run.data_torsions[0].phi > 0)}
    assert metrics["delta_f_phi_md_kt"] == pytest.approx(np.log(0.8 / 0.2), abs=0.3)
    assert abs(metrics["delta_f_phi_kt"] - np.log(4)) < 5 * metrics["delta_f_phi_error_kt"]
    assert abs(metrics["delta_f_phi_bar_kt"] - np.log(4)) < 5 * metrics["delta_f_phi_bar_error_kt"]
    assert metrics["delta_f_phi_bar_error_kt"] < 0.3
    assert metrics["low_energy_fraction"] > 0.98
    assert metrics["low_energy_fraction_noise"] < 0.01
    assert metrics["wrong_chirality_fraction"] == 0
    assert metrics["chirality_verdict"] == "as in the data"
    for key in ("state_verdicts", "state_verdicts_reweighted"):
        assert metrics[key] == {PHI: "as in the data"}
    assert metrics["finite_fraction"] == 1
    assert metrics["wall_time_s"] == {"ml": 12.5, "kl": 31.0}
    assert metrics["n_energy_evaluations"] == 512_000


def test_samples_that_are_the_data_have_no_distance(good_run: RunResult) -> None:
    n = len(good_run.data_energy_kt)
    same = with_samples(
        good_run,
        sample_positions_nm=good_run.data_positions_nm,
        energy_kt=good_run.data_energy_kt,
        log_weight=np.zeros(n),
    )
    metrics = compute_metrics(same)
    for key in ("tv", "kl", "js", "tv_reweighted", "kl_reweighted", "js_reweighted"):
        assert metrics[f"ramachandran_{key}"] == pytest.approx(0, abs=1e-12)
    for key in ("mean_energy_shift_kt", "mean_energy_shift_reweighted_kt"):
        assert metrics[key] == pytest.approx(0, abs=1e-9)
    assert metrics["delta_f_phi_kt"] == pytest.approx(metrics["delta_f_phi_md_kt"])
    assert metrics["ess_raw"] == pytest.approx(1)
    assert metrics["low_energy_fraction"] == 1 - 1 / n


def test_energy_shift_has_both_units(good_run: RunResult) -> None:
    shifted = with_samples(good_run, energy_kt=good_run.energy_kt + 2.0)
    before, after = compute_metrics(good_run), compute_metrics(shifted)
    gained = {k: after[k] - before[k] for k in before if k.startswith("mean_energy_shift")}
    assert gained["mean_energy_shift_kt"] == pytest.approx(2)
    assert gained["mean_energy_shift_reweighted_kt"] == pytest.approx(2)
    assert gained["mean_energy_shift_kjmol"] == pytest.approx(2 * 2.494339, rel=1e-6)


def test_reweighting_recovers_the_data_from_biased_samples(
    good_run: RunResult, frames_with: Any
) -> None:
    """Half of the samples at phi > 0 instead of a fifth, with the weights that mend it."""
    n = 400
    positive = np.arange(n) % 2 == 0
    frames = frames_with(np.where(positive, 1.0, -1.5), np.full(n, 0.5), seed=3)
    biased = with_samples(
        good_run,
        sample_positions_nm=frames,
        energy_kt=np.full(n, 10.0),
        log_weight=np.where(positive, np.log(0.4), np.log(1.6)),
    )
    metrics = compute_metrics(biased)
    assert metrics["state_shares_samples"] == {PHI: 0.5}
    assert metrics["state_shares_reweighted"] == pytest.approx({PHI: 0.2})
    assert metrics["state_delta_f_kt"] == pytest.approx({PHI: np.log(4)})
    assert metrics["state_delta_f_error_kt"] == pytest.approx({PHI: 2 / np.sqrt(n)}, rel=0.5)
    assert metrics["delta_f_phi_raw_kt"] == pytest.approx(0, abs=1e-9)
    assert metrics["delta_f_phi_kt"] == pytest.approx(np.log(4))
    assert metrics["delta_f_phi_error_kt"] == pytest.approx(2 / np.sqrt(n), rel=0.5)


def test_both_ends_give_what_the_works_say(good_run: RunResult, frames_with: Any) -> None:
    """Works of ln 2.5 and -ln 1.6 on the two sides, as samples of a half for a fifth have them."""
    n = 400
    positive = np.arange(n) % 2 == 0
    work = np.where(positive, np.log(2.5), -np.log(1.6))
    md_work = np.where(good_run.data_torsions[0].phi > 0, np.log(2.5), -np.log(1.6))
    heldout = np.isfinite(good_run.data_log_prob)
    biased = with_samples(
        good_run,
        sample_positions_nm=frames_with(np.where(positive, 1.0, -1.5), np.full(n, 0.5), seed=3),
        energy_kt=np.full(n, 10.0),
        log_weight=-work,
        data_log_prob=np.where(heldout, md_work - good_run.data_energy_kt, np.nan),
    )
    metrics = compute_metrics(biased)
    assert metrics["delta_f_phi_bar_kt"] == pytest.approx(np.log(4))
    assert metrics["delta_f_phi_bar_error_kt"] == pytest.approx(2 / np.sqrt(n), rel=0.5)
    assert metrics["delta_f_phi_bar_missing"] is None


def test_without_one_end_there_is_no_estimate(good_run: RunResult, frames_with: Any) -> None:
    frames = frames_with(np.full(300, -1.5), np.full(300, 0.5), seed=4)
    lost = compute_metrics(with_samples(good_run, sample_positions_nm=frames))
    assert np.isnan(lost["delta_f_phi_bar_kt"])
    assert lost["delta_f_phi_bar_missing"] == "phi>0"
    unknown = compute_metrics(replace(good_run, data_log_prob=None))
    assert np.isnan(unknown["delta_f_phi_bar_kt"])
    assert unknown["delta_f_phi_bar_missing"] is None


def test_lost_mode_is_named(good_run: RunResult, frames_with: Any) -> None:
    frames = frames_with(np.full(300, -1.5), np.full(300, 0.5), seed=4)
    metrics = compute_metrics(with_samples(good_run, sample_positions_nm=frames))
    assert metrics["delta_f_phi_kt"] == np.inf
    assert metrics["delta_f_phi_missing"] == "phi>0"
    assert metrics["state_shares_samples"] == {PHI: 0}
    assert metrics["state_delta_f_kt"] == {PHI: np.inf}
    assert metrics["state_verdicts"] == {PHI: "lost"}
    assert json_ready(metrics)["delta_f_phi_kt"] is None


def test_verdicts_on_the_shares(good_run: RunResult, frames_with: Any) -> None:
    """A twentieth at phi > 0 where MD has a fifth, as it is and with weights that mend it."""
    n = 400
    positive = np.arange(n) % 20 == 0
    frames = frames_with(np.where(positive, 1.0, -1.5), np.full(n, 0.5), seed=3)

    def verdicts(log_weight: np.ndarray) -> tuple[str, str]:
        run = with_samples(
            good_run,
            sample_positions_nm=frames,
            energy_kt=np.full(n, 10.0),
            log_weight=log_weight,
        )
        metrics = json_ready(compute_metrics(run))
        return metrics["state_verdicts"][PHI], metrics["state_verdicts_reweighted"][PHI]

    assert verdicts(np.zeros(n)) == ("under-sampled", "under-sampled")
    mended = np.where(positive, np.log(0.2 / 0.05), np.log(0.8 / 0.95))
    assert verdicts(mended) == ("under-sampled", "as in the data")
    dropped = np.where(positive, -1e4, 0.0)
    assert verdicts(dropped) == ("under-sampled", "lost")


def test_md_that_crossed_once_confirms_nothing(good_run: RunResult, frames_with: Any) -> None:
    """The same frames of MD, each by itself or in two long visits: a share of few crossings."""
    n = 300
    mixed = np.arange(n) % 5 == 0
    half = np.where(np.arange(n) % 2, 1.0, -1.5)
    samples = frames_with(half, np.full(n, 0.5), seed=3)

    def verdict(inside: np.ndarray) -> str:
        md = frames_with(np.where(inside, 1.0, -1.5), np.full(n, 0.5), seed=4)
        run = with_samples(good_run, sample_positions_nm=samples)
        run = replace(run, data_positions_nm=md, data_energy_kt=np.full(n, 10.0))
        return str(compute_metrics(replace(run, data_log_prob=None))["state_verdicts"][PHI])

    assert verdict(mixed) == "over-sampled"
    assert verdict(np.sort(mixed)[::-1]) == "too few samples to tell"


def test_rejected_and_broken_samples_are_counted(good_run: RunResult) -> None:
    positions = good_run.sample_positions_nm.copy()
    energy = good_run.energy_kt.copy()
    energy[:3] = 1e6
    positions[3], positions[4] = np.nan, 1e30
    energy[3:5] = np.nan
    energy[5] = np.inf
    broken = with_samples(
        good_run,
        sample_positions_nm=positions,
        energy_kt=energy,
        log_prob=good_run.samples.log_prob,
    )
    metrics = compute_metrics(broken)
    assert metrics["n_rejected"] == 3
    assert metrics["finite_fraction"] == 1 - 3 / 300
    kept = good_run.energy_kt[6:]
    expected = kept.mean() - good_run.data_energy_kt.mean()
    assert metrics["mean_energy_shift_kt"] == pytest.approx(expected)
    ess = compute_metrics(good_run)["ess_raw"]
    assert metrics["ess_raw"] == pytest.approx(ess * 294 / 300, abs=0.02)
    assert not broken.weights[:6].any()


@pytest.mark.parametrize("energy", [1e6, np.nan])
def test_no_usable_sample(good_run: RunResult, energy: float) -> None:
    n = good_run.n_samples
    dead = with_samples(good_run, energy_kt=np.full(n, energy), log_weight=np.full(n, -1e6))
    metrics = json_ready(compute_metrics(dead))
    assert metrics["ess_raw"] == metrics["ess_clipped"] == 0
    assert metrics["mean_energy_shift_kt"] is None
    assert metrics["delta_f_phi_kt"] is None
    assert metrics["ramachandran_tv_reweighted"] is None
    assert metrics["ramachandran_tv"] is not None


def test_low_energy_fraction_is_strict() -> None:
    assert low_energy_fraction(np.array([1.0, 2.0, 3.0, np.nan]), 3.0) == 0.5


def test_total_variation_by_residue(peptide_run: RunResult) -> None:
    """The mean over residues, of which one alone is off."""
    metrics = compute_metrics(peptide_run)
    for name in ("tv", "tv_reweighted", "tv_sampling_floor", "tv_noise_floor"):
        by_residue = metrics[f"ramachandran_{name}_by_residue"]
        assert list(by_residue) == ["ALA2", "ALA3", "ALA4"]
        assert metrics[f"ramachandran_{name}"] == pytest.approx(np.mean(list(by_residue.values())))
    tv = metrics["ramachandran_tv_by_residue"]
    assert tv["ALA4"] > 0.9
    assert max(tv["ALA2"], tv["ALA3"]) < 0.6
    last = peptide_run.data_torsions[2], peptide_run.sample_torsions[2]
    counts = [np.histogram2d(t.phi, t.psi, 16, [(-np.pi, np.pi)] * 2)[0] for t in last]
    expected = 0.5 * np.abs(counts[0] / counts[0].sum() - counts[1] / counts[1].sum()).sum()
    assert tv["ALA4"] == pytest.approx(expected)


def test_the_worst_torsion_is_named(peptide_run: RunResult) -> None:
    metrics = compute_metrics(peptide_run)
    assert metrics["torsion_tv_max_of"] == metrics["torsion_tv_max_of_reweighted"] == "ψ ALA4"
    assert metrics["torsion_tv_max"] > 0.9
    others = peptide_run.marginals["torsion"].tv[np.arange(10) != 8]
    assert len(others) == 9  # φ, ψ and ω of three residues, and ω of the cap
    assert metrics["torsion_tv_mean"] == pytest.approx(
        (others.sum() + metrics["torsion_tv_max"]) / 10
    )
    assert others.max() < 4 * metrics["torsion_tv_sampling_floor"]
    for kind in ("bond", "angle"):
        assert metrics[f"{kind}_tv_mean"] < 2.5 * metrics[f"{kind}_tv_sampling_floor"]


def test_a_bond_that_is_off_is_named(toluene_run: RunResult) -> None:
    metrics = compute_metrics(toluene_run)
    assert metrics["bond_tv_max_of"] == "C6–C7"
    assert metrics["bond_tv_max"] == pytest.approx(1, abs=0.01)
    assert metrics["angle_tv_max"] < 0.3
    assert np.isnan(metrics["torsion_tv_mean"])
    assert metrics["torsion_tv_max_of"] is None
    assert metrics["ramachandran_tv_by_residue"] == metrics["wrong_chirality_by_centre"] == {}


def test_weights_mend_a_torsion(good_run: RunResult, frames_with: Any) -> None:
    """ψ of half the samples is off, and these have no weight."""
    n = 400
    off = np.arange(n) % 2 == 0
    psi = good_run.data_torsions[0].psi[:n] + np.where(off, np.pi, 0.0)
    biased = with_samples(
        good_run,
        sample_positions_nm=frames_with(good_run.data_torsions[0].phi[:n], psi, seed=3),
        energy_kt=np.full(n, 10.0),
        log_weight=np.where(off, -1e5, 0.0),
    )
    metrics = compute_metrics(biased)
    assert metrics["torsion_tv_max_of"] == "ψ ALA2"
    assert metrics["torsion_tv_max"] > 0.25
    assert metrics["torsion_tv_max_reweighted"] < 0.15
    raw, weighted = "torsion_tv_sampling_floor", "torsion_tv_sampling_floor_reweighted"
    assert metrics[weighted] == pytest.approx(np.sqrt(2) * metrics[raw], rel=0.2)


def test_chirality_by_centre(peptide_run: RunResult) -> None:
    """Mirrored samples are so at every centre; by weight as their weights are."""
    samples = peptide_run.sample_positions_nm.copy()
    samples[:30] *= [1, 1, -1]
    weights = np.where(np.arange(300) < 30, 9.0, 1.0)
    run = with_samples(peptide_run, sample_positions_nm=samples, log_weight=np.log(weights))
    metrics = compute_metrics(run)
    centres = ["CA ALA2", "CA ALA3", "CA ALA4"]
    assert metrics["wrong_chirality_by_centre"] == dict.fromkeys(centres, 0.1)
    by_weight = metrics["wrong_chirality_by_centre_reweighted"]
    assert by_weight == pytest.approx(dict.fromkeys(centres, 0.5))
    assert metrics["wrong_chirality_fraction"] == 0.1


def test_json_has_no_nan(metrics: dict[str, Any]) -> None:
    values = json_ready(
        {**metrics, "a": np.float32("nan"), "b": [np.inf, np.int64(3)], "c": Path("x")}
    )
    text = json.dumps(values, allow_nan=False)
    assert not re.search(r"NaN|Infinity", text)
    assert (values["a"], values["b"], values["c"]) == (None, [None, 3], "x")
