"""What `bgp4 bench sampling` says, not how fast it is."""

from __future__ import annotations

from pathlib import Path

import pytest

from bgp4.errors import UserInputError
from bgp4.studies.bench.sampling import bench_sampling, scaling


def test_rates_follow_from_each_other(smoke_run, monkeypatch) -> None:
    scaling_has_a_test = "bgp4.studies.bench.sampling.scaling"
    monkeypatch.setattr(scaling_has_a_test, lambda device: [])
    made = bench_sampling(
        smoke_run.path, n=200, replicas=4, md_ps=1.0, equilibration_ps=0.2, seconds=0.2
    )
    flow, *md = made["results"]
    assert flow["method"] == "flow"
    assert 0 < flow["ess"] <= 1
    assert flow["independent_per_s"] == pytest.approx(flow["ess"] * flow["weighed_per_s"])
    assert {row["method"] for row in md} == {"md_openmm", "md_batched"}
    inefficiency_ps = made["settings"]["inefficiency_ps"]
    assert inefficiency_ps >= 0.1, "one frame at least"
    for row in md:
        expected = row["steps_per_s"] * 1e-3 / inefficiency_ps
        assert row["independent_per_s"] == pytest.approx(expected)
        ratio = flow["independent_per_s"] / row["independent_per_s"]
        assert made["ratios"][f"flow/{row['method']}"] == pytest.approx(ratio)


def test_without_a_run(tmp_path: Path) -> None:
    with pytest.raises(UserInputError, match="not a run folder"):
        bench_sampling(tmp_path / "none")


def test_scaling_varies_one_thing_at_a_time() -> None:
    made = scaling(atoms=(10, 11), blocks=(1,), batches=(2, 3), seconds=0.01)
    cases = [(row["atoms"], row["blocks"], row["batch"]) for row in made]
    assert cases == [(10, 6, 3), (11, 6, 3), (10, 1, 3), (10, 6, 2)]
    assert all(row["generated_per_s"] > 0 for row in made)
