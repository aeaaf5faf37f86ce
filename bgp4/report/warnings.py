"""What a reader of a report has to be warned of, one plain sentence each."""

from __future__ import annotations

from collections.abc import Iterator

from bgp4.report.wording import (
    Metrics,
    has_backbone,
    has_torsions,
    mirrored_shares,
    percent,
    signed,
)
from bgp4.statistics.verdicts import Verdict

__all__ = ["warnings"]

MOST_LISTED = 6
"""States that one sentence names."""


def warnings(metrics: Metrics) -> list[str]:
    """What is off with a run, one plain sentence each."""
    return [text for test in _WARNINGS for text in _texts(test(metrics))]


def _texts(found: str | Iterator[str] | None) -> list[str]:
    return [found] if isinstance(found, str) else list(found or ())


def _number(metrics: Metrics, key: str, default: float = 0.0) -> float:
    value = metrics.get(key)
    return default if value is None else float(value)


def _not_finite(metrics: Metrics) -> str | None:
    share = 1 - _number(metrics, "finite_fraction", 1.0)
    return f"{percent(share)} of the samples are not finite." if share > 0 else None


def _rejected(metrics: Metrics) -> str | None:
    rejected, n = metrics["n_rejected"], metrics["n_samples"]
    return (
        f"{rejected:,} of {n:,} samples were rejected or have 1e6 kT or more; they have "
        "no weight and are left out of the mean energies."
        if rejected > 0.001 * n
        else None
    )


def _small_ess(metrics: Metrics) -> str | None:
    ess = _number(metrics, "ess_raw")
    return (
        f"The effective sample size is only {percent(ess)}: a few samples decide every "
        "reweighted number, and error bars may be too small."
        if ess < 0.01
        else None
    )


def _one_heavy(metrics: Metrics) -> str | None:
    share = _number(metrics, "max_weight")
    return f"A single sample holds {percent(share)} of all weight." if share > 0.1 else None


def _lost_states(metrics: Metrics) -> Iterator[str]:
    """States whose share of the samples, or by weight, is not the data's."""
    verdicts = metrics.get("state_verdicts") or {}
    shares = [metrics.get(f"state_shares_{key}") or {} for key in ("md", "samples", "reweighted")]
    for label, verdict in verdicts.items():
        md, own, weighted = (of.get(label) or 0.0 for of in shares)
        match verdict:
            case Verdict.LOST:
                yield (
                    f"No sample is in the state {label}, where MD has {percent(md)}: this mode is "
                    "lost, the effective sample size cannot show it, and ΔF cannot be trusted."
                )
                continue  # which says it all
            case Verdict.UNDER | Verdict.OVER:
                yield f"{label} is {verdict} by a factor of {_off_by(own, md)}."
        match metrics["state_verdicts_reweighted"][label]:
            case Verdict.LOST:
                yield f"No weight is on {label}, where MD has {percent(md)}: ΔF cannot be trusted."
            case Verdict.UNDER | Verdict.OVER as by_weight:
                off = f"by a factor of {_off_by(weighted, md)}"
                yield f"By weight {label} is {by_weight} {off}; ΔF cannot be trusted."


def _unjudged_states(metrics: Metrics) -> Iterator[str]:
    """States of which nothing can be said."""
    verdicts = metrics.get("state_verdicts") or {}
    unseen = [label for label, verdict in verdicts.items() if verdict == Verdict.UNSEEN]
    if unseen:
        yield f"The MD data have no frame in {_listed(unseen)}, so these states cannot be judged."
    unsure = [label for label, verdict in verdicts.items() if verdict == Verdict.UNSURE]
    if unsure:
        yield f"There are too few samples, or crossings of MD, to judge {_listed(unsure)}."


def _listed(labels: list[str]) -> str:
    more = len(labels) - MOST_LISTED
    return ", ".join(labels[:MOST_LISTED]) + (f" and {more} other states" if more > 0 else "")


def _off_by(own: float, md: float) -> str:
    return f"{max(own / md, md / own):.2g}: {percent(own)}, where MD has {percent(md)}"


def _no_backbone(metrics: Metrics) -> str | None:
    """What is shown of a molecule without φ and ψ instead."""
    if has_backbone(metrics):
        return None
    if has_torsions(metrics):
        return "The molecule has no residue with φ and ψ; all its rotatable torsions are shown."
    if metrics.get("bond_tv_noise_floor") is None:
        return "The molecule has no bonds; numbers and pictures of its geometry are left out."
    return (
        "The molecule has no residue with φ and ψ and no rotatable torsion; its bonds and angles "
        "are shown."
    )


def _constrained(metrics: Metrics) -> str | None:
    """What the comparison with MD cannot say, since MD knew nothing of some bonds."""
    bonds = metrics.get("constrained_bonds")
    if bonds is None:
        return None
    return (
        f"The MD had constrained bonds ({bonds}). Their lengths were drawn from the force field: "
        "they are not compared, and MD's energies are approximate."
    )


def _system_constraints(metrics: Metrics) -> str | None:
    """Which bonds have one length, and what MD of free bonds cannot say of such a run."""
    bonds = metrics.get("system_constraints")
    if bonds is None:
        return None
    words = f"The System constrains bonds ({bonds}): their lengths are the same in all samples"
    if not metrics.get("lengths_set"):
        return f"{words}, and are not compared."
    return (
        f"{words}. The MD did not constrain them: its frames were given the System's lengths, and "
        "are not quite of the run's ensemble."
    )


def _mirrored(metrics: Metrics) -> str | None:
    if metrics["chirality_verdict"] != Verdict.MIRRORED:
        return None
    raw, weighted = mirrored_shares(metrics)
    several = len(metrics.get("wrong_chirality_by_centre") or {}) > 1
    mixed = "isomers of it" if several else "both mirror images, which have the same energies"
    return (
        f"{raw} of the samples have the wrong chirality, {weighted} by weight: reweighted numbers "
        f"mix {mixed}."
    )


def _high_energies(metrics: Metrics) -> str | None:
    low = _number(metrics, "low_energy_fraction", 1.0)
    return (
        f"Only {percent(low)} of the samples lie below the highest MD energy."
        if low < 0.95
        else None
    )


def _energy_off(metrics: Metrics) -> str | None:
    shift = _number(metrics, "mean_energy_shift_reweighted_kt")
    return (
        f"The mean reweighted energy is off by {signed(shift)} from MD's."
        if abs(shift) > 1
        else None
    )


_WARNINGS = (
    _not_finite,
    _rejected,
    _lost_states,
    _mirrored,
    _small_ess,
    _one_heavy,
    _energy_off,
    _high_energies,
    _unjudged_states,
    _constrained,
    _system_constraints,
    _no_backbone,
)
