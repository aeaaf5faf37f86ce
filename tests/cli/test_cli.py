"""The command line from outside: what each command leaves, and how it refuses wrong input."""

from __future__ import annotations

import csv
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import h5py
import mdtraj
import numpy as np
import pytest
from openmmtools.testsystems import TolueneVacuum

from bgp4 import __version__
from bgp4.cli.main import main
from bgp4.config import load_config
from bgp4.storage.bundled import bundled_configs, bundled_models
from bgp4.training.run import RunFolder
from tests.processes import children

SMOKE = ("--config", "ala2_smoke.yaml")


class Answer(NamedTuple):
    code: int
    out: str
    err: str


def bgp4(*args: str, cwd: Path) -> Answer:
    """The command in a process of its own."""
    done = subprocess.run(
        [sys.executable, "-m", "bgp4", *args],
        cwd=cwd,
        env=environment(),
        capture_output=True,
        text=True,
    )
    return Answer(done.returncode, done.stdout, done.stderr)


def environment() -> dict[str, str]:
    package = Path(__file__).parents[2]
    inherited = os.environ.get("PYTHONPATH")
    return {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, [str(package), inherited]))}


@pytest.fixture
def call(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., Answer]:
    """The command's entry point in this process, which is quicker."""
    monkeypatch.setenv("PYTHONWARNINGS", "ignore")

    def run(*args: str) -> Answer:
        monkeypatch.setattr(sys, "argv", ["bgp4", *map(str, args)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as stopped:
            main()
        return Answer(stopped.value.code or 0, *capsys.readouterr())

    return run


def tree(folder: Path) -> set[str]:
    return {str(p.relative_to(folder)) for p in folder.rglob("*")}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("work")


@pytest.fixture(scope="module")
def trained(folder: Path) -> Answer:
    return bgp4("train", *SMOKE, "--set", "seed=3", cwd=folder)


@pytest.fixture(scope="module")
def sampled(folder: Path, trained: Answer) -> Answer:
    return bgp4("sample", "runs/ala2_smoke", "-n", "150", cwd=folder)


@pytest.fixture(scope="module")
def reported(folder: Path, sampled: Answer) -> Answer:
    return bgp4("report", "runs/ala2_smoke", cwd=folder)


def test_train(folder: Path, trained: Answer) -> None:
    assert trained.code == 0, trained.err
    assert trained.out.startswith("wrote runs/ala2_smoke (best model with held-out log-likelihood")
    assert trained.out.endswith("; next: bgp4 report runs/ala2_smoke\n")
    assert "training 20/20" in trained.err
    run = RunFolder.open(folder / "runs" / "ala2_smoke")
    assert run.config().seed == 3
    assert len(run.history_path.read_text().splitlines()) == 5


def test_sample(folder: Path, sampled: Answer) -> None:
    assert sampled.code == 0, sampled.err
    assert sampled.out.startswith("wrote runs/ala2_smoke/samples.h5 (150 conformations, ESS")
    assert mdtraj.load(str(folder / "runs/ala2_smoke/samples.h5")).n_frames == 150


def test_report(folder: Path, reported: Answer) -> None:
    assert reported.code == 0, reported.err
    report = folder / "runs/ala2_smoke/report"
    assert "runs/ala2_smoke/report" in reported.out
    assert {"index.html", "metrics.json"} < {p.name for p in report.iterdir()}
    metrics = json.loads((report / "metrics.json").read_text())
    assert metrics["n_samples"] == 150
    assert metrics["n_energy_evaluations"] >= 320
    assert 0 < metrics["ess_raw"] <= metrics["ess_clipped"] <= 1
    named = {
        "log_likelihood_heldout", "ramachandran_tv", "ramachandran_kl_reweighted",
        "ramachandran_js", "delta_f_phi_kt", "delta_f_phi_error_kt", "mean_energy_shift_kt",
        "mean_energy_shift_kjmol", "low_energy_fraction", "wrong_chirality_fraction",
        "wall_time_s",
    }  # fmt: skip
    assert named <= metrics.keys()
    page = (report / "index.html").read_text()
    assert "default-src 'none'" in page, "which lets nothing be fetched"
    assert 'src="http' not in page


def test_report_of_two_runs(folder: Path, reported: Answer, call, monkeypatch) -> None:
    monkeypatch.chdir(folder)
    monkeypatch.setattr("bgp4.report.report.png_bytes", lambda figure: b"\x89PNG")
    shutil.copytree("runs/ala2_smoke", "runs/twin", dirs_exist_ok=True)
    (folder / "runs/twin/samples.h5").unlink()
    answer = call("report", "runs/ala2_smoke", "runs/twin", "-o", "both")
    assert answer.code == 0, answer.err
    assert "wrote both" in answer.out
    assert (folder / "both/index.html").is_file()
    drawn = mdtraj.load(str(folder / "runs/twin/samples.h5"))
    assert drawn.n_frames == 200, "report.samples, where the run has no samples yet"


def test_sample_without_weights(folder: Path, trained: Answer, call, monkeypatch) -> None:
    monkeypatch.chdir(folder)
    answer = call("sample", "runs/ala2_smoke", "-n", "7", "-o", "s.xtc", "--no-weights")
    assert answer.code == 0
    assert answer.out == "wrote s.xtc and s.weights.csv (7 conformations)\n"
    rows = list(csv.reader((folder / "s.weights.csv").open()))
    assert len(rows) == 8


def test_sample_without_bias(folder: Path, trained: Answer, call, monkeypatch) -> None:
    monkeypatch.chdir(folder)
    answer = call("sample", "runs/ala2_smoke", "-n", "30", "-o", "plain.h5", "--unbiased")
    assert answer.code == 0, answer.err
    assert answer.out.startswith("wrote plain.h5 (30 conformations, ESS ")
    for words in ("% of the proposals accepted", "distinct conformations", "inefficiency"):
        assert words in answer.out
    assert "pymbar" not in answer.err.lower()
    assert mdtraj.load("plain.h5").n_frames == 30


@pytest.mark.parametrize("options", [(), ("--unbiased",), ("-o", "s.pdb"), ("-o", "s.xtc")])
def test_a_temperature_without_overlap_leaves_what_was_there(
    in_tmp, call, smoke_run, options: tuple[str, ...]
) -> None:
    """Neither new files nor changed ones, run.json included."""
    shutil.copytree(smoke_run.path, in_tmp / "run")
    for name in ("run/samples.h5", "s.pdb", "s.xtc", "s.weights.csv"):
        (in_tmp / name).write_text("of before")  # samples: the weights are beside them
    before = {path: path.read_bytes() for path in in_tmp.rglob("*") if path.is_file()}
    answer = call("sample", "run", "-n", "40", "--temperature", "90", *options)
    assert answer.code == 2
    last = answer.err.splitlines()[-1]
    assert re.search(r"--temperature 90: the model does not overlap .*: ESS \d.*%, \d.* of ", last)
    after = {path: path.read_bytes() for path in in_tmp.rglob("*") if path.is_file()}
    assert before == after


def test_resume_of_a_finished_run(folder: Path, trained: Answer, call, monkeypatch) -> None:
    monkeypatch.chdir(folder)
    again = ("train", *SMOKE, "--resume", "--set")
    assert call(*again, "seed=3").code == 0
    assert call(*again, "seed=3", "--set", "energies.workers=2").code == 0
    other = call(*again, "seed=4")
    assert other.code == 2
    assert "config key seed was 3 and is now 4" in other.err


def test_simulate(in_tmp: Path, call) -> None:
    answer = bgp4("simulate", *SMOKE, "-o", "made.h5", cwd=in_tmp)
    assert answer.code == 0, answer.err
    assert answer.out == "wrote made.h5 (20 frames at 1000 K)\n"
    assert tree(in_tmp) == {"made.h5"}
    assert call("simulate", *SMOKE, "--set", "data.path=own.h5").out.endswith(
        "K); next: bgp4 train --config ala2_smoke.yaml\n"
    )
    answer = call("train", *SMOKE, "--set", "data.path=made.h5", "--set", "training.steps=2")
    assert answer.code == 0, "it trains on what it simulated: " + answer.err


def test_simulate_makes_a_ladder_to_learn_from_and_another_to_judge(in_tmp: Path, call) -> None:
    sets = [
        *("data.path=ladder.h5", "data.temperature_k=1100", "report.reference=cold.h5"),
        *("temperature_k=900", "simulate.temperatures_k=[900, 1000, 1100]"),
        *("simulate.all_temperatures=true", "training.steps=2"),
    ]
    command = ("simulate", *SMOKE, *(part for s in sets for part in ("--set", s)))
    out = call(*command).out
    assert "wrote ladder.h5 (20 frames at each of 3 temperatures, 900 to 1100 K, exchange" in out
    assert "wrote cold.h5 (20 frames at 900 K, exchange" in call(*command, "--reference").out
    ladder, cold = (mdtraj.load(str(in_tmp / name)).xyz for name in ("ladder.h5", "cold.h5"))
    assert ladder.shape == (60, 22, 3)
    assert not np.isclose(ladder[:20], cold).all((1, 2)).any()
    assert call("train", *command[1:], "--run", "a").code == 0
    wrong = call("train", *command[1:], "--run", "b", "--set", "data.temperature_k=1000")
    assert wrong.code == 2
    assert "data.temperature_k (1000) to be where the ladder" in wrong.err
    assert len(wrong.err.splitlines()) == 1


def test_simulate_makes_what_trains_and_what_judges(in_tmp: Path, call) -> None:
    """Plain MD at the data's temperature; or at the run's, by its ladder."""
    sets = [
        *("data.path=hot.h5", "data.temperature_k=1200", "report.reference=cold.h5"),
        *("temperature_k=900", "simulate.temperatures_k=[900, 950]"),
    ]
    command = ("simulate", *SMOKE, *(part for s in sets for part in ("--set", s)))
    assert "wrote hot.h5 (20 frames at 1200 K); next: bgp4 train" in call(*command).out
    out = call(*command, "--reference").out
    assert "wrote cold.h5 (20 frames at 900 K, exchange acceptance " in out
    assert "next: bgp4 report" in out
    for name, kelvin in (("hot.h5", 1200), ("cold.h5", 900)):
        with h5py.File(in_tmp / name) as file:
            assert set(np.asarray(file["temperature"])) == {kelvin}
    trained = call("train", *command[1:], "--set", "training.steps=2", "--run", "a")
    assert trained.out.endswith("; next: bgp4 report a\n")
    (in_tmp / "cold.h5").unlink()
    trained = call("train", *command[1:], "--set", "training.steps=2", "--run", "b")
    assert trained.out.endswith(
        "; next: bgp4 simulate --config ala2_smoke.yaml --reference, and bgp4 report b\n"
    )
    refused(
        call("simulate", *SMOKE, "--reference"),
        "report.reference: expected the file to write, found None",
    )


def test_a_reference_that_is_not_there(in_tmp: Path, smoke_run, call) -> None:
    shutil.copytree(smoke_run.path, in_tmp / "run")
    config = in_tmp / "run" / "config.yaml"
    config.write_text(config.read_text().replace("reference: null", "reference: cold.h5"))
    refused(
        call("report", "run"),
        "report.reference: no such file: cold.h5; make one with `bgp4 simulate --reference`",
    )


@pytest.mark.parametrize(("config", "beside"), [("ala4.yaml", False), ("my.yaml", True)])
def test_a_reference_is_made_by_the_config_of_its_name(
    in_tmp: Path, smoke_run, call, config: str, beside: bool
) -> None:
    """A bundled one, or one in this folder."""
    shutil.copytree(smoke_run.path, in_tmp / "run")
    copy = in_tmp / "run" / "config.yaml"
    reference = config.replace(".yaml", "_300k.h5")
    copy.write_text(copy.read_text().replace("reference: null", f"reference: {reference}"))
    if beside:
        shutil.copyfile(copy, in_tmp / config)
    refused(call("report", "run"), f"`bgp4 simulate --config {config} --reference`")


@pytest.mark.parametrize(
    "name", [name for name in bundled_configs() if "_data_" in name and "ala2" not in name]
)
def test_data_of_a_bundled_config_are_made_by_another(in_tmp: Path, call, name: str) -> None:
    """And that one writes the file that is missing."""
    molecule = name.partition("_data_")[0]
    training, making = load_config(f"{molecule}.yaml"), load_config(name)
    (path,) = making.data.paths
    command = ("train", "--config", f"{molecule}.yaml", "--set", f"data.path={path}")
    refused(call(*command), f"`bgp4 simulate --config {name}`")
    assert training.data.temperature_k in (None, making.temperature_k)


def test_a_bundled_configs_ladder_is_made_by_itself(in_tmp: Path, call) -> None:
    words = "`bgp4 simulate --config ala4.yaml -o ala4_ladder.h5`"
    refused(call("train", "--config", "ala4.yaml"), words)
    assert "ala4_ladder.h5" in load_config("ala4.yaml").data.paths
    assert "ala6_ladder.h5" in load_config("ala6.yaml").data.paths


def test_help_and_version(call, monkeypatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    answer = call("--help")
    assert answer.code == 0
    for command in ("train", "sample", "report", "simulate", "bench"):
        assert command in answer.out
        assert call(command, "--help").out.startswith("Usage:")
    assert "..." not in answer.out.partition("Commands:")[2], "no line is cut"
    assert call("--version").out == f"bgp4 {__version__}\n"


def test_without_arguments_it_says_how_to_begin(in_tmp, call) -> None:
    """By commands that there are, with configs and models that there are."""
    answer = call()
    assert answer.code == 0
    lines = [line.split() for line in answer.out.splitlines() if line.startswith("  bgp4 ")]
    assert [line[1] for line in lines] == [
        *("train", "sample", "report"),
        "sample",
        *("run", "init", "simulate", "train", "simulate", "report"),
    ]
    assert {"ala2.yaml"} <= set(bundled_configs())
    assert {"ala2"} <= set(bundled_models())
    assert "bgp4 --help" in answer.out
    assert answer.err == ""


def test_what_is_missing_is_said_before_anything_heavy_is_imported(in_tmp) -> None:
    (in_tmp / "my.yaml").write_text(
        "system: {pdb: my.pdb, forcefield: [amber14-all.xml]}\n"
        "temperature_k: 300\ndata: {path: my.h5}\n"
    )
    code = (
        "import sys; from bgp4.cli.main import app; from bgp4.errors import UserInputError\n"
        "try: app(sys.argv[1:])\n"
        "except UserInputError as error: print(error)\n"
        "print(*{'torch', 'mdtraj', 'openmm', 'scipy'} & set(sys.modules))"
    )
    for args, words in {
        ("train", "--config", "nothing.yaml"): "no such file: nothing.yaml",
        ("train", "--config", "my.yaml"): "no such file: my.h5; make one with `bgp4 simulate`",
        ("sample", "nowhere"): "not a run folder",
    }.items():
        command = [sys.executable, "-c", code, *args]
        done = subprocess.run(command, env=environment(), capture_output=True, text=True)
        refusal, heavy = done.stdout.splitlines()
        assert words in refusal
        assert heavy == ""


def test_figures_without_mnist(in_tmp, call, monkeypatch) -> None:
    """All of them are nine; the tenth alone is refused."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(in_tmp / "cache"))
    monkeypatch.setattr("bgp4.studies.paper.figure._make", lambda name, *_: f"{name}: holds")
    answer = call("reproduce", "all", "--quick")
    assert answer.code == 0
    first, *verdicts, last = answer.out.splitlines()
    assert first.startswith("fig10 is left out: MNIST: ")
    assert "--data DIR, or download them (11 MB) with --download" in first
    assert verdicts == [f"fig{i}: holds" for i in range(1, 10)]
    assert last == "9 of 10 figures are in figures"
    refused(call("reproduce", "fig10"), "MNIST", "--data DIR", "--download")
    assert tree(in_tmp) == set()


def test_a_name_of_a_run_is_found_under_runs_in_the_advice(in_tmp, call) -> None:
    (in_tmp / "runs" / "mine").mkdir(parents=True)
    refused(call("sample", "mine"), "did you mean runs/mine?")


def test_ctrl_c_stops_at_once_and_the_run_goes_on_later(tmp_path: Path) -> None:
    long = ("train", *SMOKE, "--run", "run", "--set", "training.steps=1000000")
    with subprocess.Popen(
        [sys.executable, "-m", "bgp4", *long, "--set", "energies.method=openmm"],
        cwd=tmp_path,
        env=environment(),
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        history = tmp_path / "run" / "history.csv"
        end = time.monotonic() + 60
        while time.monotonic() < end and process.poll() is None:
            if history.is_file() and len(history.read_text().splitlines()) > 2:
                break
            time.sleep(0.1)
        workers = children(process.pid)
        assert workers
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=20)
    assert process.returncode == 130
    assert "Traceback" not in err
    assert err.endswith("bgp4: interrupted\n")
    end = time.monotonic() + 10
    while any(Path(f"/proc/{pid}").exists() for pid in workers) and time.monotonic() < end:
        time.sleep(0.05)
    assert not any(Path(f"/proc/{pid}").exists() for pid in workers)
    RunFolder.open(tmp_path / "run")
    assert not list(tmp_path.rglob(".part.*"))


def refused(answer: Answer, *words: str) -> None:
    """Exit code 2 and one line on stderr that has the words."""
    assert answer.code == 2, answer
    (line,) = answer.err.splitlines()
    assert line.startswith("bgp4: error: ")
    assert "Traceback" not in line
    for word in words:
        assert word in line


def save(path: Path, trajectory: mdtraj.Trajectory) -> Path:
    trajectory.save(str(path))
    return path


@pytest.fixture
def trajectory(alanine, smoke_frames) -> mdtraj.Trajectory:
    return mdtraj.Trajectory(smoke_frames.positions_nm[:60].copy(), alanine.topology)


def truncated(folder: Path, trajectory: mdtraj.Trajectory, suffix: str) -> Path:
    path = save(folder / f"whole{suffix}", trajectory)
    cut = folder / f"cut{suffix}"
    cut.write_bytes(path.read_bytes()[: path.stat().st_size // 2 + 3])
    return cut


def other_molecule(folder: Path, trajectory: mdtraj.Trajectory) -> Path:
    made = TolueneVacuum(constraints=None)
    topology = mdtraj.Topology.from_openmm(made.topology)
    return save(folder / "toluene.h5", mdtraj.Trajectory(made.positions._value, topology))


def other_order(folder: Path, trajectory: mdtraj.Trajectory) -> Path:
    order = np.r_[0:4, 5, 4, 6:22]
    topology = trajectory.topology.subset(order)
    atoms = list(trajectory.topology.atoms)
    turned = mdtraj.Topology()
    residue = None
    for index in order:
        if residue is None or atoms[index].residue.name != residue.name:
            residue = turned.add_residue(atoms[index].residue.name, turned.add_chain())
        turned.add_atom(atoms[index].name, atoms[index].element, residue)
    assert topology.n_atoms == turned.n_atoms
    return save(folder / "order.h5", mdtraj.Trajectory(trajectory.xyz[:, order], turned))


def with_nan(folder: Path, trajectory: mdtraj.Trajectory) -> Path:
    trajectory.xyz[[7, 9], 3, 1] = np.nan
    return save(folder / "nan.h5", trajectory)


def in_angstrom(folder: Path, trajectory: mdtraj.Trajectory) -> Path:
    trajectory.xyz *= 10
    return save(folder / "angstrom.h5", trajectory)


def broken(folder: Path, trajectory: mdtraj.Trajectory) -> Path:
    trajectory.xyz[11, 21] += 1.0
    return save(folder / "broken.h5", trajectory)


def empty_file(folder: Path, trajectory: mdtraj.Trajectory) -> Path:
    (folder / "zero.h5").touch()
    return folder / "zero.h5"


def not_a_trajectory(folder: Path, trajectory: mdtraj.Trajectory) -> Path:
    with h5py.File(folder / "numbers.h5", "w") as file:
        file["numbers"] = np.arange(3)
    return folder / "numbers.h5"


def without_topology(folder: Path, trajectory: mdtraj.Trajectory) -> Path:
    with mdtraj.formats.HDF5TrajectoryFile(str(folder / "bare.h5"), "w") as file:
        file.write(coordinates=trajectory.xyz)
    return folder / "bare.h5"


def bad_energies(folder: Path, trajectory: mdtraj.Trajectory) -> Path:
    with mdtraj.formats.HDF5TrajectoryFile(str(folder / "energies.h5"), "w") as file:
        file.topology = trajectory.topology
        energies = np.where(np.arange(60) == 3, np.nan, 1.0).astype(np.float32)
        file.write(coordinates=trajectory.xyz, potentialEnergy=energies)
    return folder / "energies.h5"


DATA = {
    "missing": (lambda folder, _: folder / "nowhere.h5", ["data.path", "no such file"]),
    "truncated h5": (lambda f, t: truncated(f, t, ".h5"), ["cut.h5", "cannot be read"]),
    "truncated xtc": (lambda f, t: truncated(f, t, ".xtc"), ["cut.xtc"]),
    "truncated dcd": (
        lambda f, t: truncated(f, t, ".dcd"),
        ["cut.dcd", "60 frames", "found 29", "truncated"],
    ),
    "zero bytes": (empty_file, ["zero.h5", "cannot be read"]),
    "no trajectory": (not_a_trajectory, ["numbers.h5", "cannot be read"]),
    "no topology": (without_topology, ["bare.h5", "no topology"]),
    "unknown suffix": (lambda f, t: save(f / "a.h5", t).rename(f / "a.foo"), ["a.foo"]),
    "wrong atom count": (other_molecule, ["toluene.h5", "expected the 22 atoms", "found 15"]),
    "another order": (other_order, ["order.h5", "atom order differs", "atom 4", "atom_slice"]),
    "NaN": (with_nan, ["nan.h5", "frame 7", "not finite", "2 such frames"]),
    "angstrom": (in_angstrom, ["angstrom.h5", "Å", "expected nm", "times too long"]),
    "a broken frame": (broken, ["broken.h5", "frame 11", "nm long"]),
    "bad energies": (bad_energies, ["energies.h5", "potentialEnergy"]),
}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("make", "words"), DATA.values(), ids=DATA.keys())
def test_wrong_trajectories(make, words, in_tmp, trajectory, tmp_path_factory, call) -> None:
    path = make(tmp_path_factory.mktemp("data"), trajectory)
    refused(call("train", *SMOKE, "--set", f"data.path={path}"), *words)
    assert tree(in_tmp) == set()


def test_a_dcd_of_another_molecule(in_tmp, trajectory, tmp_path_factory, call) -> None:
    path = save(tmp_path_factory.mktemp("data") / "part.dcd", trajectory.atom_slice(range(20)))
    refused(call("train", *SMOKE, "--set", f"data.path={path}"), "part.dcd", "22 atoms")
    assert tree(in_tmp) == set()


SETS = {
    "training.stpes=5": ["unknown config key training.stpes", "training.steps"],
    "stpes=5": ["unknown config key stpes", "training.steps"],
    "temperature=300": ["temperature", "temperature_k"],
    "model.mixin=lu": ["model.mixing"],
    "model.mixing=glow": ["model.mixing", "'p4inv'", "glow"],
    "temperature_k=0": ["temperature_k", "greater than 0", "found 0"],
    "temperature_k=-300": ["temperature_k", "-300"],
    "temperature_k=.nan": ["temperature_k"],
    "training.steps=0": ["training.steps", "found 0"],
    "training.steps=many": ["training.steps", "many"],
    "training.steps": ["--set training.steps", "key.sub=value"],
    "seed.sub=1": ["--set seed.sub=1", "seed"],
    "training=[": ["--set", "YAML"],
    "system.constraints=HAngles": ["not bonded", "system.constraints to HBonds"],
    "system=WaterCluster": ["system"],
    "system=NoSuchMolecule": ["system", "NoSuchMolecule"],
    "energies.platform=Quantum": ["energies.platform", "Quantum", "Reference"],
    "data.heldout_fraction=1": ["data.heldout_fraction"],
    "data.path=null": ["data", "without path", "temperature_k"],
    "data={path: null, temperature_k: 0}": ["data.temperature_k", "found 0"],
}


@pytest.mark.parametrize(("assignment", "words"), SETS.items(), ids=SETS.keys())
def test_wrong_config_values(assignment, words, in_tmp, call) -> None:
    refused(call("train", *SMOKE, "--set", assignment), *words)
    assert tree(in_tmp) == set()


CONFIGS = {
    "zero bytes": ("", ["wrong.yaml", "mapping"]),
    "a list": ("- 1\n- 2\n", ["wrong.yaml", "mapping"]),
    "no YAML": ("a: [1,\nb: }", ["wrong.yaml", "YAML"]),
    "no system": ("temperature_k: 300\n", ["wrong.yaml", "system", "required"]),
    "two systems": (
        "temperature_k: 300\nsystem: {testsystem: A, pdb: b.pdb}\n",
        ["wrong.yaml", "exactly one of testsystem, prmtop, top, psf, pdb, sdf"],
    ),
    "no such pdb": (
        "temperature_k: 300\nsystem: {pdb: b.pdb, forcefield: [amber14-all.xml]}\n",
        ["system.pdb", "no such file", "b.pdb"],
    ),
    "binary": ("\0\1\2", ["wrong.yaml", "YAML"]),
    "a number as key": ("temperature_k: 300\nsystem: A\n1: 2\n", ["wrong.yaml"]),
}


@pytest.mark.parametrize(("text", "words"), CONFIGS.values(), ids=CONFIGS.keys())
def test_wrong_config_files(text, words, in_tmp, call) -> None:
    (in_tmp / "wrong.yaml").write_text(text)
    refused(call("train", "--config", "wrong.yaml"), *words)
    assert tree(in_tmp) == {"wrong.yaml"}


@pytest.mark.parametrize("text", ["ATOM      1  C   ACE A   1\n", "REMARK: x\n\tATOM [\n"])
def test_a_molecule_in_the_place_of_a_config(text, in_tmp, call) -> None:
    (in_tmp / "my.pdb").write_text(text)
    refused(call("train", "--config", "my.pdb"), "my.pdb: expected", "`bgp4 init my.pdb`")


def test_a_config_that_is_not_there(in_tmp, call) -> None:
    answer = call("train", "--config", "nothing.yaml")
    refused(answer, "no such file: nothing.yaml", "ala2.yaml", "ala2_smoke.yaml")
    refused(call("train", "--config", str(in_tmp)), "--config")


def test_run_folders(in_tmp, call, smoke_run) -> None:
    refused(call("train", *SMOKE, "--resume"), "runs/ala2_smoke", "bgp4 train")
    assert tree(in_tmp) == set()
    (in_tmp / "there").mkdir()
    refused(call("train", *SMOKE, "--run", "there"), "there", "exists", "--resume", "--run")
    refused(call("train", *SMOKE, "--run", "there", "--resume"), "there", "no config.yaml")
    for command in ("sample", "report"):
        refused(call(command, "there"), "there", "not a run folder")
        refused(call(command, "nowhere"), "nowhere", "not a run folder")
    assert tree(in_tmp) == {"there"}


def test_a_run_whose_checkpoint_is_cut(in_tmp, call, smoke_run) -> None:
    shutil.copytree(smoke_run.path, in_tmp / "run")
    checkpoint = in_tmp / "run" / "checkpoint.safetensors"
    checkpoint.write_bytes(checkpoint.read_bytes()[:5000])
    before = tree(in_tmp)
    refused(call("sample", "run"), "checkpoint.safetensors", "not a readable checkpoint")
    refused(call("train", *SMOKE, "--run", "run", "--resume"), "checkpoint.safetensors")
    assert tree(in_tmp) == before


def test_outputs(in_tmp, call, smoke_run) -> None:
    run = str(smoke_run.path)
    refused(call("sample", run, "-o", "s.txt"), "s.txt", ".h5, .pdb, .cif, .dcd, .xtc, .nc")
    refused(call("sample", run, "-o", "s"), "no suffix")
    refused(call("sample", run, "-o", "no/s.h5"), "no such folder")
    refused(call("sample", run, "--temperature", "0"), "--temperature", "above 0")
    refused(call("sample", run, "--temperature", "nan"), "--temperature")
    refused(call("sample", run, "--unbiased", "--no-weights"), "--unbiased", "--no-weights")
    refused(call("sample", run, "--check-energies", "--no-weights"), "--check-energies")
    refused(call("sample", run, "--temperature=400", "--no-weights"), "--temperature", "energies")
    refused(call("simulate", *SMOKE, "-o", "s.pdb"), "s.pdb", ".h5")
    refused(call("simulate", *SMOKE, "-o", "no/s.h5"), "no such folder")
    refused(call("bench", "everything"), "linear", "energy", "everything")
    refused(call("bench", "linear", "-o", "no/s.json"), "no such folder")
    refused(call("bench", "linear", "--device", "gpu"), "--device", "auto, cpu or cuda", "gpu")
    refused(call("simulate", "--config", "ala2_smoke.yaml", "--device", "gpu"), "--device", "gpu")
    assert tree(in_tmp) == set()
    for name in ("md.h5", "my.pdb", "md.xtc", "md.nc", "my.cif"):
        (in_tmp / name).write_text("not samples")
        refused(call("sample", run, "-o", name), name, "the file exists", "not a bgp4 sample file")
        assert (in_tmp / name).read_text() == "not samples"
        (in_tmp / name).unlink()
    (in_tmp / "there.h5").touch()
    refused(call("simulate", *SMOKE, "-o", "there.h5"), "there.h5", "exists")
    assert (in_tmp / "there.h5").stat().st_size == 0


@pytest.mark.parametrize("args", [("-n", "0"), ("--seed", "-1"), ("--nonsense",)])
def test_wrong_options(in_tmp, call, smoke_run, args) -> None:
    answer = call("sample", str(smoke_run.path), *args)
    assert answer.code == 2
    assert args[0] in answer.err
    assert tree(in_tmp) == set()


def test_devices(in_tmp, call) -> None:
    import torch

    refused(call("train", *SMOKE, "--device", "tpu"), "--device", "auto, cpu or cuda", "tpu")
    if not torch.cuda.is_available():
        refused(call("train", *SMOKE, "--device", "cuda"), "--device", "cuda")
    assert tree(in_tmp) == set()


def test_simulations(in_tmp, call) -> None:
    def simulate(*sets: str) -> Answer:
        return call("simulate", *SMOKE, *(part for s in sets for part in ("--set", s)))

    refused(simulate("simulate.platform=Quantum"), "Quantum", "Reference")
    refused(simulate("simulate.engine=gromacs"), "simulate.engine", "gromacs")
    refused(call("simulate", *SMOKE, "--engine", "gromacs"), "simulate.engine", "gromacs")
    refused(simulate("simulate.temperatures_k=[400, 300]"), "ascending")
    refused(simulate("simulate.temperatures_k=[300, 400]"), "temperature_k", "1000")
    assert tree(in_tmp) == set()


def test_samples_that_no_report_can_be_made_of(in_tmp, call, smoke_run, monkeypatch) -> None:
    monkeypatch.setattr("bgp4.sampling.draw.MIN_EFFECTIVE_SAMPLES", 0)
    shutil.copytree(smoke_run.path, in_tmp / "run")
    for option, words in {
        "--no-weights": ["expected weights, found samples without"],
        "--temperature=900": ["expected weights at 1000 K, found 900 K"],
        "--unbiased": ["expected the flow's own samples, found an unbiased chain"],
    }.items():
        assert call("sample", "run", "-n", "20", option).code == 0
        refused(call("report", "run"), "samples.h5", "bgp4 sample run", *words)
    assert not (in_tmp / "run" / "report").exists()


def test_tensorboard_where_it_is_missing_is_wrong_input(tmp_path, monkeypatch) -> None:
    from bgp4.errors import UserInputError
    from bgp4.training import train as training

    monkeypatch.setattr(training, "find_spec", lambda name: None)
    config = load_config("ala2_smoke.yaml", ["training.tensorboard=true"])
    with pytest.raises(UserInputError, match="tensorboard"):
        training.train(config, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_small_effective_sample_size_is_said(
    in_tmp, call, smoke_run, caplog, monkeypatch
) -> None:
    draw = ("sample", str(smoke_run.path), "-n", "50", "-o", "s.h5")
    monkeypatch.setattr("bgp4.cli.sample.SMALL_ESS", 0.0)
    assert call(*draw).code == 0
    assert "ESS below" not in caplog.text
    monkeypatch.setattr("bgp4.cli.sample.SMALL_ESS", 1.1)
    assert call(*draw).code == 0
    assert "a few conformations" in caplog.text


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["run", "--effectiv", "5"], "No such option: --effectiv"),
        (["frobnicate"], "No such command 'frobnicate'"),
        (["sample", "ala2", "-n", "many"], "Invalid value for '-n'"),
        (["train", "--config"], "'--config' requires an argument"),
    ],
)
def test_a_command_line_that_can_not_be_read(arguments, words) -> None:
    """One line, which names the option and where its help is."""
    ended = subprocess.run(
        [sys.executable, "-m", "bgp4", *arguments], capture_output=True, text=True, check=False
    )
    assert ended.returncode == 2
    (line,) = ended.stderr.splitlines()
    assert line.startswith("bgp4: error: ")
    assert words in line
    assert line.endswith("--help`")
