"""Ctrl-C waits for a place to be heard, once."""

from __future__ import annotations

import os
import signal
import threading

import pytest

from bgp4.parallel.interrupt import deferred_interrupt


def test_it_is_told_where_it_is_asked_for() -> None:
    before = signal.getsignal(signal.SIGINT)
    with deferred_interrupt() as interrupted:
        assert not interrupted()
        os.kill(os.getpid(), signal.SIGINT)
        assert interrupted()
    assert signal.getsignal(signal.SIGINT) == before


def test_a_second_one_is_raised_at_once() -> None:
    """Also where the tests run in the background, with Ctrl-C ignored at first."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)

    def work() -> None:
        with deferred_interrupt():
            os.kill(os.getpid(), signal.SIGINT)
            os.kill(os.getpid(), signal.SIGINT)
            pytest.fail("not reached")

    try:
        with pytest.raises(KeyboardInterrupt):
            work()
    finally:
        signal.signal(signal.SIGINT, before)


def test_other_threads_have_none() -> None:
    kept = []

    def work() -> None:
        with deferred_interrupt() as interrupted:
            kept.append(interrupted())

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert kept == [False]
