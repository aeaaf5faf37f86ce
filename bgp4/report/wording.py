"""A run's numbers in words: how they are printed, and what they mean.

All functions take metrics as `json_ready` leaves them: `None` where there is no number.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

from bgp4.report.definitions import METRICS
from bgp4.statistics.verdicts import Verdict

__all__ = [
    "Headline",
    "StateShares",
    "collapse_check",
    "format_difference",
    "format_estimate",
    "format_value",
    "further_headlines",
    "has_backbone",
    "has_torsions",
    "headlines",
    "mirrored_shares",
    "percent",
    "signed",
]

Metrics = Mapping[str, Any]

NOTHING = "–"


class Headline(NamedTuple):
    """One number of the report's head, and one line on what it means."""

    label: str
    value: str
    detail: str
    meaning: str


class StateShares(NamedTuple):
    """A row of the collapse check: a state's shares, free energies against all else, verdicts."""

    state: str
    data: str
    samples: str
    reweighted: str
    data_free_energy: str
    free_energy: str
    verdict: str


def format_value(key: str, value: Any) -> str:
    """A metric as the report prints it.

    >>> format_value("ess_raw", 0.3512), format_value("n_samples", 10000)
    ('35.1 %', '10,000')
    """
    if value is None:
        return NOTHING
    if isinstance(value, Mapping):
        return _format_parts(key, value) or NOTHING
    if _is_share(key):
        return percent(value)
    return _plain(value)


def _is_share(key: str) -> bool:
    return key in METRICS and METRICS[key].unit == "share"


def _format_parts(key: str, parts: Mapping[str, Any]) -> str:
    """Wall times on one line, what is by residue or by stereocentre on a line each."""
    if key == "wall_time_s":
        return ", ".join(f"{stage} {_plain(seconds)} s" for stage, seconds in parts.items())
    return "\n".join(f"{label}  {format_value(key, value)}" for label, value in parts.items())


def percent(share: float | None) -> str:
    """A share of 1 in percent, to three digits, and never 100 % unless it is all."""
    if share is None:
        return NOTHING
    if 0.999 <= share < 1:
        return f"{min(100 * share, 99.99):.2f} %"
    return f"{100 * share:.3g} %"


def _plain(value: Any) -> str:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return str(value)
    if isinstance(value, int):
        return f"{value:,}"
    if value and not 1e-3 <= abs(value) < 1e5:
        return f"{value:.3g}"
    if abs(value) >= 1000:
        return f"{value:,.0f}"
    return f"{value:.3g}" if abs(value) < 1 else f"{value:.4g}"


def format_estimate(key: str, value: float | None, error: float | None) -> str:
    """A number with its error in the same units, to two digits of the error.

    >>> format_estimate("ess_raw", 0.93214, 0.0012), format_estimate("delta_f_phi_kt", 5.763, 0.08)
    ('93.21 ± 0.12 %', '5.763 ± 0.080')
    """
    if value is None or error is None or not error:
        return format_value(key, value)
    scale, unit = (100, " %") if _is_share(key) else (1, "")
    digits = min(max(1 - math.floor(math.log10(scale * error)), 0), 6)
    return f"{scale * value:.{digits}f} ± {scale * error:.{digits}f}{unit}".replace(
        "-", "\N{MINUS SIGN}"
    )


def format_difference(key: str, value: float | None, error: float | None) -> str:
    """The same with a sign."""
    if value is None:
        return NOTHING
    return ("+" if value > 0 else "") + format_estimate(key, value, error).replace(
        "-", "\N{MINUS SIGN}"
    )


def signed(value: float | None) -> str:
    return NOTHING if value is None else f"{value:+.2f} kT".replace("-", "\N{MINUS SIGN}")


def _with_error(value: float | None, error: float | None, sign: str = "") -> str:
    if value is None:
        return NOTHING
    size = "?" if error is None else f"{error:.2f}"
    return f"{value:{sign}.2f} ± {size} kT".replace("-", "\N{MINUS SIGN}")


def headlines(metrics: Metrics) -> list[Headline]:
    """The four numbers that say most about a run; the third depends on the molecule."""
    get = metrics.get
    return [
        Headline(
            "Effective sample size",
            percent(get("ess_raw")),
            f"{percent(get('ess_clipped'))} with the largest weights clipped",
            "Share of the samples that counts once they are weighted; 100 % would be perfect.",
        ),
        Headline(
            "Coverage of MD",
            percent(get("coverage")),
            f"as many perfect samples would reach {percent(get('coverage_expected'))}",
            "Share of the MD frames in bins that hold a sample; reweighting cannot recover what is "
            "missing.",
        ),
        _free_energy_headline(metrics)
        if has_backbone(metrics)
        else _geometry_headline(metrics, "torsion" if has_torsions(metrics) else "bond"),
        _cost_headline(metrics),
    ]


def further_headlines(metrics: Metrics) -> list[Headline]:
    """What stands in small type under the four."""
    get = metrics.get
    return [
        *(_distance_headlines(metrics)),
        Headline(
            "Mean energy error, reweighted",
            _with_error(
                get("mean_energy_shift_reweighted_kt"),
                get("mean_energy_shift_reweighted_error_kt"),
                sign="+",
            ),
            f"unweighted {signed(get('mean_energy_shift_kt'))}",
            "Mean energy of the reweighted samples minus MD's; zero within its error is right.",
        ),
    ]


def _cost_headline(metrics: Metrics) -> Headline:
    evaluations, stages = metrics.get("n_energy_evaluations"), metrics.get("wall_time_s") or {}
    training = sum(seconds for stage, seconds in stages.items() if stage.startswith("train"))
    took = [f"{_duration(training)} of training"] if training else []
    if stages.get("sample"):
        took.append(f"{_duration(stages['sample'])} for {metrics['n_samples']:,} samples")
    return Headline(
        "Cost: energy evaluations",
        NOTHING if evaluations is None else _count(evaluations),
        ", ".join(took) or "wall times unknown",
        "Energy evaluations in training, a cost that does not depend on the machine, and wall "
        "times. Each sample takes one more evaluation.",
    )


def _count(number: int) -> str:
    """Three digits of a large number.

    >>> _count(4_349_952), _count(512_000), _count(0)
    ('4.35 M', '512 k', '0')
    """
    for size, letter in ((10**9, "G"), (10**6, "M"), (10**3, "k")):
        if number >= size:
            return f"{number / size:.3g} {letter}"
    return str(number)


def _duration(seconds: float) -> str:
    """
    >>> _duration(19.2), _duration(1513.4), _duration(10_000)
    ('19 s', '25 min', '2.8 h')
    """
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def has_backbone(metrics: Metrics) -> bool:
    return metrics.get("ramachandran_tv_noise_floor") is not None


def _free_energy_headline(metrics: Metrics) -> Headline:
    get = metrics.get
    return Headline(
        "ΔF of φ > 0",
        _with_error(get("delta_f_phi_kt"), get("delta_f_phi_error_kt")),
        f"MD {_with_error(get('delta_f_phi_md_kt'), get('delta_f_phi_md_error_kt'))}; "
        f"BAR {_with_error(get('delta_f_phi_bar_kt'), get('delta_f_phi_bar_error_kt'))}",
        "Free energy of the rare φ > 0 side relative to φ < 0, from the reweighted samples; it "
        "should agree within errors with MD's and with BAR's, which uses both.",
    )


def _distance_headlines(metrics: Metrics) -> list[Headline]:
    if not has_backbone(metrics):
        return [_geometry_headline(metrics, "angle")]
    return [
        Headline(
            "Ramachandran total variation",
            format_value("", metrics.get("ramachandran_tv")),
            _floors(metrics, "ramachandran_tv"),
            "How far the samples' (φ, ψ) map is from MD's, from 0 to 1. At its noise "
            "floor, these data cannot tell the two apart.",
        )
    ]


def _geometry_headline(metrics: Metrics, kind: str) -> Headline:
    """Headline of a molecule without φ and ψ: its torsions, bonds or angles."""
    return Headline(
        f"Total variation of {kind}s",
        format_value("", metrics.get(f"{kind}_tv_mean")),
        f"largest {format_value('', metrics.get(f'{kind}_tv_max'))}, "
        f"{metrics.get(f'{kind}_tv_max_of') or 'of none'}; {_floors(metrics, f'{kind}_tv')}",
        f"How far the samples' distributions are from MD's, from 0 to 1, the mean over all "
        f"{kind}s. At its noise floor, these data cannot tell the two apart.",
    )


def has_torsions(metrics: Metrics) -> bool:
    return metrics.get("torsion_tv_noise_floor") is not None


def collapse_check(metrics: Metrics) -> list[StateShares]:
    """The states that are watched, and whether the flow keeps the data's share of each."""
    rows = [
        _state_row(metrics, label, verdict)
        for label, verdict in (metrics.get("state_verdicts") or {}).items()
        if verdict
    ]
    verdict = metrics.get("chirality_verdict")
    if verdict:
        own, by_weight = mirrored_shares(metrics)
        rows.append(_mirrored("mirrored", own, by_weight, str(verdict)))
        rows += _mirrored_centres(metrics)
    return rows


def _state_row(metrics: Metrics, label: str, raw: str) -> StateShares:
    weighted = metrics["state_verdicts_reweighted"][label]
    md, own, by_weight = (
        percent(metrics[f"state_shares_{key}"][label]) for key in ("md", "samples", "reweighted")
    )
    md_free_energy, free_energy = (
        _with_error(
            metrics[f"state_delta_f{suffix}_kt"][label],
            metrics[f"state_delta_f{suffix}_error_kt"][label],
        )
        for suffix in ("_md", "")
    )
    both = str(raw) if weighted in (raw, None) else f"{raw}; by weight {weighted}"
    return StateShares(label, md, own, by_weight, md_free_energy, free_energy, both)


def _mirrored(state: str, samples: str, reweighted: str, verdict: str) -> StateShares:
    return StateShares(state, NOTHING, samples, reweighted, NOTHING, NOTHING, verdict)


def _mirrored_centres(metrics: Metrics) -> list[StateShares]:
    """A row for each stereocentre that any sample has mirrored, where there are several."""
    raw = metrics.get("wrong_chirality_by_centre") or {}
    weighted = metrics.get("wrong_chirality_by_centre_reweighted") or {}
    return [
        _mirrored(
            *(f"mirrored at {label}", percent(share), percent(weighted.get(label))),
            str(Verdict.MIRRORED),
        )
        for label, share in raw.items()
        if share and len(raw) > 1
    ]


def _floors(metrics: Metrics, tv: str) -> str:
    """The floors of a total variation, and its value by weight, whatever that one's key is."""
    halves, floor, weighted_floor = (
        format_value("", metrics.get(f"{tv}_{key}"))
        for key in ("noise_floor", "sampling_floor", "sampling_floor_reweighted")
    )
    by_weight = metrics.get(f"{tv}_reweighted", metrics.get(f"{tv}_mean_reweighted"))
    return (
        f"noise floor {floor} from counting alone, {halves} between MD's halves; "
        f"reweighted {format_value('', by_weight)}, with a floor of {weighted_floor}"
    )


def mirrored_shares(metrics: Metrics) -> tuple[str, str]:
    """Raw and by weight, in percent."""
    keys = ("wrong_chirality_fraction", "wrong_chirality_fraction_reweighted")
    raw, weighted = (percent(metrics[key]) for key in keys)
    return raw, weighted
