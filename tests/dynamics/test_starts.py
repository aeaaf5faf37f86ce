"""Stacks of replicas that start elsewhere."""

from __future__ import annotations

import mdtraj
import numpy as np
import pytest

from bgp4.config import Config
from bgp4.dynamics.replicas import ENGINES, DynamicsSettings
from bgp4.dynamics.simulate import simulate
from bgp4.molecule.molecule import Molecule


def torsions(molecule: Molecule, positions_nm) -> np.ndarray:
    frames = mdtraj.Trajectory(np.asarray(positions_nm, np.float32), molecule.topology)
    return np.hstack([mdtraj.compute_phi(frames)[1], mdtraj.compute_psi(frames)[1]])


@pytest.mark.parametrize("engine", ["batched", "openmm"])
def test_each_stack_starts_where_it_is_told(alanine, engine) -> None:
    """At the minimum next to its start, all its replicas alike."""
    turned = alanine.positions_nm.copy()
    turned[:, 0] *= -1  # the mirror image has the opposite torsions, and no way back
    starts = np.stack([alanine.positions_nm, turned])
    settings = DynamicsSettings(
        *(alanine.system_xml, starts, (300.0, 400.0), 2, 1.0, 2.0, "Reference", 0)
    )
    replicas = ENGINES[engine](settings)
    for temperature in (0, 1):
        found = torsions(alanine, replicas.positions_nm(temperature))
        assert np.allclose(found[0], -found[1], atol=0.1)
        assert np.abs(found[0] - torsions(alanine, starts[:1])).max() < 0.6


def test_turned_starts_in_a_simulation(smoke_config: Config, alanine) -> None:
    """Frames so early that they tell where a stack began."""
    update = {"starts": "turned", "frames": 8, "stacks": 8, "equilibration_frames": 0}
    simulation = smoke_config.simulate.model_copy(update=update | {"steps_per_frame": 1})
    found = simulate(smoke_config.model_copy(update={"simulate": simulation}))
    assert np.ptp(torsions(alanine, found.positions_nm), axis=0).max() > 1.0
    usual = simulation.model_copy(update={"starts": "molecule"})
    found = simulate(smoke_config.model_copy(update={"simulate": usual}))
    assert np.ptp(torsions(alanine, found.positions_nm), axis=0).max() < 0.5
