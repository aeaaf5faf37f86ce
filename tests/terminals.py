"""Commands in a terminal of their own."""

from __future__ import annotations

import os
import pty
import re
import signal
import subprocess
import sys
import termios
import time
from pathlib import Path

ESCAPE = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
HIDDEN, SHOWN, OTHER_SCREEN = "\x1b[?25l", "\x1b[?25h", "\x1b[?1049h"


def in_terminal(folder: Path, *args: str, stop_after: str | None = None) -> tuple[int, str, bool]:
    """A command in a terminal of its own: exit code, what it showed, whether the terminal is as
    it was. Ctrl-C is pressed once the text has come."""
    ours, theirs = pty.openpty()
    before = termios.tcgetattr(theirs)
    package = str(Path(__file__).parents[1])
    env = {**os.environ, "PYTHONPATH": package, "TERM": "xterm", "COLUMNS": "100", "LINES": "30"}
    env.pop("NO_COLOR", None)
    process = subprocess.Popen(
        [sys.executable, "-m", "bgp4", *args],
        stdin=theirs, stdout=theirs, stderr=theirs, cwd=folder, env=env, start_new_session=True,
    )  # fmt: skip
    shown, end, pressed = "", time.monotonic() + 120, stop_after is None
    os.set_blocking(ours, False)
    while process.poll() is None and time.monotonic() < end:
        shown += read(ours)
        if not pressed and stop_after in shown:
            process.send_signal(signal.SIGINT)
            pressed = True
        time.sleep(0.05)
    process.kill()
    code = process.wait()
    shown += read(ours)
    same = termios.tcgetattr(theirs) == before
    os.close(ours)
    os.close(theirs)
    return code, shown, same


def read(terminal: int) -> str:
    parts = []
    try:
        while part := os.read(terminal, 65536):
            parts.append(part)
    except BlockingIOError:
        pass
    return b"".join(parts).decode(errors="replace")


def left_as_it_was(shown: str) -> bool:
    """The cursor is visible on the main screen, and colours are off."""
    colours = re.findall(r"\x1b\[([0-9;]*)m", shown)
    cursor = shown.rfind(HIDDEN) < shown.rfind(SHOWN)
    return cursor and OTHER_SCREEN not in shown and (not colours or colours[-1] == "0")
