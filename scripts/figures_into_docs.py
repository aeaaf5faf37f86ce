"""Reproduced figures into docs/results.md: figures_into_docs.py FOLDER (bgp4 reproduce -o)."""

import json
import shutil
import sys
from pathlib import Path
from statistics import median
from typing import Any

DOCS = Path(__file__).parents[1] / "docs"
BEGIN, END = "<!-- begin: figures_into_docs.py -->\n", "<!-- end: figures_into_docs.py -->\n"


def section(name: str, result: dict[str, Any]) -> str:
    """One figure: claim, verdict, each check with its number, picture, command."""
    checks = [
        {
            "what must hold": words(check["what"]),
            "found": words(check["value"]),
            "holds": "yes" if check["holds"] else "**no**",
        }
        for check in result["checks"]
    ]
    further = table(FURTHER[name](result)) + "\n" if name in FURTHER else ""
    return (
        f"### Figure {name.removeprefix('fig')}: {result['verdict']}\n\n"
        f"    bgp4 reproduce {name}\n\n"
        f"{result['claim']}\n\n"
        f"{table(checks)}\n"
        f"{further}"
        f"![Figure {name.removeprefix('fig')}](figures/{name}.png)\n\n"
        f"Took {result['wall_s']:,.0f} s.\n"
    )


def table(rows: list[dict[str, str]]) -> str:
    """Markdown, headed by the first row's keys."""
    lines = [rows[0].keys(), ["---"] * len(rows[0]), *(row.values() for row in rows)]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def methods(result: dict[str, Any]) -> list[dict[str, str]]:
    """How each method's trainings ended."""
    rows = []
    for method, iterations in result["numbers"]["iterations"].items():
        converged = sum(result["numbers"]["converged"][method])
        more = "" if converged > len(iterations) / 2 else "more than "
        rows.append(
            {
                "method": method,
                "converged": f"{converged} of {len(iterations)}",
                "iterations, median": f"{more}{median(iterations):,.0f}",
            }
        )
    return rows


def molecules(result: dict[str, Any]) -> list[dict[str, str]]:
    """Each flow's samples: the mean energy may be that of a few clashes, the median is not."""
    return [
        {
            "flow, seed": f"{flow}, {seed}",
            "mean energy over MD's": f"{found['mean_energy_shift_kjmol'][i]:.1f} kJ/mol",
            "median energy over MD's": f"{found['median_energy_shift_kjmol'][i]:.1f} kJ/mol",
            "low-energy fraction": f"{found['low_energy_fraction'][i]:.4f}",
            "φ > 0": f"{found['state_shares_samples'][i]:.1%}",
            "φ > 0, MD": f"{found['state_shares_md'][i]:.1%}",
            "TV of (φ, ψ) to MD": f"{found['ramachandran_tv'][i]:.3f}",
            "wall time": f"{found['wall_time_s'][i]:,.0f} s",
        }
        for flow in ("RNVP", "P4Inv")
        for found in [result["numbers"][flow]]
        for i, seed in enumerate(result["settings"]["seeds"])
    ]


FURTHER = {"fig3": methods, "fig4": methods, "fig5": methods, "fig7": molecules}
"""What the checks leave out."""


def words(value: Any) -> str:
    if isinstance(value, list):
        return ", ".join(map(words, value))
    return f"{value:.4g}" if isinstance(value, float) else str(value).replace("|", "\\|")


def main(folder: Path) -> None:
    done = sorted(folder.glob("fig*/result.json"), key=lambda p: int(p.parent.name[3:]))
    results = {path.parent.name: json.loads(path.read_text()) for path in done}
    for name in results:
        shutil.copy(folder / name / f"{name}.png", DOCS / "figures" / f"{name}.png")
    text = (DOCS / "results.md").read_text()
    before, rest = text.split(BEGIN)
    after = rest.split(END)[1]
    sections = "\n".join(section(name, result) for name, result in results.items())
    (DOCS / "results.md").write_text(f"{before}{BEGIN}{sections}{END}{after}")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
