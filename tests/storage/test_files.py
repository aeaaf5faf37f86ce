"""Files are whole or not there; what was left behind goes; where results came from is written."""

from __future__ import annotations

import hashlib
import os
import subprocess

import pytest

from bgp4.config import dump_config, load_config
from bgp4.data.provenance import provenance, source_state
from bgp4.storage.files import append_text, atomic_write_text, part_of, remove_leftovers, replacing


def test_an_error_leaves_what_was_there(tmp_path) -> None:
    path = tmp_path / "a.txt"
    atomic_write_text(path, "before")

    def write() -> None:
        with replacing(path) as part:
            part.write_text("half")
            assert path.read_text() == "before"
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        write()
    assert path.read_text() == "before"
    assert list(tmp_path.iterdir()) == [path]


def test_the_disk_has_it_before_it_has_its_name(tmp_path, monkeypatch) -> None:
    """Or a crash of the machine could leave an empty file under the final name."""
    calls: list[str] = []
    fsync, replace = os.fsync, os.replace
    monkeypatch.setattr(os, "fsync", lambda d: (calls.append("fsync"), fsync(d)))
    monkeypatch.setattr(os, "replace", lambda a, b: (calls.append("replace"), replace(a, b)))
    atomic_write_text(tmp_path / "a.txt", "text")
    assert calls == ["fsync", "replace", "fsync"]
    append_text(tmp_path / "a.txt", " and more")
    assert calls[3:] == ["fsync"]
    assert (tmp_path / "a.txt").read_text() == "text and more"


def test_leftovers_go_and_nothing_else(tmp_path) -> None:
    kept = [tmp_path / name for name in ("a.txt", ".hidden", "a.part")]
    for path in [*kept, part_of(tmp_path / "a.txt")]:
        path.touch()
    remove_leftovers(tmp_path)
    assert sorted(tmp_path.iterdir()) == sorted(kept)


def test_what_a_run_says_of_its_origin(smoke_run, smoke_config, alanine) -> None:
    info = smoke_run.info()
    assert info["seed"] == smoke_config.seed
    assert info["precision"] == "float32"
    assert {"bgp4", "torch", "openmm", "numpy"} <= info["versions"].keys()
    assert info["platform"]
    text = smoke_run.config_path.read_bytes()
    assert info["sha256"]["config"] == hashlib.sha256(text).hexdigest()
    assert info["sha256"]["system"] == hashlib.sha256(alanine.system_xml.encode()).hexdigest()
    assert [len(s) for s in info["data"]["sha256"]] == [64]


def test_files_of_the_system_are_told_by_their_checksums(tmp_path, alanine) -> None:
    (tmp_path / "a.pdb").write_text("ATOM")
    system = {"pdb": str(tmp_path / "a.pdb"), "forcefield": ["amber14-all.xml"]}
    config = load_config("ala2_smoke.yaml", [f"system={system}"])
    assert str(tmp_path) in dump_config(config)
    found = provenance(config, alanine)["sha256"]
    assert found["a.pdb"] == hashlib.sha256(b"ATOM").hexdigest()
    assert found.keys() == {"config", "system", "a.pdb"}


def test_the_state_of_the_sources(tmp_path) -> None:
    package = tmp_path / "bgp4"
    package.mkdir()
    assert source_state(package) == "installed"
    git = ("git", "-C", str(tmp_path), "-c", "user.name=a", "-c", "user.email=a@b")
    subprocess.run([*git, "init", "-q"], check=True)
    assert source_state(package) == "a checkout that git can't read", "there is no commit"
    subprocess.run([*git, "commit", "-q", "--allow-empty", "-m", "a"], check=True)
    assert len(source_state(package)) == 40
    (package / "new.py").touch()
    assert source_state(package).endswith(" with changes")
