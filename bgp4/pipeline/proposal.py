"""A working config for a molecule of the user's own: what `bgp4 init` proposes, and says of it."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml

from bgp4.config import Config, validate_config
from bgp4.coordinates import internal_coordinates
from bgp4.data.frames import all_trans
from bgp4.energies.forcefield import read_force_field
from bgp4.energies.reference import Relaxed
from bgp4.energies.terms import UnsupportedForce
from bgp4.energies.worker import make_context
from bgp4.errors import UserInputError
from bgp4.molecule.molecule import Molecule
from bgp4.molecule.reading import kind_by_content
from bgp4.molecule.topology import (
    atom_label,
    bond_graph,
    bond_names,
    peptide_torsions,
    rings,
    rotatable_torsions,
)
from bgp4.molecule.zmatrix import EAR
from bgp4.report.torsions import stereocentres

__all__ = ["config_text", "description", "proposed_config"]

log = logging.getLogger(__name__)

FORCEFIELD = ("amber14-all.xml", "implicit/obc2.xml")
COORDINATES = (".inpcrd", ".crd", ".cor", ".rst7", ".rst", ".ncrst", ".pdb", ".gro", ".nc")
"""Endings of the file beside a prmtop, top or psf that has its positions."""
GROMACS_POSITIONS = "conf.gro"

TAKEN = {
    "pdb": {"forcefield", "xml"},
    "sdf": {"forcefield"},
    "prmtop": {"positions"},
    "top": {"positions", "include_dir"},
    "psf": {"positions", "parameters"},
    "testsystem": set(),
}
"""Options that go with each kind of source."""

HOT_K = 1000.0
"""Temperature of the MD that training begins with: rotatable bonds turn within picoseconds."""

HOTTEST = 2.5
"""The last temperature of a ladder, in units of the first: what holds at 300 K passes at 750."""

LOG_RATIO = 0.184
"""Log-ratio of neighbouring temperatures at `LADDER_ATOMS` atoms, with half of the swaps accepted
(data/README.md); it goes with the inverse root of the number of atoms, as fluctuations do."""
LADDER_ATOMS = 22

MEASURED_STEPS = 20

TOO_HIGH_KJMOL = 100.0
"""Above the relaxed positions, for each atom; a simulation at 1000 K has a tenth of it."""

STEPS_PER_ATOM = 140
"""Training steps: 3,000 for alanine dipeptide, 6,000 for tetra-alanine."""

UNITS_PER_ATOM, MOST_UNITS = 4.5, 192
"""Widths of the conditioners' hidden layers, which see all coordinates."""


def _steps(molecule: Molecule) -> int:
    return round(STEPS_PER_ATOM * molecule.n_atoms, -2)


def _units(molecule: Molecule) -> int:
    return min(32 * math.ceil(UNITS_PER_ATOM * molecule.n_atoms / 32 - 0.5), MOST_UNITS)


def proposed_config(
    source: str,
    name: str,
    forcefield: tuple[str, ...] = (),
    xml: Path | None = None,
    positions: Path | None = None,
    temperature_k: float = 300.0,
    parameters: tuple[Path, ...] = (),
    include_dir: Path | None = None,
) -> Config:
    """A config for a file (.pdb, .cif, .prmtop, .top, .psf, .sdf) or an openmmtools test system.

    Args:
        source: The file, or the test system's name.
        name: Of the config, and of the files with frames that it expects.
        forcefield: OpenMM's XML names; for a PDB or mmCIF file `FORCEFIELD` if none is given.
        xml: A serialised System in the place of a force field.
        positions: Of a prmtop, top or psf; the file of the same name beside it if None.
        parameters: CHARMM's files for a psf.
        include_dir: Where a top finds files to include.

    Raises:
        UserInputError: If the file's kind is not known, or options do not go with it.
    """
    options = {
        **{"forcefield": forcefield, "xml": xml, "positions": positions},
        **{"parameters": parameters, "include_dir": include_dir},
    }
    system = _system(source, {key: value for key, value in options.items() if value})
    hot_k = max(HOT_K, temperature_k)
    raw = {
        "system": system,
        "temperature_k": temperature_k,
        "data": {"path": f"{name}_{hot_k:g}k.h5", "temperature_k": hot_k},
        "report": {"reference": f"{name}_{temperature_k:g}k.h5"},
    }
    return validate_config(raw, source=f"init {source}")


def _system(source: str, options: dict[str, Any]) -> dict[str, Any]:
    """The config's `system`; `options` are those that were given."""
    kind = _kind(source)
    unused = next((key for key in options if key not in TAKEN[kind]), None)
    if unused is not None:
        raise UserInputError(
            f"init {source}: --{unused.replace('_', '-')} does not go with a {kind}; leave it out"
        )
    named = {key: _as_text(value) for key, value in options.items()}
    if kind in ("prmtop", "top", "psf"):
        if kind == "psf" and "parameters" not in options:
            raise UserInputError(
                f"init {source}: a psf has no parameters; name CHARMM's files, for example "
                "--parameters par_all36_prot.prm --parameters top_all36_prot.rtf"
            )
        beside = {} if "positions" in options else {"positions": str(_beside(Path(source), kind))}
        return {kind: source} | named | beside | {"implicit_solvent": "OBC2"}
    if kind == "pdb" and "xml" not in options:
        named.setdefault("forcefield", list(FORCEFIELD))
    return {kind: source} | named


def _as_text(value: Path | tuple[str | Path, ...]) -> str | list[str]:
    return [str(one) for one in value] if isinstance(value, tuple) else str(value)


def _kind(source: str) -> str:
    """The key of `SystemConfig` that a source is for."""
    suffix = Path(source).suffix.lower()
    if suffix in (".prmtop", ".parm7") or _is_prmtop(source):
        return "prmtop"
    if suffix in (".pdb", ".ent", ".cif", ".mmcif", ".pdbx"):
        return "pdb"
    if suffix in (".sdf", ".mol"):
        return "sdf"
    if suffix in (".top", ".psf"):
        return suffix[1:]
    if suffix:
        raise UserInputError(
            f"init {source}: expected a .pdb, .cif, .prmtop, .top, .psf, .sdf or .mol2 file, or "
            f"the name of an openmmtools test system, found {suffix}{_way_on(source, suffix)}"
        )
    return "testsystem"


def _is_prmtop(source: str) -> bool:
    """Amber's topology under another name, .top for example."""
    return Path(source).is_file() and kind_by_content(Path(source)) == ".prmtop"


def _way_on(source: str, suffix: str) -> str:
    """How a file of another kind becomes one of these."""
    stem = Path(source).stem
    ways = {
        ".gro": f"it has no bonds; its .top has: bgp4 init topol.top --positions {source}",
        ".itp": "it is a part of a .top; give the .top that includes it",
        ".crd": f"it has positions alone; bgp4 init {stem}.psf --positions {source}",
        ".xml": f"a System has no structure: bgp4 init STRUCTURE.pdb --xml {source}",
        ".xyz": f"it has no bonds; convert it: obabel {source} -O {stem}.sdf, or give a ligand's "
        "SMILES: bgp4 init --smiles",
        ".pqr": "it has no bonds or elements; start from the PDB file that it was made of",
    }
    return f"; {ways[suffix]}" if suffix in ways else ""


def _beside(source: Path, kind: str) -> Path:
    candidates = [source.with_suffix(suffix) for suffix in COORDINATES]
    if kind == "top":
        candidates = [source.with_suffix(".gro"), source.with_name(GROMACS_POSITIONS), *candidates]
    found = next((path for path in candidates if path.is_file()), None)
    if found is None:
        raise UserInputError(
            f"init {source}: expected its positions next to it, in {candidates[0].name} for "
            "example; name the file with --positions"
        )
    return found


def config_text(
    config: Config, molecule: Molecule, path: Path, run_folder: Path | None = None
) -> str:
    """The config as YAML for a file, with what one may want to change and why.

    Args:
        run_folder: That the comments name; `bgp4 train`'s default if None.
    """
    data, reference = config.data, config.report.reference
    run = run_folder or Path("runs") / path.stem
    elsewhere = "" if run_folder is None else f" --run {run}"
    system = yaml.safe_dump(
        {"system": config.system.model_dump(mode="json", exclude_unset=True)}, sort_keys=False
    )
    return f"""\
# {molecule.name}, {molecule.n_atoms} atoms
#   bgp4 simulate --config {path}              MD at {data.temperature_k:g} K: {data.path}
#   bgp4 train    --config {path}{elsewhere}              {run}
#   bgp4 simulate --config {path} --reference  parallel tempering, for validation: {reference}
#   bgp4 report   {run}                       {run}/report/index.html
{system}{_zmatrix_comment(molecule)}
temperature_k: {config.temperature_k:g}
seed: 0

data:
  path: {data.path}  # or your own frames, in any format that mdtraj reads
  temperature_k: {data.temperature_k:g}  # of these frames
  peptide_bonds: {_peptide_bonds(molecule)}  # trans leaves out frames with a cis peptide bond

model:
  hidden: [{_units(molecule)}, {_units(molecule)}]

training:
  steps: {_steps(molecule)}
  energy_fraction: 0.92  # of the steps; likelihood comes first, as long as it improves
  anneal_fraction: 0.6  # of the steps with energies, spent on cooling to temperature_k
  energy_learning_rate: 1.0e-3
  energy_batch_size: 512

report:
  reference: {reference}

simulate:
{_simulation(config, molecule)}
"""


def _peptide_bonds(molecule: Molecule) -> str:
    """trans where cis is so rare that no simulation finds its share: besides proline."""
    prolines = [r for r in molecule.topology.residues if r.name == "PRO"]
    usual = bool(peptide_torsions(molecule.topology)) and not prolines
    start = molecule.positions_nm[None]
    return "trans" if usual and all_trans(start, molecule.topology).all() else "any"


def _zmatrix_comment(molecule: Molecule) -> str:
    ears = [False] * 3 + [row.ear for row in molecule.zmatrix.rows]
    rows = (
        ", ".join([*map(_quoted, labels), *([EAR] * ear)])
        for labels, ear in zip(_labels(molecule), ears, strict=True)
    )
    head = "  # zmatrix:  # to change it: each atom with its bond, angle and torsion atoms\n"
    return head + "".join(f"  #   - [{row}]\n" for row in rows)


def _quoted(label: str) -> str:
    return label if label.replace("-", "").isalnum() else f'"{label}"'


def _labels(molecule: Molecule) -> Iterator[list[str]]:
    for row in molecule.zmatrix.table():
        yield [atom_label(molecule.topology, atom) for atom in row]


def ladder(n_atoms: int, coldest_k: float) -> list[int]:
    """Temperatures in equal ratios, K, such that neighbours exchange in about half of the tries."""
    rungs = math.ceil(math.log(HOTTEST) / (LOG_RATIO * (LADDER_ATOMS / n_atoms) ** 0.5)) + 1
    return [round(k) for k in np.geomspace(coldest_k, HOTTEST * coldest_k, rungs)]


def _simulation(config: Config, molecule: Molecule) -> str:
    temperatures = ladder(molecule.n_atoms, config.temperature_k)
    temperatures[0] = config.temperature_k  # type: ignore[call-overload]
    shown = ", ".join(f"{k:g}" for k in temperatures)
    lines = [
        "frames: 20000",
        "stacks: 8  # few and long, so that each forgets where it started",
        "equilibration_frames: 200",
        f"temperatures_k: [{shown}]  # of the reference",
    ]
    if len(molecule.constraints):
        lines.append("timestep_fs: 2  # constrained bonds allow it")
    if unsupported(molecule) is not None:
        lines.append(f"platform: {_faster_platform(molecule)}")
    return "\n".join(f"  {line}" for line in lines)


def unsupported(molecule: Molecule) -> str | None:
    """What of the force field the batched energies do not know, or None."""
    try:
        read_force_field(molecule.system_xml)
    except UnsupportedForce as force:
        return str(force)
    return None


def _faster_platform(molecule: Molecule) -> str:
    """The faster of OpenMM's two platforms that are everywhere, with one thread each."""
    return min(("Reference", "CPU"), key=lambda platform: _seconds(molecule, platform))


def _seconds(molecule: Molecule, platform: str) -> float:
    context = make_context(molecule.system_xml, platform)
    context.setPositions(molecule.positions_nm)
    context.getIntegrator().step(1)
    started = time.perf_counter()
    context.getIntegrator().step(MEASURED_STEPS)
    return time.perf_counter() - started


def description(molecule: Molecule, relaxed: Relaxed) -> Iterator[str]:
    """Lines that say what the molecule is to bgp4: atoms, coordinates, energies."""
    topology = molecule.topology
    residues = [str(r) for r in topology.residues]
    shown = " ".join(residues[:12]) + (" ..." if len(residues) > 12 else "")
    yield f"{molecule.name}: {molecule.n_atoms} atoms, {topology.n_bonds} bonds, {shown}"
    yield from _ring_lines(molecule)
    if len(held := molecule.constraints):
        yield f"constrained, at the System's lengths: {bond_names(topology, held.bonds)}"
    turning = [torsion.label for torsion in rotatable_torsions(topology)]
    yield f"rotatable: {', '.join(turning) or 'nothing but methyl groups'}"
    centres = [atom_label(topology, int(row[0])) for row in stereocentres(topology)]
    if centres:
        yield f"stereocentres, whose chirality is kept: {', '.join(centres)}"
    yield from _coordinate_lines(molecule)
    yield from _energy_lines(molecule, relaxed)


def _ring_lines(molecule: Molecule) -> Iterator[str]:
    """Sizes of rings, by what closes them."""
    sizes: dict[str, list[int]] = {"coordinates": [], "the energy": []}
    for ring in rings(bond_graph(molecule.topology)):
        bonds = zip(ring, [*ring[1:], ring[0]], strict=True)
        whole = {tuple(sorted(bond)) for bond in bonds} <= molecule.zmatrix.distances.keys()
        sizes["coordinates" if whole else "the energy"].append(len(ring))
    for closed_by, found in sizes.items():
        if found:
            yield f"rings of {', '.join(map(str, found))} atoms, closed by {closed_by}"


def _coordinate_lines(molecule: Molecule) -> Iterator[str]:
    coordinates = internal_coordinates(molecule.zmatrix, molecule.constraints)
    q, _ = coordinates(torch.as_tensor(molecule.positions_nm).reshape(1, -1))
    bonds, angles, torsions = (part[0].tolist() for part in coordinates.split(q))
    yield "internal coordinates: each atom with its bond, angle and torsion atoms; nm, degrees"
    graph = bond_graph(molecule.topology)
    kinds = {row.atom: "  bends" for row in molecule.zmatrix.rows if row.bends}
    ears = {row.atom for row in molecule.zmatrix.rows if row.ear}
    kinds |= dict.fromkeys(ears, f"  {EAR}")
    values = [[], bonds[:1], [bonds[1], angles[0]]]
    values += [list(three) for three in zip(bonds[2:], angles[1:], torsions, strict=True)]
    width = 13 * max(len(atoms) - 1 for atoms in molecule.zmatrix.table()) - 1
    for atoms, labels, row in zip(molecule.zmatrix.table(), _labels(molecule), values, strict=True):
        numbers = [f"{v:.4f}" if i == 0 else f"{math.degrees(v):7.1f}" for i, v in enumerate(row)]
        if atoms[0] in ears:
            numbers[1] = f"{row[1]:7.4f}"
        kind = "" if len(atoms) < 4 or graph.has_edge(*atoms[-2:]) else "  improper"
        kind = kinds.get(atoms[0], kind)
        yield f"  {labels[0]:12s} {' '.join(f'{label:12s}' for label in labels[1:]):{width}s} " + (
            f"{'  '.join(numbers)}{kind}".rstrip()
        )


def _energy_lines(molecule: Molecule, relaxed: Relaxed) -> Iterator[str]:
    at_start, lowest = relaxed.start_kjmol, relaxed.relaxed_kjmol
    yield f"energy: {at_start:.1f} kJ/mol as given, {lowest:.1f} relaxed"
    if at_start - lowest > TOO_HIGH_KJMOL * molecule.n_atoms:
        log.warning(
            "%s: %.3g kJ/mol above relaxed positions: positions that clash, or a System of other "
            "atoms, or of another order of them; look at both before going on",
            *(molecule.name, at_start - lowest),
        )
    missing = unsupported(molecule)
    if missing is None:
        yield "batched energies and MD: every force is supported"
    else:
        yield f"energies and MD by OpenMM, which is slower: batches do not support {missing}"
