"""What the shell offers where a config or a run is to be typed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

from bgp4.storage.bundled import bundled_configs, bundled_models

__all__ = ["complete_config", "complete_run"]


def complete_config(incomplete: str) -> list[str]:
    """Bundled configs, YAML files, and the folders on the way to these."""
    names = [name for name in bundled_configs() if name.startswith(incomplete)]
    return [*names, *_paths(incomplete, lambda path: path.suffix in (".yaml", ".yml"))]


def complete_run(incomplete: str) -> list[str]:
    """Bundled models, run folders, and the folders on the way to these."""
    names = [name for name in bundled_models() if name.startswith(incomplete)]
    return [*names, *_paths(incomplete, lambda path: (path / "config.yaml").is_file())]


def _paths(incomplete: str, wanted: Callable[[Path], bool]) -> Iterator[str]:
    """Paths that go on from what was typed: what is wanted, and folders with a slash."""
    folder, _, start = incomplete.rpartition("/")
    where = Path(folder or ("/" if incomplete.startswith("/") else "."))
    for path in sorted(where.glob("*")):
        if path.name.startswith(start) and (start or not path.name.startswith(".")):
            name = incomplete[: len(incomplete) - len(start)] + path.name
            if wanted(path):
                yield name
            elif path.is_dir():
                yield f"{name}/"
