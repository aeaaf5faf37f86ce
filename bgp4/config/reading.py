"""Configs read, written and compared; what is wrong with one is said in one line.

Unknown keys are refused with the nearest valid name. `load_config` reads a path or, where no such
file exists, a bundled config of that name.
"""

from __future__ import annotations

import difflib
import reprlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ValidationError

from bgp4.config.schema import Config
from bgp4.errors import UserInputError
from bgp4.storage.bundled import bundled_configs, find_config, find_data

__all__ = [
    "as_config",
    "differences",
    "dump_config",
    "existing_data",
    "load_config",
    "refuse_changes",
    "validate_config",
]


def load_config(name: str, overrides: Sequence[str] = (), option: str = "--config") -> Config:
    """Read a config file and apply `--set key.sub=value` overrides.

    Args:
        name: A path, or the name of a bundled config.
        overrides: Assignments such as `model.mixing=lu`; values are YAML.
        option: What named it, for the message.

    Raises:
        UserInputError: If there is no such file, it is not a YAML mapping, or a key or value is
            not valid.
    """
    path = find_config(name)
    if path is None:
        raise UserInputError(
            f"{option}: no such file: {name}; bundled configs: {', '.join(bundled_configs())}"
        )
    raw = _read_yaml(path)
    for override in overrides:
        _assign(raw, override)
    return validate_config(raw, source=str(path))


def as_config(config: str | Path | Mapping[str, Any] | Config) -> Config:
    """A config as Python code gives it: itself, its keys, or a file's or a bundled config's name.

    Raises:
        UserInputError: As `load_config`.
    """
    if isinstance(config, Config):
        return config
    if isinstance(config, Mapping):
        return validate_config(dict(config), source="config")
    return load_config(str(config))


def existing_data(name: str, key: str) -> Path:
    """The data file that a config key names, of the user's or bundled.

    Raises:
        UserInputError: If there is none.
    """
    path = find_data(name)
    if path is None:
        of_reference = key == "report.reference"
        option = f"{_config_of(name)} --reference" if of_reference else _that_makes(name)
        raise UserInputError(
            f"config key {key}: no such file: {name}; make one with `bgp4 simulate{option}`"
        )
    return path


def _that_makes(name: str) -> str:
    """The options for a bundled config's data: `ala4_data_1000k.yaml` makes ala4_1000k.h5, and
    `ala4.yaml` itself ala4_ladder.h5.
    """
    molecule, _, kind = Path(name).stem.rpartition("_")
    maker, of_ladder = f"{molecule}_data_{kind}.yaml", f"{molecule}.yaml"
    if kind == "ladder" and of_ladder in bundled_configs():
        return f" --config {of_ladder} -o {name}"
    return f" --config {maker}" if maker in bundled_configs() else ""


def _config_of(reference: str) -> str:
    """The option for the config whose reference it is by name: bundled, or in this folder."""
    maker = f"{Path(reference).stem.rpartition('_')[0]}.yaml"
    return f" --config {maker}" if maker in bundled_configs() or Path(maker).is_file() else ""


def validate_config(raw: dict[str, Any], source: str) -> Config:
    """Validate a plain mapping; `source` is named in the error."""
    try:
        return Config.model_validate(raw)
    except ValidationError as error:
        first = error.errors()[0]
        raise UserInputError(f"{source}: {_explain(first)}") from error


def dump_config(config: Config) -> str:
    """The config as YAML with every default spelled out; `load_config` reads it back."""
    return yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False)


def _read_yaml(path: Path) -> dict[str, Any]:
    try:
        raw = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        if _is_molecule(path):
            raise UserInputError(
                f"{path}: expected YAML; make a config for it with `bgp4 init {path}`"
            ) from error
        line = " ".join(str(error).split())
        raise UserInputError(f"{path}: expected YAML: {line}") from error
    except OSError as error:
        raise UserInputError(f"{path}: cannot be read: {error.strerror}") from error
    if not isinstance(raw, dict):
        advice = f"; make a config for it with `bgp4 init {path}`" if _is_molecule(path) else ""
        raise UserInputError(f"{path}: expected a mapping of config keys{advice}")
    return raw


def _is_molecule(path: Path) -> bool:
    endings = (".pdb", ".cif", ".mmcif", ".prmtop", ".parm7", ".sdf", ".mol", ".mol2")
    return path.suffix.lower() in endings


def _assign(raw: dict[str, Any], override: str) -> None:
    key, equals, text = override.partition("=")
    if not equals or not key:
        raise UserInputError(f"--set {override}: expected key.sub=value")
    *parents, last = key.strip().split(".")
    node = raw
    for parent in parents:
        child = node.setdefault(parent, {})
        if isinstance(child, str) and parent == "system":
            child = node[parent] = {"testsystem": child}
        if not isinstance(child, dict):
            raise UserInputError(f"--set {override}: {parent} holds a value, not further keys")
        node = child
    try:
        node[last] = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise UserInputError(f"--set {override}: the value is not YAML") from error


def refuse_changes(
    old: Config, new: Config, free: Sequence[str], what: str, otherwise: str
) -> None:
    """What is resumed keeps its config, but for sections and keys that change no result.

    Args:
        free: Those sections and keys.
        what: Is resumed, for the message.
        otherwise: What to do instead, for the message.

    Raises:
        UserInputError: If any other key differs.
    """
    for key, (was, now) in differences(old, new).items():
        if not {key, key.split(".")[0]} & set(free):
            raise UserInputError(
                f"{what}: cannot resume: config key {key} was {was!r} and is now {now!r}; "
                f"set it back or {otherwise}"
            )


def differences(old: BaseModel, new: BaseModel) -> dict[str, tuple[object, object]]:
    """Keys whose values differ between two configs, or two sections of one kind, with both."""
    return _differences(old.model_dump(mode="json"), new.model_dump(mode="json"))


def _differences(old: dict, new: dict, prefix: str = "") -> dict[str, tuple[object, object]]:
    found: dict[str, tuple[object, object]] = {}
    for key, was in old.items():
        if isinstance(was, dict) and isinstance(new[key], dict):
            found |= _differences(was, new[key], f"{prefix}{key}.")
        elif was != new[key]:
            found[prefix + key] = (was, new[key])
    return found


def _explain(error: Any) -> str:
    key = ".".join(str(part) for part in error["loc"]) or "config"
    if error["type"] == "extra_forbidden":
        return f"unknown config key {key}{_suggestion(key)}"
    message = error["msg"].removeprefix("Value error, ")
    found = "" if error["type"] == "missing" else f", found {_short(error['input'])}"
    return f"config key {key}: {message[0].lower()}{message[1:]}{found}"


def _short(value: Any) -> str:
    """A value's text, cut short: YAML aliases may nest without end."""
    text = SHORT.repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


SHORT = reprlib.Repr()
SHORT.maxstring = SHORT.maxother = SHORT.maxlong = 60


def _suggestion(key: str) -> str:
    valid = list(_all_keys(Config))
    near = difflib.get_close_matches(key, valid, n=1, cutoff=0.0)
    by_name = {k.rpartition(".")[2]: k for k in valid}
    same_name = difflib.get_close_matches(key.rpartition(".")[2], by_name, n=1, cutoff=0.75)
    best = by_name[same_name[0]] if same_name else near[0]
    return f"; did you mean {best}?"


def _all_keys(section: type[BaseModel], prefix: str = "") -> Iterator[str]:
    for name, field in section.model_fields.items():
        yield prefix + name
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            yield from _all_keys(field.annotation, f"{prefix}{name}.")
