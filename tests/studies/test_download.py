"""MNIST's download, from servers on this machine that are right, wrong, cut short or not there."""

from __future__ import annotations

import gzip
import hashlib
import sys
from collections.abc import Callable, Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest

from bgp4.cli.main import main
from bgp4.errors import UserInputError
from bgp4.studies.paper import figure
from bgp4.studies.paper.download import MIRRORS, SHA256, download_mnist
from bgp4.studies.paper.mnist import FILES

CONTENT = {name: name.encode() * 1000 for name in FILES}
SUMS = {name: hashlib.sha256(content).hexdigest() for name, content in CONTENT.items()}
LAST = FILES[3]


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        pass


class Short(Quiet):
    """Promises more than it sends."""

    def send_header(self, keyword: str, value: str) -> None:
        more = keyword == "Content-Length"
        super().send_header(keyword, str(int(value) + 100) if more else value)


Serve = Callable[..., str]


@pytest.fixture
def serve(monkeypatch: pytest.MonkeyPatch) -> Iterator[Serve]:
    """A server of a folder; returns its address."""
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    servers = []

    def start(folder: Path, handler: type[Quiet] = Quiet) -> str:
        server = ThreadingHTTPServer(("127.0.0.1", 0), partial(handler, directory=str(folder)))
        Thread(target=server.serve_forever, daemon=True).start()
        servers.append(server)
        return f"http://127.0.0.1:{server.server_port}"

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


@pytest.fixture
def mirror(tmp_path: Path) -> Path:
    folder = tmp_path / "mirror"
    folder.mkdir()
    for name, content in CONTENT.items():
        (folder / name).write_bytes(gzip.compress(content))
    return folder


def test_files_are_fetched_once(mirror: Path, serve: Serve, tmp_path: Path) -> None:
    home = tmp_path / "deep" / "cache"
    download_mnist(home, [serve(mirror)], SUMS)
    assert sorted(path.name for path in home.iterdir()) == sorted(FILES)
    for name, content in CONTENT.items():
        assert gzip.decompress((home / name).read_bytes()) == content
    download_mnist(home, ["http://127.0.0.1:1"], SUMS)


def test_a_file_that_is_there_stays(mirror: Path, serve: Serve, tmp_path: Path) -> None:
    (tmp_path / FILES[0]).write_bytes(b"mine")
    download_mnist(tmp_path, [serve(mirror)], SUMS)
    assert (tmp_path / FILES[0]).read_bytes() == b"mine"
    assert (tmp_path / LAST).is_file()


def test_packed_anew_the_same_content_will_do(mirror: Path, serve: Serve, tmp_path: Path) -> None:
    (mirror / LAST).write_bytes(gzip.compress(CONTENT[LAST], compresslevel=1, mtime=1))
    download_mnist(tmp_path / "cache", [serve(mirror)], SUMS)
    assert (tmp_path / "cache" / LAST).is_file()


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-20])


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda path: path.write_bytes(gzip.compress(b"others")), "expected SHA256 " + SUMS[LAST]),
        (cut, "ended before"),
        (lambda path: path.write_bytes(b"<html>"), "Not a gzipped file"),
        (lambda path: path.unlink(), "File not found"),
    ],
)
def test_a_file_that_is_wrong_leaves_nothing(
    damage: Callable[[Path], None], message: str, mirror: Path, serve: Serve, tmp_path: Path
) -> None:
    damage(mirror / LAST)
    with pytest.raises(UserInputError) as error:
        download_mnist(tmp_path / "cache", [serve(mirror)], SUMS)
    assert message in str(error.value)
    assert f"/{LAST}" in str(error.value)
    assert "\n" not in str(error.value)
    assert not (tmp_path / "cache").exists()


def test_a_connection_that_breaks_leaves_nothing(
    mirror: Path, serve: Serve, tmp_path: Path
) -> None:
    with pytest.raises(UserInputError, match="IncompleteRead"):
        download_mnist(tmp_path / "cache", [serve(mirror, Short)], SUMS)
    assert not (tmp_path / "cache").exists()


def test_another_mirror_steps_in(mirror: Path, serve: Serve, tmp_path: Path) -> None:
    mirrors = ["http://127.0.0.1:1", serve(tmp_path), serve(mirror)]
    download_mnist(tmp_path / "cache", mirrors, SUMS)
    assert (tmp_path / "cache" / LAST).is_file()


def test_a_folder_that_can_not_be_written_is_named(
    mirror: Path, serve: Serve, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserInputError, match="file/cache: cannot be written"):
        download_mnist(tmp_path / "file" / "cache", [serve(mirror)], SUMS)


def test_no_network_ends_the_command_with_2(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(
        figure, "download_mnist", partial(download_mnist, mirrors=["http://127.0.0.1:1"])
    )
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    out = str(tmp_path / "out")
    monkeypatch.setattr(sys, "argv", ["bgp4", "reproduce", "fig10", "--download", "-o", out])
    with pytest.raises(SystemExit) as stopped:
        main()
    assert stopped.value.code == 2
    last = capsys.readouterr().err.splitlines()[-1]
    assert last.startswith("bgp4: error: MNIST can't be downloaded: http://127.0.0.1:1/")
    assert "Connection refused" in last
    assert not list(tmp_path.iterdir())


def test_real_mirrors_and_sums_are_of_the_right_form() -> None:
    assert all(mirror.startswith("https://") for mirror in MIRRORS)
    assert all(len(bytes.fromhex(digest)) == 32 for digest in SHA256.values())
