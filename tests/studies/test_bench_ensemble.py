"""From which number of conformations a flow pays, on made-up speeds."""

from __future__ import annotations

import numpy as np
import pytest

from bgp4.errors import UserInputError
from bgp4.studies.bench.ensemble import Speed, bench_ensemble, pays_from, targets


def test_where_both_take_as_long() -> None:
    flow, other = Speed("flow", 300.0, 0.01), Speed("md", 20.0, 0.5)
    n = pays_from(flow, other)
    assert n is not None
    assert flow.seconds(n) == pytest.approx(other.seconds(n))
    assert flow.seconds(2 * n) < other.seconds(2 * n)


def test_never_and_always() -> None:
    assert pays_from(Speed("flow", 300.0, 1.0), Speed("md", 20.0, 0.5)) is None
    assert pays_from(Speed("flow", 3.0, 0.1), Speed("md", 20.0, 0.5)) == 0.0


def test_errors_of_so_many_draws() -> None:
    """By drawing them: the scatter of a free-energy difference of 3 kT."""
    n = targets()["ΔF of 3 kT within 0.1 kT"]
    share = np.random.default_rng(0).binomial(round(n), 1 / (1 + np.exp(3.0)), 4000) / round(n)
    assert np.std(np.log(share / (1 - share))) == pytest.approx(0.1, rel=0.05)


def test_a_folder_that_is_none(tmp_path) -> None:
    with pytest.raises(UserInputError, match="expected a folder that `bgp4 run` made"):
        bench_ensemble(tmp_path)
