"""A run's samples, and the MD frames beside them, as questions need them."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import NamedTuple

import numpy as np

from bgp4.answers.weighted import Weighted, weighted
from bgp4.config import Config
from bgp4.data.frames import Frames
from bgp4.data.judging import judging_frames
from bgp4.errors import UserInputError
from bgp4.sampling.draw import draw_samples, refuse_without_overlap
from bgp4.sampling.files import read_attributes, read_samples
from bgp4.sampling.generate import TrainedRun, load_trained
from bgp4.sampling.request import SampleRequest
from bgp4.statistics.samples import Samples
from bgp4.storage.lock import locked_output
from bgp4.training.run import RunFolder

__all__ = ["RunEnsemble", "ensemble_of_run"]

log = logging.getLogger(__name__)


class RunEnsemble(NamedTuple):
    """What questions about a run are asked of.

    Attributes:
        name: Of the run.
        trained: Config, molecule and flow.
        samples: The flow's, or states of a chain, with energies in kT of `temperature_k`.
        temperature_k: Temperature of the weights, K.
        equal: Whether these are states of a chain, of equal weights.
        sample: Those of positive weight.
        frames: MD of that temperature; None where there is none.
        md: The same, with equal weights.
        source: The file of the samples.
    """

    name: str
    trained: TrainedRun
    samples: Samples
    temperature_k: float
    equal: bool
    sample: Weighted
    frames: Frames | None
    md: Weighted | None
    source: Path


def ensemble_of_run(run: RunFolder, path: Path, n: int, temperature_k: float | None) -> RunEnsemble:
    """Read a run's samples, or draw them where there are none, and its MD frames.

    Args:
        run: A run folder or a bundled model.
        path: Sample file, .h5, which is made if it is not there.
        n: How many are drawn then.
        temperature_k: Of the weights; that of the file if None.

    Raises:
        UserInputError: If the file is no sample file of this molecule, or has no weights, or the
            temperature leaves next to none.
    """
    trained = load_trained(run)
    if not path.is_file():
        path.parent.mkdir(parents=True, exist_ok=True)
        with locked_output(path):
            draw_samples(run, path, SampleRequest(n, seed=trained.config.seed))
    samples, attributes = read_samples(path), read_attributes(path)
    n_atoms = trained.molecule.n_atoms
    if samples.positions_nm.shape[1] != n_atoms:
        raise UserInputError(
            f"{path}: expected samples of {trained.molecule.name} ({n_atoms} atoms), found "
            f"{samples.positions_nm.shape[1]} atoms"
        )
    own_k = float(attributes.get("temperature_k", trained.config.temperature_k))
    kelvin = own_k if temperature_k is None else temperature_k
    if kelvin != own_k:
        samples = samples.at_temperature(own_k, kelvin)
        refuse_without_overlap(samples.safe_log_weight, f"--temperature {kelvin:g}")
    topology, log_weight = trained.molecule.topology, samples.safe_log_weight
    sample = weighted(samples.positions_nm, log_weight, topology, kelvin, str(path))
    frames = _frames(trained.config, trained, kelvin)
    md = None
    if frames is not None:
        equal = np.zeros(len(frames.positions_nm))
        md = weighted(frames.positions_nm, equal, topology, kelvin, frames.source)
    return RunEnsemble(
        run.path.resolve().name,
        *(trained, samples, kelvin, bool(attributes.get("unbiased")), sample, frames, md, path),
    )


def _frames(config: Config, trained: TrainedRun, temperature_k: float) -> Frames | None:
    """The run's MD frames, if they are of a temperature; a line says why there are none."""
    data = config.judging_data
    if data.path is None:
        return None
    try:
        frames = judging_frames(config, trained.molecule)
    except UserInputError as error:
        log.warning("without MD to compare with: %s", error)
        return None
    found = frames.temperature_k or data.temperature_k or config.temperature_k
    if found != temperature_k:
        log.warning(
            "without MD to compare with: %s is of %g K; name frames of %g K in report.reference",
            *(frames.source, found, temperature_k),
        )
        return None
    return frames
