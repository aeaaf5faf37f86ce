"""Run what people brought, and print what bgp4 says now beside what it said and should say.

    python scripts/cases.py FOLDER [--kind J ...] [--case a10 ...] [--limit 120]

FOLDER has README.tsv (case, command, found, expected, kind of fault, verdict, rc found) and a
folder of files for each case. Each command runs in a temporary copy of its case's folder, by this
Python's bgp4. Nothing here judges: the lines are for a reader.
"""

from __future__ import annotations

import argparse
import csv
import os
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from pathlib import Path
from typing import NamedTuple

SHOWN = 700
"""Characters of a line that are printed."""

TIMEOUT = "timeout"


class Outcome(NamedTuple):
    """How a command ended.

    Attributes:
        code: Its exit status, or `TIMEOUT`.
        said: Lines that matter: of a failure the last, of a success warnings and the last.
        seconds: Wall time.
    """

    code: str
    said: list[str]
    seconds: float


def main() -> None:
    """Run the chosen cases, by kind."""
    args = _arguments()
    rows = [row for row in _rows(args.folder) if _chosen(row, args.kind, args.case)]
    by_kind = defaultdict(list)
    for row in rows:
        by_kind[row["kind of fault"]].append(row)
    table = []
    for kind in sorted(by_kind):
        print(f"\n== {kind}", flush=True)
        changed = 0
        for row in by_kind[kind]:
            outcome = run(args.folder / row["case"], row["command"], args.limit)
            changed += _print(row, outcome)
        table.append((kind, len(by_kind[kind]), changed))
    print("\nkind of fault, commands, those that end or speak otherwise than found")
    for kind, n, changed in table:
        print(f"{kind:45s} {n:3d} {changed:3d}")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--kind", nargs="*", default=[], help="first letters of kinds, J for one")
    parser.add_argument("--case", nargs="*", default=[], help="first letters of cases")
    parser.add_argument("--limit", type=float, default=120, help="seconds for each command")
    return parser.parse_args()


def _rows(folder: Path) -> list[dict[str, str]]:
    with (folder / "README.tsv").open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE))


def _chosen(row: dict[str, str], kinds: list[str], cases: list[str]) -> bool:
    of_kind = not kinds or row["kind of fault"].startswith(tuple(kinds))
    return of_kind and (not cases or row["case"].startswith(tuple(cases)))


def run(files: Path, command: str, limit_s: float) -> Outcome:
    """One command in a copy of its files, ended with all that it started after `limit_s`."""
    program, *arguments = shlex.split(command)
    if program != "bgp4":
        raise SystemExit(f"{files.name}: expected a bgp4 command, found {command}")
    started = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / files.name
        shutil.copytree(files, copy)
        for path in (copy, *copy.rglob("*")):  # read-only where they came from
            path.chmod(0o755 if path.is_dir() else 0o644)
        process = subprocess.Popen(
            [sys.executable, "-m", "bgp4", *arguments],
            cwd=copy,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        try:
            out, err = process.communicate(timeout=limit_s)
            code = str(process.returncode)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            out, err = process.communicate()
            code = TIMEOUT
    return Outcome(code, _said(code, out, err), time.monotonic() - started)


def _said(code: str, out: str, err: str) -> list[str]:
    """What matters of an output."""
    told = [line for line in err.splitlines() if line.strip() and not line.startswith("training ")]
    if code != "0":
        return told[-1:] or out.splitlines()[-1:]
    energies = [line for line in out.splitlines() if line.startswith(("energy:", "energies "))]
    return [*told, *energies, *out.splitlines()[-1:]]


def _print(row: dict[str, str], outcome: Outcome) -> bool:
    """The case's block; whether it differs from what was found."""
    said = [line[:SHOWN] for line in outcome.said]
    print(f"\n{row['case']}: {row['command']}")
    print(f"  found    {row['rc found']}: {row['found'][:SHOWN]}")
    print(f"  expected {row['expected'][:SHOWN]}")
    print(
        f"  now      {outcome.code} ({outcome.seconds:.0f} s): " + "\n           ".join(said),
        flush=True,
    )
    same = said and any(row["found"].startswith(line[:200]) for line in said[:1])
    return outcome.code != row["rc found"] or not same


if __name__ == "__main__":
    main()
