"""Reproduced figures into docs/results.md: figures_into_docs.py FOLDER (bgp4 reproduce -o)."""

import json
import shutil
import sys
from pathlib import Path
from typing import Any

DOCS = Path(__file__).parents[1] / "docs"
BEGIN, END = "<!-- begin: figures_into_docs.py -->\n", "<!-- end: figures_into_docs.py -->\n"


def section(name: str, result: dict[str, Any]) -> str:
    """One figure: claim, verdict, each check with its number, picture, command."""
    checks = "\n".join(
        f"| {words(check['what'])} | {words(check['value'])} | "
        f"{'yes' if check['holds'] else '**no**'} |"
        for check in result["checks"]
    )
    return (
        f"### Figure {name.removeprefix('fig')}: {result['verdict']}\n\n"
        f"    bgp4 reproduce {name}\n\n"
        f"{result['claim']}\n\n"
        f"| what must hold | found | holds |\n|---|---|---|\n{checks}\n\n"
        f"![Figure {name.removeprefix('fig')}](figures/{name}.png)\n\n"
        f"Took {result['wall_s']:,.0f} s.\n"
    )


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
