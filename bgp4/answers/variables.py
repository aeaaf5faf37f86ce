"""Collective variables by name, and their values, by mdtraj.

- `phi ALA2`, `psi ALA2`, `omega ALA2`, `chi1 PHE2`: torsions as reports name them;
- `torsion A B C D`, `angle A B C`, `distance A B`: of atoms such as ALA2-CA, as in a config's
  `states`, or of a name that only one atom has;
- `rg`, `sasa`, `hbonds`: radius of gyration, solvent-accessible surface (Shrake and Rupley), number
  of hydrogen bonds (Wernet and Nilsson);
- `end-to-end`: distance of the two heavy atoms that are the most bonds apart;
- `pc1`, `pc2`, ...: principal components of the torsions' cosines and sines (Mu, Nguyen and Stock,
  Proteins 58, 45, 2005), those of the ensemble;
- `rmsd FILE`: from a structure, heavy atoms, after superposition, the least over permutations of
  equivalent atoms.

Lengths are nm, areas nm², angles rad.
"""

from __future__ import annotations

from collections.abc import Callable
from difflib import get_close_matches
from pathlib import Path
from typing import NamedTuple

import mdtraj
import networkx as nx
import numpy as np
from numpy.typing import NDArray

from bgp4.answers.rmsd import SymmetricRMSD
from bgp4.answers.weighted import Weighted
from bgp4.errors import UserInputError
from bgp4.molecule.topology import Torsion, atom_label, bond_graph, rotatable_torsions

__all__ = ["Variable", "own_variables", "variable"]

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


def variable(name: str, frames: mdtraj.Trajectory, basis: Weighted | None = None) -> Variable:
    """A variable of the conformations, by its name.

    Args:
        name: As above.
        frames: The conformations.
        basis: The ensemble whose principal components these are; the conformations with equal
            weights if None.

    Raises:
        UserInputError: If the molecule has no such variable or atom.
    """
    kind, *words = name.split() or [""]
    if kind in WHOLE and not words:
        measure, unit = WHOLE[kind]
        return Variable(name, np.asarray(measure(frames), dtype=np.float64), unit)
    if kind == "rmsd" and words:
        return Variable(name, _rmsd(name, " ".join(words), frames), "nm")
    if kind in MEASURES:
        return _of_atoms(name, kind, words, frames)
    torsions = rotatable_torsions(frames.topology)
    if kind.removeprefix("pc").isdecimal() and not words:
        return Variable(name, _component(name, int(kind[2:]), torsions, frames, basis))
    label = " ".join([GREEK.get(kind, kind), *words])
    for torsion in torsions:
        if label in (torsion.label, torsion.label.replace("–", "-")):
            return _measured(name, "torsion", torsion.atoms, frames)
    raise UserInputError(_unknown(name, [torsion.label for torsion in torsions]))


def own_variables(path: Path, kept: NDArray[np.bool_]) -> dict[str, Variable]:
    """Variables of the user's by name: a CSV file's columns, with a row for each conformation.

    Args:
        path: Names in the first row, then numbers.
        kept: (all,), which conformations the values are wanted of.

    Raises:
        UserInputError: If the file is not that, or a value that is wanted is not finite.
    """
    if not path.is_file():
        raise UserInputError(f"--cv {path}: no such file")
    names = path.read_text(encoding="utf-8-sig").partition("\n")[0].strip().split(",")
    try:
        rows = np.loadtxt(path, delimiter=",", skiprows=1, ndmin=2, encoding="utf-8-sig")
    except ValueError as error:
        raise UserInputError(
            f"--cv {path}: expected names, then rows of numbers: {error}"
        ) from error
    if rows.shape != (len(kept), len(names)):
        raise UserInputError(
            f"--cv {path}: expected {len(kept)} rows of {len(names)} numbers, one for each sample, "
            f"found {len(rows)} of {rows.shape[1]}"
        )
    found = {}
    for name, values in zip(names, rows.T, strict=True):
        bad = np.flatnonzero(kept & ~np.isfinite(values))
        if len(bad):
            raise UserInputError(
                f"--cv {path}: {name!r} of sample {bad[0]} is not finite, but the sample has a "
                "weight"
            )
        found[name.strip()] = Variable(name.strip(), values[kept])
    return found


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


def _end_to_end(frames: mdtraj.Trajectory) -> Array:
    heavy = [atom.index for atom in frames.topology.atoms if atom.element.symbol != "H"]
    away = dict(nx.all_pairs_shortest_path_length(bond_graph(frames.topology).subgraph(heavy)))
    ends = max(((i, j) for i in heavy for j in heavy), key=lambda pair: away[pair[0]][pair[1]])
    return mdtraj.compute_distances(frames, [ends], periodic=False)[:, 0].astype(np.float64)


WHOLE: dict[str, tuple[Callable[[mdtraj.Trajectory], Array], str]] = {
    "rg": (mdtraj.compute_rg, "nm"),
    "end-to-end": (_end_to_end, "nm"),
    "sasa": (lambda frames: mdtraj.shrake_rupley(frames).sum(axis=1), "nm²"),
    "hbonds": (_hydrogen_bonds, ""),
}
"""Variables of the whole molecule."""


def _component(
    name: str,
    number: int,
    torsions: list[Torsion],
    frames: mdtraj.Trajectory,
    basis: Weighted | None,
) -> Array:
    """A principal component; its sign is such that its largest coefficient is positive."""
    if not 1 <= number <= 2 * len(torsions):
        raise UserInputError(
            f"variable {name!r}: expected pc1 to pc{2 * len(torsions)}, of the cosines and sines "
            f"of {len(torsions)} torsions"
        )
    own = _circles(torsions, frames)
    fitted = own if basis is None else _circles(torsions, basis.frames)
    weights = None if basis is None else basis.weights
    covariance = np.cov(fitted, rowvar=False, aweights=weights)
    axis = np.linalg.eigh(covariance).eigenvectors[:, -number]
    axis *= np.sign(axis[np.abs(axis).argmax()])
    return (own - np.average(fitted, axis=0, weights=weights)) @ axis


def _circles(torsions: list[Torsion], frames: mdtraj.Trajectory) -> Array:
    """Cosines and sines, (n, 2 torsions)."""
    atoms = np.array([torsion.atoms for torsion in torsions])
    angles = mdtraj.compute_dihedrals(frames, atoms, periodic=False).astype(np.float64)
    return np.concatenate([np.cos(angles), np.sin(angles)], axis=1)


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
    apart = SymmetricRMSD(frames.topology, structure.xyz[0])
    return apart.to(apart.centred(frames), structure.xyz[0])


def _unknown(name: str, torsions: list[str]) -> str:
    latin = {symbol: word for word, symbol in GREEK.items()}
    known = [" ".join([latin.get(t.split()[0], t.split()[0]), *t.split()[1:]]) for t in torsions]
    near = get_close_matches(name, [*known, *WHOLE], 3, 0.5)
    likely = f"did you mean {', '.join(map(repr, near))}? " if near else ""
    return (
        f"variable {name!r}: the molecule has none of that name; {likely}expected one of "
        f"{', '.join([*known, *WHOLE])}, pc1, 'rmsd FILE', or torsion, angle or distance and atoms"
    )
