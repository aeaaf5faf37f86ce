"""The trajectories that come with bgp4, and how frames are split."""

from __future__ import annotations

from dataclasses import replace

import mdtraj
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bgp4.config import load_config
from bgp4.data.frames import BLOCKS, check_number, load_frames, split_blocks
from bgp4.errors import UserInputError
from bgp4.storage.bundled import bundled_configs, find_config, find_data
from bgp4.storage.files import sha256


def test_the_frames_of_the_tests(smoke_frames, alanine, plain_openmm) -> None:
    assert smoke_frames.paths[0].stat().st_size < 400_000
    assert smoke_frames.positions_nm.shape == (1000, 22, 3)
    assert smoke_frames.positions_nm.dtype == np.float32
    assert smoke_frames.temperature_k == 1000
    expected, _ = plain_openmm(alanine.system_xml, smoke_frames.positions_nm[::20])
    np.testing.assert_allclose(smoke_frames.energy_kjmol[::20], expected, rtol=0, atol=1e-2)


@pytest.mark.parametrize("name", bundled_configs())
def test_the_data_of_bundled_configs_are_the_molecules(name, alanine, plain_openmm) -> None:
    config = load_config(name)
    paths, molecule = config.data.paths, config.system.testsystem
    there = paths and all(map(find_data, paths))
    if not there or molecule != "AlanineDipeptideImplicit":
        pytest.skip("other molecule, or made by `bgp4 simulate` first")
    frames = load_frames(config.data, alanine)
    judges = load_frames(config.judging_data, alanine)
    assert judges.temperature_k == config.temperature_k
    some = slice(None, None, max(1, len(frames.positions_nm) // 20))
    expected, _ = plain_openmm(alanine.system_xml, frames.positions_nm[some])
    np.testing.assert_allclose(frames.energy_kjmol[some], expected, rtol=0, atol=1e-2)


def test_a_stride(smoke_config, smoke_frames, alanine) -> None:
    strided = load_frames(smoke_config.data.model_copy(update={"stride": 7}), alanine)
    np.testing.assert_array_equal(strided.positions_nm, smoke_frames.positions_nm[::7])
    np.testing.assert_array_equal(strided.energy_kjmol, smoke_frames.energy_kjmol[::7])


def test_trans_peptide_bonds_alone(smoke_config, smoke_frames, alanine) -> None:
    """|ω| above 90° in both peptide bonds; ω of the ends is not among mdtraj's, so by name."""
    trans = load_frames(smoke_config.data.model_copy(update={"peptide_bonds": "trans"}), alanine)
    index = {(a.residue.name, a.name): a.index for a in alanine.topology.atoms}
    ends = [("ACE", "CH3"), ("ACE", "C"), ("ALA", "N"), ("ALA", "CA"), ("ALA", "C")]
    ends += [("NME", "N"), ("NME", "C")]
    first, second = ([index[name] for name in part] for part in (ends[:4], ends[3:]))
    frames = mdtraj.Trajectory(smoke_frames.positions_nm, alanine.topology)
    omega = mdtraj.compute_dihedrals(frames, [first, second])
    keep = (np.abs(omega) > np.pi / 2).all(axis=1)
    assert trans.n_cis == (~keep).sum()
    np.testing.assert_array_equal(trans.positions_nm, smoke_frames.positions_nm[keep])
    np.testing.assert_array_equal(trans.energy_kjmol, smoke_frames.energy_kjmol[keep])


@settings(max_examples=60, derandomize=True)
@given(n=st.integers(2, 3000), fraction=st.floats(0.01, 0.9), seed=st.integers(0, 100))
def test_a_split_has_every_frame_once(n: int, fraction: float, seed: int) -> None:
    try:
        split = split_blocks(n, fraction, seed)
    except UserInputError:
        assert round(fraction * min(n, BLOCKS)) >= min(n, BLOCKS)
        return
    both = np.concatenate([split.train, split.heldout])
    np.testing.assert_array_equal(np.sort(both), np.arange(n))
    assert len(split.train)
    assert len(split.heldout)
    assert (np.diff(split.heldout) > 0).all()
    if n >= 50 * BLOCKS:
        assert len(split.heldout) / n == pytest.approx(fraction, abs=0.6 / BLOCKS + 0.02)
        assert (np.diff(split.heldout) > 1).sum() < BLOCKS, "held out in whole blocks"


def test_the_split_follows_the_seed() -> None:
    first, same, other = (split_blocks(1000, 0.1, seed).heldout for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, same)
    assert not np.array_equal(first, other)


def test_one_frame_can_not_be_split() -> None:
    with pytest.raises(UserInputError, match=r"data.heldout_fraction: 1 frames leave none"):
        split_blocks(1, 0.5, 0)


def test_a_path_goes_before_a_bundled_name(in_tmp) -> None:
    assert find_config("ala2_smoke.yaml").parent.name == "configs"
    (in_tmp / "ala2_smoke.yaml").touch()
    assert find_config("ala2_smoke.yaml").resolve() == in_tmp / "ala2_smoke.yaml"
    assert find_config("elsewhere/ala2_smoke.yaml") is None


def test_sha256(in_tmp) -> None:
    (in_tmp / "abc").write_bytes(b"abc")
    assert sha256(in_tmp / "abc").startswith("ba7816bf8f01cfea414140de5dae2223")


@pytest.mark.parametrize(
    ("n", "words"),
    [(1, "found 1 frame, expected 10 at the least"), (9, r"9 frames.*--set data\.path=null")],
)
def test_too_few_frames_are_refused(n, words, alanine, smoke_frames) -> None:
    few = replace(smoke_frames, positions_nm=smoke_frames.positions_nm[:n])
    with pytest.raises(UserInputError, match=words):
        check_number(few, alanine, 300.0)


def test_few_frames_are_said_to_be_few(alanine, smoke_frames, caplog) -> None:
    check_number(replace(smoke_frames, positions_nm=smoke_frames.positions_nm[:300]), alanine, 300)
    assert not caplog.text
    check_number(replace(smoke_frames, positions_nm=smoke_frames.positions_nm[:50]), alanine, 300)
    assert "50 frames for 60 coordinates: these say where states are" in caplog.text
