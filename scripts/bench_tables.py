"""Markdown tables of benches, for docs/results.md: bench_tables.py ENERGY.json LINEAR.json ..."""

import json
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from bgp4.studies.bench.machine import in_words

Row = dict[str, Any]


def table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    head = list(head)
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"


def energies(bench: Row) -> str:
    """Evaluations per second, and how often the pool's of the same molecule and batch."""
    rows = bench["results"] + bench["scaling"]
    pool = {
        (r["force_field"], r["atoms"], r["batch"]): r["evaluations_per_s"]
        for r in rows
        if r["method"] == "openmm_pool"
    }
    return table(
        (
            "force field",
            "atoms",
            "batch",
            "method",
            "per second (slowest - fastest)",
            "against the pool",
        ),
        (
            (
                r["force_field"],
                str(r["atoms"]),
                str(r["batch"]),
                r["method"],
                f"{r['evaluations_per_s']:,.0f} ({r['min_per_s']:,.0f} - {r['max_per_s']:,.0f})",
                f"{r['evaluations_per_s'] / pool[r['force_field'], r['atoms'], r['batch']]:.2f}",
            )
            for r in rows
        ),
    )


def simulation(bench: Row) -> str:
    openmm = next(r for r in bench["results"] if r["engine"] == "openmm")["replica_steps_per_s"]
    free = {r["engine"]: r for r in bench["results"] if r["constraints"] is None}
    return table(
        (
            *("engine", "constraints", "time step", "replicas", "steps times replicas per second"),
            *("against OpenMM", "simulated time, against none"),
        ),
        (
            (
                r["engine"],
                r["constraints"] or "none",
                f"{r['timestep_fs']:g} fs",
                str(r["replicas"]),
                f"{r['replica_steps_per_s']:,.0f} ({r['min_per_s']:,.0f} - {r['max_per_s']:,.0f})",
                f"{r['replica_steps_per_s'] / openmm:.1f}",
                f"{_simulated(r) / _simulated(free[r['engine']]):.2f}",
            )
            for r in bench["results"]
        ),
    )


def _simulated(row: Row) -> float:
    """Time per second, fs, times replicas."""
    return float(row["replica_steps_per_s"] * row["timestep_fs"])


def sampling(bench: Row) -> str:
    flow = bench["results"][0]["independent_per_s"]
    by_size = table(
        ("atoms", "blocks", "batch", "conformations per second"),
        (
            (str(r["atoms"]), str(r["blocks"]), str(r["batch"]), f"{r['generated_per_s']:,.0f}")
            for r in bench["scaling"]
        ),
    )
    methods = table(
        ("method", "independent samples per second", "flow over it"),
        (
            (r["method"], f"{r['independent_per_s']:,.1f}", f"{flow / r['independent_per_s']:.2f}")
            for r in bench["results"]
        ),
    )
    return methods + "\n" + by_size


def ensemble(bench: Row) -> str:
    """Minutes to each target, and from how many conformations the flow pays."""
    methods = list(dict.fromkeys(r["method"] for r in bench["results"]))
    settings = bench["settings"]
    rows: dict[str, dict[str, str]] = {r["target"]: {} for r in bench["results"]}
    for r in bench["results"]:
        rows[r["target"]][r["method"]] = f"{r['seconds'] / 60:,.1f}"
    pays = [settings["pays_from"].get(m) for m in methods]
    last = ["the flow pays from", *("-" if n is None else f"{n:,.0f}" for n in pays)]
    body = [[target, *(found[m] for m in methods)] for target, found in rows.items()]
    return table((f"{settings['molecule']}, minutes", *methods), [*body, last])


def linear(bench: Row) -> str:
    """Milliseconds of a step, forward / inverse; of the layers by size, and of whole flows."""
    times = {(r["method"], r["n"], r["direction"]): r["median_s"] for r in bench["results"]}
    methods = dict.fromkeys(r["method"] for r in bench["results"])
    sizes = sorted({n for method, n, _ in times if not method.startswith("flow_")})
    flows = sorted({n for method, n, _ in times if method.startswith("flow_")})

    def cell(method: str, n: int) -> str:
        found = [times.get((method, n, d)) for d in ("forward", "inverse")]
        return " / ".join(f"{1e3 * t:.3g}" for t in found if t is not None) or "-"

    layers = [m for m in methods if not m.startswith("flow_")]
    by_size = table(
        ("layer, ms", *(f"n = {n}" for n in sizes)),
        ((m, *(cell(m, n) for n in sizes)) for m in layers),
    )
    whole = table(
        ("flow of 25 blocks, ms", *(f"n = {n}" for n in flows)),
        ((m, *(cell(m, n) for n in flows)) for m in methods if m.startswith("flow_")),
    )
    return by_size + "\n" + whole


def render(bench: Row) -> str:
    """The CPU in words where the bench says it, then its tables."""
    head = in_words(bench["machine"]) + "\n\n" if "machine" in bench else ""
    return head + tables(bench)


def tables(bench: Row) -> str:
    first = bench["results"][0]
    if "engine" in first:
        return simulation(bench)
    if "evaluations_per_s" in first:
        return energies(bench)
    if "target" in first:
        return ensemble(bench)
    return sampling(bench) if "independent_per_s" in first else linear(bench)


if __name__ == "__main__":
    for path in sys.argv[1:]:
        found = json.loads(Path(path).read_text())
        print(render(found.get("numbers", found)))
