"""Where bundled configs, data and trained models lie, and what is kept between runs.

The bundle is inside the installed package, or in the source checkout.
"""

from __future__ import annotations

import os
from pathlib import Path

__all__ = [
    "bundled_configs",
    "bundled_models",
    "cache_folder",
    "find_config",
    "find_data",
    "find_model",
    "is_bundled_data",
    "models_folder",
]

_PACKAGE = Path(__file__).resolve().parents[1]


def _bundled(kind: str) -> Path:
    """`configs`, `data`, `data/models`: in `bgp4/_bundled` once installed, else beside `bgp4`."""
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


def models_folder() -> Path:
    """Where the bundled models are, each a run folder."""
    return _bundled("data/models")


def bundled_models() -> list[str]:
    """Names of the trained models that come with bgp4."""
    return sorted(path.parent.name for path in models_folder().glob("*/config.yaml"))


def is_bundled_data(name: str) -> bool:
    """Whether a data file of that name comes with bgp4."""
    return Path(name).name == name and (_bundled("data") / name).is_file()


def find_model(name: str) -> Path | None:
    """The folder of the bundled model of that name, or None."""
    return models_folder() / name if name in bundled_models() else None


def cache_folder() -> Path:
    """`$XDG_CACHE_HOME/bgp4`, by default `~/.cache/bgp4`; it need not exist."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "bgp4"


def _find(name: str, folder: Path) -> Path | None:
    candidates = [Path(name)]
    if Path(name).name == name:
        candidates.append(folder / name)
    return next((path for path in candidates if path.is_file()), None)
