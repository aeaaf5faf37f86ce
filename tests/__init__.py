"""Tests of bgp4; the folders mirror the package."""

import os

THREADS = os.environ.get("TEST_THREADS", "1")
"""Of torch, in tests and in what they start: a number, or `unset` to leave it to torch."""

if THREADS == "unset":
    os.environ.pop("OMP_NUM_THREADS", None)
else:
    os.environ["OMP_NUM_THREADS"] = THREADS
