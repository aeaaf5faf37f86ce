"""Files of a stranger: none runs code, reads other files, or claims what it does not have."""

from __future__ import annotations

import ast
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path

import h5py
import mdtraj
import numpy as np
import pytest
import torch
import yaml

import bgp4
from bgp4.config import DataConfig, load_config
from bgp4.data.frames import load_frames
from bgp4.errors import UserInputError
from bgp4.sampling.files import read_samples
from bgp4.sampling.generate import load_trained
from bgp4.storage.bundled import find_data
from bgp4.training.run import RunFolder

PACKAGE = Path(bgp4.__file__).parent
TRAP = "sprung"


class Bomb:
    """Leaves a file where it is unpickled."""

    def __reduce__(self) -> tuple[Callable[[str], object], tuple[str]]:
        return _leave, (TRAP,)


def _leave(name: str) -> None:
    Path(name).touch()


def copied(in_tmp: Path) -> Path:
    path = in_tmp / "data.h5"
    shutil.copyfile(str(find_data("ala2_smoke.h5")), path)
    return path


def refused(action: Callable[[], object], words: str) -> None:
    with pytest.raises(UserInputError, match=words):
        action()
    assert not Path(TRAP).exists()


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize("where", ["/", "/coordinates"])
def test_a_pickle_among_the_attributes(protocol: int, where: str, in_tmp, alanine) -> None:
    path = copied(in_tmp)
    with h5py.File(path, "a") as file:
        file[where].attrs["conventions"] = np.bytes_(pickle.dumps(Bomb(), protocol))
    refused(lambda: load_frames(DataConfig(path=str(path)), alanine), "may be a pickle")
    if where == "/":
        mdtraj.load(str(path))
        assert Path(TRAP).exists(), "mdtraj alone would have run it"


def test_pickles_need_what_is_looked_for() -> None:
    """Whatever can call something has a line break or a byte beyond printable ASCII."""
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        for value in (Bomb(), [Bomb()], {"a": (Bomb(),)}):
            content = pickle.dumps(value, protocol)
            assert any(not 32 <= byte < 127 for byte in content)


def test_titles_that_end_with_a_dot_are_titles(in_tmp, alanine, smoke_frames) -> None:
    path = copied(in_tmp)
    with h5py.File(path, "a") as file:
        file.attrs["title"] = np.bytes_("Alanine dipeptide, in water.")
    found = load_frames(DataConfig(path=str(path)), alanine)
    np.testing.assert_array_equal(found.positions_nm, smoke_frames.positions_nm)


def test_references_to_other_files(in_tmp, alanine) -> None:
    def changed(change: Callable[[h5py.File], object]) -> str:
        path = copied(in_tmp)
        with h5py.File(path, "a") as file:
            del file["coordinates"]
            change(file)
        return str(path)

    (in_tmp / "secret").write_bytes(bytes(12 * 22 * 8))
    shape, layout = (8, 22, 3), h5py.VirtualLayout((8, 22, 3), np.float32)
    layout[:] = h5py.VirtualSource("secret.h5", "x", shape=(8, 22, 3))
    changes: dict[str, Callable[[h5py.File], object]] = {
        "link to elsewhere": lambda f: f.update(coordinates=h5py.ExternalLink("b.h5", "/x")),
        "values in another file": lambda f: f.create_dataset(
            "coordinates", shape, np.float32, external=[("secret", 0, 12 * 22 * 8)]
        ),
        "coordinates stores its values in another": lambda f: f.create_virtual_dataset(
            "coordinates", layout
        ),
    }
    for words, change in changes.items():
        path = changed(change)
        refused(lambda path=path: load_frames(DataConfig(path=path), alanine), words)


def test_sizes_that_a_header_claims(in_tmp, alanine) -> None:
    path = copied(in_tmp)
    with h5py.File(path, "a") as file:
        del file["coordinates"]
        file.create_dataset("coordinates", (10**9, 22, 3), np.float32, chunks=(1, 22, 3))
    refused(lambda: load_frames(DataConfig(path=str(path)), alanine), r"claims 264,000,000,000 ")
    with h5py.File("samples.h5", "w") as file:
        file.create_dataset("coordinates", (10**10, 22, 3), np.float32, chunks=(1, 22, 3))
    refused(lambda: read_samples(Path("samples.h5")), "claims")


@pytest.mark.parametrize("protocol", range(6))
def test_a_pickled_checkpoint(protocol: int, smoke_run, in_tmp) -> None:
    copy = RunFolder(in_tmp / "run")
    shutil.copytree(smoke_run.path, copy.path)
    copy.checkpoint_path.write_bytes(pickle.dumps(Bomb(), protocol))
    refused(lambda: load_trained(copy), r"checkpoint\.safetensors: not a readable checkpoint")
    torch.save({"model": Bomb()}, copy.checkpoint_path)
    refused(lambda: load_trained(copy), r"checkpoint\.safetensors: not a readable checkpoint")


@pytest.mark.parametrize(
    "text",
    [
        "!!python/object/apply:pathlib.Path.touch [sprung]",
        "system: !!python/object/new:tests.Bomb {}",
        "seed: !!python/object/apply:os.system ['touch sprung']",
        "!!python/module:os",
    ],
)
def test_yaml_that_builds_objects(text: str, in_tmp) -> None:
    Path("my.yaml").write_text(text)
    refused(lambda: load_config("my.yaml"), "expected YAML")
    override = f"seed={text.partition(': ')[2] or text}"
    refused(lambda: load_config("ala2_smoke.yaml", [override]), "the value is not YAML")


def test_aliases_that_grow_without_end(in_tmp) -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]" for i in range(1, 12)]
    head = ["system: A", "temperature_k: 300"]
    for key in ("seed: *a11", "training: *a11", "model: {hidden: *a11}", "nonsense: *a11"):
        Path("my.yaml").write_text("\n".join([*lines, *head, key]))
        refused(lambda: load_config("my.yaml"), "config key")


def test_nothing_in_the_package_unpickles_or_evaluates() -> None:
    """Neither by name, nor by what torch, numpy or yaml would do of their own accord."""
    banned = {"pickle", "cPickle", "dill", "joblib", "shelve", "marshal", "cloudpickle"}
    for path in PACKAGE.rglob("*.py"):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        for node in ast.walk(tree):
            if isinstance(node, ast.Import):
                assert not {a.name.split(".")[0] for a in node.names} & banned, path
            elif isinstance(node, ast.ImportFrom):
                assert (node.module or "").split(".")[0] not in banned, path
            elif isinstance(node, ast.Call):
                assert ast.unparse(node.func) not in {
                    *("eval", "exec", "torch.load", "np.load", "numpy.load", "yaml.load"),
                    *("yaml.unsafe_load", "yaml.full_load", "os.system", "os.popen"),
                }, path
                keywords = {k.arg: ast.unparse(k.value) for k in node.keywords}
                assert keywords.get("allow_pickle", "False") == "False", path
                assert keywords.get("shell", "False") == "False", path


def test_yaml_is_loaded_safely() -> None:
    with pytest.raises(yaml.YAMLError):
        yaml.safe_load("!!python/object/apply:os.getcwd []")
