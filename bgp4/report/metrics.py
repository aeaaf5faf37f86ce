"""The numbers of a report, each a small function, and `compute_metrics`, which gathers them.

`bgp4.report.definitions.METRICS` says what each key means, and so does docs/metrics.md.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bgp4.molecule.topology import atoms_label, bond_names, distinct
from bgp4.report.metrics_marginals import marginal_metrics
from bgp4.report.metrics_states import state_metrics
from bgp4.report.result import RunResult
from bgp4.report.torsions import BackboneTorsions
from bgp4.statistics.bennett import End, two_ended_difference
from bgp4.statistics.distributions import (
    js_divergence,
    kl_divergence,
    ramachandran_histogram,
    sampling_total_variation,
    total_variation,
)
from bgp4.statistics.verdicts import chirality_verdict
from bgp4.statistics.weights import (
    FreeEnergy,
    bootstrap,
    bootstrap_error,
    effective_sample_size,
    effective_sample_size_clipped,
    free_energy_difference,
)
from bgp4.units import kt_to_kjmol

__all__ = ["compute_metrics", "json_ready", "low_energy_fraction"]

Array = NDArray[np.float64]
Metrics = dict[str, Any]

NAN = float("nan")


def _heldout_log_likelihood(run: RunResult) -> float | None:
    """What training found or, where its data were of another temperature, of the reference."""
    found = run.run_info.get("log_likelihood_heldout")
    if found is not None or run.data_log_prob is None or np.isnan(run.data_log_prob).all():
        return found
    return float(np.nanmean(run.data_log_prob))


def compute_metrics(run: RunResult) -> Metrics:
    """Every metric of a run, by the keys of `METRICS`; NaN or infinite where there is none."""
    return {
        "temperature_k": float(run.temperature_k),
        "n_samples": run.n_samples,
        "finite_fraction": _share(run.samples.finite),
        "n_rejected": int(np.count_nonzero(run.samples.finite & ~run.accepted)),
        **weight_metrics(run),
        **coverage_metrics(run),
        "log_likelihood_heldout": _heldout_log_likelihood(run),
        **ramachandran_metrics(run),
        **state_metrics(run),
        **phi_metrics(run),
        **marginal_metrics(run),
        **energy_metrics(run),
        **chirality_metrics(run),
        "constrained_bonds": _bond_names(run, run.constrained_bonds),
        "system_constraints": _bond_names(run, run.system_constraints),
        "lengths_set": run.lengths_set,
        "n_energy_evaluations": run.run_info.get("n_energy_evaluations"),
        "core_hours": run.run_info.get("core_hours"),
        "wall_time_s": dict(run.run_info.get("wall_time_s") or {}),
    }


def _bond_names(run: RunResult, bonds: tuple[tuple[int, int], ...]) -> str | None:
    return bond_names(run.topology, bonds) if bonds else None


def json_ready(value: Any) -> Any:
    """The same with plain Python numbers, and `None` for NaN and infinities, as JSON wants it."""
    if isinstance(value, Mapping):
        return {str(key): json_ready(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [json_ready(item) for item in value]
    if isinstance(value, np.ndarray):
        return json_ready(value.tolist())
    if isinstance(value, np.generic):
        return json_ready(value.item())
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value if value is None or isinstance(value, (bool, int, str)) else str(value)


def weight_metrics(run: RunResult) -> Metrics:
    """Effective sample sizes of all samples; those not accepted have weight zero."""
    if not run.accepted.any():
        return {"ess_raw": 0.0, "ess_clipped": 0.0, "max_weight": NAN}
    return {
        "ess_raw": effective_sample_size(run.safe_log_weight),
        "ess_clipped": effective_sample_size_clipped(run.safe_log_weight),
        "max_weight": float(run.weights.max()),
    }


def coverage_metrics(run: RunResult) -> Metrics:
    """Share of MD in bins that hold a sample, and the same of N perfect samples; means over maps.

    The bins are those of the (phi, psi) maps, or else of the rotatable torsions, or else of bonds
    and angles.
    """
    kinds = ("torsion",) if len(run.marginals["torsion"].labels) else ("bond", "angle")
    histograms = [(md, own) for md, own, _ in run.ramachandran] or [
        (md, own)
        for kind in kinds
        for md, own in zip(run.marginals[kind].data, run.marginals[kind].samples, strict=True)
    ]
    n = int(np.count_nonzero(run.in_space))
    return {
        "coverage": _mean([float(md[np.nan_to_num(own) > 0].sum()) for md, own in histograms]),
        "coverage_expected": _mean(
            [float(md.ravel() @ _seen(md.ravel(), n)) for md, _ in histograms]
        ),
    }


def _seen(p: Array, n: int) -> Array:
    """Probability that n independent draws reach each bin."""
    seen: Array = -np.expm1(n * np.log1p(-np.minimum(p, 1 - 1e-12)))
    return seen


def ramachandran_metrics(run: RunResult) -> Metrics:
    """Distances of (phi, psi) histograms from MD's and their floors.

    Means over residues, and total variations by the residues' labels, {} where none has phi and
    psi.
    """
    labels = [torsions.residue for torsions in run.data_torsions]
    values = _ramachandran_values(run)
    return {
        "ramachandran_bins": run.bins,
        **{f"ramachandran_{name}": _mean(of_all) for name, of_all in values.items()},
        **{
            f"ramachandran_{name}_by_residue": dict(zip(labels, of_all, strict=True))
            for name, of_all in values.items()
            if name.startswith("tv")
        },
    }


def _ramachandran_values(run: RunResult) -> dict[str, list[float]]:
    """Each distance and floor, by its name in metrics.json, for all residues."""
    measures: dict[str, Callable[[Array, Array, Array], float]] = {
        "tv": lambda md, raw, weighted: total_variation(md, raw),
        "kl": lambda md, raw, weighted: kl_divergence(md, raw),
        "js": lambda md, raw, weighted: js_divergence(md, raw),
        "tv_reweighted": lambda md, raw, weighted: total_variation(md, weighted),
        "kl_reweighted": lambda md, raw, weighted: kl_divergence(md, weighted),
        "js_reweighted": lambda md, raw, weighted: js_divergence(md, weighted),
        "tv_sampling_floor": lambda md, *_: _sampling_floor(md, run.n_samples, run),
        "tv_sampling_floor_reweighted": lambda md, *_: _sampling_floor(md, run.n_effective, run),
    }
    histograms = run.ramachandran
    values = {name: [measure(*three) for three in histograms] for name, measure in measures.items()}
    halves = [halves_total_variation(torsions, run.bins) for torsions in run.data_torsions]
    return {**values, "tv_noise_floor": halves}


def halves_total_variation(torsions: BackboneTorsions, bins: int) -> float:
    """Total variation between the first and the second half of the MD frames."""
    phi, psi = (np.array_split(angle, 2) for angle in (torsions.phi, torsions.psi))
    first, second = (ramachandran_histogram(phi[i], psi[i], bins) for i in range(2))
    return total_variation(first, second)


def _sampling_floor(md: Array, n: int, run: RunResult) -> float:
    return sampling_total_variation(md, n, run.rng()) if n else NAN


def phi_metrics(run: RunResult) -> Metrics:
    """Free-energy difference of phi > 0 to phi < 0, of the first residue that has phi."""
    md, raw, weighted = phi_free_energies(run)
    results = {"": weighted, "_raw": raw, "_md": md, "_bar": phi_free_energy_from_both_ends(run)}
    return {
        **{f"delta_f_phi{name}_kt": r.value_kt if r else NAN for name, r in results.items()},
        **{f"delta_f_phi{name}_error_kt": r.error_kt if r else NAN for name, r in results.items()},
        **{f"delta_f_phi{name}_missing": _missing(r) for name, r in results.items()},
    }


def phi_free_energies(run: RunResult) -> list[FreeEnergy | None]:
    """phi > 0 against the rest, for MD frames, samples, and reweighted samples."""
    if not run.data_torsions:
        return [None, None, None]
    md, own = run.data_torsions[0].phi, run.sample_torsions[0].phi
    log_weight = run.safe_log_weight[run.in_space]
    return [
        _phi_free_energy(run, md, np.zeros(len(md)), run.data_blocks),
        _phi_free_energy(run, own, np.zeros(len(own))),
        _phi_free_energy(run, own, log_weight),
    ]


def phi_free_energy_from_both_ends(run: RunResult) -> FreeEnergy | None:
    """phi > 0 against the rest, from accepted samples and held-out MD frames together."""
    if not run.data_torsions or run.data_log_prob is None or np.isnan(run.data_log_prob).all():
        return None
    heldout = np.isfinite(run.data_log_prob)
    frames = End(
        (run.data_energy_kt + run.data_log_prob)[heldout], run.data_torsions[0].phi[heldout] > 0
    )
    phi = run.sample_torsions[0].phi[run.accepted[run.in_space]]
    samples = End(-run.safe_log_weight[run.accepted], phi > 0)
    return two_ended_difference(samples, frames, run.bootstrap, run.rng(), run.data_blocks)


def _phi_free_energy(
    run: RunResult, phi: Array, log_weight: Array, blocks: int | None = None
) -> FreeEnergy | None:
    if not np.isfinite(log_weight).any():
        return None
    positive = phi > 0
    return free_energy_difference(positive, ~positive, log_weight, run.bootstrap, run.rng(), blocks)


def _missing(result: FreeEnergy | None) -> str | None:
    return {"first": "phi>0", "second": "phi<0"}.get(result.missing or "") if result else None


def energy_metrics(run: RunResult) -> Metrics:
    """Mean-energy shifts to the MD data, of accepted samples, and low-energy fractions."""
    bar = run.max_data_energy_kt
    weighted_low = float(run.weights @ (run.energy_kt < bar)) if run.accepted.any() else NAN
    return {
        **energy_shifts(run),
        "low_energy_fraction": low_energy_fraction(run.energy_kt, bar),
        "low_energy_fraction_reweighted": weighted_low,
        "low_energy_fraction_noise": low_energy_fraction(run.noisy_energy_kt, bar),
    }


def energy_shifts(run: RunResult) -> Metrics:
    """Mean energy of the accepted samples minus MD's, raw and reweighted, and their median's."""
    mean = float(np.mean(run.data_energy_kt))
    energy, weight = run.energy_kt[run.accepted], run.weights[run.accepted]
    raw = float(np.mean(energy)) - mean if len(energy) else NAN
    median = float(np.median(energy) - np.median(run.data_energy_kt)) if len(energy) else NAN
    reweighted = float(weight @ energy) - mean if len(energy) else NAN
    error = _reweighted_shift_error(run, energy, weight) if len(energy) else NAN
    return {
        "mean_energy_shift_kt": raw,
        "mean_energy_shift_kjmol": kt_to_kjmol(raw, run.temperature_k),
        "median_energy_shift_kt": median,
        "median_energy_shift_kjmol": kt_to_kjmol(median, run.temperature_k),
        "mean_energy_shift_reweighted_kt": reweighted,
        "mean_energy_shift_reweighted_kjmol": kt_to_kjmol(reweighted, run.temperature_k),
        "mean_energy_shift_reweighted_error_kt": error,
    }


def _reweighted_shift_error(run: RunResult, energy: Array, weight: Array) -> float:
    """Bootstrap errors of the reweighted and of MD's mean (in blocks), added in quadrature."""

    def mean_of(values: Array) -> Callable[[Array], float]:
        return lambda weights: float(weights @ values) / max(float(weights.sum()), 1e-300)

    data, ones = run.data_energy_kt, np.ones(len(run.data_energy_kt))
    own = bootstrap(mean_of(energy), weight, run.bootstrap, run.rng())
    md = bootstrap(mean_of(data), ones, run.bootstrap, run.rng(), run.data_blocks)
    return math.hypot(float(bootstrap_error(own)), float(bootstrap_error(md)))


def low_energy_fraction(
    energy_kt: Array,  # (n,)
    bar_kt: float,
) -> float:
    """Share of energies below the bar; a NaN is not below it."""
    return _share(energy_kt < bar_kt)


def chirality_metrics(run: RunResult) -> Metrics:
    """Shares of samples with the wrong sign, at any stereocentre and at each; NaN without one."""
    raw = weighted = NAN
    if len(run.stereocentres):
        mirrored: NDArray[np.bool_] = np.any(run.wrong_chirality, axis=1)
        raw, weighted = _share(mirrored), _share_by_weight(run, mirrored)
    labels = distinct(atoms_label(run.topology, centre[:1]) for centre in run.stereocentres)
    by_centre = {label: run.wrong_chirality[:, i] for i, label in enumerate(labels)}
    return {
        "wrong_chirality_fraction": raw,
        "wrong_chirality_fraction_reweighted": weighted,
        "wrong_chirality_by_centre": {label: _share(wrong) for label, wrong in by_centre.items()},
        "wrong_chirality_by_centre_reweighted": {
            label: _share_by_weight(run, wrong) for label, wrong in by_centre.items()
        },
        "chirality_verdict": chirality_verdict(raw),
    }


def _share(mask: NDArray[np.bool_]) -> float:
    return float(np.mean(mask)) if len(mask) else NAN


def _share_by_weight(run: RunResult, mask: NDArray[np.bool_]) -> float:
    """Weight of the samples in space that the mask takes."""
    return float(run.sample_weights_in_space @ mask) if run.accepted.any() else NAN


def _mean(values: list[float]) -> float:
    return float(np.mean(values)) if values else NAN
