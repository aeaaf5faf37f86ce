"""What figure 7 demands of the (φ, ψ) maps."""

from __future__ import annotations

import pytest

from bgp4.studies.paper.fig7 import BasinShares, _basin_check, _map_check


@pytest.mark.parametrize(("distance", "holds"), [([0.15, 0.21], True), ([0.2, 0.24], False)])
def test_a_map_may_be_two_floors_from_mds(distance: list[float], holds: bool) -> None:
    floor = [0.1, 0.1]
    check = _map_check(
        "RNVP", {"ramachandran_tv": distance, "ramachandran_tv_sampling_floor": floor}
    )
    assert check.value == pytest.approx(sum(distance) / 0.2)
    assert check.holds == holds


@pytest.mark.parametrize(
    ("rare", "factor", "holds"),
    [([0.08, 0.12], 1.2, True), ([0.18, 0.20], 1.9, False), ([0.05], 2.0, False)],
)
def test_the_worst_basin_counts(rare: list[float], factor: float, holds: bool) -> None:
    shares: dict[str, BasinShares] = {
        "C5": {"md": 0.9, "samples": [0.75]},
        "αL": {"md": 0.1, "samples": rare},
    }
    check = _basin_check("P4Inv", shares)
    assert check.value == pytest.approx(max(factor, 1.2))
    assert check.holds == holds


def test_a_basin_without_samples_fails() -> None:
    check = _basin_check("P4Inv", {"αL": {"md": 0.1, "samples": [0.0, 0.0]}})
    assert check.value == float("inf")
    assert not check.holds
