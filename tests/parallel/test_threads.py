"""Work is shared out in whole pieces: the number of threads changes no bit, and torch's is kept."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import numpy as np
import pytest
import torch

from bgp4.energies.forcefield import read_force_field
from bgp4.energies.potential import Potential
from bgp4.parallel.threads import in_threads, threads
from bgp4.sampling import generate as generate_module
from bgp4.sampling.generate import generate, load_trained


@pytest.fixture(params=[1, 3])
def n(request: pytest.FixtureRequest) -> Iterator[int]:
    """As many as torch has, within the test."""
    with threads(request.param):
        yield request.param


def test_results_come_in_order_each_on_one_thread_of_torch(n) -> None:
    meeting = threading.Barrier(n, timeout=60)

    def work(i: int) -> tuple[int, int]:
        if i < n:
            meeting.wait()  # so that as many run at once
        return i, torch.get_num_threads()

    assert list(in_threads(work, range(7))) == [(i, 1) for i in range(7)]
    assert torch.get_num_threads() == n


def test_few_results_wait(n) -> None:
    taken = []
    results = in_threads(lambda i: i, (taken.append(i) or i for i in range(100)))
    assert next(results) == 0
    assert len(taken) <= n + 1
    results.close()
    assert torch.get_num_threads() == n


def test_an_error_in_a_thread_is_raised(n) -> None:
    with pytest.raises(ZeroDivisionError):
        list(in_threads(lambda i: 1 / i, [1, 0, 1]))
    assert torch.get_num_threads() == n


def test_samples_do_not_depend_on_them(smoke_run, monkeypatch) -> None:
    monkeypatch.setattr(generate_module, "CHUNK", 16)
    model = load_trained(smoke_run).model
    made = []
    for number in (1, 3):
        with threads(number):
            made.append(list(generate(model, 100, 0, None)))
    assert [len(part.log_prob) for part in made[0]] == [16] * 6 + [4]
    for one, three in zip(*made, strict=True):
        np.testing.assert_array_equal(one.positions_nm, three.positions_nm)
        np.testing.assert_array_equal(one.log_prob, three.log_prob)


def test_energies_in_torch_take_one(n, alanine, monkeypatch) -> None:
    seen = []
    forward = Potential.forward
    monkeypatch.setattr(
        Potential, "forward", lambda *given: seen.append(torch.get_num_threads()) or forward(*given)
    )
    energy = Potential(read_force_field(alanine.system_xml))
    energy.evaluate(alanine.positions_nm[None])
    assert seen == [1]
    assert torch.get_num_threads() == n
