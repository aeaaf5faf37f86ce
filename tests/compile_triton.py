"""Compiles each of Triton's kernels for a GPU, in all its variants; prints a line for each."""

from __future__ import annotations

import os

os.environ["TRITON_INTERPRET"] = "0"

from itertools import product
from typing import Any

import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from bgp4.kernels import bonded_triton, pairs_triton, spline_triton

TARGET = GPUTarget("cuda", 90, 32)
FLOATS = ("fp32", "fp64")
INTEGERS = {"n", "columns", "atoms", "first_term", "first_slot", "terms", "n_terms", "n_slots"}
INDICES = {"index", "lists"}
DOUBLES = {"made", "forces"}

SPLINES = [
    {"KNOTS": 9, "SLOPES": slopes, "INVERSE": inverse, "BLOCK": 128}
    for slopes, inverse in product((8, 9), (False, True))
]
TILES = [{"A": 32, "T": 32}, {"A": 128, "T": 16}]
TERMS = [{"COLUMNS": 8, "BLOCK": 128}]
VARIANTS: list[tuple[Any, list[dict[str, Any]]]] = [
    (spline_triton._evaluate, SPLINES),
    (spline_triton._differentiate, SPLINES),
    (
        pairs_triton.radii,
        [
            t | {"NECKED": n, "RESCALED": r}
            for t in TILES
            for n, r in ((True, True), (False, False))
        ],
    ),
    (pairs_triton.pairs, [t | {"SOLVATED": s} for t in TILES for s in (True, False)]),
    (pairs_triton.descreening, [t | {"NECKED": n} for t in TILES for n in (True, False)]),
    *((getattr(bonded_triton, k), TERMS) for k in ("bonds", "angles", "torsions", "impropers")),
    (bonded_triton.maps, TERMS),
    (bonded_triton.finish, [{"A": 32, "LONGEST": 7, "BLOCK": 128}]),
]


def signature(kernel: Any, of_floats: str, constants: dict[str, Any]) -> dict[str, str]:
    kinds = {name: "constexpr" for name in constants}
    for name in kernel.arg_names:
        if name in INTEGERS:
            kinds[name] = "i32"
        elif name not in constants:
            of = "i32" if name in INDICES else "fp64" if name in DOUBLES else of_floats
            kinds[name] = f"*{of}"
    return {name: kinds[name] for name in kernel.arg_names}


for kernel, variants in VARIANTS:
    for of_floats, constants in product(FLOATS, variants):
        places = {(kernel.arg_names.index(name),): value for name, value in constants.items()}
        source = ASTSource(kernel, signature(kernel, of_floats, constants), places)
        made = triton.compile(source, target=TARGET)
        print(kernel.__name__, of_floats, constants, made.metadata.shared)
