"""Pages of the documentation that are made from other files: mkdocs calls these.

README.md is the first page, docs/tutorial.ipynb the tutorial with what its last run gave; the
READMEs of the data, CONTRIBUTING.md and CHANGELOG.md are taken as they are, the commands' help is
what `bgp4 COMMAND --help` says, and the configuration's keys are those of `bgp4.config`.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
TAKEN = {
    "README.md": "index.md",
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changelog.md",
    "data/README.md": "data/README.md",
    "data/models/README.md": "data/models/README.md",
}
NOTEBOOK = "docs/tutorial.ipynb"
KEYS = """\
# Configuration

This page lists every key of a config file.
An unknown key is refused, and the error names the closest valid key.
`--set KEY.SUB=VALUE` overrides a key on the command line.
A run folder contains its config with every default spelled out.
"""
WORDS = {"path": "file", "string": "text", "boolean": "true or false"}
SIGNS = {"exclusiveMinimum": ">", "minimum": "≥", "exclusiveMaximum": "<", "maximum": "≤"}
COMMANDS = (
    *("run", "init", "simulate", "train", "sample", "reweigh", "report", "analyse", "compare"),
    *("reproduce", "bench"),
)


def on_files(files: Any, config: Any) -> Any:
    """Add the pages that are made here."""
    from mkdocs.structure.files import File

    for page, text in pages():
        files.append(File.generated(config, page, content=text))
    return files


def on_page_markdown(markdown: str, **_: Any) -> str:
    """What lies beside docs/ in the repository lies in it on the site."""
    return markdown.replace("](../data/", "](data/").replace("tutorial.ipynb)", "tutorial.md)")


def pages() -> Iterator[tuple[str, str]]:
    """Each page's name and Markdown."""
    for source, page in TAKEN.items():
        text = (ROOT / source).read_text(encoding="utf-8")
        yield page, _moved(text)
    notebook = json.loads((ROOT / NOTEBOOK).read_text(encoding="utf-8"))
    yield "tutorial.md", "\n\n".join(part for c in notebook["cells"] for part in _cell(c))
    yield "reference/config.md", "\n".join(_keys())
    yield "reference/commands.md", "\n".join(_help())


def _moved(text: str) -> str:
    """README.md's links as those of the first page."""
    for old, new in {"docs/": "", "CONTRIBUTING.md": "contributing.md"}.items():
        text = text.replace(f"]({old}", f"]({new}")
    return text.replace("tutorial.ipynb)", "tutorial.md)").replace(
        "[CITATION.cff](CITATION.cff)", "`CITATION.cff`"
    )


def _cell(cell: dict[str, Any]) -> Iterator[str]:
    source = "".join(cell["source"])
    if cell["cell_type"] == "markdown":
        yield source
        return
    yield f"```python\n{source}\n```"
    for output in cell["outputs"]:
        data = output.get("data", {})
        if "image/png" in data:
            yield f"![output](data:image/png;base64,{''.join(data['image/png']).strip()})"
        elif text := "".join(output.get("text", data.get("text/plain", []))):
            yield f"```text\n{text.rstrip()}\n```"


def _keys() -> Iterator[str]:
    """Every key of a config, by section: its type and range, and its default."""
    from bgp4.config import Config

    schema = Config.model_json_schema()
    yield KEYS
    yield from _section(schema, schema["$defs"], "")


def _section(schema: dict[str, Any], named: dict[str, Any], prefix: str) -> Iterator[str]:
    """A table of a section's own keys, then each section within it."""
    within = {}
    for name, key in schema["properties"].items():
        for suffix, holder in (("", key), ("[]", key.get("items", {}))):  # one section, or a list
            if "$ref" in holder:
                within[name + suffix] = named[holder["$ref"].rpartition("/")[2]]
    yield "| key | value | default |\n|---|---|---|"
    for name, key in schema["properties"].items():
        if name not in within:
            default = json.dumps(key.get("default"))
            words = "required" if name in schema.get("required", ()) else f"`{default}`"
            yield f"| `{prefix}{name}` | {_values(key)} | {words} |"
    for name, section in within.items():
        yield f"\n## {prefix}{name}\n\n{section['description']}\n"
        yield from _section(section, named, f"{prefix}{name}.")


def _values(schema: dict[str, Any]) -> str:
    """What a key may hold, in words."""
    if "anyOf" in schema:
        return " or ".join(map(_values, schema["anyOf"]))
    if "enum" in schema:
        return ", ".join(f"`{value}`" for value in schema["enum"])
    if "$ref" in schema:
        return "sections"
    if schema["type"] == "array":
        items = schema.get("items")
        return f"list of {_values(items)}" if items else "list"
    kind = WORDS.get(schema.get("format", schema["type"]), schema["type"])
    bounds = [f"{sign} {schema[bound]:.12g}" for bound, sign in SIGNS.items() if bound in schema]
    return " ".join([kind, ", ".join(bounds)]).strip()


def _help() -> Iterator[str]:
    from typer.testing import CliRunner

    from bgp4.cli.main import app

    yield "# The command line\n"
    for command in COMMANDS:
        yield f"## bgp4 {command}\n\n```text"
        said = CliRunner().invoke(app, [command, "--help"], prog_name="bgp4")
        yield said.output.strip() + "\n```\n"
