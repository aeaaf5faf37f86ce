"""Reproduced figures into docs/results.md: figures_into_docs.py FOLDER (bgp4 reproduce -o).

Figures that the folder lacks stay as they are.
"""

import json
import re
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
        f"Took {took(result)}.\n"
    )


def took(result: dict[str, Any]) -> str:
    """CPU time where it is known: wall time depends on what else was running."""
    if "cpu_s" in result:
        return f"{result['cpu_s']:,.0f} s of CPU time"
    return f"{result['wall_s']:,.0f} s"


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
    flows = {flow: result["numbers"][flow] for flow in ("RNVP", "P4Inv")}
    rows = [
        {
            "flow, seed": f"{flow}, {seed}",
            "mean energy over MD's": f"{found['mean_energy_shift_kjmol'][i]:.1f} kJ/mol",
            "median energy over MD's": f"{found['median_energy_shift_kjmol'][i]:.1f} kJ/mol",
            "low-energy fraction": f"{found['low_energy_fraction'][i]:.4f}",
            **{name: f"{of['samples'][i]:.1%}" for name, of in found["basins"].items()},
            "TV of (φ, ψ) to MD": f"{found['ramachandran_tv'][i]:.3f}",
            "training, core minutes": f"{60 * found['core_hours'][i]:.1f}",
        }
        for flow, found in flows.items()
        for i, seed in enumerate(result["settings"]["seeds"])
    ]
    floor = median(flows["P4Inv"]["ramachandran_tv_sampling_floor"])
    md = {name: f"{of['md']:.1%}" for name, of in flows["P4Inv"]["basins"].items()}
    none = dict.fromkeys(rows[0], "") | {"flow, seed": "MD"}
    return [*rows, none | md | {"TV of (φ, ψ) to MD": f"{floor:.3f} (as many frames)"}]


def planes(result: dict[str, Any]) -> list[dict[str, str]]:
    """How far each flow is from each density, in nats, over seeds."""
    numbers = result["numbers"].get("plane", result["numbers"])
    flows = {flow: found for flow, found in numbers.items() if "divergence" in found}
    return [
        {
            "density": name,
            "its entropy": f"{numbers['entropy'][name]:.3f}",
            **{
                f"KL of {flow}": f"{found['divergence'][name]['mean']:.3f} ± "
                f"{found['divergence'][name]['std']:.3f}"
                for flow, found in flows.items()
            },
        }
        for name in numbers["entropy"]
    ]


FURTHER = {
    **dict.fromkeys(("fig3", "fig4", "fig5"), methods),
    **dict.fromkeys(("fig6", "fig8"), planes),
    "fig7": molecules,
}
"""What the checks leave out."""


def words(value: Any) -> str:
    if isinstance(value, list):
        return ", ".join(map(words, value))
    return f"{value:.4g}" if isinstance(value, float) else str(value).replace("|", "\\|")


def sections_of(text: str) -> dict[int, str]:
    """The figures that a text has, by number."""
    _, *parts = re.split(r"^(?=### Figure \d+:)", text, flags=re.MULTILINE)
    return {int(part.split()[2].rstrip(":")): part.rstrip("\n") + "\n" for part in parts}


def main(folder: Path) -> None:
    before, rest = (DOCS / "results.md").read_text().split(BEGIN)
    present, after = rest.split(END)
    sections = sections_of(present)
    for path in folder.glob("fig*/result.json"):
        name = path.parent.name
        sections[int(name.removeprefix("fig"))] = section(name, json.loads(path.read_text()))
        shutil.copy(folder / name / f"{name}.png", DOCS / "figures" / f"{name}.png")
    text = "\n".join(sections[number] for number in sorted(sections))
    (DOCS / "results.md").write_text(f"{before}{BEGIN}{text}{END}{after}")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
