"""What a result came from: versions, machine, state of the sources, checksums of the input."""

from __future__ import annotations

import hashlib
import platform
import subprocess
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

from bgp4.config import Config, dump_config
from bgp4.molecule.molecule import Molecule
from bgp4.storage.files import sha256
from bgp4.version import __version__

__all__ = ["provenance", "versions"]

_PACKAGES = (
    *("torch", "openmm", "openmmtools", "mdtraj", "nflows", "numpy", "scipy", "safetensors"),
)


def provenance(config: Config, molecule: Molecule) -> dict[str, Any]:
    """Versions, machine, seed, and checksums (SHA-256) of config and molecule, for run.json.

    `config` is that of config.yaml, with every default in it; `system` that of the serialised
    System, whatever it was made from.
    """
    return {
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
        "seed": config.seed,
        "precision": config.model.precision,
        "platform": f"{platform.system()} {platform.machine()}, Python {platform.python_version()}",
        "versions": versions(),
        "source": source_state(),
        "sha256": {
            "config": _text_sha256(dump_config(config)),
            "system": _text_sha256(molecule.system_xml),
            **_system_files(config),
        },
    }


def versions() -> dict[str, str]:
    """Versions of this package and of those that results depend on."""
    return {"bgp4": __version__} | {name: _version(name) for name in _PACKAGES}


def _version(name: str) -> str:
    """A run needs not all of them: openmmtools makes test systems, and a run has its molecule."""
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return "not installed"


def source_state(folder: Path = Path(__file__).parents[1]) -> str:
    """The commit of the checkout that the package runs from, and whether files differ from it."""
    if not (folder.parent / ".git").exists():
        return "installed"
    commit, changes = _git(folder, "rev-parse", "HEAD"), _git(folder, "status", "--porcelain")
    if commit is None or changes is None:
        return "a checkout that git can't read"
    return commit + (" with changes" if changes else "")


def _git(folder: Path, *arguments: str) -> str | None:
    command = ("git", "--no-optional-locks", "-C", str(folder), *arguments)
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()


def _system_files(config: Config) -> dict[str, str]:
    """Checksums of the files that the config's `system` names."""
    named = (*config.system.files, *map(Path, config.system.forcefield))
    found = [path for path in named if path.is_file()]
    return {path.name: sha256(path) for path in found}


def _text_sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
