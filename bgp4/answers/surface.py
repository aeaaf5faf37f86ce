"""Free-energy surfaces along one or two collective variables, from weighted histograms.

F = -ln p of a bin, above the fullest bin. It is that of the variable itself: no Jacobian, such as
the r² of a distance, is taken out.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import minimum_filter

from bgp4.answers.variables import Variable
from bgp4.answers.weighted import Weighted
from bgp4.errors import UserInputError
from bgp4.units import kt_in_kjmol

__all__ = ["FEW", "Axis", "Surface", "axes_of", "fes_csv", "fes_dat", "minima", "surface"]

Array = NDArray[np.float64]

BINS = {1: 72, 2: 36}
"""Bins along each variable, by the number of variables: 5° and 10° of an angle."""

MOST_BINS = 1000

FEW = 10.0
"""Bins with fewer effective samples say little."""

NEAR = {1: 9, 2: 7}
"""Bins across which a minimum is the lowest."""


class Axis(NamedTuple):
    """A variable of a surface.

    Attributes:
        name: Of the variable.
        key: The same without blanks.
        unit: nm, nm², rad, or empty.
        periodic: Whether the first and the last bin touch.
        edges: (bins + 1,), in `unit`.
    """

    name: str
    key: str
    unit: str
    periodic: bool
    edges: Array

    @property
    def centres(self) -> Array:
        """(bins,), in `unit`."""
        return (self.edges[1:] + self.edges[:-1]) / 2


class Surface(NamedTuple):
    """A free-energy surface; arrays have one dimension for each variable.

    Attributes:
        axes: One or two variables.
        free_energy_kt: F = -ln p above the fullest bin, kT; NaN where a bin is empty.
        error_kt: Standard error of -ln p, kT, by bootstrap; NaN where a bin is empty, or has so
            few samples that replicates miss it.
        probability: Of each bin; the sum is 1.
        effective: Effective samples in each bin (Kish).
        temperature_k: K.
    """

    axes: tuple[Axis, ...]
    free_energy_kt: Array
    error_kt: Array
    probability: Array
    effective: Array
    temperature_k: float


def axes_of(*sources: Sequence[Variable], bins: int | None = None) -> tuple[Axis, ...]:
    """Axes on which the same one or two variables of all sources have a bin.

    Args:
        sources: Of each ensemble the variables, in the same order.
        bins: Along each variable; by default 72 along one, 36 along two. A variable of whole
            numbers has a bin for each.

    Raises:
        UserInputError: If there are not one or two variables, or one never changes.
    """
    n = len(sources[0])
    if n not in BINS:
        raise UserInputError(f"fes: expected one or two variables, found {n}")
    n_bins = BINS[n] if bins is None else bins
    if not 2 <= n_bins <= MOST_BINS:
        raise UserInputError(f"fes: expected 2 to {MOST_BINS} bins, found {n_bins}")
    return tuple(_axis(same, n_bins) for same in zip(*sources, strict=True))


def surface(
    sample: Weighted, variables: Sequence[Variable], axes: Sequence[Axis], seed: int = 0
) -> Surface:
    """The surface along one or two variables.

    Args:
        sample: Conformations and weights.
        variables: With a value for each of them.
        axes: From `axes_of`.
        seed: Of the bootstrap.
    """
    shape = tuple(len(axis.centres) for axis in axes)
    places = [
        np.clip(np.searchsorted(axis.edges, one.values, side="right") - 1, 0, n - 1)
        for axis, one, n in zip(axes, variables, shape, strict=True)
    ]
    filled, place = np.unique(np.ravel_multi_index(places, shape), return_inverse=True)

    def minus_log(weights: Array) -> Array:
        p = np.bincount(place, weights, len(filled)) / weights.sum()
        with np.errstate(divide="ignore"):  # a replicate may miss a bin
            return -np.log(p)

    energy, error = minus_log(sample.weights), sample.errors(minus_log, seed)
    squares = np.bincount(place, sample.weights**2, len(filled))
    worth = np.exp(-2 * energy) / squares
    return Surface(
        tuple(axes),
        _spread(energy - energy.min(), filled, shape, np.nan),
        _spread(np.where(np.isfinite(error), error, np.nan), filled, shape, np.nan),
        _spread(np.exp(-energy), filled, shape, 0.0),
        _spread(worth, filled, shape, 0.0),
        sample.temperature_k,
    )


def _axis(same: Sequence[Variable], n_bins: int) -> Axis:
    one, values = same[0], np.concatenate([variable.values for variable in same])
    low, high = (-np.pi, np.pi) if one.periodic else (values.min(), values.max())
    edges = np.linspace(low, high, n_bins + 1)
    if not one.periodic and high - low < n_bins and not (values % 1).any():
        edges = np.arange(low - 0.5, high + 1)
    if low == high:
        raise UserInputError(
            f"fes: expected a variable that changes, but {one.name!r} is always {low:g}"
        )
    return Axis(one.name, one.key, one.unit, one.periodic, edges)


def _spread(values: Array, places: NDArray[np.intp], shape: tuple[int, ...], empty: float) -> Array:
    found = np.full(int(np.prod(shape)), empty)
    found[places] = values
    return found.reshape(shape)


def minima(found: Surface) -> list[tuple[int, ...]]:
    """Bins that are the lowest around them and have enough samples, the lowest first."""
    energy = np.where(np.isnan(found.free_energy_kt), np.inf, found.free_energy_kt)
    modes = ["wrap" if axis.periodic else "nearest" for axis in found.axes]
    lowest = minimum_filter(energy, size=NEAR[len(found.axes)], mode=modes)
    places = np.argwhere((energy == lowest) & (found.effective >= FEW))
    return sorted((tuple(map(int, place)) for place in places), key=lambda place: energy[place])


def fes_csv(found: Surface) -> str:
    """A row for each bin, energies in kT; empty fields where a bin is empty."""
    named = [f"{axis.key}_{axis.unit}" if axis.unit else axis.key for axis in found.axes]
    lines = [",".join([*named, "free_energy_kT", "error_kT", "probability", "effective_samples"])]
    columns = (found.free_energy_kt, found.error_kt, found.probability, found.effective)
    for place in np.ndindex(found.free_energy_kt.shape):
        at = [axis.centres[i] for axis, i in zip(found.axes, place, strict=True)]
        row = [*at, *(column[place] for column in columns)]
        lines.append(",".join("" if np.isnan(value) else f"{value:.6g}" for value in row))
    return "\n".join(lines) + "\n"


def fes_dat(found: Surface) -> str:
    """In the layout of PLUMED's `fes.dat`: kJ/mol, the first variable fastest, inf where empty.

    The last column has the standard errors, inf where they are unknown.
    """
    per_kt = kt_in_kjmol(found.temperature_k)
    text = io.StringIO()
    names = " ".join(axis.key for axis in found.axes)
    print(f"#! FIELDS {names} file.free uncertainty", file=text)
    for axis in found.axes:
        ends = ("-pi", "pi") if axis.periodic else (axis.centres[0], axis.centres[-1])
        print(f"#! SET min_{axis.key} {ends[0]}\n#! SET max_{axis.key} {ends[1]}", file=text)
        print(f"#! SET nbins_{axis.key} {len(axis.centres) - (not axis.periodic)}", file=text)
        print(f"#! SET periodic_{axis.key} {str(axis.periodic).lower()}", file=text)
    for turned in np.ndindex(found.free_energy_kt.shape[::-1]):
        if len(turned) > 1 and turned[-1] == 0 and turned[0] > 0:
            print(file=text)
        place = turned[::-1]
        at = [axis.centres[i] for axis, i in zip(found.axes, place, strict=True)]
        energies = [per_kt * found.free_energy_kt[place], per_kt * found.error_kt[place]]
        row = [*at, *np.where(np.isnan(energies), np.inf, energies)]
        print(" ".join(f"{value:15.9f}" for value in row), file=text)
    return text.getvalue()
