"""OpenMM System, topology and start positions from each kind of source that a config can name.

What a reader of OpenMM's raises becomes one line that says what to do about it.
"""

from __future__ import annotations

import logging
import re
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from bgp4.errors import UserInputError
from bgp4.molecule.charmm import read_psf
from bgp4.molecule.checks import check_solvent, check_system, refuse_nanometres
from bgp4.molecule.elements import name_elements
from bgp4.molecule.gromacs import read_top
from bgp4.molecule.implicit_solvent import add_implicit_solvent
from bgp4.molecule.missing_parameters import explain_missing, explain_several
from bgp4.molecule.positions import positions_beside
from bgp4.molecule.reading import why_unreadable
from bgp4.molecule.xml_files import refuse_skipped_sections, warn_of_water_models
from bgp4.storage.bundled import find_data

if TYPE_CHECKING:
    from bgp4.config import SystemConfig

__all__ = ["Parametrised", "parametrise"]

log = logging.getLogger(__name__)

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
    with warnings.catch_warnings(record=True) as raised:
        warnings.simplefilter("always")
        made = _READERS[config.kind](config)
    for words in dict.fromkeys(_one_line(w.message) for w in raised if _is_users(w)):
        if "Non-optimal GB" in words:
            words = (
                f"the GB radii in it are not those that {config.implicit_solvent} was made for "
                "(tleap: set default PBradii mbondi2 for OBC1 and OBC2, mbondi3 for GBn2)"
            )
        log.warning("%s: %s", config.label, words)
    return made


def _is_users(raised: warnings.WarningMessage) -> bool:
    """Whether a warning is about the input, and not about a library's own code."""
    return raised.category is UserWarning


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
    from openmm import app, unit

    prmtop = _parsed(app.AmberPrmtopFile, config.prmtop, "system.prmtop")
    positions_nm = _positions(config, prmtop.topology)
    try:
        system = prmtop.createSystem(
            implicitSolvent=_app_constant(config.implicit_solvent),
            constraints=_app_constant(config.constraints),
            nonbondedMethod=app.NoCutoff,
        )
    except Exception as error:
        path = Path(_existing_path(config.prmtop, "system.prmtop"))
        raise UserInputError(f"{config.prmtop}: {why_unreadable(path, error)}") from error
    name_elements(prmtop.topology, system, str(config.prmtop))
    return Parametrised(system, prmtop.topology, positions_nm * unit.nanometer)


def _read_top(config: SystemConfig) -> Parametrised:
    path = Path(_existing_path(config.top, "system.top"))
    constraints = _app_constant(config.constraints)
    return _solvated(config, *read_top(path, config.include_dir, constraints))


def _read_psf(config: SystemConfig) -> Parametrised:
    path = Path(_existing_path(config.psf, "system.psf"))
    files = tuple(Path(_existing_path(f, "system.parameters")) for f in config.parameters)
    return _solvated(config, *read_psf(path, files, _app_constant(config.constraints)))


def _solvated(config: SystemConfig, system: Any, topology: Any) -> Parametrised:
    """A System in vacuum with its positions and the implicit solvent that the config names."""
    import mdtraj
    from openmm import unit

    name_elements(topology, system, str(getattr(config, config.kind)))
    check_solvent(mdtraj.Topology.from_openmm(topology), config.label, config.kind)
    check_system(system, config.label, config.kind)
    positions_nm = _positions(config, topology)
    add_implicit_solvent(system, topology, config.implicit_solvent, config.label)
    return Parametrised(system, topology, positions_nm * unit.nanometer)


def _positions(config: SystemConfig, topology: Any) -> NDArray[np.float64]:  # (atoms, 3), nm
    file = Path(_existing_path(config.positions, "system.positions"))
    return positions_beside(file, topology, str(getattr(config, config.kind)))


def _read_pdb(config: SystemConfig) -> Parametrised:
    import mdtraj

    structure = _structure(config)
    check_solvent(mdtraj.Topology.from_openmm(structure.topology), str(config.pdb))
    positions_nm = np.asarray(structure.getPositions(asNumpy=True)._value, dtype=np.float64)
    refuse_nanometres(positions_nm, str(config.pdb))
    system = _of_force_field(
        config, _Structure(structure.topology, positions_nm), str(config.pdb), config.forcefield
    )
    return Parametrised(system, structure.topology, structure.getPositions(asNumpy=True))


def _read_xml(config: SystemConfig) -> Parametrised:
    import openmm

    structure = _structure(config)
    refuse_nanometres(np.asarray(structure.getPositions(asNumpy=True)._value), str(config.pdb))
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
            "conda-forge openmmforcefields openff-toolkit`, or make a prmtop, of GAFF2, by `bgp4 "
            f"init {config.sdf}`"
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
    made = _Structure(topology, molecule.conformers[0].to_openmm()._value)
    system = _of_force_field(config, made, path, others, generator.generator)
    return Parametrised(system, topology, molecule.conformers[0].to_openmm())


_READERS: dict[str, Callable[[SystemConfig], Parametrised]] = {
    "testsystem": _read_testsystem,
    "prmtop": _read_prmtop,
    "top": _read_top,
    "psf": _read_psf,
    "pdb": _read_pdb,
    "xml": _read_xml,
    "sdf": _read_sdf,
}


def _structure(config: SystemConfig) -> Any:
    """OpenMM's PDB or mmCIF file, in which no atom was left out for its name."""
    from openmm import app

    parser = (
        app.PDBxFile
        if str(config.pdb).lower().endswith((".cif", ".mmcif", ".pdbx"))
        else app.PDBFile
    )
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
    _say_what_was_taken(structure, Path(_existing_path(config.pdb, "system.pdb")))
    return structure


def _say_what_was_taken(structure: Any, path: Path) -> None:
    """Of several models or locations of atoms, the log says which."""
    models = structure.getNumFrames()
    if models > 1:
        log.info("%s: the first of %d models is taken", path, models)
    if path.suffix.lower() in (".pdb", ".ent"):
        lines = path.read_text(errors="replace").splitlines()
        places = [
            ln[16] for ln in lines if ln.startswith(("ATOM  ", "HETATM")) and ln[16:17] != " "
        ]
        if len(set(places)) > 1:
            first = places[0]
            log.info(
                "%s: atoms in several locations (%s): the first of each atom is taken, %s mostly",
                *(path, ", ".join(sorted(set(places))), first),
            )


class _Structure(NamedTuple):
    """What a force field is for."""

    topology: Any
    positions_nm: Any  # (atoms, 3)


def _of_force_field(
    config: SystemConfig,
    structure: _Structure,
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
    refuse_skipped_sections(names)
    try:
        force_field = app.ForceField(*names)
    except KeyError as error:
        raise UserInputError(
            f"config key system.forcefield: {_unknown_type(error, names)}"
        ) from error
    except Exception as error:
        raise UserInputError(f"config key system.forcefield: {_one_line(error)}") from error
    if generator is not None:
        force_field.registerTemplateGenerator(generator)
    try:
        system = force_field.createSystem(
            structure.topology,
            nonbondedMethod=app.NoCutoff,
            constraints=_app_constant(config.constraints),
            rigidWater=False,
        )
    except (KeyError, AttributeError, TypeError, IndexError) as error:
        raise UserInputError(
            f"{source}: OpenMM cannot apply {', '.join(names)} to it: a parameter is missing in "
            f"these files ({_one_line(error)}); name the files that go together, or give a prmtop "
            "or a serialised System (--xml)"
        ) from error
    except Exception as error:
        words = _missing_parameters(str(error), force_field, structure, names, source)
        raise UserInputError(f"{source}: {words}") from error
    warn_of_water_models(names, system)
    return system


def _missing_parameters(
    reason: str, force_field: Any, structure: _Structure, names: tuple[str, ...], source: str
) -> str:
    """What OpenMM could not parametrise, and what to do."""
    several = explain_several(reason, structure.topology, names)
    if several is not None:
        return several
    found = re.search(r"No template found for residue \d+ \(\w*\)\.\s*(.*)", reason, re.DOTALL)
    if found is None:
        return _one_line(reason)
    why = _one_line(found.group(1).partition("For more information")[0])
    return explain_missing(
        force_field, structure.topology, structure.positions_nm, names, source, why
    )


def _unknown_type(error: KeyError, names: tuple[str, ...]) -> str:
    """A force field file that builds on another one."""
    missing = str(error.args[0])
    own = [name for name in names if Path(name).is_file()]
    uses = next((n for n in own if f'"{missing}"' in Path(n).read_text(errors="replace")), "a file")
    return (
        f"{uses} uses the atom type or class {missing}, which none of {', '.join(names)} defines; "
        "name the file that it was made for ahead of it, or another version of it"
    )


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
    except Exception as error:
        raise UserInputError(
            f"{path}: cannot be read: {why_unreadable(Path(file), error)}"
        ) from error


def _one_line(text: object) -> str:
    return " ".join(str(text).split())[:300]
