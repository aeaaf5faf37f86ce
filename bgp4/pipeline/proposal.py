"""A working config for a molecule of the user's own, from whatever names the molecule."""

from __future__ import annotations

import math
import time
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from bgp4.config import Config, validate_config
from bgp4.data.frames import all_trans
from bgp4.energies.worker import make_context
from bgp4.errors import UserInputError
from bgp4.molecule.molecule import Molecule
from bgp4.molecule.reading import kind_by_content
from bgp4.molecule.topology import peptide_torsions
from bgp4.molecule.zmatrix import EAR, ZMatrix
from bgp4.pipeline.description import row_labels, unsupported
from bgp4.pipeline.request import KINDS

__all__ = ["config_text", "ladder", "proposed_config"]

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
"""Options that go with each kind of source; constraints go with all but an xml."""

HOT_K = 1000.0
"""Temperature of the MD that training begins with: rotatable bonds turn within picoseconds."""

HOTTEST, HOTTEST_RING = 2.5, 4.0
"""The last temperature of a ladder, in units of the first: most of what holds at 300 K passes at
750, and rings turn at 1200.
"""

LOG_RATIO = 0.184
"""Log-ratio of neighbouring temperatures at `LADDER_ATOMS` atoms, with half of the swaps accepted
(data/README.md); it goes with the inverse root of the number of atoms, as fluctuations do."""
LADDER_ATOMS = 22

MEASURED_STEPS = 20

STEPS_PER_ATOM = 140
"""Training steps: 3,000 for alanine dipeptide, 6,000 for tetra-alanine."""

UNITS_PER_ATOM, MOST_UNITS = 4.5, 192
"""Widths of the conditioners' hidden layers, which see all coordinates."""

LOCAL_ATOMS, REACH, UNITS_OF_TORSIONS, UNITS_OF_DISTANCES = 60, 5, 64, 64
"""From so many atoms on, conditioners see a neighbourhood: how many bonds far, and of the rest the
distances that follow from torsions. Those of the torsions are narrow then, because their gradient
is noise for the most part.
"""


def _steps(molecule: Molecule) -> int:
    return round(STEPS_PER_ATOM * molecule.n_atoms, -2)


def _conditioners(molecule: Molecule) -> str:
    if molecule.n_atoms >= LOCAL_ATOMS:
        reach = f"  reach: {REACH}  # bonds; what is stiff depends on atoms so near, null: on all\n"
        distances = (
            f"  distances: {UNITS_OF_DISTANCES}  # units that see what torsions bring close\n"
        )
        widths = f"  hidden: [{UNITS_OF_TORSIONS}, {UNITS_OF_TORSIONS}]  # of the torsions"
        return reach + distances + widths
    units = min(32 * math.ceil(UNITS_PER_ATOM * molecule.n_atoms / 32 - 0.5), MOST_UNITS)
    return f"  hidden: [{units}, {units}]"


def proposed_config(
    source: str,
    name: str,
    forcefield: tuple[str, ...] = (),
    xml: Path | None = None,
    positions: Path | None = None,
    temperature_k: float = 300.0,
    parameters: tuple[Path, ...] = (),
    include_dir: Path | None = None,
    constraints: str | None = None,
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
        constraints: Bonds at the System's lengths, HBonds or AllBonds.

    Raises:
        UserInputError: If the file's kind is not known, or options do not go with it.
    """
    options = {
        **{"forcefield": forcefield, "xml": xml, "positions": positions},
        **{"parameters": parameters, "include_dir": include_dir, "constraints": constraints},
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
    unused = next((key for key in options if key not in TAKEN[kind] | {"constraints"}), None)
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
    if _is_prmtop(source):
        return "prmtop"
    if suffix in KINDS:
        return KINDS[suffix]
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
    hot, path_of_data = f"{data.temperature_k:g} K", str(data.path)
    if _learns_from_ladder(config, molecule):
        path_of_data = f"{path_of_data.rpartition('_')[0]}_ladder.h5"
        hot = f"{config.temperature_k:g} to {hot}"
    run = run_folder or Path("runs") / path.stem
    elsewhere = "" if run_folder is None else f" --run {run}"
    system = yaml.safe_dump(
        {"system": config.system.model_dump(mode="json", exclude_unset=True)}, sort_keys=False
    )
    return f"""\
# {molecule.name}, {molecule.n_atoms} atoms
#   bgp4 simulate --config {path}              MD at {hot}: {path_of_data}
#   bgp4 train    --config {path}{elsewhere}              {run}
#   bgp4 simulate --config {path} --reference  parallel tempering, for validation: {reference}
#   bgp4 report   {run}                       {run}/report/index.html
{system}{_zmatrix_comment(molecule)}
temperature_k: {config.temperature_k:g}
seed: 0

data:
  path: {path_of_data}  # or your own frames, in any format that mdtraj reads
  temperature_k: {data.temperature_k:g}  # of these frames
  peptide_bonds: {_peptide_bonds(molecule)}  # trans leaves out frames with a cis peptide bond

model:
{_conditioners(molecule)}

training:
  steps: {_steps(molecule)}
  energy_fraction: 0.75  # of the steps; likelihood comes first, as long as it improves
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
        for labels, ear in zip(row_labels(molecule), ears, strict=True)
    )
    head = "  # zmatrix:  # to change it: each atom with its bond, angle and torsion atoms\n"
    return head + "".join(f"  #   - [{row}]\n" for row in rows)


def _quoted(label: str) -> str:
    return label if label.replace("-", "").isalnum() else f'"{label}"'


def _learns_from_ladder(config: Config, molecule: Molecule) -> bool:
    """Whether torsions need frames of every temperature; a ring's own are not circular."""
    large = molecule.n_atoms >= LOCAL_ATOMS and not _turning_ring(molecule.zmatrix)
    return large and config.temperature_k < HOT_K


def _turning_ring(zmatrix: ZMatrix) -> bool:
    return any(row.ear for row in zmatrix.rows)


def ladder(
    zmatrix: ZMatrix,
    coldest_k: float,
    hottest_k: float | None = None,
) -> list[int]:
    """Temperatures in equal ratios, K, such that neighbours exchange in about half of the tries."""
    usual = HOTTEST_RING if _turning_ring(zmatrix) else HOTTEST
    hottest = usual if hottest_k is None else hottest_k / coldest_k
    step = LOG_RATIO * (LADDER_ATOMS / zmatrix.n_atoms) ** 0.5
    rungs = math.ceil(math.log(hottest) / step) + 1
    return [round(k) for k in np.geomspace(coldest_k, hottest * coldest_k, rungs)]


def _simulation(config: Config, molecule: Molecule) -> str:
    all_temperatures = _learns_from_ladder(config, molecule)
    hottest_k = config.data.temperature_k if all_temperatures else None
    temperatures = ladder(molecule.zmatrix, config.temperature_k, hottest_k)
    temperatures[0] = config.temperature_k  # type: ignore[call-overload]
    shown = ", ".join(f"{k:g}" for k in temperatures)
    of_each = "  # of each temperature, from which torsions learn while the flow cools"
    lines = [
        "frames: 80000" + of_each * all_temperatures,
        "steps_per_frame: 50",
        "stacks: 8  # few and long, so that each forgets where it started",
        "equilibration_frames: 800",
        f"temperatures_k: [{shown}]" + "  # of the reference" * (not all_temperatures),
    ]
    if all_temperatures:
        lines.append("all_temperatures: true  # up to data.temperature_k")
    if len(molecule.constraints):
        lines.append("timestep_fs: 2  # constrained bonds allow it")
    if unsupported(molecule) is not None:
        lines.append(f"platform: {_faster_platform(molecule)}")
    return "\n".join(f"  {line}" for line in lines)


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
