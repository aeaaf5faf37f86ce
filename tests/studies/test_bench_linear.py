"""The linear benchmark: every method runs, and computes what it claims to."""

import pytest
import torch

from bgp4.studies.bench.linear import bench_linear
from bgp4.studies.bench.linear_methods import (
    FLOWS,
    METHODS,
    _Matrix,
    _MatrixExponential,
    _Triangular,
)


@pytest.mark.filterwarnings("ignore:torch.triangular_solve")
def test_every_method_is_timed_or_accounted_for() -> None:
    result = bench_linear(sizes=(4, 8), batch=2, rounds=2, flow_blocks=1)
    assert all(0 < row["min_s"] <= row["median_s"] for row in result["results"])
    timed = {f"{r['method']} {r['direction']} n={r['n']}" for r in result["results"]}
    skipped = result["settings"]["skipped"]
    assert timed.isdisjoint(skipped)
    assert len(timed) + len(skipped) == len(METHODS) * 2 * 2 + len(FLOWS) * 2
    assert {key.split()[0] for key in skipped} <= {"linear", "relative_gradient", "bgflow"}


def test_ratios_are_between_medians() -> None:
    result = bench_linear(
        sizes=(4,), batch=2, rounds=2, methods=["linear", "lu", "p4inv"], flow_blocks=0
    )
    median = {(r["method"], r["direction"]): r["median_s"] for r in result["results"]}
    forward, inverse = result["ratios"]
    assert set(inverse) == {"n", "direction", "p4inv/linear", "lu/p4inv"}
    assert forward["lu/p4inv"] == median["lu", "forward"] / median["p4inv", "forward"]
    assert inverse["p4inv/linear"] == median["p4inv", "inverse"] / median["linear", "forward"]


def test_unknown_methods_are_refused() -> None:
    with pytest.raises(ValueError, match="nonsense"):
        bench_linear(methods=["nonsense"])


@pytest.mark.parametrize("kind", [_Matrix, _Triangular, _MatrixExponential])
def test_the_references_are_right(kind: type[_Matrix]) -> None:
    layer, x = kind(5, torch.float64), torch.randn(3, 5, dtype=torch.float64)
    y, logabsdet = layer(x)
    back, inverse = layer.inverse(y)
    J = torch.autograd.functional.jacobian(lambda x: layer(x)[0], x[:1])[0, :, 0]
    torch.testing.assert_close(back, x)
    torch.testing.assert_close(-inverse, logabsdet)
    torch.testing.assert_close(logabsdet, torch.linalg.slogdet(J)[1])


def test_all_of_it_is_on_the_device() -> None:
    """On `meta`, which has no values, nothing merges."""
    names = ["two_gemm", "linear", "relative_gradient", "standard"]
    made = bench_linear(*((4,), 2, names), rounds=1, flow_blocks=0, device=torch.device("meta"))
    assert made["settings"]["device"] == "meta"
    assert {row["method"] for row in made["results"]} == set(names)
    with torch.device("meta"):
        flow = FLOWS["flow_permutation"](1, 6, 2, torch.float32, "forward")
        assert {value.device.type for value in flow() if value is not None} == {"meta"}
