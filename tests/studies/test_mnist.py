"""MNIST's files, replicas trained as one computation, and figure 10."""

from __future__ import annotations

import gzip
import json
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Generator, nn

from bgp4.errors import UserInputError
from bgp4.p4 import p4_layers
from bgp4.studies.paper.fig10 import NETWORKS
from bgp4.studies.paper.figure import reproduce
from bgp4.studies.paper.mnist import FILES, Digits, load_mnist
from bgp4.studies.paper.replicas import Replicas, SGDSettings, fit_replicas

networks = pytest.mark.parametrize("network", NETWORKS.values(), ids=NETWORKS.keys())


def idx(values: NDArray[np.uint8]) -> bytes:
    header = struct.pack(f">BBBB{values.ndim}I", 0, 0, 8, values.ndim, *values.shape)
    return header + values.tobytes()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Digits that their brightest row tells apart."""
    rng = np.random.default_rng(0)
    for (images, labels), n in zip([FILES[:2], FILES[2:]], (600, 100), strict=True):
        y = rng.integers(0, 10, n, dtype=np.uint8)
        x = rng.integers(0, 100, (n, 28, 28), dtype=np.uint8)
        x[np.arange(n), 2 * y + 4] = 255
        for name, values in ((images, x), (labels, y)):
            (tmp_path / name).write_bytes(gzip.compress(idx(values)))
    return tmp_path


def digits(n: int = 320) -> Digits:
    generator = Generator().manual_seed(3)
    labels = torch.randint(10, (n,), generator=generator)
    images = torch.rand(n, 784, generator=generator)
    return Digits(images + torch.eye(784)[labels], labels)


def test_images_and_labels_are_read(folder: Path) -> None:
    train, test = load_mnist(str(folder))
    assert train.images.shape == (600, 784)
    assert len(test.labels) == 100
    assert train.images.max() == 1
    rows = train.images.view(600, 28, 28).mean(2)
    assert torch.equal(rows.argmax(1), 2 * train.labels + 4)


def rewritten(name: str, change: Callable[[bytes], bytes]) -> Callable[[Path], None]:
    def write(folder: Path) -> None:
        path = folder / name
        path.write_bytes(gzip.compress(change(gzip.decompress(path.read_bytes()))))

    return write


def cut(folder: Path) -> None:
    path = folder / FILES[0]
    path.write_bytes(path.read_bytes()[:-200])


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda folder: (folder / FILES[3]).unlink(), f"missing {FILES[3]}"),
        (cut, "not a whole gzip file"),
        (lambda folder: (folder / FILES[1]).write_bytes(b"text"), "not a whole gzip file"),
        (rewritten(FILES[0], lambda b: b[:-1]), "found 470399 values"),
        (rewritten(FILES[1], lambda b: b[:-1]), "found 599 values"),
        (rewritten(FILES[0], lambda b: b"\0\0\r\3" + b[4:]), "found 00000d03"),
        (rewritten(FILES[2], lambda b: b[:9]), "expected IDX magic"),
        (rewritten(FILES[2], lambda b: b""), "found nothing"),
        (rewritten(FILES[3], lambda b: b[:8] + bytes([10] * 100)), "labels 0 to 9, found 10"),
        (rewritten(FILES[3], lambda b: idx(np.zeros(99, np.uint8))), "for 99 labels"),
        (rewritten(FILES[2], lambda b: idx(np.zeros((100, 28, 27), np.uint8))), "(100, 28, 27)"),
    ],
)
def test_damaged_files_are_refused(
    folder: Path, damage: Callable[[Path], None], message: str
) -> None:
    damage(folder)
    with pytest.raises(UserInputError) as error:
        load_mnist(str(folder))
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_without_data_the_message_names_the_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    with pytest.raises(UserInputError) as error:
        list(reproduce(["fig10"], tmp_path / "out", quick=True))
    assert all(name in str(error.value) for name in (*FILES, "--data DIR", "--download"))


@networks
def test_replicas_compute_what_each_model_does(network: Callable[..., nn.Module]) -> None:
    models = [network((5,), Generator().manual_seed(seed)) for seed in range(3)]
    x = torch.rand(3, 4, 784)
    expected = torch.stack([model(batch) for model, batch in zip(models, x, strict=True)])
    replicas = Replicas(models)
    torch.testing.assert_close(replicas(x), expected)
    torch.testing.assert_close(replicas.on_all(x[1])[1], expected[1])


def test_a_merge_of_one_replica_shows_in_the_stack(generator: Generator) -> None:
    models = [NETWORKS["rank-one"]((5,), Generator().manual_seed(seed)) for seed in range(2)]
    replicas = Replicas(models)
    with torch.no_grad():
        replicas.parameters["0.u"].normal_(0, 0.01, generator=generator)
    x = torch.rand(2, 4, 784)
    before = replicas(x)
    p4_layers(models[1])[0].merge(generator)
    assert replicas.buffers["0.merges"].tolist() == [0, 1]
    assert replicas.parameters["0.u"].any(1).tolist() == [True, False]
    torch.testing.assert_close(replicas(x), before)


@networks
def test_a_replica_among_others_trains_as_it_does_alone(network: Callable[..., nn.Module]) -> None:
    settings = SGDSettings(epochs=2, batch=32, learning_rate=0.01, merge_every=3)

    def make(generator: Generator) -> nn.Module:
        return network((8,), generator)

    together = fit_replicas(make, digits(), digits(), settings, (0, 1, 2))
    alone = fit_replicas(make, digits(), digits(), settings, (1,))
    torch.testing.assert_close(together.loss[:, 1:2], alone.loss)
    torch.testing.assert_close(together.accuracy[:, 1:2], alone.accuracy)
    assert not torch.equal(together.loss[:, 0], together.loss[:, 1])


def test_a_replica_trains_as_a_plain_loop_does() -> None:
    settings = SGDSettings(epochs=2, batch=32, learning_rate=0.1, merge_every=1)
    data = digits()

    def make(generator: Generator) -> nn.Module:
        return NETWORKS["standard"]((8,), generator)

    curves = fit_replicas(make, data, data, settings, (4,))
    generator = Generator().manual_seed(4)
    model = make(generator)
    optimizer = torch.optim.SGD(model.parameters(), settings.learning_rate)
    losses = []
    for index in [
        index
        for _ in range(settings.epochs)
        for index in torch.randperm(len(data.labels), generator=generator).split(settings.batch)
    ]:
        loss = nn.functional.cross_entropy(model(data.images[index]), data.labels[index])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.detach())
    expected = torch.stack(losses).view(settings.epochs, -1).mean(1)
    torch.testing.assert_close(curves.loss[:, 0], expected)


def test_the_figure_is_made(folder: Path, tmp_path: Path) -> None:
    (line,) = reproduce(["fig10"], tmp_path / "out", quick=True, mnist=folder)
    result = json.loads((tmp_path / "out" / "fig10" / "result.json").read_text())
    assert line.startswith(f"fig10: {result['verdict']}")
    assert np.shape(result["numbers"]["rank-one"]["accuracy"]) == (
        result["settings"]["sgd"]["epochs"],
        len(result["settings"]["seeds"]),
    )
    assert (tmp_path / "out" / "fig10" / "fig10.png").stat().st_size > 10_000
