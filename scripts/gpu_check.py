"""What scripts/gpu_check.sh runs: stages, each in a process of its own and with a limit of time.

Correctness comes first, so that it is known even if time runs out.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

from gpu_stages import STAGES, Setting

TABLE = "gpu_check.md"


def main() -> int:
    options = arguments()
    if options.one:
        return run_one(options)
    out: Path = options.out
    out.mkdir(parents=True, exist_ok=True)
    begun, found = time.monotonic(), {}
    for name, stage in STAGES.items():
        if options.stages and name not in options.stages:
            continue
        left = options.budget - (time.monotonic() - begun)
        found[name] = run_in_time(name, min(stage.seconds, left), options)
        (out / "gpu_check.json").write_text(json.dumps(found, indent=2) + "\n")
        (out / TABLE).write_text(table(found))
        print(table({name: found[name]}).splitlines()[-1], flush=True)
    print(f"wrote {out / 'gpu_check.json'} and {out / TABLE}")
    return int(any(result["verdict"] == "wrong" for result in found.values()))


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("stages", nargs="*", metavar="STAGE", help=f"some of {list(STAGES)}")
    parser.add_argument("--out", type=Path, default=Path(os.environ.get("OUT", ".gpu/out")))
    parser.add_argument("--device", default="cuda", choices=["cuda", "cpu"])
    parser.add_argument("--budget", type=float, default=840.0, help="seconds for all of it")
    parser.add_argument("--quick", action="store_true", help="tiny sizes, for a rehearsal")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    parser.add_argument("--limit", type=float, default=60.0, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if unknown := set(options.stages) - set(STAGES):
        parser.error(f"expected some of {', '.join(STAGES)}, found {', '.join(unknown)}")
    return options


def run_in_time(name: str, seconds: float, options: argparse.Namespace) -> dict[str, Any]:
    """A stage in a process of its own, which is ended when its time is over."""
    started = time.monotonic()
    if seconds < 5:
        return {"verdict": "no time left", "seconds": 0.0}
    with tempfile.TemporaryDirectory() as folder:
        result = Path(folder) / "result.json"
        command = [sys.executable, __file__, "--one", name, "--out", str(result)]
        command += ["--device", options.device, "--limit", str(seconds)]
        process = subprocess.Popen([*command, *["--quick"] * options.quick])
        try:
            process.wait(seconds + 5)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        if result.exists():
            made: dict[str, Any] = json.loads(result.read_text())
        else:
            made = {"verdict": "no result", "exit_code": process.returncode}
    return made | {"seconds": round(time.monotonic() - started, 1)}


def run_one(options: argparse.Namespace) -> int:
    """The stage itself; near its limit it is told to come to an end, as by Ctrl-C."""
    timer = threading.Timer(options.limit, lambda: os.kill(os.getpid(), signal.SIGINT))
    timer.daemon = True
    timer.start()
    try:
        measure: Callable[[Setting], dict[str, Any]] = getattr(
            importlib.import_module("gpu_stages"), STAGES[options.one].function
        )
        made = measure(Setting.of(options.device, options.quick))
    except BaseException as error:
        words = traceback.format_exception_only(error)[-1].strip()
        made = {"verdict": "failed", "error": words, "traceback": traceback.format_exc()}
    options.out.write_text(json.dumps(made))
    return 0


def table(found: dict[str, dict[str, Any]]) -> str:
    lines = ["| stage | verdict | what was found | s |", "|---|---|---|---|"]
    for name, result in found.items():
        parts = result.get("table") or [result.get("error", "")]
        lines.append(
            f"| {name} | {result['verdict']} | {'; '.join(parts)} | {result['seconds']:.0f} |"
        )
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.exit(main())
