"""bgp4: Boltzmann generators for molecules, from MD frames to weighted samples and a report.

>>> import bgp4
>>> model = bgp4.load("ala2")
>>> samples = model.sample(10, seed=0)
>>> samples.positions_nm.shape
(10, 22, 3)

The names in `__all__` are imported when they are first used, so that `import bgp4` takes no time.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from bgp4.errors import UserInputError

if TYPE_CHECKING:
    from bgp4.api import Model, load, train
    from bgp4.config import Config, load_config
    from bgp4.ensemble import Ensemble

from bgp4.version import __version__

__all__ = [
    "Config",
    "Ensemble",
    "Model",
    "UserInputError",
    "__version__",
    "load",
    "load_config",
    "train",
]

_MODULES = {
    "Config": "bgp4.config",
    "Ensemble": "bgp4.ensemble",
    "Model": "bgp4.api",
    "load": "bgp4.api",
    "load_config": "bgp4.config",
    "train": "bgp4.api",
}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_MODULES[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
