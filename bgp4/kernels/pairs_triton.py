"""Coulomb, Lennard-Jones and generalised Born terms on a GPU by Triton: the formulas of
`energies.cpp`, one program for each conformation.

Atoms are padded to A, a power of two, and all A x A pairs are computed, T columns at a time, each
pair twice: an atom's sum is its own program's, so that nothing is added up by atomics. Generalised
Born solvation takes three passes, between which radii and slopes lie in memory.
"""

from __future__ import annotations

import triton
import triton.language as tl

__all__ = ["descreening", "pairs", "radii"]

COULOMB, C6, C12, SOLVATION, DEPTH, DISTANCE, CUTOFF = (tl.constexpr(k) for k in range(7))
"""Planes of the pairs' parameters, (A, A) each; the last three are those of necks."""

OFFSET, SCALED, RADIUS, OWN, SURFACE, ALPHA, BETA, GAMMA = (tl.constexpr(k) for k in range(8))
"""Rows of the atoms' parameters, (A,) each; the last three are not HCT's."""


@triton.jit
def radii(
    x, atom, pair, born, chain, own_slope, energy, atoms,
    A: tl.constexpr, T: tl.constexpr, NECKED: tl.constexpr, RESCALED: tl.constexpr,
):  # fmt: skip
    """Born radii B, ∂B/∂Σ, and the slopes in B and sums of the atoms' own energies."""
    b = tl.program_id(0)
    i = tl.arange(0, A)
    there = i < atoms
    offset = tl.load(atom + OFFSET * A + i)
    integral = offset * 0.0
    for first in tl.static_range(0, A, T):
        j = first + tl.arange(0, T)
        _dx, _dy, _dz, r2, real = _differences(x, b, i, j, atoms)
        r = tl.sqrt(r2)
        scaled_j = tl.load(atom + SCALED * A + j)
        value, _slope = _descreened(r, 1 / r, offset[:, None], scaled_j[None, :])
        if NECKED:
            more, _slope = _neck(pair, i, j, r, 1 / r, A)
            value += more
        integral += tl.sum(tl.where(real, value, 0.0), 1)
    psi = offset * integral
    radius, own = tl.load(atom + RADIUS * A + i), tl.load(atom + OWN * A + i)
    if RESCALED:
        alpha, beta = tl.load(atom + ALPHA * A + i), tl.load(atom + BETA * A + i)
        gamma = tl.load(atom + GAMMA * A + i)
        tanh = 1 - 2 / (tl.exp(2 * psi * (alpha + psi * (gamma * psi - beta))) + 1)
        made = 1 / (1 / offset - tanh / radius)
        inner = alpha + psi * (3 * gamma * psi - 2 * beta)
        d_born = offset * made * made * (1 - tanh * tanh) / radius * inner
    else:
        made = offset / (1 - psi)
        d_born = made * made
    ratio = radius / made
    cube = ratio * ratio * ratio
    self_energy, area = own / made, tl.load(atom + SURFACE * A + i) * cube * cube
    tl.store(born + b * A + i, made)
    tl.store(chain + b * A + i, d_born)
    tl.store(own_slope + b * A + i, -(self_energy + 6 * area) / made)
    tl.store(energy + b, tl.sum(tl.where(there, self_energy + area, 0.0), 0))


@triton.jit
def pairs(
    x, pair, born, chain, own_slope, energy, gradient, atoms,
    A: tl.constexpr, T: tl.constexpr, SOLVATED: tl.constexpr,
):  # fmt: skip
    """Energies of all pairs and gradients at constant radii; `chain` becomes ∂E/∂Σ."""
    b = tl.program_id(0)
    i = tl.arange(0, A)
    there = i < atoms
    total = tl.load(x + (b * atoms + i) * 3, mask=there, other=0.0) * 0.0
    gx, gy, gz, of_born = total, total, total, total
    for first in tl.static_range(0, A, T):
        j = first + tl.arange(0, T)
        dx, dy, dz, r2, real = _differences(x, b, i, j, atoms)
        at = i[:, None] * A + j[None, :]
        inverse2 = 1 / r2
        inverse6 = inverse2 * inverse2 * inverse2
        e1 = tl.load(pair + COULOMB * A * A + at) * tl.sqrt(inverse2)
        e6 = tl.load(pair + C6 * A * A + at) * inverse6
        e12 = tl.load(pair + C12 * A * A + at) * inverse6 * inverse6
        value = e1 + (e12 - e6)
        slope = (6 * e6 - 12 * e12 - e1) * inverse2
        if SOLVATED:
            born_i, born_j = tl.load(born + b * A + i), tl.load(born + b * A + j)
            bb = born_i[:, None] * born_j[None, :]
            quarter = 0.25 * r2 / bb
            decay = tl.exp(-quarter)
            square = 1 / (r2 + bb * decay)
            gb = tl.load(pair + SOLVATION * A * A + at) * tl.sqrt(square)
            d_born = -0.5 * gb * square * decay * (1 + quarter) * born_j[None, :]
            of_born += tl.sum(tl.where(real, d_born, 0.0), 1)
            value += gb
            slope -= gb * square * (1 - 0.25 * decay)
        slope = tl.where(real, slope, 0.0)
        total += tl.sum(tl.where(real, value, 0.0), 1)
        gx += tl.sum(slope * dx, 1)
        gy += tl.sum(slope * dy, 1)
        gz += tl.sum(slope * dz, 1)
    whole = 0.5 * tl.sum(total, 0)
    if SOLVATED:
        whole += tl.load(energy + b)
        slope_of_born = of_born + tl.load(own_slope + b * A + i)
        tl.store(chain + b * A + i, slope_of_born * tl.load(chain + b * A + i))
    tl.store(energy + b, whole)
    _store(gradient, b, i, gx, gy, gz, A)


@triton.jit
def descreening(
    x, atom, pair, chain, gradient, atoms,
    A: tl.constexpr, T: tl.constexpr, NECKED: tl.constexpr,
):  # fmt: skip
    """Adds the gradient by way of the radii."""
    b = tl.program_id(0)
    i = tl.arange(0, A)
    offset_i, scaled_i = tl.load(atom + OFFSET * A + i), tl.load(atom + SCALED * A + i)
    chain_i = tl.load(chain + b * A + i)
    gx = tl.load(gradient + b * 3 * A + i)
    gy = tl.load(gradient + b * 3 * A + A + i)
    gz = tl.load(gradient + b * 3 * A + 2 * A + i)
    for first in tl.static_range(0, A, T):
        j = first + tl.arange(0, T)
        dx, dy, dz, r2, real = _differences(x, b, i, j, atoms)
        r = tl.sqrt(r2)
        offset_j, scaled_j = tl.load(atom + OFFSET * A + j), tl.load(atom + SCALED * A + j)
        chain_j = tl.load(chain + b * A + j)
        _value, of_i = _descreened(r, 1 / r, offset_i[:, None], scaled_j[None, :])
        _value, of_j = _descreened(r, 1 / r, offset_j[None, :], scaled_i[:, None])
        if NECKED:
            _value, more = _neck(pair, i, j, r, 1 / r, A)
            of_i += more
            _value, more = _neck_of_other(pair, i, j, r, 1 / r, A)
            of_j += more
        slope = tl.where(real, chain_i[:, None] * of_i + chain_j[None, :] * of_j, 0.0)
        gx += tl.sum(slope * dx, 1)
        gy += tl.sum(slope * dy, 1)
        gz += tl.sum(slope * dz, 1)
    _store(gradient, b, i, gx, gy, gz, A)


@triton.jit
def _differences(x, b, i, j, atoms):
    """x_i - x_j and its square, 1 where it is no pair."""
    at_i, at_j = x + (b * atoms + i) * 3, x + (b * atoms + j) * 3
    there_i, there_j = i < atoms, j < atoms
    real = (there_i[:, None] & there_j[None, :]) & (i[:, None] != j[None, :])
    dx = _load(at_i, there_i)[:, None] - _load(at_j, there_j)[None, :]
    dy = _load(at_i + 1, there_i)[:, None] - _load(at_j + 1, there_j)[None, :]
    dz = _load(at_i + 2, there_i)[:, None] - _load(at_j + 2, there_j)[None, :]
    return dx, dy, dz, tl.where(real, dx * dx + dy * dy + dz * dz, 1.0), real


@triton.jit
def _load(at, there):
    return tl.load(at, mask=there, other=0.0)


@triton.jit
def _store(gradient, b, i, gx, gy, gz, A: tl.constexpr):
    tl.store(gradient + b * 3 * A + i, gx)
    tl.store(gradient + b * 3 * A + A + i, gy)
    tl.store(gradient + b * 3 * A + 2 * A + i, gz)


@triton.jit
def _descreened(r, inverse, own, other):
    """How much one atom descreens another, and its d/dr / r."""
    upper, off = r + other, tl.abs(r - other)
    lower = tl.where(off > own, off, own)
    product = 1 / (lower * upper)
    difference = product * (upper - lower)
    squares = difference * product * (upper + lower)
    log = tl.log(product * upper * upper) * inverse
    q = other * other * inverse
    value = 0.5 * (difference - 0.25 * (r - q) * squares - 0.5 * log)
    slope = (0.25 * log - 0.125 * (r + q) * squares) * inverse * inverse
    reaches = upper > own
    return tl.where(reaches, value, 0.0), tl.where(reaches, slope, 0.0)


@triton.jit
def _neck(pair, i, j, r, inverse, A: tl.constexpr):
    """What the neck between i and j adds to i's descreening, and to its slope."""
    return _necks(pair, i[:, None] * A + j[None, :], r, inverse, A)


@triton.jit
def _neck_of_other(pair, i, j, r, inverse, A: tl.constexpr):
    """The same of j's."""
    return _necks(pair, j[None, :] * A + i[:, None], r, inverse, A)


@triton.jit
def _necks(pair, at, r, inverse, A: tl.constexpr):
    depth, distance = tl.load(pair + DEPTH * A * A + at), tl.load(pair + DISTANCE * A * A + at)
    off = r - distance
    square = off * off
    fourth = square * square
    fraction = 1 / (1 + 100 * square + 3e5 * fourth * square)
    value = tl.where(r <= tl.load(pair + CUTOFF * A * A + at), depth * fraction, 0.0)
    return value, -value * fraction * off * (200 + 1.8e6 * fourth) * inverse
