"""Collective variables by name, and their values, by mdtraj.

- `phi ALA2`, `psi ALA2`, `omega ALA2`, `chi1 PHE2`: torsions as reports name them;
- `torsion A B C D`, `angle A B C`, `distance A B`: of atoms such as ALA2-CA, as in a config's
  `states`, or of a name that only one atom has;
- `rg`, `sasa`, `hbonds`: radius of gyration, solvent-accessible surface, number of hydrogen bonds
  (Wernet and Nilsson);
- `rmsd FILE`: from a structure, heavy atoms, after superposition.

Lengths are nm, areas nm², angles rad.
"""

from __future__ import annotations

from collections.abc import Callable
from difflib import get_close_matches
from pathlib import Path
from typing import NamedTuple

import mdtraj
import numpy as np
from numpy.typing import NDArray

from bgp4.errors import UserInputError
from bgp4.molecule.topology import atom_label, rotatable_torsions

__all__ = ["Variable", "own_variable", "variable"]

Array = NDArray[np.float64]

GREEK = {"phi": "φ", "psi": "ψ", "omega": "ω", **{f"chi{i}": f"χ{i}" for i in range(1, 6)}}
MEASURES = {"torsion": 4, "angle": 3, "distance": 2}
"""Those of atoms, and of how many."""


class Variable(NamedTuple):
    """A collective variable of conformations.

    Attributes:
        name: As the user wrote it.
        values: (n,), in `unit`.
        unit: nm, nm², rad, or empty for a number or a column of the user's.
        periodic: Whether it is an angle of [-pi, pi).
    """

    name: str
    values: Array
    unit: str = ""
    periodic: bool = False

    @property
    def key(self) -> str:
        """Its name without blanks, for files: phi_ALA2."""
        return "_".join(self.name.replace("/", "-").split())


def variable(name: str, frames: mdtraj.Trajectory) -> Variable:
    """A variable of the conformations, by its name.

    Raises:
        UserInputError: If the molecule has no such variable or atom.
    """
    kind, *words = name.split() or [""]
    whole: dict[str, tuple[Callable[[mdtraj.Trajectory], Array], str]] = {
        "rg": (mdtraj.compute_rg, "nm"),
        "sasa": (lambda frames: mdtraj.shrake_rupley(frames).sum(axis=1), "nm²"),
        "hbonds": (_hydrogen_bonds, ""),
    }
    if kind in whole and not words:
        measure, unit = whole[kind]
        return Variable(name, np.asarray(measure(frames), dtype=np.float64), unit)
    if kind == "rmsd" and words:
        return Variable(name, _rmsd(name, " ".join(words), frames), "nm")
    if kind in MEASURES:
        return _of_atoms(name, kind, words, frames)
    torsions = {torsion.label: torsion.atoms for torsion in rotatable_torsions(frames.topology)}
    label = " ".join([GREEK.get(kind, kind), *words])
    if label not in torsions:
        raise UserInputError(_unknown(name, list(torsions), list(whole)))
    return _measured(name, "torsion", torsions[label], frames)


def own_variable(name: str, values: Array, kept: NDArray[np.bool_], source: str) -> Variable:
    """A variable of the user's, given for all conformations, here of those that are kept.

    Raises:
        UserInputError: If there is not one finite number for each conformation that is kept.
    """
    if values.shape != kept.shape:
        raise UserInputError(
            f"{source}: expected {len(kept)} values of {name!r}, one for each conformation, found "
            f"{' × '.join(map(str, values.shape))}"
        )
    if not np.isfinite(values[kept]).all():
        row = int(np.flatnonzero(kept & ~np.isfinite(values))[0])
        raise UserInputError(f"{source}: {name!r} of conformation {row} is no finite number")
    return Variable(name, values[kept].astype(np.float64))


def _of_atoms(name: str, kind: str, words: list[str], frames: mdtraj.Trajectory) -> Variable:
    n = MEASURES[kind]
    labels = [atom_label(frames.topology, i) for i in range(frames.n_atoms)]
    if len(words) != n:
        raise UserInputError(
            f"variable {name!r}: expected {kind} and {n} atoms, such as "
            f"'{kind} {' '.join(labels[:n])}', found {len(words)}"
        )
    atoms = [_atom(name, word, labels, frames.topology) for word in words]
    if len(set(atoms)) < n:
        raise UserInputError(f"variable {name!r}: expected {n} different atoms")
    return _measured(name, kind, atoms, frames)


def _atom(name: str, word: str, labels: list[str], topology: mdtraj.Topology) -> int:
    if labels.count(word) == 1:
        return labels.index(word)
    found = [atom.index for atom in topology.atoms if atom.name == word]
    if len(found) == 1:
        return int(found[0])
    near = [labels[i] for i in found] or get_close_matches(word, labels, 4, 0.4) or labels[:4]
    raise UserInputError(
        f"variable {name!r}: {'more than one atom' if found else 'no atom'} is called {word!r}; "
        f"expected one such as {', '.join(near[:6])}"
    )


def _measured(
    name: str, kind: str, atoms: list[int] | tuple[int, ...], frames: mdtraj.Trajectory
) -> Variable:
    measure = {
        "torsion": mdtraj.compute_dihedrals,
        "angle": mdtraj.compute_angles,
        "distance": mdtraj.compute_distances,
    }[kind]
    values = measure(frames, np.array([atoms]), periodic=False)[:, 0].astype(np.float64)
    if kind == "torsion":
        values = np.mod(values + np.pi, 2 * np.pi) - np.pi
    return Variable(name, values, "nm" if kind == "distance" else "rad", kind == "torsion")


def _hydrogen_bonds(frames: mdtraj.Trajectory) -> Array:
    """How many each conformation has, (n,)."""
    return np.array([len(found) for found in mdtraj.wernet_nilsson(frames, periodic=False)], float)


def _rmsd(name: str, path: str, frames: mdtraj.Trajectory) -> Array:
    if not Path(path).is_file():
        raise UserInputError(f"variable {name!r}: no such file {path}; expected a PDB file")
    try:
        structure = mdtraj.load(path)
    except Exception as error:  # mdtraj's readers raise whatever their libraries do
        reason = " ".join(str(error).split())[:200]
        raise UserInputError(f"{path}: cannot be read as a structure ({reason})") from error
    own, found = ([atom.name for atom in t.topology.atoms] for t in (frames, structure))
    if own != found:
        raise UserInputError(
            f"{path}: expected the {len(own)} atoms of the molecule, in its order and by its "
            f"names, found {len(found)}: {', '.join(found[:4])}, ..."
        )
    heavy = [atom.index for atom in frames.topology.atoms if atom.element.symbol != "H"]
    centred = mdtraj.Trajectory(frames.xyz.copy(), frames.topology)
    return mdtraj.rmsd(centred, structure, atom_indices=heavy).astype(np.float64)


def _unknown(name: str, torsions: list[str], whole: list[str]) -> str:
    latin = {symbol: word for word, symbol in GREEK.items()}
    known = [" ".join([latin.get(t.split()[0], t.split()[0]), *t.split()[1:]]) for t in torsions]
    near = get_close_matches(name, [*known, *whole], 3, 0.5)
    likely = f"did you mean {', '.join(map(repr, near))}? " if near else ""
    return (
        f"variable {name!r}: the molecule has none of that name; {likely}expected one of "
        f"{', '.join([*known, *whole])}, 'rmsd FILE', or torsion, angle or distance and atoms"
    )
