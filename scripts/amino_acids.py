"""Capped amino acids, Ace-X-NMe, by `bgp4 run` alone, and a table of what came out.

    python scripts/amino_acids.py amino_acids --hours 0.25            # all twenty: hours
    python scripts/amino_acids.py amino_acids --only PHE SER          # some
    python scripts/amino_acids.py amino_acids --table                 # of what is there

Each is alanine dipeptide with its side chain replaced by PDBFixer, with hydrogens for pH 7 and HIS
as HIE, in ff14SB with OBC2. What is interrupted goes on.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

NAMES = (
    *("ALA", "ARG", "ASN", "ASP", "CYS", "GLN", "GLU", "GLY", "HIS", "ILE"),
    *("LEU", "LYS", "MET", "PHE", "PRO", "SER", "THR", "TRP", "TYR", "VAL"),
)

HEAD = """\
| molecule | verdict | effective | raw ESS | rounds | energies | core-hours | wall | not passed |
|---|---|---|---|---|---|---|---|---|"""


def build(name: str, path: Path) -> None:
    """Write the capped amino acid's PDB file, hydrogens and all."""
    import openmm.app as app
    from openmmtools.testsystems import AlanineDipeptideVacuum
    from pdbfixer import PDBFixer

    system = AlanineDipeptideVacuum(constraints=None)
    start = path.with_suffix(".start.pdb")
    with start.open("w") as file:
        app.PDBFile.writeFile(system.topology, system.positions, file, keepIds=True)
    fixer = PDBFixer(filename=str(start))
    start.unlink()
    if name != "ALA":
        chain = next(fixer.topology.chains())
        fixer.applyMutations([f"ALA-2-{name}"], chain.id)
    fixer.findMissingResidues()
    fixer.missingResidues = {}
    fixer.findMissingAtoms()
    fixer.addMissingAtoms(seed=1)
    model = app.Modeller(fixer.topology, fixer.positions)
    forcefield = app.ForceField("amber14-all.xml")
    variants = ["HIE" if r.name == "HIS" else None for r in model.topology.residues()]
    model.addHydrogens(forcefield, pH=7.0, variants=variants)
    with path.open("w") as file:
        app.PDBFile.writeFile(model.topology, model.positions, file, keepIds=True)


def run(name: str, folder: Path, hours: float, effective: int) -> None:
    """All of it for one molecule; a failure is said, and the next one begins."""
    pdb = folder / f"{name.lower()}.pdb"
    if not pdb.is_file():
        build(name, pdb)
    asked = ["--hours", str(hours), "--effective", str(effective)]
    command = [sys.executable, "-m", "bgp4", "run", str(pdb), *asked]
    ended = subprocess.run([*command, "-o", str(folder / name.lower())], check=False)
    if ended.returncode:
        print(f"{name}: ended with {ended.returncode}", file=sys.stderr)


def rows(folder: Path) -> Iterator[str]:
    """One for each status.json in the folder's folders."""
    for path in sorted(folder.glob("*/status.json")):
        status = json.loads(path.read_text(encoding="utf-8"))
        if status["verdict"] is None:
            yield f"| {path.parent.name} | unfinished: {status['stage']} | | | | | | | |"
            continue
        off = [c["name"] for c in status["checks"] if c["grade"] != "passed"]
        rounds = status["rounds"]
        energies = sum(one["energy_evaluations"] or 0 for one in rounds)
        hours = sum(one["core_hours"] or 0 for one in rounds)
        yield (
            f"| {path.parent.name} | {status['verdict']} | {status['effective_samples']:,.0f} | "
            f"{status['ess_raw']:.1%} | {len(rounds)} | {energies:,} | {hours:.2f} | "
            f"{status['wall_s'] / 60:.1f} min | {', '.join(off) or 'none'} |"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=str(__doc__).split("\n\n")[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--only", nargs="+", default=NAMES, metavar="NAME")
    parser.add_argument("--hours", type=float, default=0.25)
    parser.add_argument("--effective", type=int, default=10_000)
    parser.add_argument("--table", action="store_true", help="Print the table alone.")
    asked = parser.parse_args()
    asked.folder.mkdir(parents=True, exist_ok=True)
    if not asked.table:
        for name in asked.only:
            run(name.upper(), asked.folder, asked.hours, asked.effective)
    print(HEAD, *rows(asked.folder), sep="\n")


if __name__ == "__main__":
    main()
