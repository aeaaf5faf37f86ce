"""Capped amino acids, two dipeptides and ligands by `bgp4 run` alone, and a table of what came out.

    python scripts/molecules.py molecules --hours 0.25            # all of them: hours
    python scripts/molecules.py molecules --only PHE SER-PHE aspirin
    python scripts/molecules.py molecules --table --details       # of what is there
    python scripts/molecules.py long --method md --hours 0.2      # long parallel tempering
    python scripts/molecules.py molecules --table --against long  # and what differs most from it

Peptides are alanine dipeptide, lengthened by whole residues, its side chains replaced by PDBFixer,
with hydrogens for pH 7 and HIS as HIE, in ff14SB with OBC2. Ligands are made from their SMILES.
What is interrupted goes on.
"""

from __future__ import annotations

import argparse
import json
import math
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

PEPTIDES = (
    *("ALA", "ARG", "ASN", "ASP", "CYS", "GLN", "GLU", "GLY", "HIS", "ILE"),
    *("LEU", "LYS", "MET", "PHE", "PRO", "SER", "THR", "TRP", "TYR", "VAL"),
    *("SER-PHE", "GLY-PRO"),
)
LIGANDS = {
    "aspirin": "CC(=O)Oc1ccccc1C(=O)O",
    "caffeine": "Cn1cnc2c1c(=O)n(C)c(=O)n2C",
    "paracetamol": "CC(=O)Nc1ccc(O)cc1",
    "benzocaine": "CCOC(=O)c1ccc(N)cc1",
    "ibuprofen": "CC(C)Cc1ccc(cc1)[C@H](C)C(=O)O",
    "vanillin": "COc1cc(C=O)ccc1O",
    "acetylcholine": "CC(=O)OCC[N+](C)(C)C",
    "ephedrine": "C[NH2+][C@@H](C)[C@H](O)c1ccccc1",
    "nicotine": "C[NH+]1CCC[C@H]1c1cccnc1",
    "melatonin": "COc1ccc2[nH]cc(CCNC(C)=O)c2c1",
    "menthol": "CC(C)[C@@H]1CC[C@@H](C)C[C@H]1O",
    "lidocaine": "CC[NH+](CC)CC(=O)Nc1c(C)cccc1C",
}

HEAD = """\
| molecule | atoms | verdict | effective | ESS | energies | core-hours | wall | φ > 0 | off |
|---|---|---|---|---|---|---|---|---|---|"""

DETAILS = """\
| molecule | ΔF(φ > 0), kT, by weight | BAR | reference | side chain, furthest off | mirrored |
|---|---|---|---|---|---|"""


def build(name: str, path: Path) -> None:
    """Write the capped peptide's PDB file, hydrogens and all."""
    import mdtraj
    import openmm.app as app
    from pdbfixer import PDBFixer

    from bgp4.studies.bench.peptides import alanine_peptide

    residues = name.split("-")
    peptide = alanine_peptide(len(residues))
    start = path.with_suffix(".start.pdb")
    mdtraj.Trajectory(peptide.positions_nm, peptide.topology).save_pdb(str(start))
    fixer = PDBFixer(filename=str(start))
    start.unlink()
    chain = next(fixer.topology.chains())
    changes = [f"ALA-{i}-{new}" for i, new in enumerate(residues, start=2) if new != "ALA"]
    if changes:
        fixer.applyMutations(changes, chain.id)
    fixer.missingResidues = {}
    fixer.findMissingAtoms()
    fixer.addMissingAtoms(seed=1)
    model = app.Modeller(fixer.topology, fixer.positions)
    forcefield = app.ForceField("amber14-all.xml")
    variants = ["HIE" if r.name == "HIS" else None for r in model.topology.residues()]
    model.addHydrogens(forcefield, pH=7.0, variants=variants)
    with path.open("w") as file:
        app.PDBFile.writeFile(model.topology, model.positions, file, keepIds=True)


def run(name: str, folder: Path, options: list[str]) -> None:
    """All of it for one molecule; a failure is said, and the next one begins."""
    output = folder / name.lower()
    if name in LIGANDS:
        molecule = ["--smiles", LIGANDS[name]]
    else:
        pdb = output.with_suffix(".pdb")
        if not pdb.is_file():
            build(name, pdb)
        molecule = [str(pdb)]
    command = [sys.executable, "-m", "bgp4", "run", *molecule, *options, "-o", str(output)]
    ended = subprocess.run(command, check=False)
    if ended.returncode:
        print(f"{name}: ended with {ended.returncode}", file=sys.stderr)


Status = dict[str, Any]


def row(name: str, status: Status) -> str:
    """Of the table, for one molecule."""
    if status["verdict"] is None:
        return f"| {name} | | unfinished: {status['stage']} | | | | | | | |"
    off = [c["name"] for c in status["checks"] if c["grade"] != "passed"]
    energies = sum(each["energy_evaluations"] or 0 for each in status["rounds"])
    hours = sum(each["core_hours"] or 0 for each in status["rounds"])
    wall = f"{status['wall_s'] / 60:.1f} min"
    ess = "" if status["ess_raw"] is None else f"{status['ess_raw']:.1%}"
    return (
        f"| {name} | {n_atoms(status) or ''} | {status['verdict']} | "
        f"{status['effective_samples']:,.0f} | {ess} | {energies:,} | {hours:.2f} | {wall} | "
        f"{phi_positive(status)} | {', '.join(off) or 'none'} |"
    )


def n_atoms(status: Status) -> int | None:
    """Of the molecule, which a training's folder has."""
    if not status["rounds"]:
        return None
    run = Path(status["begun_in"]) / status["rounds"][-1]["run"]
    return len(json.loads((run / "molecule.json").read_text(encoding="utf-8"))["positions_nm"])


def phi_positive(status: Status) -> str:
    """Shares of φ > 0 by weight and in the reference, of the first residue that has them."""
    for each in status["states"]:
        if each["label"].startswith("φ "):
            share, error, reference = (
                f"{100 * (each[key] or 0):.2f}" for key in ("share", "error", "reference_share")
            )
            return f"{share} ± {error} / {reference} %"
    return ""


def details(name: str, status: Status) -> str:
    """Of the second table: free energies of φ > 0, side chains, stereocentres."""
    report = Path(status["begun_in"]) / status["report"]  # that of the best training
    metrics = json.loads(report.with_name("metrics.json").read_text(encoding="utf-8"))
    free_energies = (free_energy(metrics, f"delta_f_phi{by}") for by in ("", "_bar", "_md"))
    chi = [each for each in status["states"] if each["label"].startswith("χ")]
    reference = {each["label"]: with_error(each) for each in chi if each["reference_draws"]}
    wrong = metrics["wrong_chirality_fraction"]
    mirrored = "none" if wrong is None else f"{wrong:.1%}"
    return f"| {name} | {' | '.join(free_energies)} | {furthest(chi, reference)} | {mirrored} |"


def free_energy(metrics: dict[str, Any], key: str) -> str:
    """In kT with its error, or empty where there is none."""
    value, error = metrics[f"{key}_kt"], metrics[f"{key}_error_kt"]
    return "" if value is None or error is None else f"{value:.2f} ± {error:.2f}"


def with_error(state: dict[str, Any]) -> dict[str, Any]:
    """The reference's share, with the binomial error of its independent draws."""
    share, draws = state["reference_share"], state["reference_draws"]
    return {"share": share, "error": math.sqrt(share * (1 - share) / draws)}


def furthest(states: list[dict[str, Any]], other: dict[str, dict[str, Any]]) -> str:
    """The state whose shares differ most, by their errors: |difference| in standard errors."""
    found = []
    for each in states:
        against = other.get(each["label"])
        error = against and math.hypot(each["error"], against["error"])
        if error:
            difference = each["share"] - against["share"]
            found.append((abs(difference) / error, each["label"], each, against))
    if not found:
        return "no state"
    z, label, here, there = max(found, key=lambda each: each[0])
    shares = f"{100 * here['share']:.2f} % against {100 * there['share']:.2f} %"
    return f"{label}: {shares}, {z:.1f} standard errors, of {len(found)}"


def statuses(folder: Path) -> Iterator[tuple[str, Status]]:
    """Of each molecule in the folder, by name."""
    for path in sorted(folder.glob("*/status.json")):
        yield path.parent.name, json.loads(path.read_text(encoding="utf-8"))


def main() -> None:
    parser = argparse.ArgumentParser(description=str(__doc__).split("\n\n")[0])
    parser.add_argument("folder", type=Path)
    names = (*PEPTIDES, *LIGANDS)
    parser.add_argument("--only", nargs="+", default=names, choices=names, metavar="NAME")
    parser.add_argument("--hours", type=float, default=0.25)
    parser.add_argument("--effective", type=int, default=10_000)
    parser.add_argument("--method", default="flow")
    parser.add_argument("--table", action="store_true", help="Print the table alone.")
    parser.add_argument("--details", action="store_true", help="Free energies and side chains too.")
    parser.add_argument("--against", type=Path, help="Folder of the long parallel tempering.")
    asked = parser.parse_args()
    asked.folder.mkdir(parents=True, exist_ok=True)
    if not asked.table:
        options = ["--hours", str(asked.hours), "--effective", str(asked.effective)]
        for name in asked.only:
            run(name, asked.folder, [*options, "--method", asked.method])
    print(HEAD, *(row(name, status) for name, status in statuses(asked.folder)), sep="\n")
    if asked.details:
        print("", DETAILS, sep="\n")
        for name, status in statuses(asked.folder):
            if status["verdict"] is not None:
                print(details(name, status))
    if asked.against:
        print()
        long = dict(statuses(asked.against))
        for name, status in statuses(asked.folder):
            if name in long:
                states = {each["label"]: each for each in long[name]["states"]}
                print(f"| {name} | {furthest(status['states'], states)} |")


if __name__ == "__main__":
    main()
