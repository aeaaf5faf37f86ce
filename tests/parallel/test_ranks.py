"""Two processes against one: the same model, the same samples, one writer, one end.

As a script this is what torchrun starts: `bgp4` with the patches of `altered`.
"""

from __future__ import annotations

import csv
import os
import subprocess
import sys
from collections.abc import Callable
from contextlib import nullcontext
from itertools import chain
from pathlib import Path
from typing import NamedTuple

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from bgp4.cli.main import main
from bgp4.config import Config, load_config
from bgp4.energies.batched import BatchedEnergy
from bgp4.errors import UserInputError
from bgp4.parallel.ranks import ALONE, Ranks
from bgp4.sampling.draw import draw_samples
from bgp4.sampling.files import read_samples
from bgp4.sampling.request import SampleRequest
from bgp4.training import train as training
from bgp4.training.run import RunFolder
from bgp4.training.train import train
from bgp4.training.trainer import Trainer

OVERRIDES = ("model.precision=float64",)
STOP_AT = "BGP4_TEST_STOP_AT"


def altered(patch: Callable[[object, str, object], None]) -> None:
    """Energies in float64; on the last rank, NaN data in step 3 and, if asked, an end."""
    real = Trainer.step

    def step(self: Trainer, number: int) -> object:
        last = self.ranks.rank == self.ranks.size - 1
        if last and str(number) == os.environ.get(STOP_AT):
            raise RuntimeError("stopped by the test")
        data = self.objective.x_train
        if last and number == 3:
            self.objective.x_train = torch.full_like(data, torch.nan)
        result = real(self, number)
        self.objective.x_train = data
        return result

    def energy(config: object, molecule, temperature_k: float, *_: object) -> BatchedEnergy:
        return BatchedEnergy(molecule, temperature_k)

    patch(Trainer, "step", step)
    patch(training, "training_energy", energy)


class Finished(NamedTuple):
    code: int
    out: str
    err: str


def torchrun(*command: str, cwd: Path, **environment: str) -> Finished:
    """Two processes of a module; torchrun would take `--run` for its own, but for the `--`."""
    done = subprocess.run(
        [
            *(sys.executable, "-m", "torch.distributed.run"),
            *("--standalone", "--nproc-per-node", "2", "-m", "--", *command),
        ],
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2]), **environment},
        capture_output=True,
        text=True,
        timeout=300,  # torch.distributed would wait for half an hour for one that is gone
    )
    return Finished(done.returncode, done.stdout, done.stderr)


def train_by_two(run: Path, *options: str, **environment: str) -> Finished:
    sets = [part for override in OVERRIDES for part in ("--set", override)]
    command = ("train", "--config", "ala2_smoke.yaml", "--device", "cpu", "--run", run.name)
    every = (*command, *sets, *options)
    return torchrun("tests.parallel.test_ranks", *every, cwd=run.parent, **environment)


@pytest.fixture(scope="module")
def config() -> Config:
    return load_config("ala2_smoke.yaml", OVERRIDES)


@pytest.fixture(scope="module")
def alone(config: Config, tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    with pytest.MonkeyPatch.context() as patch:
        altered(patch.setattr)
        return train(config, tmp_path_factory.mktemp("alone") / "run", device="cpu")


@pytest.fixture(scope="module")
def stopped(tmp_path_factory: pytest.TempPathFactory) -> tuple[RunFolder, Finished]:
    """A run of two processes, of which the second ends in step 8, between two checkpoints."""
    path = tmp_path_factory.mktemp("stopped") / "run"
    return RunFolder(path), train_by_two(path, **{STOP_AT: "8"})


@pytest.fixture(scope="module")
def together(stopped, tmp_path_factory: pytest.TempPathFactory) -> tuple[RunFolder, Finished]:
    """The same run, gone on with."""
    run = copy_of(stopped[0], tmp_path_factory.mktemp("together") / "run")
    return run, train_by_two(run.path, "--resume")


def tensors(run: RunFolder) -> dict[str, Tensor]:
    return load_file(run.checkpoint_path)


def history(run: RunFolder) -> list[dict[str, str]]:
    with run.history_path.open(newline="") as file:
        return [{k: v for k, v in row.items() if k != "wall_s"} for row in csv.DictReader(file)]


def assert_alike(run: RunFolder, other: RunFolder) -> None:
    """The same model and the same history, but for rounding."""
    a, b = tensors(run), tensors(other)
    assert a.keys() == b.keys()
    torch.testing.assert_close(a, b, rtol=1e-8, atol=1e-8)
    for row, expected in zip(history(run), history(other), strict=True):
        assert row.pop("phase") == expected.pop("phase")
        assert {k: float(v or "nan") for k, v in row.items()} == pytest.approx(
            {k: float(v or "nan") for k, v in expected.items()}, rel=1e-6, abs=1e-12, nan_ok=True
        )


def test_two_processes_train_the_model_of_one(together, alone) -> None:
    run, done = together
    assert done.code == 0, done.err
    assert_alike(run, alone)
    assert [int(row["p4_merges"]) for row in history(run)] == [4, 10, 14, 20]
    assert [int(row["energy_evaluations"]) for row in history(run)] == [0, 0, 160, 320]
    assert {row["skipped_steps"] for row in history(run)} == {"1"}, "though one had finite losses"


def test_one_of_them_writes(together, alone) -> None:
    run, done = together
    assert {p.name for p in run.path.parent.rglob("*")} - {"run"} == {
        *("config.yaml", "molecule.json", "checkpoint.safetensors", "history.csv", "run.json")
    }
    assert len(run.history_path.read_text().splitlines()) == 5
    assert done.out.count("wrote run (best model with held-out log-likelihood") == 1
    assert done.err.count("training 20/20") == 1
    unlike = {"started", "wall_time_s", "core_hours", "training_energy"}
    ours, expected = run.info(), alone.info()
    assert ours.keys() == expected.keys()
    assert ours["n_energy_evaluations"] == expected["n_energy_evaluations"]
    assert {k for k in ours if ours[k] != expected[k]} <= unlike | {"log_likelihood_heldout"}


def test_the_end_of_one_is_the_end_of_both(stopped) -> None:
    run, done = stopped
    assert done.code != 0
    assert "stopped by the test" in done.err
    folders = Path("/proc").glob("[0-9]*/cwd")
    assert not any(working_in(path) == run.path.parent for path in folders)
    assert [row["step"] for row in history(run)] == ["5"]


def working_in(process: Path) -> Path | None:
    """The folder that a process works in; None where it has ended, or is another user's."""
    try:
        return process.readlink()
    except OSError:
        return None


def test_one_goes_on_where_two_stopped(stopped, alone, config, tmp_path, monkeypatch) -> None:
    altered(monkeypatch.setattr)
    run = copy_of(stopped[0], tmp_path / "run")
    train(config, run.path, resume=True, device="cpu")
    assert_alike(run, alone)


def copy_of(run: RunFolder, path: Path) -> RunFolder:
    path.mkdir()
    for file in run.path.iterdir():
        (path / file.name).write_bytes(file.read_bytes())
    return RunFolder(path)


@pytest.mark.parametrize("unbiased", [False, True])
def test_two_processes_draw_the_samples_of_one(alone, tmp_path, unbiased: bool) -> None:
    """In two chunks or three, the last of them not whole."""
    options = ("-n", "2200", "--seed", "4", "--device", "cpu", *["--unbiased"] * unbiased)
    done = torchrun("bgp4", "sample", str(alone.path), *options, "-o", "two.h5", cwd=tmp_path)
    assert done.code == 0, done.err
    assert done.out.count("wrote two.h5 (2200 conformations") == 1
    assert [p.name for p in tmp_path.iterdir()] == ["two.h5"]
    draw_samples(
        alone, tmp_path / "one.h5", SampleRequest(2200, seed=4, device="cpu", unbiased=unbiased)
    )
    ours, expected = read_samples(tmp_path / "two.h5"), read_samples(tmp_path / "one.h5")
    for values, by_one in zip(ours, expected, strict=True):
        assert (values == by_one).all()


@pytest.mark.parametrize(("n", "size"), [(1, 1), (7, 1), (8, 2), (7, 3), (5, 5)])
def test_shares_are_even_and_whole(n: int, size: int) -> None:
    shares = [list(range(n))[Ranks(rank, size).share(n)] for rank in range(size)]
    assert list(chain(*shares)) == list(range(n))
    lengths = {len(share) for share in shares}
    assert max(lengths) - min(lengths) <= 1
    assert max(lengths) == -(-n // size)


def test_workers_are_divided_among_a_machines_processes() -> None:
    assert [Ranks(0, 4, local_size=2).of_machine(n) for n in (1, 2, 5)] == [1, 1, 2]
    assert ALONE.of_machine(5) == 5


def test_more_processes_than_a_batch_has_rows(config, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(training, "joined", lambda device: nullcontext(Ranks(0, 33)))
    with pytest.raises(UserInputError, match=r"33 processes.*only 32"):
        train(config, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_one_process_sums_nothing() -> None:
    value = torch.ones(2, requires_grad=True)
    assert ALONE.total(1, 2.5) == (1, 2.5)
    assert ALONE.gather(value, 2).data_ptr() == value.data_ptr()
    ALONE.sum_([value])
    assert not torch.distributed.is_initialized()


if __name__ == "__main__":
    altered(setattr)
    main()
