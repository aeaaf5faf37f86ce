"""OpenMM's pool: energies and forces of a plain Context, rejections named, no process left."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from bgp4.energies.openmm import OpenMMEnergy
from bgp4.errors import UserInputError
from bgp4.statistics.samples import REJECTED_ENERGY_KT
from bgp4.units import kt_in_kjmol

KELVIN = 1000.0


@pytest.fixture(scope="module")
def energy(alanine):
    with OpenMMEnergy(alanine, KELVIN, "Reference", workers=2) as energy:
        yield energy


@pytest.fixture
def positions(smoke_frames) -> np.ndarray:
    return smoke_frames.positions_nm[::100].astype(np.float64)


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return Path(f"/proc/{pid}/stat").read_text().split()[2] != "Z"


def pids(energy: OpenMMEnergy) -> list[int]:
    return [worker.process.pid for worker in energy._pool.children]


def gone(processes: list[int], within_s: float = 10) -> bool:
    end = time.monotonic() + within_s
    while any(map(alive, processes)) and time.monotonic() < end:
        time.sleep(0.05)
    return not any(map(alive, processes))


def test_against_a_plain_context(energy, positions, alanine, plain_openmm) -> None:
    expected, forces = plain_openmm(alanine.system_xml, positions)
    result = energy.evaluate(positions)
    np.testing.assert_allclose(result.energy_kjmol, expected, rtol=0, atol=1e-9)
    np.testing.assert_allclose(result.forces_kjmol_nm, forces, rtol=0, atol=1e-7)
    assert result.rejected == {}
    u = energy(torch.as_tensor(positions))
    np.testing.assert_allclose(u.numpy(), expected / (8.31446261815324e-3 * KELVIN), rtol=1e-12)


def test_the_cpu_platform_agrees(positions, alanine, plain_openmm) -> None:
    expected, _ = plain_openmm(alanine.system_xml, positions)
    with OpenMMEnergy(alanine, KELVIN, "CPU", workers=1) as cpu:
        np.testing.assert_allclose(cpu.evaluate(positions).energy_kjmol, expected, atol=2e-3)


def test_gradient_is_minus_the_forces_and_a_finite_difference(energy, positions) -> None:
    x = torch.as_tensor(positions).requires_grad_()
    weights = torch.arange(1.0, len(x) + 1).double()
    (gradient,) = torch.autograd.grad((weights * energy(x)).sum(), x)
    forces = energy.evaluate(positions).forces_kjmol_nm / kt_in_kjmol(KELVIN)
    torch.testing.assert_close(gradient, -weights[:, None, None] * torch.as_tensor(forces))
    direction = np.random.default_rng(0).normal(size=positions.shape)
    step = 1e-6
    ends = [energy(torch.as_tensor(positions + s * step * direction)) for s in (1, -1)]
    slope = (weights * (ends[0] - ends[1])).sum().item() / (2 * step)
    assert slope == pytest.approx((gradient.numpy() * direction).sum(), rel=1e-6)


def test_float32_positions_give_float32_energies(energy, positions) -> None:
    u = energy(torch.as_tensor(positions).float())
    assert u.dtype == torch.float32
    torch.testing.assert_close(u.double(), energy(torch.as_tensor(positions)), rtol=0, atol=1e-3)


def test_batches_of_any_size(energy, positions, alanine) -> None:
    whole = energy.evaluate(positions)
    one = energy.evaluate(positions[:1])
    none = energy.evaluate(positions[:0])
    assert one.energy_kjmol == whole.energy_kjmol[:1]
    assert none.energy_kjmol.shape == (0,)
    assert none.forces_kjmol_nm.shape == (0, alanine.n_atoms, 3)
    with pytest.raises(ValueError, match=r"expected positions \(batch, 22, 3\), got \(3, 21, 3\)"):
        energy.evaluate(positions[:3, 1:])


def test_rejected_conformations_are_counted_named_and_never_zero(energy, positions, caplog) -> None:
    bad = positions[:5].copy()
    bad[1, 3, 0] = np.nan
    bad[2, :] = 0.0  # all atoms in one place
    bad[4, 7] = np.inf
    evaluations, rejected = energy.n_evaluations, energy.n_rejected
    with caplog.at_level("WARNING", logger="bgp4"):
        x = torch.as_tensor(bad).requires_grad_()
        u = energy(x)
        u.sum().backward()
    assert energy.n_evaluations - evaluations == 5
    assert energy.n_rejected - rejected == 3
    assert u[[1, 2, 4]].tolist() == [REJECTED_ENERGY_KT] * 3
    assert np.exp(-REJECTED_ENERGY_KT) == 0
    assert (x.grad[[1, 2, 4]] == 0).all()
    good = energy(torch.as_tensor(positions[:5]))
    assert torch.equal(u[[0, 3]].detach(), good[[0, 3]])
    assert "rejected 3 of 5 conformations (first: index 1: a coordinate is not" in caplog.text
    result = energy.evaluate(bad)
    assert set(result.rejected) == {1, 2, 4}
    assert np.isnan(result.energy_kjmol[[1, 2, 4]]).all()


def test_overlapping_atoms_are_not_the_best_of_the_batch(energy, positions) -> None:
    clash = positions[:2].copy()
    clash[1, 0] = clash[1, 21] + 1e-7
    u = energy(torch.as_tensor(clash))
    assert torch.isfinite(u).all()
    assert u[1] > 1e4


def test_workers_end_with_the_block(alanine) -> None:
    with OpenMMEnergy(alanine, KELVIN, "Reference", workers=1) as energy:
        processes = pids(energy)
        assert energy.n_workers == 1
        assert all(map(alive, processes))
    assert gone(processes)
    energy.close()
    with pytest.raises(RuntimeError, match="closed"):
        energy.evaluate(np.zeros((1, 22, 3)))


@pytest.mark.parametrize("error", [ZeroDivisionError, KeyboardInterrupt])
def test_workers_end_with_an_exception(alanine, error) -> None:
    processes = []

    def work() -> None:
        with OpenMMEnergy(alanine, KELVIN, "Reference", workers=1) as energy:
            processes.extend(pids(energy))
            raise error

    with pytest.raises(error):
        work()
    assert gone(processes)


def test_workers_end_when_nobody_holds_the_energy(alanine) -> None:
    energy = OpenMMEnergy(alanine, KELVIN, "Reference", workers=1)
    processes = pids(energy)
    del energy
    assert gone(processes)


def test_an_interrupt_while_waiting_leaves_no_stale_answers(alanine, monkeypatch) -> None:
    with OpenMMEnergy(alanine, KELVIN, "Reference", workers=1) as energy:
        processes = pids(energy)

        def interrupted() -> None:
            raise KeyboardInterrupt

        monkeypatch.setattr(energy._pool.children[0].pipe, "recv", interrupted)
        with pytest.raises(KeyboardInterrupt):
            energy.evaluate(np.zeros((1, 22, 3)))
        with pytest.raises(RuntimeError, match="closed"):
            energy.evaluate(np.zeros((1, 22, 3)))
    assert gone(processes)


def test_a_dead_worker_is_replaced(alanine, positions, caplog) -> None:
    with OpenMMEnergy(alanine, KELVIN, "Reference", workers=1) as energy:
        expected = energy.evaluate(positions)
        (pid,) = pids(energy)
        os.kill(pid, signal.SIGKILL)
        with caplog.at_level("WARNING", logger="bgp4"):
            result = energy.evaluate(positions)
    np.testing.assert_array_equal(result.energy_kjmol, expected.energy_kjmol)
    assert f"worker 0 (process {pid}) died (SIGKILL)" in caplog.text
    assert (energy.n_replaced_workers, energy.n_rejected) == (1, 0)


def test_an_unknown_platform_is_named_and_leaves_no_process(alanine) -> None:
    before = set(multiprocessing.active_children())
    with pytest.raises(UserInputError, match=r"energies.platform: unknown .*'Quantum'.*Reference"):
        OpenMMEnergy(alanine, KELVIN, "Quantum", workers=2)
    assert set(multiprocessing.active_children()) <= before


def test_no_orphans_when_the_parent_is_killed(alanine, tmp_path) -> None:
    (tmp_path / "system.xml").write_text(alanine.system_xml)
    script = tmp_path / "parent.py"
    script.write_text(
        textwrap.dedent("""
        import time
        from types import SimpleNamespace
        from bgp4.energies.openmm import OpenMMEnergy
        if __name__ == "__main__":
            molecule = SimpleNamespace(n_atoms=22, system_xml=open("system.xml").read())
            energy = OpenMMEnergy(molecule, 300.0, "Reference", workers=2)
            print(*(w.process.pid for w in energy._pool.children), flush=True)
            time.sleep(60)
        """)
    )
    with subprocess.Popen(
        [sys.executable, str(script)],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as parent:
        processes = [int(pid) for pid in parent.stdout.readline().split()]
        assert len(processes) == 2
        parent.kill()
    assert gone(processes)
