"""From run folders to the plain data of a report: samples, MD frames, energies, history."""

from __future__ import annotations

import csv
import logging
import time
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bgp4.config import Config, existing_data
from bgp4.data.frames import Frames
from bgp4.data.judging import judging_frames
from bgp4.energies.openmm import OpenMMEnergy
from bgp4.errors import UserInputError
from bgp4.molecule.molecule import Molecule
from bgp4.molecule.states import states
from bgp4.report.result import RunResult
from bgp4.sampling.density import heldout_log_prob
from bgp4.sampling.draw import draw_samples
from bgp4.sampling.files import read_attributes, read_samples
from bgp4.sampling.generate import TrainedRun, load_trained
from bgp4.sampling.request import SampleRequest
from bgp4.statistics.samples import REJECTED_ENERGY_KT, Samples
from bgp4.storage.lock import locked_output
from bgp4.training.run import RunFolder
from bgp4.units import kjmol_to_kt

__all__ = ["collect_run", "read_history"]

NOISY_FRAMES = 5_000

log = logging.getLogger(__name__)


def collect_run(
    run: RunFolder, samples_path: Path | None = None, reference: str | None = None
) -> RunResult:
    """All that a report says about a run; draws samples where there are none yet.

    Args:
        run: A run, or a bundled model, whose folder stays as it is.
        samples_path: Where the samples are, or will be; the run's own if None.
        reference: Frames to compare with, instead of those that its config names.

    Raises:
        UserInputError: If the run's samples have no weights, or those of another temperature, or
            are an unbiased chain's; or if there are no frames to compare with.
    """
    trained = _compared_with(load_trained(run), reference)
    config = trained.config
    molecule = trained.molecule
    if config.report.reference is not None:
        existing_data(config.report.reference, "report.reference")
    frames = judging_frames(config, molecule)
    path = samples_path or run.samples_path
    if not path.is_file():
        path.parent.mkdir(parents=True, exist_ok=True)
        with locked_output(path):
            draw_samples(run, path, SampleRequest(config.report.samples, seed=config.seed))
    started = time.perf_counter()
    samples = read_samples(path)
    _check_samples(run, path, samples, config.temperature_k)
    _warn_of_temperature(run, config, frames)
    data_energy_kt, noisy_energy_kt = _energies(config, molecule, frames)
    result = RunResult(
        name=run.path.resolve().name,
        temperature_k=config.temperature_k,
        topology=molecule.topology,
        reference_positions_nm=molecule.positions_nm,
        data_positions_nm=frames.positions_nm,
        data_energy_kt=data_energy_kt,
        data_log_prob=heldout_log_prob(trained, frames),
        noisy_energy_kt=noisy_energy_kt,
        samples=samples,
        history=read_history(run.history_path),
        config_yaml=run.config_path.read_text(encoding="utf-8"),
        run_info=run.info(),
        bins=config.report.bins,
        bootstrap=config.report.bootstrap,
        seed=config.seed,
        noise_nm=config.report.noise_nm,
        states=tuple(states(molecule.topology, config)),
        constrained_bonds=frames.constrained,
        system_constraints=molecule.constraints.bonds,
        lengths_set=frames.lengths_set,
    )
    if not run.is_bundled:
        run.update_info(wall_time_s={"collect": round(time.perf_counter() - started, 1)})
    return result


def _compared_with(trained: TrainedRun, reference: str | None) -> TrainedRun:
    """The same, with other frames to compare with."""
    if reference is None:
        return trained
    report = trained.config.report.model_copy(update={"reference": reference})
    return trained._replace(config=trained.config.model_copy(update={"report": report}))


def _check_samples(run: RunFolder, path: Path, samples: Samples, temperature_k: float) -> None:
    """A report is about weights at the run's temperature."""
    named = f"{run.path.name} -o {path}" if run.is_bundled else str(run.path)
    again = f"; draw them again with `bgp4 sample {named}`"
    if np.isnan(samples.energy_kt).all():
        raise UserInputError(f"{path}: expected weights, found samples without{again}")
    attributes = read_attributes(path)
    if attributes.get("unbiased"):
        raise UserInputError(
            f"{path}: expected the flow's own samples, found an unbiased chain{again}"
        )
    kelvin = attributes.get("temperature_k", temperature_k)
    if kelvin != temperature_k:
        raise UserInputError(
            f"{path}: expected weights at {temperature_k:g} K, found {kelvin:g} K{again}"
        )


def _warn_of_temperature(run: RunFolder, config: Config, frames: Frames) -> None:
    if frames.temperature_k not in (None, config.temperature_k):
        log.warning(
            "%s: compared with MD at %g K, but the run is at %g K; name frames of that "
            "temperature in report.reference",
            run.path,
            frames.temperature_k,
            config.temperature_k,
        )


def _energies(
    config: Config, molecule: Molecule, frames: Frames
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Energies in kT of the training frames (from the file where it has them), and with noise."""
    rng = np.random.default_rng(config.seed)
    chosen = rng.choice(len(frames.positions_nm), NOISY_FRAMES)
    noisy = frames.positions_nm[chosen].astype(np.float64)
    noisy += rng.normal(0, config.report.noise_nm, noisy.shape)
    settings = config.energies
    with OpenMMEnergy(
        molecule, config.temperature_k, settings.platform, settings.workers, settings.timeout_s
    ) as energy:
        noisy_kjmol = energy.evaluate(noisy).energy_kjmol
        data_kjmol = frames.energy_kjmol
        if data_kjmol is None:
            data_kjmol = energy.evaluate(frames.positions_nm).energy_kjmol
    noisy_kt = np.nan_to_num(kjmol_to_kt(noisy_kjmol, config.temperature_k), nan=REJECTED_ENERGY_KT)
    return kjmol_to_kt(data_kjmol, config.temperature_k), noisy_kt


def read_history(path: Path) -> dict[str, NDArray]:
    """Columns of history.csv; `phase` as text, the others as numbers, NaN where empty."""
    if not path.is_file():
        return {}
    try:
        with path.open(newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file, strict=True))
        names = rows[0].keys() if rows else ()
        return {
            name: np.array([row[name] for row in rows])
            if name == "phase"
            else np.array([float(row[name] or "nan") for row in rows])
            for name in names
        }
    except (ValueError, TypeError, csv.Error) as error:
        reason = " ".join(str(error).split())[:200]
        raise UserInputError(f"{path}: expected a training's history: {reason}") from error
