"""Energies that are a function of the user's: quantum chemistry, a learned potential, anything.

The function takes positions in nm, (n, atoms, 3), and the atoms' elements, and returns n energies
in kJ/mol; NaN rejects a conformation. A `torch.nn.Module` gets a tensor, anything else an array.
Its forces are not known, so it weighs samples and trains nothing.
"""

from __future__ import annotations

import importlib
import importlib.util
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from bgp4.energies.base import Energy, Evaluation
from bgp4.errors import UserInputError
from bgp4.units import EV_IN_KJMOL

__all__ = ["FunctionEnergy", "ase_function", "named_object"]

Array = NDArray[np.float64]
Function = Callable[[Any, tuple[str, ...]], Any]


class FunctionEnergy(Energy):
    """Energies by a function of positions in nm and elements, in kJ/mol; forces are NaN.

    Args:
        function: (n, atoms, 3) and the elements in, (n,) out.
        elements: Symbols of the atoms.
        temperature_k: Temperature of kT, K.
        name: Of the function, for messages.
    """

    def __init__(
        self,
        function: Function,
        elements: Sequence[str],
        temperature_k: float,
        name: str = "energy",
    ) -> None:
        super().__init__(len(elements), temperature_k)
        self._function, self._elements, self._name = function, tuple(elements), name

    def _evaluate(self, positions: Array) -> Evaluation:
        is_module = isinstance(self._function, torch.nn.Module)
        try:
            with torch.no_grad():
                given = self._function(
                    torch.as_tensor(positions) if is_module else positions, self._elements
                )
        except Exception as error:  # the user's function raises what it likes
            raise UserInputError(f"{self._name}: it raised {_told(error)}") from error
        found = given.cpu().numpy() if isinstance(given, torch.Tensor) else given
        try:
            energy = np.array(found, dtype=np.float64)
        except (TypeError, ValueError) as error:
            raise UserInputError(self._expected(len(positions), type(given).__name__)) from error
        if energy.shape != (len(positions),):
            raise UserInputError(self._expected(len(positions), f"shape {energy.shape}"))
        bad = ~np.isfinite(energy)
        energy[bad] = np.nan
        reason = f"{self._name} gave no finite energy"
        forces = np.full(positions.shape, np.nan)
        return Evaluation(energy, forces, dict.fromkeys(np.flatnonzero(bad).tolist(), reason))

    def _expected(self, n: int, found: str) -> str:
        return f"{self._name}: expected energies in kJ/mol of shape ({n},), found {found}"


def ase_function(make_calculator: Callable[[], Any], name: str) -> Function:
    """What an ASE calculator gives, one conformation after the other, as such a function.

    A calculation that fails, as one that does not converge, gives NaN.

    Args:
        make_calculator: Its class, or what else makes one without arguments.
        name: Of it, for messages.

    Raises:
        UserInputError: If ASE is not installed, or there is no such calculator.
    """
    try:
        from ase import Atoms
        from ase.calculators.calculator import CalculationFailed, SCFError
    except ImportError as error:
        raise UserInputError(
            f"{name}: the ase package is missing; install it with pip install 'bgp4[ase]'"
        ) from error
    try:
        calculator = make_calculator()
    except Exception as error:  # libraries of calculators raise what they like
        raise UserInputError(f"{name}: it raised {_told(error)}") from error

    def energies(positions_nm: Array, elements: tuple[str, ...]) -> Array:
        atoms = Atoms(elements, calculator=calculator)
        found = np.full(len(positions_nm), np.nan)
        for i, frame in enumerate(positions_nm):
            atoms.set_positions(10 * frame)
            try:
                found[i] = atoms.get_potential_energy() * EV_IN_KJMOL
            except (CalculationFailed, SCFError):
                continue
        return found

    return energies


def named_object(spec: str, option: str) -> Any:
    """What `file.py:name` or `package.module:name` names; the user's file is run.

    Raises:
        UserInputError: If there is no such thing, or it can't be imported.
    """
    source, colon, name = spec.rpartition(":")
    if not (colon and source and name):
        raise UserInputError(
            f"{option} {spec}: expected file.py:name or package.module:name, with a colon"
        )
    try:
        is_file = source.endswith(".py")
        module = _of_file(Path(source)) if is_file else importlib.import_module(source)
        return getattr(module, name)
    except FileNotFoundError as error:
        raise UserInputError(f"{option} {spec}: no such file: {source}") from error
    except Exception as error:  # the user's module raises what it likes
        raise UserInputError(f"{option} {spec}: cannot be imported: {_told(error)}") from error


def _of_file(path: Path) -> Any:
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _told(error: Exception) -> str:
    """An exception of the user's code in one line: its kind, what it says, and where."""
    frame = traceback.extract_tb(error.__traceback__)[-1]
    says = " ".join(str(error).split())[:200]
    return f"{type(error).__name__}: {says} ({Path(frame.filename).name}, line {frame.lineno})"
