"""What a reader of a report's page can click at, as plain JSON: conformations, and maps to read.

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
from bgp4.report.basins import OUTSIDE, Basins, basin_populations, md_basins
from bgp4.report.conformations import BUDGET_BYTES, Choice, Site, choose, sites
from bgp4.report.plots_maps import SOURCES, fullest_bin_kt, map_id, minus_log
from bgp4.report.plots_marginals import torsion_id
from bgp4.report.result import RunResult
from bgp4.statistics.distributions import bin_centres, histogram

__all__ = ["EMPTY", "STEP_KT", "page_data", "script_json"]

Array = NDArray[np.float64]

STEP_KT = 1e-3
"""Unit of -ln p."""

EMPTY = 65535
"""-ln p of a bin without samples."""


def page_data(runs: Sequence[RunResult]) -> dict[str, Any]:
    """Of all runs, without NaN or infinities."""
    budget = BUDGET_BYTES // len(runs)
    return {
        "runs": [_run_data(runs, index, budget) for index in range(len(runs))],
        "fullest": round(fullest_bin_kt(runs), 4),
        "step": STEP_KT,
        "empty": EMPTY,
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


def _run_data(runs: Sequence[RunResult], index: int, budget: int) -> dict[str, Any]:
    run = runs[index]
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
            {**_site_data(site, choice, numbers), **_pictured(runs, index, site, place)}
            for place, (site, choice) in enumerate(zip(found, chosen, strict=True))
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


def _pictured(runs: Sequence[RunResult], index: int, site: Site, place: int) -> dict[str, Any]:
    """The ids of the panels that a reader clicks at, and the angles to start from, in degrees."""
    run = runs[index]
    if site.kind == "map":
        panels = {name: f"ramachandran-{map_id(index, place, name)}" for name in SOURCES}
        return {"panels": panels, **_map_data(run, place)}
    if site.kind == "torsion":
        torsion = run.marginals["torsion"].labels.index(site.label)
        fullest = np.argmax(histogram(site.data[:, 0], run.bins))
        return {
            "panels": {"all": f"torsions-{torsion_id(runs, index, torsion)}"},
            "start": rounded(np.degrees(bin_centres(run.bins)[[fullest]]), 1),
        }
    return {"panels": {}, "start": [0]}


def _map_data(run: RunResult, residue: int) -> dict[str, Any]:
    maps = dict(zip(SOURCES, run.ramachandran[residue], strict=True))
    basins = md_basins(run)[residue]
    steps = {name: np.minimum(minus_log(p) / STEP_KT, EMPTY - 1) for name, p in maps.items()}
    empty = {name: np.nan_to_num(p) <= 0 for name, p in maps.items()}
    peaks = rounded(np.degrees(basins.peaks), 1)
    return {
        "map_bins": run.bins,
        "maps": {
            name: packed(np.rint(np.where(empty[name], EMPTY, steps[name])), "<u2")
            for name in SOURCES
        },
        "start": peaks[0] if peaks else [0, 0],
        "basins": {
            "names": [*basins.names, OUTSIDE],
            "peaks": peaks,
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


def rounded(values: ArrayLike, digits: int) -> Any:
    """Nested lists of numbers with so many decimals, None for NaN and infinities."""
    array = np.asarray(values, dtype=float)
    if array.ndim > 1:
        return [rounded(row, digits) for row in array]
    return [round(x, digits) if np.isfinite(x) else None for x in array.tolist()]
