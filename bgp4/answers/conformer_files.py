"""Conformers as text: a table, CSV, and PDB and SDF files with their populations."""

from __future__ import annotations

import io
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from bgp4.answers.conformers import Conformers
from bgp4.errors import UserInputError
from bgp4.storage.files import atomic_write_text

__all__ = [
    "FORMATS",
    "conformers_csv",
    "conformers_pdb",
    "conformers_sdf",
    "conformers_table",
    "write_conformers",
]

PLAIN = str.maketrans({"φ": "phi", "ψ": "psi", "ω": "omega", "χ": "chi", "–": "-", "°": " deg"})
"""Labels in ASCII, for PDB files."""

REMARK_LENGTH = 68


def conformers_table(found: Conformers) -> str:
    """A line for each conformer, and one for all else."""
    rows = [("conformer", "population / %", "free energy / kT", found.words)]
    for i in range(len(found)):
        free = _with_error(found.free_energy_kt[i], found.free_energy_error_kt[i], 2)
        rows.append((str(i + 1), _percent(found, i), free if i else "0", found.describe(i)))
    if found.populations[-1] > 0:
        rows.append(("other", _percent(found, -1), "", ""))
    widths = [max(len(row[i]) for row in rows) for i in range(3)]
    lines = [
        "  ".join([row[0].ljust(widths[0]), row[1].rjust(widths[1]), row[2].rjust(widths[2])])
        + f"  {row[3]}"
        for row in rows
    ]
    return "\n".join(line.rstrip() for line in lines) + "\n"


def conformers_csv(found: Conformers) -> str:
    """A row for each conformer, and one for all else; angles are in degrees."""
    names = [label.replace(",", " ") for label in found.torsions]
    head = ["conformer", "population", "population_error", "free_energy_kT"]
    head += ["free_energy_error_kT", "effective_samples", "representative", *names, "remark"]
    lines = [",".join(head)]
    for i in range(len(found)):
        numbers = [
            *(found.populations[i], found.errors[i], found.free_energy_kt[i]),
            *(found.free_energy_error_kt[i], found.effective[i]),
        ]
        angles = [f"{angle:.1f}" for angle in found.angles_deg[i]]
        row = [str(i + 1), *(f"{x:.6g}" for x in numbers), str(found.representatives[i])]
        lines.append(",".join([*row, *angles, found.remarks[i].replace(",", "")]))
    rest = [f"{found.populations[-1]:.6g}", f"{found.errors[-1]:.6g}"]
    lines.append(",".join(["other", *rest, *[""] * (len(head) - 3)]))
    return "\n".join(lines) + "\n"


def conformers_pdb(found: Conformers) -> str:
    """A model for each conformer, superposed; REMARK lines in it have its population."""
    text = io.StringIO()
    bonds: list[str] = []
    for i, lines in enumerate(_pdb_models(found)):
        bonds = [line for line in lines if line.startswith("CONECT")]
        print(f"MODEL {i + 1:8d}", file=text)
        for line in _records(found, i):
            print(f"REMARK 250 {line}", file=text)
        text.writelines(line for line in lines if line.startswith(("ATOM", "HETATM", "TER")))
        print("ENDMDL", file=text)
    text.writelines(bonds)
    print("END", file=text)
    return text.getvalue()


def conformers_sdf(found: Conformers) -> str:
    """A record for each conformer, superposed; data fields have its population.

    Raises:
        UserInputError: If RDKit is missing, or finds no orders of the bonds.
    """
    from bgp4.molecule.bond_orders import mol_from_topology

    mol = mol_from_topology(found.structures.topology, "conformers.sdf")
    from rdkit import Chem

    text = io.StringIO()
    with Chem.SDWriter(text) as writer:
        for i, positions_nm in enumerate(found.structures.xyz.astype(np.float64)):
            own = Chem.Mol(mol)
            shape = Chem.Conformer(own.GetNumAtoms())
            shape.SetPositions(10 * positions_nm)
            shape.Set3D(True)
            own.AddConformer(shape)
            Chem.AssignStereochemistryFrom3D(own)
            own.SetProp("_Name", f"conformer {i + 1}")
            for name, value in _fields(found, i):
                own.SetProp(name, value)
            writer.write(own)
    return text.getvalue()


FORMATS: dict[str, Callable[[Conformers], str]] = {
    ".csv": conformers_csv,
    ".pdb": conformers_pdb,
    ".sdf": conformers_sdf,
}


def write_conformers(path: Path, found: Conformers) -> None:
    """Write them in the format of the path's suffix.

    Raises:
        UserInputError: If that is none of `FORMATS`.
    """
    make = FORMATS.get(path.suffix.lower())
    if make is None:
        raise UserInputError(
            f"{path}: expected a file name that ends in {', '.join(FORMATS)}, found "
            f"{path.suffix or 'no suffix'}"
        )
    atomic_write_text(path, make(found))


def _percent(found: Conformers, place: int) -> str:
    return _with_error(100 * found.populations[place], 100 * found.errors[place], 1)


def _with_error(value: float, error: float, digits: int) -> str:
    """As many digits as the error has two of, but `digits` at least."""
    if np.isfinite(error) and error > 0:
        digits = max(digits, 1 - int(np.floor(np.log10(error))))
    return f"{value:.{digits}f} ± {error:.{digits}f}"


def _fields(found: Conformers, place: int) -> Iterator[tuple[str, str]]:
    """What a record says of its conformer."""
    yield "population", f"{found.populations[place]:.6f}"
    yield "population_error", f"{found.errors[place]:.6f}"
    yield "free_energy_kT", f"{found.free_energy_kt[place]:.4f}"
    yield "free_energy_error_kT", f"{found.free_energy_error_kt[place]:.4f}"
    yield "temperature_K", f"{found.temperature_k:g}"
    yield "representative", str(found.representatives[place])
    if words := found.describe(place):
        yield "torsions", words


def _records(found: Conformers, place: int) -> list[str]:
    """The same for a PDB file, in ASCII and lines of its length."""
    lines = [f"CONFORMER {place + 1}"]
    for name, value in _fields(found, place):
        items = value.split(", ") if name == "torsions" else [value]
        lines += [f"{name.upper()} {item.translate(PLAIN)}"[:REMARK_LENGTH] for item in items]
    return lines


def _pdb_models(found: Conformers) -> Iterator[list[str]]:
    """The lines that mdtraj writes for each conformer."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "one.pdb"
        for one in found.structures:
            one.save_pdb(str(path))
            yield path.read_text().splitlines(keepends=True)
