"""Torsions of a ladder's frames: which temperatures a step draws from, and that a run uses them."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from bgp4.config import load_config
from bgp4.data.frames import load_frames, split_blocks
from bgp4.dynamics.simulate import simulate, write_trajectory
from bgp4.errors import UserInputError
from bgp4.parallel.threads import threads
from bgp4.training.torsions import TorsionFrames
from bgp4.training.train import fitted_generator, train
from bgp4.training.trainer import Trainer
from bgp4.training.variables import standardised, torsion_frames

KELVIN = (300.0, 600.0, 1200.0)


@pytest.fixture
def ladder() -> TorsionFrames:
    """Rungs of 10, 20 and 30 frames, whose torsion says of which they are."""
    sizes = (10, 20, 30)
    rungs = [
        (kelvin, 10.0 * i + torch.arange(n)[:, None] / 100)
        for i, (kelvin, n) in enumerate(zip(KELVIN, sizes, strict=True))
    ]
    return TorsionFrames.of(rungs)


@pytest.mark.parametrize(
    ("kelvin", "shares"),
    [
        (300, (1, 0, 0)),
        (600, (0, 1, 0)),
        (1200, (0, 0, 1)),
        (300 * 2**0.25, (0.75, 0.25, 0)),
        (600 * 2**0.5, (0, 0.5, 0.5)),
        (250, (1, 0, 0)),
        (1500, (0, 0, 1)),
    ],
)
def test_a_batch_is_of_its_temperature_or_its_neighbours(ladder, generator, kelvin, shares) -> None:
    drawn = ladder.draw(kelvin, 400, generator)
    assert drawn.shape == (400, 1)
    rung = (drawn[:, 0] / 10).int()
    assert np.bincount(rung, minlength=3).tolist() == [400 * share for share in shares]


def test_every_frame_of_a_temperature_is_as_likely(ladder, generator) -> None:
    drawn = ladder.draw(600, 20_000, generator)[:, 0]
    counts = np.unique(drawn.numpy(), return_counts=True)[1]
    assert len(counts) == 20
    assert np.abs(counts - 1000).max() < 5 * 1000**0.5


@pytest.fixture(scope="module")
def config(tmp_path_factory, smoke_config, alanine):
    """A run of alanine dipeptide from 1300 to 1000 K, with frames of three temperatures."""
    path = tmp_path_factory.mktemp("ladder") / "ladder.h5"
    changes = ["simulate.frames=60", "simulate.temperatures_k=[1000,1150,1300]"]
    changes += ["simulate.all_temperatures=true", "data.temperature_k=1300", "simulate.stacks=6"]
    made = load_config("ala2_smoke.yaml", [*changes, f"data.path={path}"])
    write_trajectory(path, simulate(made), alanine, made)
    return made


def test_held_out_frames_have_no_part(config, alanine) -> None:
    """Of the hottest, of which some are held out; torsions are mdtraj's, standardised."""
    frames = load_frames(config.data, alanine)
    split = split_blocks(len(frames.positions_nm), 0.1, 0)
    model = fitted_generator(config, alanine.zmatrix, frames.positions_nm[split.train])
    x_train, _ = standardised(model, frames.positions_nm[split.train], model.dtype)
    found = torsion_frames(model, frames.cooler, x_train, 1300.0)
    assert found.temperatures_k == (1000, 1150, 1300)
    assert np.diff(found.first).tolist() == [60, 60, len(split.train)]
    x, _ = model.standardised(torch.as_tensor(frames.cooler[1].positions_nm))
    expected = x[:, model.standardise.n_linear :].to(model.dtype)
    torch.testing.assert_close(found.torsions[60:120], expected)


def test_a_run_learns_from_them_and_is_resumed_to_the_bit(config, tmp_path, monkeypatch) -> None:
    training = config.training.model_copy(update={"checkpoint_s": 0.0})
    config = config.model_copy(update={"training": training})
    drawn, real = [], TorsionFrames.draw

    def draw(self: TorsionFrames, kelvin: float, *others: object) -> torch.Tensor:
        drawn.append(kelvin)
        return real(self, kelvin, *others)

    monkeypatch.setattr(TorsionFrames, "draw", draw)
    with threads(1):
        whole = train(config, tmp_path / "whole", device="cpu")
        assert drawn[-1] == 1000
        assert len(drawn) == 10, "one batch for each step with energies"
        assert 1000 < drawn[0] < 1300
        assert whole.info()["data"]["cooler_k"] == [1000, 1150]
        step = Trainer.step

        def interrupted(self: Trainer, number: int) -> object:
            if number == 14 and len(drawn) < 15:
                raise KeyboardInterrupt
            return step(self, number)

        monkeypatch.setattr(Trainer, "step", interrupted)
        with pytest.raises(KeyboardInterrupt):
            train(config, tmp_path / "parts", device="cpu")
        monkeypatch.setattr(Trainer, "step", step)
        resumed = train(config, tmp_path / "parts", resume=True, device="cpu")
    first, second = (load_file(run.checkpoint_path) for run in (whole, resumed))
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_a_ladder_that_ends_above_the_run_is_refused(config, tmp_path) -> None:
    colder = config.model_copy(update={"temperature_k": 900.0})
    with pytest.raises(
        UserInputError, match=r"temperature_k: expected 1000 K or more, the coldest"
    ):
        train(colder, tmp_path / "run", device="cpu")
    assert not (tmp_path / "run").exists()
