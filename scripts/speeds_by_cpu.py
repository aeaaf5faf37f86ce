"""A column of docs/results.md for this CPU: speeds_by_cpu.py ENERGY.json LINEAR.json.

Takes what `bgp4 bench energy` and `bgp4 bench linear` wrote in one session. Columns of other CPUs,
which docs/speeds.json keeps, stay as they were measured.
"""

import argparse
import json
from pathlib import Path
from typing import Any

DOCS = Path(__file__).parents[1] / "docs"
BEGIN, END = "<!-- begin: speeds_by_cpu.py -->\n", "<!-- end: speeds_by_cpu.py -->\n"

Speeds = dict[str, str]


def column(energy: dict[str, Any], linear: dict[str, Any]) -> Speeds:
    """Row names to cells; of P4Inv forward / inverse."""
    machine, ratios = linear["machine"], {(r["n"], r["direction"]): r for r in linear["ratios"]}
    rate = {r["method"]: r["evaluations_per_s"] for r in energy["results"]}
    over = {name: rate[name] / rate["openmm_pool"] for name in ("batched", "batched_float64")}

    def both(n: int, quotient: str) -> str:
        return " / ".join(f"{ratios[n, d][quotient]:.2f}" for d in ("forward", "inverse"))

    return {
        "vectors, cores": f"{machine['vectors']}, {energy['machine']['cores']}",
        "energies per second, float32": f"{rate['batched']:,.0f}",
        "energies per second, float64": f"{rate['batched_float64']:,.0f}",
        "float32 over OpenMM's pool": f"{over['batched']:.0f}",
        "float64 over OpenMM's pool": f"{over['batched_float64']:.0f}",
        "P4Inv over nn.Linear, n = 64": both(64, "p4inv/linear"),
        "P4Inv over two bare products, n = 512": both(512, "p4inv/two_gemm_best"),
        "P4Inv over two bare products, n = 4096": both(4096, "p4inv/two_gemm_best"),
        "P4Inv over what it asks of memory, n = 512": both(512, "p4inv/p4_floor"),
        "P4Inv over what it asks of memory, n = 4096": both(4096, "p4inv/p4_floor"),
        "plain product, float32, GFlop/s": f"{machine['product_gflops']['float32_best']:.0f}",
        "plain product, float64, GFlop/s": f"{machine['product_gflops']['float64']:.0f}",
        "plain copy, GB/s": f"{machine['copy_gb_per_s']:.1f}",
    }


def table(speeds: dict[str, Speeds]) -> str:
    rows = dict.fromkeys(row for column in speeds.values() for row in column)
    lines = [
        ["", *speeds],
        ["---"] * (1 + len(speeds)),
        *([row, *(column.get(row, "-") for column in speeds.values())] for row in rows),
    ]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("energy", type=Path)
    parser.add_argument("linear", type=Path)
    options = parser.parse_args()
    energy, linear = (json.loads(path.read_text()) for path in (options.energy, options.linear))
    kept = DOCS / "speeds.json"
    speeds = json.loads(kept.read_text()) | {linear["machine"]["cpu"]: column(energy, linear)}
    kept.write_text(json.dumps(speeds, indent=2) + "\n")
    page = DOCS / "results.md"
    before, rest = page.read_text().split(BEGIN)
    page.write_text(before + BEGIN + table(speeds) + END + rest.split(END)[1])


if __name__ == "__main__":
    main()
