"""Make a bundled model of a trained run: bundle_model.py RUN NAME [FOLDER].

FOLDER/NAME, by default data/models/NAME, gets what sampling and reports need, whole or not at all.
"""

import shutil
import sys
from pathlib import Path
from typing import Any

from bgp4.config import Config
from bgp4.errors import UserInputError
from bgp4.storage.bundled import models_folder
from bgp4.storage.files import atomic_write_text
from bgp4.training.checkpoint import save_best_alone
from bgp4.training.run import RunFolder

MAX_BYTES = 20_000_000


def bundle(run: RunFolder, name: str, folder: Path) -> Path:
    """The new model's path.

    Raises:
        UserInputError: If it exists, is too large, or would not work from any folder.
    """
    _check_config(run.config())
    target, part = folder / name, folder / f".part.{name}"
    if target.exists():
        raise UserInputError(f"{target}: exists; remove it or choose another name")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    try:
        _fill(RunFolder(part), run)
        _check_size(part)
        part.rename(target)
    finally:
        shutil.rmtree(part, ignore_errors=True)
    return target


def _fill(made: RunFolder, run: RunFolder) -> None:
    shutil.copyfile(run.config_path, made.config_path)
    atomic_write_text(made.path / "molecule.json", run.molecule().to_json())
    save_best_alone(run.checkpoint_path, made.checkpoint_path)
    made.update_info(**_without_paths(run.info()))
    for optional in (run.history_path, run.report_path / "metrics.json"):
        if optional.is_file():
            shutil.copyfile(optional, made.path / optional.name)


def _without_paths(info: dict[str, Any]) -> dict[str, Any]:
    """run.json, with the data file's name instead of where it was on the machine of training."""
    if "path" in info.get("data", {}):
        info["data"]["path"] = [Path(path).name for path in info["data"]["path"]]
    return info


def _check_config(config: Config) -> None:
    if config.model.precision != "float32":
        raise UserInputError("model.precision: expected a model trained in float32")
    for path in config.data.paths:
        if Path(path).name != path:
            raise UserInputError(f"data.path: expected a bundled file's name, found {path}")
    for file in config.system.files:
        if file.name != str(file) and not str(file).startswith("openmmtools:"):
            raise UserInputError(f"system: expected a bundled file's name, found {file}")


def _check_size(folder: Path) -> None:
    size = sum(path.stat().st_size for path in folder.iterdir())
    if size > MAX_BYTES:
        raise UserInputError(f"the model has {size / 1e6:.1f} MB, more than {MAX_BYTES / 1e6:g}")


def main(arguments: list[str]) -> None:
    run, name, *folder = arguments
    where = Path(folder[0]) if folder else models_folder()
    try:
        print(f"wrote {bundle(RunFolder.open(Path(run)), name, where)}")
    except UserInputError as error:
        raise SystemExit(f"bundle_model: {error}") from None


if __name__ == "__main__":
    main(sys.argv[1:])
