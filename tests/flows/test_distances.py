"""What a flow sees of a molecule's shape, against mdtraj's distances and the bonds it knows."""

from __future__ import annotations

import mdtraj
import networkx
import numpy as np
import pytest
import torch

from bgp4.flows.distances import Distances
from bgp4.flows.generator import BoltzmannGenerator
from bgp4.training.train import fitted_generator


@pytest.fixture(scope="module")
def model(smoke_config, alanine, smoke_frames) -> BoltzmannGenerator:
    """Its bonds and angles see distances."""
    seeing = smoke_config.model.model_copy(update={"distances": 8})
    config = smoke_config.model_copy(update={"model": seeing})
    made = fitted_generator(config, alanine.zmatrix, smoke_frames.positions_nm)
    with torch.no_grad():
        for parameter in made.parameters():
            parameter += 0.02 * torch.randn(parameter.shape, dtype=parameter.dtype)
    return made.double()


def a_draw(model: BoltzmannGenerator, n: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(1)
    t = 2 * torch.pi * torch.rand(n, model.standardise.n_circular, generator=generator) - torch.pi
    return t.double()


def test_inverse_distances_of_atoms_more_than_three_bonds_apart(model, alanine) -> None:
    distances = Distances(model.coordinates, model.standardise, 4).double()
    t = a_draw(model, 6)
    mean = torch.cat([t.new_zeros(6, model.standardise.n_linear), t], dim=1)
    made = model.conformations(mean, t.new_zeros(6)).positions_nm
    bonds = networkx.Graph([(a.index, b.index) for a, b in alanine.topology.bonds])
    apart = dict(networkx.all_pairs_shortest_path_length(bonds))
    n = alanine.n_atoms
    pairs = [(a, b) for a in range(n) for b in range(a + 1, n) if apart[a][b] > 3]
    frames = mdtraj.Trajectory(made.numpy(), alanine.topology)
    expected = 0.3 / np.maximum(mdtraj.compute_distances(frames, pairs, periodic=False), 0.1)
    seen = []
    distances.layer.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    assert distances(t).shape == (6, 4)
    np.testing.assert_allclose(seen[0], expected, rtol=1e-4)


def test_densities_agree_both_ways(model) -> None:
    made = model.generate(32, torch.Generator().manual_seed(2))
    assert made.valid.any()
    found = model.log_prob_xyz(made.positions_nm)[made.valid]
    torch.testing.assert_close(found, made.log_prob_xyz[made.valid], rtol=0, atol=1e-8)


def test_bonds_and_angles_depend_on_what_is_seen(model) -> None:
    flow = model.transform
    z, t = torch.zeros(4, model.standardise.n_linear).double(), a_draw(model, 4)
    seen = flow.context(t)
    blind = torch.cat([seen[:, :-8], torch.zeros(4, 8).double()], dim=1)
    assert (flow.linear.inverse(z, seen)[0] - flow.linear.inverse(z, blind)[0]).abs().max() > 1e-4


def test_what_does_not_close_is_not_seen(model) -> None:
    """Means of distances around a ring may be no triangle's, so that atoms have no place."""
    distances = Distances(model.coordinates, model.standardise, 4).double()
    t = a_draw(model, 2)
    t[1] = torch.nan
    made = distances(t)
    assert made.isfinite().all()
    torch.testing.assert_close(
        made[1], distances.layer(torch.zeros(len(distances._pairs)).double())
    )


def test_geometry_is_stored_once(model) -> None:
    names = [name for name in model.state_dict() if "features." in name]
    assert names == ["transform.features.layer.0.weight", "transform.features.layer.0.bias"]
