"""Bonds, angles, torsions, impropers and torsion maps on a GPU by Triton: the formulas of
`energies.cpp`, term by term.

Each term of each conformation writes its energy, and a gradient for each of its atoms to a slot of
its own. `finish` adds them up, atom by atom, by lists of the slots that are an atom's.
"""

from __future__ import annotations

import triton
import triton.language as tl

__all__ = ["angles", "bonds", "finish", "impropers", "maps", "torsions"]

IN_LINE = tl.constexpr(1e-30)
"""Atoms in a line have no torsion, and no force of one."""

PI = tl.constexpr(3.14159265358979324)


@triton.jit
def bonds(
    x, index, value, energy, slot, first_term, first_slot, terms, n_terms, n_slots, atoms, n,
    COLUMNS: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Of the columns length, stiffness."""
    there, b, t = _term(terms, n, BLOCK)
    xi, yi, zi = _atom(x, index, b, t, 0, 2, atoms, there)
    xj, yj, zj = _atom(x, index, b, t, 1, 2, atoms, there)
    dx, dy, dz = xi - xj, yi - yj, zi - zj
    length, stiffness = tl.load(value + 2 * t), tl.load(value + 2 * t + 1)
    r = tl.sqrt(dx * dx + dy * dy + dz * dz)
    off = r - length
    tl.store(energy + b * n_terms + first_term + t, 0.5 * stiffness * off * off, mask=there)
    slope = stiffness * off / r
    to = slot + (b * n_slots + first_slot + 2 * t) * 3
    _put(to, slope * dx, slope * dy, slope * dz, there)
    _put(to + 3, -slope * dx, -slope * dy, -slope * dz, there)


@triton.jit
def angles(
    x, index, value, energy, slot, first_term, first_slot, terms, n_terms, n_slots, atoms, n,
    COLUMNS: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Of the columns angle, stiffness."""
    there, b, t = _term(terms, n, BLOCK)
    xi, yi, zi = _atom(x, index, b, t, 0, 3, atoms, there)
    xj, yj, zj = _atom(x, index, b, t, 1, 3, atoms, there)
    xk, yk, zk = _atom(x, index, b, t, 2, 3, atoms, there)
    ux, uy, uz = xi - xj, yi - yj, zi - zj
    vx, vy, vz = xk - xj, yk - yj, zk - zj
    px, py, pz = _cross(ux, uy, uz, vx, vy, vz)
    sine = tl.sqrt(_dot(px, py, pz, px, py, pz))
    equilibrium, stiffness = tl.load(value + 2 * t), tl.load(value + 2 * t + 1)
    off = _angle_of(sine, _dot(ux, uy, uz, vx, vy, vz)) - equilibrium
    tl.store(energy + b * n_terms + first_term + t, 0.5 * stiffness * off * off, mask=there)
    slope = stiffness * off / tl.where(sine > 1e-6, sine, 1e-6)
    of_u, of_v = slope / _dot(ux, uy, uz, ux, uy, uz), slope / _dot(vx, vy, vz, vx, vy, vz)
    ax, ay, az = _cross(ux, uy, uz, px, py, pz)
    bx, by, bz = _cross(px, py, pz, vx, vy, vz)
    ax, ay, az = ax * of_u, ay * of_u, az * of_u
    bx, by, bz = bx * of_v, by * of_v, bz * of_v
    to = slot + (b * n_slots + first_slot + 3 * t) * 3
    _put(to, ax, ay, az, there)
    _put(to + 3, -(ax + bx), -(ay + by), -(az + bz), there)
    _put(to + 6, bx, by, bz, there)


@triton.jit
def torsions(
    x, index, value, energy, slot, first_term, first_slot, terms, n_terms, n_slots, atoms, n,
    COLUMNS: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Of the columns a0, b0, a1, b1, ... of the sum of a_n cos nφ + b_n sin nφ."""
    there, b, t = _term(terms, n, BLOCK)
    cos_1, sin_1 = _dihedral(x, index, b, t, 0, 4, atoms, there)
    made = tl.load(value + COLUMNS * t) + cos_1 * 0.0
    cos_n, sin_n, slope = cos_1, sin_1, cos_1 * 0.0
    for k in tl.static_range(1, COLUMNS // 2):
        a, c = tl.load(value + COLUMNS * t + 2 * k), tl.load(value + COLUMNS * t + 2 * k + 1)
        made += a * cos_n + c * sin_n
        slope += k * (c * cos_n - a * sin_n)
        cos_n, sin_n = cos_n * cos_1 - sin_n * sin_1, sin_n * cos_1 + cos_n * sin_1
    tl.store(energy + b * n_terms + first_term + t, made, mask=there)
    to = slot + (b * n_slots + first_slot + 4 * t) * 3
    _turn(x, index, b, t, 0, 4, atoms, there, slope, to)


@triton.jit
def impropers(
    x, index, value, energy, slot, first_term, first_slot, terms, n_terms, n_slots, atoms, n,
    COLUMNS: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Of the columns angle, stiffness, period."""
    there, b, t = _term(terms, n, BLOCK)
    cosine, sine = _dihedral(x, index, b, t, 0, 4, atoms, there)
    equilibrium, stiffness = tl.load(value + 3 * t), tl.load(value + 3 * t + 1)
    period = tl.load(value + 3 * t + 2)
    off = _turned(sine, cosine) - equilibrium
    far = tl.abs(off)
    other = period - far
    least = tl.where(far < other, far, other)
    sign = tl.where((off < 0) == (far <= other), -1.0, 1.0)
    tl.store(energy + b * n_terms + first_term + t, 0.5 * stiffness * least * least, mask=there)
    to = slot + (b * n_slots + first_slot + 4 * t) * 3
    _turn(x, index, b, t, 0, 4, atoms, there, stiffness * least * sign, to)


@triton.jit
def maps(
    x, index, value, patch, energy, slot, first_term, first_slot, terms, n_terms, n_slots, atoms,
    n, COLUMNS: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Of the columns first patch, patches along a side; patches have the powers of u and v."""
    there, b, t = _term(terms, n, BLOCK)
    cos_1, sin_1 = _dihedral(x, index, b, t, 0, 8, atoms, there)
    cos_2, sin_2 = _dihedral(x, index, b, t, 4, 8, atoms, there)
    first, size = tl.load(value + 2 * t), tl.load(value + 2 * t + 1)
    per_radian = size / (2 * PI)
    u, row = _patch(_turned(sin_1, cos_1) * per_radian, size)
    v, column = _patch(_turned(sin_2, cos_2) * per_radian, size)
    start = patch + 16 * (first.to(tl.int32) + row * size.to(tl.int32) + column)
    made, along_u, along_v = u * 0.0, u * 0.0, u * 0.0
    for k in tl.static_range(4):
        c = start + 4 * (3 - k)
        c0, c1 = tl.load(c, mask=there, other=0.0), tl.load(c + 1, mask=there, other=0.0)
        c2, c3 = tl.load(c + 2, mask=there, other=0.0), tl.load(c + 3, mask=there, other=0.0)
        along_u = along_u * u + made
        made = made * u + c0 + v * (c1 + v * (c2 + v * c3))
        along_v = along_v * u + c1 + v * (2 * c2 + v * 3 * c3)
    tl.store(energy + b * n_terms + first_term + t, made, mask=there)
    to = slot + (b * n_slots + first_slot + 8 * t) * 3
    _turn(x, index, b, t, 0, 8, atoms, there, along_u * per_radian, to)
    _turn(x, index, b, t, 4, 8, atoms, there, along_v * per_radian, to + 12)


@triton.jit
def finish(
    pair_energy, gradient, energy, slot, lists, made, forces, n_terms, n_slots, atoms,
    A: tl.constexpr, LONGEST: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Energies and forces of a conformation, float64, from those of pairs and of all terms."""
    b = tl.program_id(0)
    total = tl.load(pair_energy + b).to(tl.float64)
    for first in range(0, n_terms, BLOCK):
        t = first + tl.arange(0, BLOCK)
        some = tl.load(energy + b * n_terms + t, mask=t < n_terms, other=0.0)
        total += tl.sum(some.to(tl.float64), 0)
    tl.store(made + b, total)
    i = tl.arange(0, A)
    there = i < atoms
    gx = tl.load(gradient + b * 3 * A + i)
    gy = tl.load(gradient + b * 3 * A + A + i)
    gz = tl.load(gradient + b * 3 * A + 2 * A + i)
    for k in range(LONGEST):
        of_atom = tl.load(lists + i * LONGEST + k, mask=there, other=-1)
        has = of_atom >= 0
        at = slot + (b * n_slots + of_atom) * 3
        gx += tl.load(at, mask=has, other=0.0)
        gy += tl.load(at + 1, mask=has, other=0.0)
        gz += tl.load(at + 2, mask=has, other=0.0)
    to = forces + (b * atoms + i) * 3
    _put(to, -gx.to(tl.float64), -gy.to(tl.float64), -gz.to(tl.float64), there)


@triton.jit
def _term(terms, n, BLOCK: tl.constexpr):
    """Which terms of which conformations a program has; those beyond the end are the last one's."""
    at = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    there = at < n
    at = tl.where(there, at, n - 1)
    return there, at // terms, at % terms


@triton.jit
def _atom(x, index, b, t, k: tl.constexpr, ARITY: tl.constexpr, atoms, there):
    at = x + (b * atoms + tl.load(index + ARITY * t + k)) * 3
    return tl.load(at), tl.load(at + 1), tl.load(at + 2)


@triton.jit
def _put(to, gx, gy, gz, there):
    tl.store(to, gx, mask=there)
    tl.store(to + 1, gy, mask=there)
    tl.store(to + 2, gz, mask=there)


@triton.jit
def _dot(ax, ay, az, bx, by, bz):
    return ax * bx + ay * by + az * bz


@triton.jit
def _cross(ax, ay, az, bx, by, bz):
    return ay * bz - az * by, az * bx - ax * bz, ax * by - ay * bx


@triton.jit
def _sides(x, index, b, t, FIRST: tl.constexpr, ARITY: tl.constexpr, atoms, there):
    """The three bonds of a torsion's four atoms."""
    x0, y0, z0 = _atom(x, index, b, t, FIRST, ARITY, atoms, there)
    x1, y1, z1 = _atom(x, index, b, t, FIRST + 1, ARITY, atoms, there)
    x2, y2, z2 = _atom(x, index, b, t, FIRST + 2, ARITY, atoms, there)
    x3, y3, z3 = _atom(x, index, b, t, FIRST + 3, ARITY, atoms, there)
    return x1 - x0, y1 - y0, z1 - z0, x2 - x1, y2 - y1, z2 - z1, x3 - x2, y3 - y2, z3 - z2


@triton.jit
def _dihedral(x, index, b, t, FIRST: tl.constexpr, ARITY: tl.constexpr, atoms, there):
    """cos φ and sin φ of four atoms; both are zero if three are in a line."""
    ax, ay, az, bx, by, bz, cx, cy, cz = _sides(x, index, b, t, FIRST, ARITY, atoms, there)
    px, py, pz = _cross(ax, ay, az, bx, by, bz)
    qx, qy, qz = _cross(bx, by, bz, cx, cy, cz)
    square = _dot(px, py, pz, px, py, pz) * _dot(qx, qy, qz, qx, qy, qz)
    scale = 1 / tl.sqrt(tl.where(square > IN_LINE, square, IN_LINE))
    sine = _dot(ax, ay, az, qx, qy, qz) * tl.sqrt(_dot(bx, by, bz, bx, by, bz)) * scale
    return _dot(px, py, pz, qx, qy, qz) * scale, sine


@triton.jit
def _turn(x, index, b, t, FIRST: tl.constexpr, ARITY: tl.constexpr, atoms, there, slope, to):
    """The gradients of four atoms from that in φ (Blondel, Karplus, J. Comput. Chem. 17, 1132)."""
    ax, ay, az, bx, by, bz, cx, cy, cz = _sides(x, index, b, t, FIRST, ARITY, atoms, there)
    px, py, pz = _cross(ax, ay, az, bx, by, bz)
    qx, qy, qz = _cross(bx, by, bz, cx, cy, cz)
    square = _dot(bx, by, bz, bx, by, bz)
    pp, qq = _dot(px, py, pz, px, py, pz), _dot(qx, qy, qz, qx, qy, qz)
    scale = slope * tl.sqrt(square)
    of_p = scale / tl.where(pp > IN_LINE, pp, IN_LINE)
    of_q = scale / tl.where(qq > IN_LINE, qq, IN_LINE)
    px, py, pz = px * of_p, py * of_p, pz * of_p
    qx, qy, qz = qx * of_q, qy * of_q, qz * of_q
    of_p = -_dot(ax, ay, az, bx, by, bz) / square
    of_q = -_dot(cx, cy, cz, bx, by, bz) / square
    mx, my, mz = px * of_p + qx * of_q, py * of_p + qy * of_q, pz * of_p + qz * of_q
    _put(to, -px, -py, -pz, there)
    _put(to + 3, px - mx, py - my, pz - mz, there)
    _put(to + 6, mx - qx, my - qy, mz - qz, there)
    _put(to + 9, qx, qy, qz, there)


@triton.jit
def _turned(sine, cosine):
    """The angle in [-π, π] of the point (c, s)."""
    angle = _angle_of(tl.abs(sine), cosine)
    return tl.where(sine < 0, -angle, angle)


@triton.jit
def _angle_of(s, c):
    """The angle in [0, π] of the point (c, s), s ≥ 0, from the tangent of its eighth."""
    half = s / (tl.sqrt(s * s + c * c) + tl.abs(c))
    quarter = half / (1 + tl.sqrt(1 + half * half))
    q = quarter / (1 + tl.sqrt(1 + quarter * quarter))
    z = -q * q
    series = z * 0.0
    for k in tl.static_range(12):  # Σ z^k / (2k + 1), of which float32 needs six
        series = series * z + 1.0 / (2 * (11 - k) + 1)
    acute = 8 * q * series
    return tl.where(c < 0, PI - acute, acute)


@triton.jit
def _patch(at, size):
    """How far through its patch an angle is, and the patch's number; a NaN's is the first."""
    around = tl.where(at < 0, at + size, at)
    inside = tl.where(around > 0, around, 0.0)
    inside = tl.where(inside > size - 1, size - 1, inside)
    number = inside.to(tl.int32)
    return around - number.to(around.dtype), number
