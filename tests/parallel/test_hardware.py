"""What is asked of a GPU and said of it, and what the others are told when one process fails."""

from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace

import pytest
import torch
import torch.distributed as dist

from bgp4.errors import RunError, UserInputError
from bgp4.parallel import hardware, ranks
from bgp4.parallel.hardware import full_precision, gpu_facts, wait_for
from bgp4.parallel.ranks import CPU, Ranks, device_named, joined


@pytest.fixture
def _as_before() -> Iterator[None]:
    before = torch.get_float32_matmul_precision()
    yield
    torch.set_float32_matmul_precision(before)


@pytest.mark.usefixtures("_as_before")
def test_flows_run_in_full_precision_whatever_was_set() -> None:
    torch.set_float32_matmul_precision("high")
    with joined("cpu"):
        assert torch.get_float32_matmul_precision() == "highest"
        assert torch.backends.cuda.matmul.allow_tf32 is False
    assert torch.get_float32_matmul_precision() == "high"


@pytest.mark.usefixtures("_as_before")
def test_also_where_it_was_set_by_torchs_new_name() -> None:
    torch.backends.cuda.matmul.fp32_precision = "tf32"
    with full_precision():
        assert torch.backends.cuda.matmul.fp32_precision != "tf32"
    assert torch.backends.cuda.matmul.fp32_precision == "tf32"


def test_a_gpu_is_named(monkeypatch) -> None:
    found = SimpleNamespace(name="A Card", total_memory=80_000_000_000, major=9, minor=0)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: found)
    monkeypatch.setattr(hardware, "DRIVER", ("echo", "580.1"))
    facts = gpu_facts(torch.device("cuda", 0))
    assert (facts["name"], facts["memory_gb"], facts["capability"]) == ("A Card", 80.0, "9.0")
    assert (facts["driver"], facts["torch"]) == ("580.1", torch.__version__)
    monkeypatch.setattr(hardware, "DRIVER", ("no-such-program",))
    assert gpu_facts(torch.device("cuda", 0))["driver"] is None


def test_a_cpu_has_nothing_to_say_and_is_not_waited_for() -> None:
    assert gpu_facts(CPU) == {}
    wait_for(CPU)


def test_names_of_devices(monkeypatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert device_named("auto") == device_named("cpu") == CPU
    with pytest.raises(UserInputError, match="torch finds no CUDA device here; use cpu or auto"):
        device_named("cuda")


def test_a_process_whose_peer_has_gone_says_so(monkeypatch) -> None:
    def fail(tensor: torch.Tensor) -> None:
        raise RuntimeError("[gloo]\nConnection closed by peer")

    monkeypatch.setattr(dist, "all_reduce", fail)
    with pytest.raises(RunError, match=r"another process .* ended.*Connection closed by peer"):
        Ranks(0, 2).total(1.0)


def test_gpus_meet_on_the_cpu_before_they_add_up(monkeypatch) -> None:
    """There a process that has gone is missed at once, and not after the timeout."""
    met: list[str] = []
    monkeypatch.setattr(dist, "all_reduce", lambda tensor: met.append(tensor.device.type))
    of_gpu = SimpleNamespace(device=torch.device("cuda"))
    for values in (of_gpu, torch.zeros(2)):
        ranks._add_up(values)
    assert met == ["cpu", "cuda", "cpu"]
