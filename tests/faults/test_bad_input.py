"""Wrong input of every kind ends in one line: each config key, each file, damaged anywhere."""

from __future__ import annotations

import math
import random
import shutil
from collections.abc import Callable, Iterator
from itertools import product
from pathlib import Path
from typing import Any

import mdtraj
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from openmm import app
from openmmtools.testsystems import get_data_filename
from pydantic import BaseModel

from bgp4.config import Config, DataConfig, SystemConfig, load_config, validate_config
from bgp4.data.frames import load_frames
from bgp4.errors import UserInputError
from bgp4.molecule.molecule import Molecule, load_molecule
from bgp4.report.collect import read_history
from bgp4.sampling.draw import draw_samples
from bgp4.sampling.files import read_attributes, read_samples
from bgp4.sampling.generate import load_trained
from bgp4.sampling.request import SampleRequest
from bgp4.storage.bundled import find_data
from bgp4.training.run import RunFolder
from tests.for_each import for_each
from tests.molecule.foreign import write_charmm, write_crd, write_gromacs

pytestmark = pytest.mark.filterwarnings("ignore")

FORCEFIELD = ("amber14-all.xml", "implicit/obc2.xml")
AMBER = "data/alanine-dipeptide-gbsa/alanine-dipeptide"


def refused(action: Callable[[], object]) -> str | None:
    """The one line of a refusal, or None where there is none; nothing else may be raised."""
    try:
        action()
    except UserInputError as error:
        message = str(error)
        assert "\n" not in message
        assert len(message) > 10
        return message
    return None


# Config keys


def keys(section: type[BaseModel], prefix: str = "") -> Iterator[str]:
    """Every key of a config, sections and what is in them."""
    for name, field in section.model_fields.items():
        yield prefix + name
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            yield from keys(field.annotation, f"{prefix}{name}.")


VALUES: list[Any] = [
    True,
    -1,
    -2.5,
    math.nan,
    math.inf,
    "nonsense",
    "",
    [],
    [[]],
    {},
    {"a": 1},
    10**9,
]


def given_value(config: Config, key: str) -> Any:
    node: Any = config.model_dump(mode="json")
    for part in key.split("."):
        node = node[part]
    return node


def as_given(found: Any, value: Any) -> bool:
    """Whether a config took a value, and no other in its place."""
    if isinstance(found, dict):  # the short form of `system`, and a section of defaults
        return value == {} or found.get("testsystem") == value
    return bool(found == value or (found, value) == (".", ""))


@for_each(("key", "value"), product(list(keys(Config)), VALUES))
def test_no_key_takes_nonsense(key: str, value: Any) -> None:
    """It is refused by name, or it was no nonsense and is what the config then has."""
    raw = yaml.safe_load(Path(str(find_config_text())).read_text())
    node = raw
    *parents, last = key.split(".")
    for parent in parents:
        if not isinstance(node.get(parent), dict):
            node[parent] = {"testsystem": node[parent]} if parent in node else {}
        node = node[parent]
    node[last] = value
    taken: list[Config] = []
    message = refused(lambda: taken.append(validate_config(raw, "my.yaml")))
    if message is None:
        assert as_given(given_value(taken[0], key), value)
    else:
        assert message.startswith("my.yaml: ")
        assert last in message or (parents and parents[0] in message)


def find_config_text() -> Path:
    from bgp4.storage.bundled import find_config

    path = find_config("ala2_smoke.yaml")
    assert path is not None
    return path


YAML = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8) | st.integers(), inner)
    ),
    max_leaves=12,
)
KEYS = st.sampled_from([key for key in keys(Config) if "." not in key]) | st.text(max_size=6)


@settings(max_examples=300, derandomize=True)
@given(st.dictionaries(KEYS, YAML, max_size=5))
def test_no_yaml_is_too_odd(tmp_path_factory, raw: dict) -> None:
    path = tmp_path_factory.getbasetemp() / "odd.yaml"
    path.write_text(yaml.safe_dump(raw, allow_unicode=True), encoding="utf-8")
    assert refused(lambda: load_config(str(path)))


@settings(max_examples=300, derandomize=True)
@given(st.binary(max_size=60))
def test_no_bytes_are_too_odd(tmp_path_factory, content: bytes) -> None:
    path = tmp_path_factory.getbasetemp() / "bytes.yaml"
    path.write_bytes(content)
    assert refused(lambda: load_config(str(path)))


@settings(max_examples=300, derandomize=True)
@given(st.text(max_size=30))
def test_no_assignment_is_too_odd(assignment: str) -> None:
    """Few are no refusal: those whose key there is, with a value that it takes."""
    message = refused(lambda: load_config("ala2_smoke.yaml", [assignment]))
    assert message or "=" in assignment


# Files


def cut(content: bytearray, rng: random.Random) -> bytes:
    return bytes(content[: rng.randrange(len(content))])


def flipped(content: bytearray, rng: random.Random, bits: int = 1) -> bytes:
    for _ in range(bits):
        content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
    return bytes(content)


def much_flipped(content: bytearray, rng: random.Random) -> bytes:
    return flipped(content, rng, 20)


def overwritten(content: bytearray, rng: random.Random) -> bytes:
    start = rng.randrange(len(content))
    piece = content[start : start + 64]
    content[start : start + 64] = rng.randbytes(len(piece))
    return bytes(content)


def zeroed(content: bytearray, rng: random.Random) -> bytes:
    start = rng.randrange(len(content))
    content[start : start + 512] = bytes(len(content[start : start + 512]))
    return bytes(content)


def swelled(content: bytearray, rng: random.Random) -> bytes:
    """Sizes that are far beyond the file: the largest integers at its beginning."""
    start = rng.randrange(min(64, len(content)))
    content[start : start + 8] = b"\xff\xff\xff\x7f\xff\xff\xff\x7f"[: len(content) - start]
    return bytes(content)


DAMAGES = (cut, flipped, much_flipped, overwritten, zeroed, swelled)

Read = Callable[[Path], object]


@pytest.fixture(scope="module")
def files(alanine, smoke_frames, smoke_run, tmp_path_factory) -> dict[str, tuple[bytes, Read]]:
    """A good file of each kind, and what reads it."""
    folder = tmp_path_factory.mktemp("good")
    found: dict[str, tuple[bytes, Read]] = {}

    def frames(path: Path) -> object:
        return load_frames(DataConfig(path=str(path)), alanine)

    trajectory = mdtraj.Trajectory(smoke_frames.positions_nm[:60], alanine.topology)
    for suffix in (".h5", ".xtc", ".trr", ".dcd", ".nc", ".pdb"):
        trajectory.save(str(folder / f"frames{suffix}"))
        found[f"frames{suffix}"] = ((folder / f"frames{suffix}").read_bytes(), frames)
    found |= structures(folder) | foreign(folder, alanine)
    copy = RunFolder(folder / "run")
    shutil.copytree(smoke_run.path, copy.path)
    draw_samples(copy, copy.samples_path, SampleRequest(50))
    found["samples.h5"] = (copy.samples_path.read_bytes(), read_sample_file)
    names = ("config.yaml", "molecule.json", "checkpoint.safetensors", "run.json", "history.csv")
    for name in names:
        found[name] = ((copy.path / name).read_bytes(), in_run(copy, name))
    return found


def read_sample_file(path: Path) -> object:
    return read_samples(path), read_attributes(path)


def structures(folder: Path) -> dict[str, tuple[bytes, Read]]:
    """Those that a molecule is read from."""
    pdb = folder / "my.pdb"
    shutil.copyfile(str(find_data("ala4.pdb")), pdb)
    structure = app.PDBFile(str(pdb))
    with (folder / "my.cif").open("w") as file:
        app.PDBxFile.writeFile(structure.topology, structure.positions, file, keepIds=True)
    xml = load_molecule(SystemConfig(pdb=pdb, forcefield=FORCEFIELD)).system_xml.encode()
    prmtop, crd = (Path(get_data_filename(f"{AMBER}{s}")) for s in (".prmtop", ".crd"))

    def by(**sources: Any) -> Callable[[str], Read]:
        return lambda key: lambda path: load_molecule(SystemConfig(**{**sources, key: path}))

    return {
        "my.pdb": (pdb.read_bytes(), by(forcefield=FORCEFIELD)("pdb")),
        "my.cif": ((folder / "my.cif").read_bytes(), by(forcefield=FORCEFIELD)("pdb")),
        "my.xml": (xml, by(pdb=pdb)("xml")),
        "my.prmtop": (prmtop.read_bytes(), by(inpcrd=crd)("prmtop")),
        "my.crd": (crd.read_bytes(), by(prmtop=prmtop)("inpcrd")),
    }


def foreign(folder: Path, alanine: Molecule) -> dict[str, tuple[bytes, Read]]:
    """Those of GROMACS and of CHARMM."""
    system = app.ForceField("amber14-all.xml").createSystem(alanine.topology.to_openmm())
    write_gromacs(system, alanine.topology, folder)
    write_charmm(system, alanine.topology, folder)
    mdtraj.Trajectory(alanine.positions_nm, alanine.topology).save_gro(str(folder / "conf.gro"))
    write_crd(alanine.positions_nm, alanine.topology, folder / "charmm.crd")
    gromacs = {"top": folder / "topol.top", "positions": folder / "conf.gro"}
    charmm = {
        "psf": folder / "my.psf",
        "parameters": [folder / "par_my.prm", folder / "top_my.rtf"],
        "positions": folder / "charmm.crd",
    }

    def reading(sources: dict[str, Any], key: str) -> Read:
        return lambda path: load_molecule(SystemConfig(**{**sources, key: path}))

    def parameters(path: Path) -> object:
        files = [path, folder / "top_my.rtf"]
        return load_molecule(SystemConfig(**{**charmm, "parameters": files}))

    read = {
        "topol.top": reading(gromacs | {"include_dir": folder}, "top"),
        "conf.gro": reading(gromacs, "positions"),
        "my.psf": reading(charmm, "psf"),
        "par_my.prm": parameters,
        "charmm.crd": reading(charmm, "positions"),
    }
    return {name: ((folder / name).read_bytes(), one) for name, one in read.items()}


def in_run(run: RunFolder, name: str) -> Read:
    """Reads all of a run whose file of that name is another."""

    def read(path: Path) -> object:
        folder = path.parent / "run"
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(run.path, folder)
        shutil.copyfile(path, folder / name)
        other = RunFolder.open(folder)
        return load_trained(other), other.info(), read_history(other.history_path)

    return read


KINDS = (
    *(f"frames.{suffix}" for suffix in ("h5", "xtc", "trr", "dcd", "nc", "pdb")),
    *(f"my.{suffix}" for suffix in ("pdb", "cif", "xml", "prmtop", "crd")),
    *("topol.top", "conf.gro", "my.psf", "par_my.prm", "charmm.crd"),
    *("config.yaml", "molecule.json", "checkpoint.safetensors", "run.json", "history.csv"),
    "samples.h5",
)
SLOW = {"frames.xtc", "frames.trr"}  # which a process apart reads first
CHECKSUMMED = {"molecule.json", "checkpoint.safetensors"}


def damaged(files, kind: str, seeds: range, folder: Path) -> int:
    """How many damaged files were refused; all others were read, and raised nothing."""
    good, read = files[kind]
    path = folder / kind
    n = 0
    for seed in seeds:
        damage = DAMAGES[seed % len(DAMAGES)]
        content = damage(bytearray(good), random.Random(f"{kind} {seed}"))
        path.write_bytes(content)
        message = refused(lambda: read(path))
        n += message is not None
        if kind in CHECKSUMMED and content != good:
            assert message, f"{kind}: {damage.__name__}, seed {seed}, went unnoticed"
    return n


@pytest.mark.parametrize("kind", KINDS)
def test_damaged_files(files, kind: str, in_tmp, alanine) -> None:
    damaged(files, kind, range(6 if kind in SLOW else 12), in_tmp)
    path = in_tmp / kind
    for content in (b"", b"\0", b"nonsense\n" * 9, bytes(4096)):
        path.write_bytes(content)
        if kind != "history.csv":
            assert refused(lambda: files[kind][1](path)), content
        else:
            refused(lambda: files[kind][1](path))


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_many_damaged_files(files, kind: str, in_tmp, record_property) -> None:
    n = 20 if kind in SLOW else 120
    refused_of = damaged(files, kind, range(12, 12 + n), in_tmp)
    record_property("refused", refused_of)
    print(f"{kind}: {refused_of} of {n} refused, the others read")
