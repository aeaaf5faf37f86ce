"""Writes a System of OpenMM's as GROMACS and CHARMM would have it, for readers to be held against.

Each atom has a type of its own, so every number of the System is in the files.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import mdtraj
import numpy as np
import openmm
import pytest

from bgp4.errors import UserInputError

KCAL = 4.184
"""kJ"""


def values(row: list[object]) -> list[float]:
    """Of a row of a force's, in OpenMM's units."""
    return [getattr(value, "_value", value) for value in row]


def force(system: openmm.System, kind: type) -> openmm.Force:
    return next(f for f in system.getForces() if isinstance(f, kind))


def rows(found: openmm.Force, what: str) -> list[list[float]]:
    """All bonds, angles, torsions, particles or exceptions of a force."""
    count = getattr(found, f"getNum{what}s")()
    return [values(getattr(found, f"get{what}Parameters")(i)) for i in range(count)]


def bonded(system: openmm.System) -> dict[str, list[list[float]]]:
    return {
        "bond": rows(force(system, openmm.HarmonicBondForce), "Bond"),
        "angle": rows(force(system, openmm.HarmonicAngleForce), "Angle"),
        "torsion": rows(force(system, openmm.PeriodicTorsionForce), "Torsion"),
    }


def particles(system: openmm.System) -> list[list[float]]:
    return rows(force(system, openmm.NonbondedForce), "Particle")


def third_neighbours(system: openmm.System) -> list[tuple[int, int]]:
    """Atoms that interact as scaled exceptions."""
    exceptions = rows(force(system, openmm.NonbondedForce), "Exception")
    return [(int(a), int(b)) for a, b, charge, _, depth in exceptions if charge or depth]


def write_gromacs(system: openmm.System, topology: mdtraj.Topology, folder: Path) -> None:
    """topol.top, with its types in tiny.ff/forcefield.itp, as GROMACS divides them.

    Bonds take their parameters from types, angles a macro, torsions have numbers in their lines.
    """
    terms, atoms = bonded(system), list(topology.atoms)
    types = ["[ defaults ]", "1 2 yes 0.5 0.833333333333333", "[ atomtypes ]"]
    for atom, (_, sigma, depth) in zip(atoms, particles(system), strict=True):
        mass = system.getParticleMass(atom.index)._value
        number = atom.element.number
        types.append(f"T{atom.index} {number} {mass} 0 A {sigma:.15g} {depth:.15g} ; {atom}")
    types.append("[ bondtypes ]")
    types += [f"T{a:.0f} T{b:.0f} 1 {r:.15g} {k:.15g}" for a, b, r, k in terms["bond"]]
    (folder / "tiny.ff").mkdir()
    (folder / "tiny.ff" / "forcefield.itp").write_text("\n".join(types) + "\n")

    lines = ['#include "tiny.ff/forcefield.itp"', "[ moleculetype ]", "Peptide 3", "[ atoms ]"]
    for atom, (charge, *_) in zip(atoms, particles(system), strict=True):
        i, residue = atom.index, atom.residue
        lines.append(f"{i + 1} T{i} {residue.index + 1} {residue.name} {atom.name} 1 {charge:.15g}")
    lines.append("[ bonds ]")
    lines += [f"{a + 1:.0f} {b + 1:.0f} 1" for a, b, *_ in terms["bond"]]
    lines += ["[ pairs ]", *(f"{a + 1} {b + 1} 1" for a, b in third_neighbours(system))]
    for i, (*_, angle, k) in enumerate(terms["angle"]):
        lines.append(f"#define an_{i}_ {np.degrees(angle):.15g} {k:.15g}")
    lines.append("[ angles ]")
    for i, (a, b, c, *_) in enumerate(terms["angle"]):
        lines.append(f"{a + 1:.0f} {b + 1:.0f} {c + 1:.0f} 1 \\\n an_{i}_")
    lines.append("[ dihedrals ]")
    for *four, n, phase, k in terms["torsion"]:
        numbers = " ".join(f"{i + 1:.0f}" for i in four)
        lines.append(f"{numbers} 9 {np.degrees(phase):.15g} {k:.15g} {n:.0f}")
    lines += ["#ifdef POSRES", '#include "posre.itp"', "#endif"]
    lines += ["[ system ]", "tiny", "[ molecules ]", "Peptide 1"]
    (folder / "topol.top").write_text("\n".join(lines) + "\n")


def write_charmm(system: openmm.System, topology: mdtraj.Topology, folder: Path) -> None:
    """my.psf, its parameters in par_my.prm and its atom types in top_my.rtf.

    Atoms three bonds apart have half the depth of other pairs, and whole charges.
    """
    terms, atoms = bonded(system), list(topology.atoms)
    masses = [system.getParticleMass(a.index)._value for a in atoms]
    rtf = ["* types", "*", "36 1"]
    rtf += [f"MASS {a.index + 1} T{a.index} {masses[a.index]} {a.element.symbol}" for a in atoms]
    (folder / "top_my.rtf").write_text("\n".join([*rtf, "END", ""]))

    prm = ["* parameters", "*", "BONDS"]
    for a, b, r, k in terms["bond"]:
        prm.append(f"T{a:.0f} T{b:.0f} {k / KCAL / 200:.15g} {10 * r:.15g}")
    prm.append("ANGLES")
    for a, b, c, angle, k in terms["angle"]:
        prm.append(f"T{a:.0f} T{b:.0f} T{c:.0f} {k / KCAL / 2:.15g} {np.degrees(angle):.15g}")
    prm.append("DIHEDRALS")
    for *four, n, phase, k in terms["torsion"]:
        names = " ".join(f"T{i:.0f}" for i in four)
        prm.append(f"{names} {k / KCAL:.15g} {n:.0f} {np.degrees(phase):.15g}")
    prm += ["NONBONDED nbxmod  5 atom cdiel"]
    for i, (_, sigma, depth) in enumerate(particles(system)):
        e, r = -depth / KCAL, 10 * sigma * 2 ** (1 / 6) / 2
        prm.append(f"T{i} 0.0 {e:.15g} {r:.15g} 0.0 {e / 2:.15g} {r:.15g}")
    (folder / "par_my.prm").write_text("\n".join([*prm, "END", ""]))

    torsions = dict.fromkeys(tuple(four) for *four, _, _, _ in terms["torsion"])
    lists = {
        "NBOND: bonds": [row[:2] for row in terms["bond"]],
        "NTHETA: angles": [row[:3] for row in terms["angle"]],
        "NPHI: dihedrals": list(torsions),
        **{name: [] for name in ("NIMPHI: impropers", "NDON: donors", "NACC: acceptors", "NNB")},
    }
    psf = ["PSF EXT XPLOR", "", "1 !NTITLE", "* my", "", f"{len(atoms)} !NATOM"]
    for atom, (charge, *_) in zip(atoms, particles(system), strict=True):
        i, residue = atom.index, atom.residue
        named = f"P {residue.index + 1} {residue.name} {atom.name} T{i}"
        psf.append(f"{i + 1} {named} {charge:.15g} {masses[i]} 0")
    for name, found in lists.items():
        psf += ["", f"{len(found)} !{name}"]
        psf += [" ".join(f"{i + 1:.0f}" for i in row) for row in found] or [""]
    psf += ["", "1 0 !NGRP NST2", "0 0 0", ""]
    (folder / "my.psf").write_text("\n".join(psf))


def write_crd(positions_nm: np.ndarray, topology: mdtraj.Topology, path: Path) -> None:
    """CHARMM's coordinates."""
    lines = ["* positions", "*", f"{topology.n_atoms} EXT"]
    for atom, row in zip(topology.atoms, 10 * positions_nm, strict=True):
        number = atom.residue.index + 1
        xyz = " ".join(f"{x:.10f}" for x in row)
        lines.append(
            f"{atom.index + 1} {number} {atom.residue.name} {atom.name} {xyz} P {number} 0"
        )
    path.write_text("\n".join(lines) + "\n")


def refused_when_changed(
    path: Path, old: str, new: str, words: str, load: Callable[[], object]
) -> None:
    """A file is refused in one line that has these words while a part of it is another."""
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))
    try:
        with pytest.raises(UserInputError, match=words) as raised:
            load()
        assert "\n" not in str(raised.value)
    finally:
        path.write_text(text)
