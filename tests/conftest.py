"""Alanine dipeptide, its frames and one trained run of seconds, made once and shared.

A warning from bgp4's own modules is an error in every test.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

import numpy as np
import openmm
import pytest
import torch
from hypothesis import settings
from numpy.typing import NDArray
from openmm import unit

import bgp4.kernels.constraints
import bgp4.kernels.energies
import bgp4.kernels.p4
import bgp4.kernels.spline
from bgp4.config import Config, SystemConfig, load_config
from bgp4.data.frames import Frames, load_frames, split_blocks
from bgp4.molecule.molecule import Molecule, load_molecule
from bgp4.training.run import RunFolder
from tests import THREADS

if TYPE_CHECKING:
    from bgp4.training.trainer import Trainer

Plain = Callable[[str, NDArray], tuple[NDArray[np.float64], NDArray[np.float64]]]


def pytest_configure(config: pytest.Config) -> None:
    settings.register_profile("untimed", deadline=None)
    settings.load_profile("untimed")
    config.addinivalue_line("filterwarnings", r"error:::bgp4(\..*)?")


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_setupnodes() -> None:
    """Before the workers of `pytest -n` start: the kernels, compiled once."""
    energies, constraints = bgp4.kernels.energies, bgp4.kernels.constraints
    kernels = (bgp4.kernels.p4, energies, constraints, bgp4.kernels.spline)
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(lambda kernel: kernel.load_kernel(), kernels))


@pytest.fixture(autouse=True, scope="session")
def _threads() -> None:
    """Also where a plugin has imported torch before this file could say so."""
    if THREADS != "unset":
        torch.set_num_threads(int(THREADS))


@pytest.fixture
def generator() -> torch.Generator:
    return torch.Generator().manual_seed(7)


@pytest.fixture(scope="session")
def smoke_config() -> Config:
    return load_config("ala2_smoke.yaml")


@pytest.fixture(scope="session")
def alanine() -> Molecule:
    return load_molecule(SystemConfig(testsystem="AlanineDipeptideImplicit"))


@pytest.fixture(scope="session")
def smoke_frames(smoke_config: Config, alanine: Molecule) -> Frames:
    return load_frames(smoke_config.data, alanine)


@pytest.fixture(scope="session")
def smoke_run(smoke_config: Config, tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    """A trained run that tests read; whoever writes into it copies it first."""
    from bgp4.training.train import train

    return train(smoke_config, tmp_path_factory.mktemp("runs") / "smoke", device="cpu")


@pytest.fixture
def begun_trainer(alanine, smoke_frames, tmp_path) -> Callable[[Config], Trainer]:
    """Makes the trainer of a config, ready to step, with a run folder of its own."""
    from bgp4.energies.batched import BatchedEnergy
    from bgp4.training.train import fitted_generator
    from bgp4.training.trainer import Trainer

    def make(config: Config) -> Trainer:
        split = split_blocks(len(smoke_frames.positions_nm), 0.1, 0)
        model = fitted_generator(config, alanine.zmatrix, smoke_frames.positions_nm[split.train])
        energy = BatchedEnergy(alanine, config.temperature_k, torch.float32)
        run = RunFolder.create(tmp_path / "run", config, alanine)
        made = Trainer(config, run, model, energy, smoke_frames, split, alanine)
        made.start(resume=False)
        return made

    return make


def script_module(name: str) -> ModuleType:
    """A file of scripts/ as a module, which is no package."""
    path = Path(__file__).parents[1] / "scripts" / f"{name}.py"
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def plain_openmm() -> Plain:
    """Energies (kJ/mol) and forces of a serialised System from a bare Reference Context."""

    def evaluate(system_xml: str, positions_nm: NDArray) -> tuple[NDArray, NDArray]:
        context = openmm.Context(
            openmm.XmlSerializer.deserialize(system_xml),
            openmm.VerletIntegrator(0.001),
            openmm.Platform.getPlatformByName("Reference"),
        )
        energies, forces = [], []
        for positions in positions_nm:
            context.setPositions(np.asarray(positions, np.float64) * unit.nanometer)
            state = context.getState(energy=True, forces=True)
            energies.append(state.getPotentialEnergy().value_in_unit(unit.kilojoule_per_mole))
            forces.append(
                state.getForces(asNumpy=True).value_in_unit(
                    unit.kilojoule_per_mole / unit.nanometer
                )
            )
        return np.array(energies), np.array(forces)

    return evaluate


@pytest.fixture
def in_tmp(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder as the working directory; what a test leaves there is compared by name."""
    monkeypatch.chdir(tmp_path)
    return tmp_path
