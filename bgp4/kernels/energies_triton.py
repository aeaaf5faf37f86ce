"""Energies and forces of many conformations on a GPU, in a dozen launches of Triton's kernels.

Imported where there are a GPU and Triton alone, which torch's CUDA wheels bring along. With
TRITON_INTERPRET=1 it runs on a CPU, for tests.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import torch
import triton
from numpy.typing import NDArray
from torch import Tensor

from bgp4.kernels import bonded_triton, pairs_triton
from bgp4.kernels.energies import Tables

__all__ = ["DeviceKernel"]

BLOCK = 128
"""Terms of a program."""

TILE = 1024
"""Pairs that a program has at a time."""

BONDED = {"bonds": 2, "angles": 3, "torsions": 4, "impropers": 4, "maps": 8}
"""Atoms of each kind of term."""


class _Kind(NamedTuple):
    """The terms of a kind, and where their energies and slots begin."""

    kernel: Any
    tables: tuple[Tensor, ...]
    columns: int
    terms: int
    first_term: int
    first_slot: int


class DeviceKernel:
    """Energies in kJ/mol and forces in kJ/mol/nm, float64, of positions on a device.

    Args:
        tables: Atoms and parameters, as for the kernel of a CPU.
        n_atoms: Of the molecule.
        dtype: Of the arithmetic.
        device: Where the positions will be.
    """

    def __init__(
        self, tables: Tables, n_atoms: int, dtype: torch.dtype, device: torch.device
    ) -> None:
        self.n_atoms, self.dtype, self.device = n_atoms, dtype, device
        self.padded = max(16, triton.next_power_of_2(n_atoms))
        self.tile = min(self.padded, max(TILE // self.padded, 16))
        self._kinds: list[_Kind] = []
        self.n_terms = self.n_slots = 0
        lists: list[list[int]] = [[] for _ in range(n_atoms)]
        for name, arity in BONDED.items():
            self._add(name, arity, tables, lists)
        self.most = (2**31 - 1) // (3 * max(self.n_slots, self.padded))
        longest = max(1, max(map(len, lists)))
        self.lists = self._indices(np.array([[*of, *[-1] * (longest - len(of))] for of in lists]))
        self.necked = tables["pairs"][1].shape[1] > 4
        self.born_columns = tables["born"][1].shape[1] if len(tables["born"][1]) else 0
        self.pair = self._values(_dense(*tables["pairs"], self.padded))
        self.atom = self._values(_padded(tables["born"][1], self.padded))

    def __call__(
        self,
        positions_nm: Tensor,  # (batch, atoms, 3)
    ) -> tuple[Tensor, Tensor]:  # (batch,), (batch, atoms, 3)
        if len(positions_nm) > self.most:  # indices have 32 bits
            parts = [self(some) for some in positions_nm.split(self.most)]
            return torch.cat([energy for energy, _ in parts]), torch.cat([f for _, f in parts])
        x = positions_nm.detach().double()
        x = (x - x.mean(1, keepdim=True)).to(self.dtype).contiguous()
        batch, A = len(x), self.padded
        made = x.new_empty(batch, dtype=torch.float64)
        forces = x.new_empty(x.shape, dtype=torch.float64)
        if not batch:
            return made, forces
        pair_energy, gradient = self._of_pairs(x)
        energy, slot = x.new_empty(batch, self.n_terms), x.new_empty(batch, self.n_slots, 3)
        for kind in self._kinds:
            n = batch * kind.terms
            kind.kernel[(triton.cdiv(n, BLOCK),)](
                *(x, *kind.tables, energy, slot, kind.first_term, kind.first_slot, kind.terms),
                *(self.n_terms, self.n_slots, self.n_atoms, n),
                COLUMNS=kind.columns,
                BLOCK=BLOCK,
            )
        bonded_triton.finish[(batch,)](
            *(pair_energy, gradient, energy, slot, self.lists, made, forces),
            *(self.n_terms, self.n_slots, self.n_atoms),
            A=A,
            LONGEST=self.lists.shape[1],
            BLOCK=BLOCK,
        )
        return made, forces

    def _of_pairs(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Energies of all pairs, (batch,), and gradients, (batch, 3, A)."""
        batch, A = len(x), self.padded
        sizes = {"A": A, "T": self.tile}
        energy, gradient = x.new_empty(batch), x.new_empty(batch, 3, A)
        born, chain, own_slope = x.new_empty(3, batch if self.born_columns else 1, A)
        if self.born_columns:
            pairs_triton.radii[(batch,)](
                *(x, self.atom, self.pair, born, chain, own_slope, energy, self.n_atoms),
                NECKED=self.necked,
                RESCALED=self.born_columns == 8,
                **sizes,
            )
        pairs_triton.pairs[(batch,)](
            *(x, self.pair, born, chain, own_slope, energy, gradient, self.n_atoms),
            SOLVATED=bool(self.born_columns),
            **sizes,
        )
        if self.born_columns:
            pairs_triton.descreening[(batch,)](
                *(x, self.atom, self.pair, chain, gradient, self.n_atoms),
                NECKED=self.necked,
                **sizes,
            )
        return energy, gradient

    def _add(self, name: str, arity: int, tables: Tables, lists: list[list[int]]) -> None:
        """The terms of a kind, if there are any, and their slots to their atoms' lists."""
        atoms, values = tables[name]
        if not len(atoms):
            return
        made = [self._indices(atoms), self._values(values)]
        if name == "maps":
            made.append(self._values(tables["patches"][1]))
        kernel = getattr(bonded_triton, name)
        columns = values.shape[1]
        kind = _Kind(kernel, tuple(made), columns, len(atoms), self.n_terms, self.n_slots)
        self._kinds.append(kind)
        for slot, atom in enumerate(atoms.ravel().tolist(), self.n_slots):
            lists[atom].append(slot)
        self.n_terms += len(atoms)
        self.n_slots += arity * len(atoms)

    def _indices(self, values: NDArray[np.integer]) -> Tensor:
        return torch.as_tensor(values, dtype=torch.int32).contiguous().to(self.device)

    def _values(self, values: NDArray[np.float64]) -> Tensor:
        return torch.as_tensor(values, dtype=self.dtype).contiguous().to(self.device)


def _dense(
    pairs: NDArray[np.int64], values: NDArray[np.float64], padded: int
) -> NDArray[np.float64]:  # (planes, padded, padded)
    """The planes of `pairs_triton.py`: symmetric but for the necks' depths and distances."""
    i, j = pairs.T
    dense = np.zeros((7, padded, padded))
    for plane, column in ((0, 0), (1, 1), (2, 2), (3, 3), (4, 4), (5, 5), (6, 8)):
        if column < values.shape[1]:
            back = column + 2 if column in (4, 5) else column
            dense[plane, i, j], dense[plane, j, i] = values[:, column], values[:, back]
    return dense


def _padded(born: NDArray[np.float64], padded: int) -> NDArray[np.float64]:  # (rows, padded)
    """The rows of `pairs_triton.py`; what is beyond the atoms is 1, which divides by nothing."""
    rows = np.ones((8, padded))
    rows[: born.shape[1], : len(born)] = born.T
    return rows
