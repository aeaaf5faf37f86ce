"""Runs with other samples."""

from dataclasses import replace
from typing import Any

from bgp4.report.result import RunResult
from bgp4.statistics.samples import Samples


def with_samples(run: RunResult, **changes: Any) -> RunResult:
    """A run with some fields changed, among them `Samples`' and `sample_positions_nm`.

    Log-weights are those given or follow from `log_prob`; without either they stay what they were.
    """
    positions_nm = changes.pop("sample_positions_nm", run.sample_positions_nm)
    energy_kt = changes.pop("energy_kt", run.energy_kt)
    log_prob = changes.pop("log_prob", None)
    if log_prob is None:
        log_prob = -energy_kt - changes.pop("log_weight", run.samples.log_weight)
    return replace(run, samples=Samples(positions_nm, log_prob, energy_kt), **changes)
