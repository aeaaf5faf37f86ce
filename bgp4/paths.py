"""Where bundled configs and data lie, and what is kept between runs.

The bundle is inside the installed package, or in the source checkout.
"""

from __future__ import annotations

import os
from pathlib import Path

__all__ = ["bundled_configs", "cache_folder", "find_config", "find_data"]

_PACKAGE = Path(__file__).resolve().parent


def _bundled(kind: str) -> Path:
    """`configs` or `data`: in `bgp4/_bundled` once installed, beside `bgp4` in a checkout."""
    packed = _PACKAGE / "_bundled" / kind
    return packed if packed.is_dir() else _PACKAGE.parent / kind


def bundled_configs() -> list[str]:
    """Names of the configs that come with bgp4."""
    return sorted(path.name for path in _bundled("configs").glob("*.yaml"))


def find_config(name: str) -> Path | None:
    """The file of that path, else the bundled config of that name, else None."""
    return _find(name, _bundled("configs"))


def find_data(name: str) -> Path | None:
    """The file of that path, else the bundled data file of that name, else None."""
    return _find(name, _bundled("data"))


def cache_folder() -> Path:
    """`$XDG_CACHE_HOME/bgp4`, by default `~/.cache/bgp4`; it need not exist."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "bgp4"


def _find(name: str, folder: Path) -> Path | None:
    candidates = [Path(name)]
    if Path(name).name == name:
        candidates.append(folder / name)
    return next((path for path in candidates if path.is_file()), None)
