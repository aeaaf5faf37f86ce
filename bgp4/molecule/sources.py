"""OpenMM System, topology and start positions from each kind of source that a config can name.

What a reader of OpenMM's raises becomes one line that says what to do about it.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from bgp4.errors import UserInputError
from bgp4.molecule.checks import check_solvent
from bgp4.storage.bundled import find_data

if TYPE_CHECKING:
    from bgp4.config import SystemConfig

__all__ = ["Parametrised", "parametrise"]

SMALL_MOLECULE_FORCEFIELD = "openff-2.2.1"


class Parametrised(NamedTuple):
    """OpenMM's view of a molecule; positions are a Quantity."""

    system: Any
    topology: Any
    positions: Any


def parametrise(config: SystemConfig) -> Parametrised:
    """Read what a config's `system` names.

    Raises:
        UserInputError: If a file is missing or cannot be read, a name is unknown, or the force
            field lacks parameters.
    """
    return _READERS[config.kind](config)


def _read_testsystem(config: SystemConfig) -> Parametrised:
    from openmm import app
    from openmmtools import testsystems

    name = str(config.testsystem)
    constructor = getattr(testsystems, name, None)
    if not (isinstance(constructor, type) and issubclass(constructor, testsystems.TestSystem)):
        raise UserInputError(
            f"config key system: expected the name of an openmmtools test system, found {name!r}"
        )
    if config.implicit_solvent is not None:
        raise UserInputError(
            "config key system.implicit_solvent: a test system has its own solvent model; "
            "use system.prmtop to choose another"
        )
    constraints = None if config.constraints is None else getattr(app, config.constraints)
    try:
        made = constructor(constraints=constraints)
    except Exception as error:
        raise UserInputError(
            f"config key system: openmmtools cannot make {name} ({_one_line(error)})"
        ) from error
    return Parametrised(made.system, made.topology, made.positions)


def _read_prmtop(config: SystemConfig) -> Parametrised:
    from openmm import app

    prmtop = _parsed(app.AmberPrmtopFile, config.prmtop, "system.prmtop")
    inpcrd = _parsed(app.AmberInpcrdFile, config.inpcrd, "system.inpcrd")
    try:
        system = prmtop.createSystem(
            implicitSolvent=_app_constant(config.implicit_solvent),
            constraints=_app_constant(config.constraints),
            nonbondedMethod=app.NoCutoff,
        )
    except Exception as error:
        raise UserInputError(f"{config.prmtop}: {_one_line(error)}") from error
    return Parametrised(system, prmtop.topology, inpcrd.getPositions(asNumpy=True))


def _read_pdb(config: SystemConfig) -> Parametrised:
    import mdtraj

    structure = _structure(config)
    check_solvent(mdtraj.Topology.from_openmm(structure.topology), str(config.pdb))
    system = _of_force_field(config, structure.topology, str(config.pdb), config.forcefield)
    return Parametrised(system, structure.topology, structure.getPositions(asNumpy=True))


def _read_xml(config: SystemConfig) -> Parametrised:
    import openmm

    structure = _structure(config)
    path = Path(_existing_path(config.xml, "system.xml"))
    system = _parsed(
        lambda file: openmm.XmlSerializer.deserialize(Path(file).read_text()), path, "system.xml"
    )
    if not isinstance(system, openmm.System):
        raise UserInputError(
            f"{path}: expected a serialised OpenMM System, found {type(system).__name__}"
        )
    if config.implicit_solvent or config.constraints:
        raise UserInputError(
            "config key system.xml: a serialised System is used unchanged; leave out "
            "system.implicit_solvent and system.constraints"
        )
    return Parametrised(system, structure.topology, structure.getPositions(asNumpy=True))


def _read_sdf(config: SystemConfig) -> Parametrised:
    """A small molecule by OpenFF, which pip can't install."""
    try:
        from openff.toolkit import Molecule
        from openmmforcefields.generators import SMIRNOFFTemplateGenerator
    except ImportError as error:
        raise UserInputError(
            "config key system.sdf: OpenFF is not installed; install it with `conda install -c "
            "conda-forge openmmforcefields openff-toolkit`, or give a prmtop as system.prmtop"
        ) from error
    path = _existing_path(config.sdf, "system.sdf")
    molecule = _parsed(Molecule.from_file, config.sdf, "system.sdf")
    if isinstance(molecule, list):
        raise UserInputError(f"{path}: expected one molecule, found {len(molecule)}")
    openff = [name for name in config.forcefield if not name.endswith(".xml")]
    generator = SMIRNOFFTemplateGenerator(
        molecule, forcefield=(*openff, SMALL_MOLECULE_FORCEFIELD)[0]
    )
    topology = molecule.to_topology().to_openmm()
    others = tuple(name for name in config.forcefield if name.endswith(".xml"))
    system = _of_force_field(config, topology, path, others, generator.generator)
    return Parametrised(system, topology, molecule.conformers[0].to_openmm())


_READERS: dict[str, Callable[[SystemConfig], Parametrised]] = {
    "testsystem": _read_testsystem,
    "prmtop": _read_prmtop,
    "pdb": _read_pdb,
    "xml": _read_xml,
    "sdf": _read_sdf,
}


def _structure(config: SystemConfig) -> Any:
    """OpenMM's PDB or mmCIF file, in which no atom was left out for its name."""
    from openmm import app

    parser = app.PDBxFile if str(config.pdb).lower().endswith((".cif", ".mmcif")) else app.PDBFile
    with warnings.catch_warnings(record=True) as raised:
        warnings.simplefilter("always")
        structure = _parsed(parser, config.pdb, "system.pdb")
    for warning in raised:
        if "duplicate atom" in str(warning.message):
            atom = str(warning.message).partition("(")[2].partition(",")[0]
            raise UserInputError(
                f"{config.pdb}: two atoms of one residue have the same name: {_one_line(atom)}; "
                "give each a unique name"
            )
    return structure


def _of_force_field(
    config: SystemConfig,
    topology: Any,
    source: str,
    names: tuple[str, ...],
    generator: Callable[..., bool] | None = None,
) -> Any:
    from openmm import app

    if config.implicit_solvent is not None:
        raise UserInputError(
            "config key system.implicit_solvent: with a force field, name the solvent model in "
            "system.forcefield, for example implicit/obc2.xml"
        )
    try:
        force_field = app.ForceField(*names)
    except Exception as error:
        raise UserInputError(f"config key system.forcefield: {_one_line(error)}") from error
    if generator is not None:
        force_field.registerTemplateGenerator(generator)
    try:
        return force_field.createSystem(
            topology,
            nonbondedMethod=app.NoCutoff,
            constraints=_app_constant(config.constraints),
            rigidWater=False,
        )
    except Exception as error:
        words = _missing_parameters(str(error), force_field, topology, names)
        raise UserInputError(f"{source}: {words}") from error


def _missing_parameters(
    reason: str, force_field: Any, topology: Any, names: tuple[str, ...]
) -> str:
    """OpenMM's words on the first residue that no template fits, all such, and what to do."""
    found = re.search(r"No template found for residue \d+ \(\w*\)\.\s*(.*)", reason, re.DOTALL)
    if found is None:
        return _one_line(reason)
    why = _one_line(found.group(1).partition("For more information")[0])
    unmatched = [f"{r.name}{r.id}" for r in force_field.getUnmatchedResidues(topology)]
    shown = ", ".join(unmatched[:5]) + (", ..." if len(unmatched) > 5 else "")
    which = f"residue {shown} has" if len(unmatched) == 1 else f"residues {shown} have"
    if "hydrogen" in why or re.search(r"missing \d+ H atom", why):
        advice = "add hydrogens: pdbfixer FILE --add-atoms=hydrogen --output=NEW.pdb"
    elif "bond" in why:
        advice = "check its bonds (in a PDB file: CONECT records) and its caps"
    else:
        advice = (
            "name a force field that has this residue in system.forcefield, or give a prmtop, a "
            "serialised System or, for a small molecule, an SDF file"
        )
    return f"{which} no parameters in {', '.join(names)} ({why}); {advice}"


def _app_constant(name: str | None) -> Any:
    from openmm import app

    return None if name is None else getattr(app, name)


def _existing_path(path: Path | None, key: str) -> str:
    """The file's path; a bare name may be a bundled file's, `openmmtools:FILE` one of its data."""
    text = str(path)
    if text.startswith("openmmtools:"):
        from openmmtools.testsystems import get_data_filename

        return str(get_data_filename(text.removeprefix("openmmtools:")))
    found = find_data(text)
    if found is None:
        raise UserInputError(f"config key {key}: no such file: {text}")
    return str(found)


def _parsed(parser: Callable[[str], Any], path: Path | None, key: str) -> Any:
    """What a parser makes of the file; parsers raise whatever goes wrong in them."""
    file = _existing_path(path, key)
    try:
        return parser(file)
    except IndexError as error:
        raise UserInputError(f"{path}: cannot be read: no atoms or frames found in it") from error
    except Exception as error:
        raise UserInputError(
            f"{path}: cannot be read ({type(error).__name__}: {_one_line(error)})"
        ) from error


def _one_line(text: object) -> str:
    return " ".join(str(text).split())[:300]
