"""What a run begins with, and how its time is spent."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from bgp4.config import Config, differences, load_config
from bgp4.energies.reference import relaxed
from bgp4.errors import UserInputError
from bgp4.molecule.molecule import Molecule
from bgp4.pipeline.cost import duration
from bgp4.pipeline.description import summary
from bgp4.pipeline.folder import EnsembleFolder, Status
from bgp4.pipeline.propose import measured, proposed
from bgp4.pipeline.request import RunRequest
from bgp4.storage.bundled import find_data, find_model
from bgp4.training.begin import default_run
from bgp4.training.run import RunFolder

__all__ = ["plan", "starting_config"]

ROOM = 2.0
"""Times what the plan takes: the default budget, with time for a second training."""

FEWEST_STEPS = 200
"""A training has so many, however short the time."""

TRAINING_SHARE = 0.7
"""Of the time that simulations leave, for the first training."""

Say = Callable[[str], None]


def starting_config(
    request: RunRequest, folder: EnsembleFolder, say: Say
) -> tuple[Config, RunFolder | None]:
    """The config, proposed or given, with a reference to judge by; and a run that is there already.

    Raises:
        UserInputError: If the molecule, config or run folder won't do, or the folder is of another
            temperature.
    """
    source, run = Path(request.source or ""), None
    is_run = request.source is not None and (source / "config.yaml").is_file()
    if find_model(str(source)) is not None and not is_run:
        raise UserInputError(
            f"run {source}: a bundled model is trained already; draw from it by `bgp4 sample "
            f"{source}`, or train it anew by `bgp4 run {source}.yaml`"
        )
    if is_run:
        run = RunFolder.open(source)
        config = run.config()
    elif source.suffix.lower() in (".yaml", ".yml"):
        config = _given(request)
        run = _trained(config, default_run(str(source)), say)
    else:
        config = _proposed(request, folder, say)
    kelvin = request.temperature_k or config.temperature_k
    there_k = folder.status.temperature_k or config.temperature_k
    if kelvin != there_k:
        raise UserInputError(
            f"--temperature {kelvin:g}: {folder.path} is at {there_k:g} K; name another folder by "
            "-o"
        )
    return _with_reference(config, folder.path / request.molecule.stem), run


def _given(request: RunRequest) -> Config:
    """A user's config; at another temperature without what belongs to its own."""
    config = load_config(str(request.source), option="bgp4 run")
    kelvin = request.temperature_k
    if kelvin in (None, config.temperature_k):
        return config
    ladder = ("simulate.all_temperatures=false", "simulate.temperatures_k=[]")
    changes = (f"temperature_k={kelvin:g}", "report.reference=null", *ladder)
    return load_config(str(request.source), changes, option="bgp4 run")


def _trained(config: Config, run: Path, say: Say) -> RunFolder | None:
    """The run that `bgp4 train` has made of the same config, if it did."""
    found = RunFolder(run)
    if not (found.config_path.is_file() and found.checkpoint_path.is_file()):
        return None
    changed = [k for k in differences(found.config(), config) if k.split(".")[0] != "report"]
    if changed:
        say(f"{run} is of another config ({changed[0]} differs): a new flow is trained")
        return None
    return found


def _proposed(request: RunRequest, folder: EnsembleFolder, say: Say) -> Config:
    """That of the folder, or a new one for the molecule."""
    output = folder.path / f"{request.molecule.stem}.yaml"
    if output.is_file():
        return load_config(str(output))
    with proposed(request.molecule, output, folder.training(1).path) as proposal:
        for line in summary(proposal.molecule):
            say(line)
    folder.status.results["propose"] = str(output)
    say(f"[propose] {output}")
    return proposal.config


def _with_reference(config: Config, stem: Path) -> Config:
    """With the name of frames to judge by, that are not those to learn from."""
    name = config.report.reference
    if name is not None and name not in config.data.paths:
        return config
    name = f"{stem}_{config.temperature_k:g}k.h5"
    report = config.report.model_copy(update={"reference": name})
    return config.model_copy(update={"report": report})


def plan(
    config: Config,
    molecule: Molecule,
    status: Status,
    request: RunRequest,
    begun: bool,
) -> tuple[Config, str]:
    """Measure how long the stages take here, once; set the budget; fit the training into it.

    Args:
        begun: Whether a training has begun, whose steps stay as they are.

    Returns:
        The config with its steps, and the plan in words.
    """
    if not status.plan_s:
        status.plan_s = _measured(config, molecule)
    needed = sum(status.plan_s.values())
    status.hours = request.hours or status.hours or round(ROOM * needed / 3600 + 0.01, 2)
    status.method = request.method
    budget = f"budget {duration(3600 * status.hours)}"
    if request.method == "md":
        return config, f"MD until it is worth {request.effective:,} independent frames; {budget}"
    if status.steps is None or not begun:
        status.steps = _steps(config, status)
    parts = ", ".join(f"{name} {duration(s)}" for name, s in status.plan_s.items() if s)
    fewer = (
        f"; {status.steps:,} training steps instead of {config.training.steps:,}, which the budget "
        "has no room for"
        if status.steps < config.training.steps
        else ""
    )
    beyond = " (too little for these)" if needed > 3600 * status.hours and not begun else ""
    words = f"about {parts}; {budget}{beyond}{fewer}"
    steps = min(status.steps, config.training.steps)
    training = config.training.model_copy(update={"steps": steps})
    return config.model_copy(update={"training": training}), words


def _measured(config: Config, molecule: Molecule) -> dict[str, float]:
    """Seconds of each stage that is left to do."""
    cost = measured(config, molecule, relaxed(molecule))
    there = [name for name in config.data.paths if find_data(name) is not None]
    reference = find_data(str(config.report.reference))
    return {
        "simulate": 0.0 if there or not config.data.paths else round(cost.simulate_s, 1),
        "train": round(cost.train_s, 1),
        "reference": 0.0 if reference else round(cost.reference_s, 1),
    }


def _steps(config: Config, status: Status) -> int:
    """As many of the config's as the budget has room for."""
    others = status.plan_s["simulate"] + status.plan_s["reference"]
    share = TRAINING_SHARE * (3600 * (status.hours or 0.0) - others) / status.plan_s["train"]
    steps = config.training.steps
    return min(steps, max(int(share * steps), min(FEWEST_STEPS, steps)))
