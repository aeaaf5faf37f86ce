"""Conformers as text: a table, CSV, and PDB and SDF files, all with populations."""

from __future__ import annotations

import csv
import io
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bgp4.answers.conformers import Conformers
from bgp4.answers.tables import with_error

__all__ = ["conformers_csv", "conformers_pdb", "conformers_sdf", "conformers_table"]

Array = NDArray[np.float64]

OTHERS = "other"
"""What conformations of no listed conformer are called."""

PLAIN = str.maketrans({"φ": "phi", "ψ": "psi", "ω": "omega", "χ": "chi", "–": "-", "°": " deg"})
"""Labels in ASCII, for PDB files."""

REMARK_LENGTH = 68


def conformers_table(
    found: Conformers,
    md: tuple[Array, Array] | None = None,
    factor: float = 1.0,
    unit: str = "kT",
) -> str:
    """Lines for a terminal: one for each conformer, and one for all else.

    Args:
        found: Conformers.
        md: Their populations and errors in MD, as of `Conformers.populations_of`.
        factor: kT in `unit`.
        unit: Of the free energies.
    """
    columns = [["", *(str(i + 1) for i in range(len(found))), OTHERS]]
    for title, shares in (("population, %", (found.populations, found.errors)), ("MD, %", md)):
        if shares is not None:
            percents = zip(100 * shares[0], 100 * shares[1], strict=True)
            columns.append([title, *(with_error(*percent) for percent in percents)])
    free = zip(found.free_energy_kt[1:], found.free_energy_error_kt[1:], strict=True)
    energies = [with_error(factor * value, factor * error) for value, error in free]
    columns.append([f"free energy, {unit}", "0", *energies, ""])
    columns.append(["torsions", *(found.describe(i) for i in range(len(found))), ""])
    widths = [max(map(len, column)) for column in columns]
    rows = zip(*columns, strict=True)
    lines = ("  ".join(c.ljust(w) for c, w in zip(row, widths, strict=True)) for row in rows)
    return "\n".join(f"  {line}".rstrip() for line in lines)


def conformers_csv(found: Conformers, md: tuple[Array, Array] | None = None) -> str:
    """A row for each conformer, and one for all else.

    Free energies are in kT, angles in degrees; `representative` is a place in the sample file.
    """
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    shares = ["population", "population_error"]
    shares += ["md_population", "md_population_error"] if md is not None else []
    energies = ["free_energy_kT", "free_energy_error_kT", "effective_samples"]
    table.writerow(["conformer", *shares, *energies, "representative", *found.torsions, "remark"])
    sources = [(found.populations, found.errors), *([md] if md is not None else [])]
    for i in range(len(found) + 1):
        own = [f"{column[i]:.6g}" for source in sources for column in source]
        if i == len(found):
            table.writerow([OTHERS, *own, *[""] * (len(found.torsions) + 5)])
            continue
        of = (found.free_energy_kt, found.free_energy_error_kt, found.effective)
        numbers = [f"{column[i]:.6g}" for column in of]
        angles = [f"{angle:.1f}" for angle in found.angles_deg[i]]
        place = found.representatives[i]
        table.writerow([i + 1, *own, *numbers, place, *angles, found.remarks[i]])
    return text.getvalue()


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
