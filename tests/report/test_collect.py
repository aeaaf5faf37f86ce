"""What a report is made from, against the model and the files it is read from."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
import torch

from bgp4.data.frames import split_blocks
from bgp4.report.collect import collect_run
from bgp4.report.result import RunResult
from bgp4.sampling.generate import load_trained
from bgp4.training.run import RunFolder


@pytest.fixture(scope="module")
def run(smoke_run, tmp_path_factory) -> RunFolder:
    path = tmp_path_factory.mktemp("collect") / "run"
    shutil.copytree(smoke_run.path, path)
    return RunFolder(path)


@pytest.fixture(scope="module")
def result(run) -> RunResult:
    return collect_run(run)


def test_log_densities_are_of_held_out_frames_alone(run, result, smoke_frames) -> None:
    config = run.config()
    split = split_blocks(1000, config.data.heldout_fraction, config.seed)
    assert np.isnan(result.data_log_prob[split.train]).all()
    with torch.no_grad():
        positions = torch.as_tensor(smoke_frames.positions_nm[split.heldout])
        expected = load_trained(run).model.log_prob_xyz(positions)
    np.testing.assert_allclose(result.data_log_prob[split.heldout], expected)
    assert result.run_info["log_likelihood_heldout"] == pytest.approx(
        result.data_log_prob[split.heldout].mean(), abs=1e-3
    )


def test_frames_of_another_temperature_have_none(run, tmp_path) -> None:
    shutil.copytree(run.path, tmp_path / "run")
    other = RunFolder(tmp_path / "run")
    text = other.config_path.read_text()
    other.config_path.write_text(text.replace("temperature_k: 1000.0", "temperature_k: 900.0"))
    other.samples_path.unlink(missing_ok=True)
    assert other.config().temperature_k == 900
    assert collect_run(other).data_log_prob is None
