"""What runs on this machine, from /proc."""

from collections.abc import Iterable
from pathlib import Path


def members(group: int) -> list[int]:
    """Processes of a group, but for zombies."""
    return [pid for pid, state, _, of in processes() if of == group and state != "Z"]


def children(pid: int) -> list[int]:
    """Processes that a process has started."""
    return [child for child, _, parent, _ in processes() if parent == pid]


def processes() -> Iterable[tuple[int, str, int, int]]:
    """Id, state, parent and group of each."""
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, parent, group, *_ = stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        yield int(stat.parent.name), state, int(parent), int(group)
