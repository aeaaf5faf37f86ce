"""The data that a report's page draws from, as plain JSON; `assets/` holds what draws it.

Arrays of many numbers are base64 of little-endian integers: -ln p in `STEP_KT` as uint16, the
places of basins as uint8, coordinates as int16 of a unit that is given beside them.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from bgp4.molecule.topology import atom_label
from bgp4.report.basins import OUTSIDE, Basins, basin_populations, find_basins
from bgp4.report.conformations import BUDGET_BYTES, Choice, Site, choose, sites
from bgp4.report.interactive_curves import (
    energy_data,
    marginal_data,
    profile_data,
    rounded,
    training_data,
    weight_data,
)
from bgp4.report.metrics import ramachandran_histograms
from bgp4.report.plots import FULL_KT, minus_log
from bgp4.report.result import RunResult
from bgp4.statistics.distributions import histogram

__all__ = ["EMPTY", "STEP_KT", "page_data", "script_json"]

Array = NDArray[np.float64]

STEP_KT = 1e-3
"""Unit of -ln p."""

EMPTY = 65535
"""-ln p of a bin without samples."""


def page_data(runs: Sequence[RunResult]) -> dict[str, Any]:
    """Everything that the page draws, of all runs, without NaN or infinities."""
    budget = BUDGET_BYTES // len(runs)
    return {
        "runs": [_run_data(run, budget) for run in runs],
        "scale": _map_scale(runs),
        "step": STEP_KT,
        "empty": EMPTY,
        "energies": energy_data(runs),
        "profiles": profile_data(runs),
        "training": [training_data(run) for run in runs],
        "weights": [weight_data(run) for run in runs],
        "marginals": [marginal_data(run) for run in runs],
    }


def script_json(value: Any) -> str:
    """JSON that can stand inside an HTML script element, whatever its strings are.

    >>> script_json({"name": "</script><!--"})
    '{"name":"\\\\u003c/script\\\\u003e\\\\u003c!--"}'
    """
    text = json.dumps(value, allow_nan=False, ensure_ascii=True, separators=(",", ":"))
    for character in "<>&":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return text


def packed(values: ArrayLike, dtype: str) -> str:
    """Base64 of an array's bytes, little-endian."""
    return base64.b64encode(np.ascontiguousarray(values, dtype=dtype).tobytes()).decode("ascii")


def _run_data(run: RunResult, budget: int) -> dict[str, Any]:
    found = sites(run)
    chosen = choose(run, found, budget)
    numbers = {
        name: np.unique(np.concatenate([getattr(choice, name) for choice in chosen]))
        for name in ("samples", "data")
    }
    return {
        "name": run.name,
        "temperature": run.temperature_k,
        "molecule": _molecule_data(run),
        "mean_energy": float(np.mean(run.data_energy_kt)),
        **_conformations(run, numbers["samples"], numbers["data"]),
        "sites": [
            {**_site_data(site, choice, numbers), **_pictured(run, site, index)}
            for index, (site, choice) in enumerate(zip(found, chosen, strict=True))
        ],
    }


def _molecule_data(run: RunResult) -> dict[str, Any]:
    topology = run.topology
    return {
        "elements": [atom.element.symbol for atom in topology.atoms],
        "labels": [atom_label(topology, i) for i in range(topology.n_atoms)],
        "bonds": [[a.index, b.index] for a, b in topology.bonds],
    }


def _conformations(
    run: RunResult, samples: NDArray[np.int64], data: NDArray[np.int64]
) -> dict[str, Any]:
    """Coordinates of the chosen samples (places in `in_space`) and MD frames, and their numbers."""
    own = np.flatnonzero(run.in_space)[samples]
    positions = {
        "samples": run.sample_positions_nm[own].astype(np.float64),
        "data": run.data_positions_nm[data].astype(np.float64),
    }
    centred = {name: x - x.mean(axis=1, keepdims=True) for name, x in positions.items()}
    farthest = max(float(np.abs(x).max(initial=1e-3)) for x in centred.values())
    unit = farthest / np.iinfo(np.int16).max
    return {
        "unit_nm": unit,
        "positions": {name: packed(np.rint(x / unit), "<i2") for name, x in centred.items()},
        "number": {"samples": own.tolist(), "data": data.tolist()},
        "energy": {
            "samples": rounded(run.energy_kt[own], 2),
            "data": rounded(run.data_energy_kt[data], 2),
        },
        "weight": rounded(run.weights[own] * run.n_samples, 4),
    }


def _site_data(site: Site, choice: Choice, numbers: dict[str, NDArray[np.int64]]) -> dict[str, Any]:
    """Where each of a site's conformations lies, in degrees, and which it is."""
    return {
        "kind": site.kind,
        "label": site.label,
        "anchor": list(site.anchor),
        "bins": choice.bins,
        "conformations": {
            name: {
                "which": np.searchsorted(numbers[name], places).tolist(),
                "at": rounded(np.degrees(angles[places]).ravel(), 1),
            }
            for name, places, angles in (
                ("samples", choice.samples, site.samples),
                ("data", choice.data, site.data),
            )
        },
    }


def _pictured(run: RunResult, site: Site, index: int) -> dict[str, Any]:
    """The histograms that a reader clicks at."""
    if site.kind == "map":
        return _map_data(run, index)
    if site.kind == "torsion":
        weights = run.sample_weights_in_space
        of = {
            "data": histogram(site.data[:, 0], run.bins),
            "samples": histogram(site.samples[:, 0], run.bins),
            "reweighted": histogram(site.samples[:, 0], run.bins, weights),
        }
        return {"shares": {name: rounded(shares, 6) for name, shares in of.items()}}
    return {}


def _map_data(run: RunResult, residue: int) -> dict[str, Any]:
    names = ("data", "samples", "reweighted")
    maps = dict(zip(names, ramachandran_histograms(run)[residue], strict=True))
    basins = find_basins(maps["data"], len(run.data_energy_kt))
    steps = {name: np.minimum(minus_log(p) / STEP_KT, EMPTY - 1) for name, p in maps.items()}
    empty = {name: np.nan_to_num(p) <= 0 for name, p in maps.items()}
    return {
        "map_bins": run.bins,
        "maps": {
            name: packed(np.rint(np.where(empty[name], EMPTY, steps[name])), "<u2")
            for name in names
        },
        "basins": {
            "names": [*basins.names, OUTSIDE],
            "peaks": rounded(np.degrees(basins.peaks), 1),
            "places": packed(basins.labels, "u1"),
            "populations": _populations(run, basins, residue),
        },
    }


def _populations(run: RunResult, basins: Basins, residue: int) -> dict[str, Any]:
    """Shares and errors, each (basins + 1,), of MD, samples, and reweighted samples."""
    md, own = run.data_torsions[residue], run.sample_torsions[residue]
    cases = {
        "data": (md, np.ones(len(md.phi)), run.data_blocks),
        "samples": (own, np.ones(len(own.phi)), None),
        "reweighted": (own, run.sample_weights_in_space, None),
    }
    return {
        name: [
            rounded(part, 7)
            for part in basin_populations(
                basins, torsions, weights, run.bootstrap, run.rng(), blocks
            )
        ]
        for name, (torsions, weights, blocks) in cases.items()
    }


def _map_scale(runs: Sequence[RunResult]) -> list[float]:
    """-ln p of the fullest bin of all maps of MD and samples, and how far the colours go, kT."""
    shown = [
        minus_log(p) for run in runs for three in ramachandran_histograms(run) for p in three[:2]
    ]
    values = (
        np.concatenate([panel[np.isfinite(panel)] for panel in shown]) if shown else np.zeros(1)
    )
    lowest = float(values.min(initial=np.inf))
    return [round(lowest, 4), round(max(float(values.max()) - lowest, FULL_KT), 4)]
