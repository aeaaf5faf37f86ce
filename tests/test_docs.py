"""The documentation: what it links to is there, what it lists is all, and the site is built."""

from __future__ import annotations

import json
import re
from pathlib import Path
from types import ModuleType

import pytest
import yaml

import bgp4
from bgp4.cli.main import app
from bgp4.statistics.verdicts import Verdict
from bgp4.storage.bundled import models_folder
from tests.conftest import script_module
from tests.for_each import for_each

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
TEXTS = [ROOT / "README.md", *sorted(DOCS.rglob("*.md"))]
MADE = "reference/config.md"
"""A page of the site that texts link to, and no file."""

COMMANDS = {command.name or command.callback.__name__ for command in app.registered_commands}


@pytest.fixture(scope="module")
def hooks() -> ModuleType:
    return script_module("docs_hooks")


@for_each("path", TEXTS)
def test_links_lead_somewhere(path: Path) -> None:
    text = re.sub(r"`[^`\n]*`", "", path.read_text(encoding="utf-8"))  # a SMILES has ](O), too
    targets = re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", text)
    made = {path.parent / MADE} if path.parent == DOCS else set()
    assert all((path.parent / t).exists() or path.parent / t in made for t in targets)


@for_each("path", TEXTS)
def test_its_commands_are_ours(path: Path) -> None:
    named = re.findall(r"^ *(?:\w+=\S+ )?bgp4 +(\w+)", path.read_text(encoding="utf-8"), re.M)
    assert set(named) <= COMMANDS


def test_the_readme_is_a_page() -> None:
    lines = (ROOT / "README.md").read_text(encoding="utf-8").splitlines()
    assert len(lines) < 100
    assert sum(line.startswith("![") for line in lines) == 1


NUMBER = r"(?:\d[\d.,]*|two|three|four|five|six|eight|ten|twenty|half an?|quarters? of an)"
DURATION = re.compile(rf"\b{NUMBER} ?(?:(?:CPU |core-)?(?:second|minute|hour)s?|s of CPU|ms)\b")
ELSEWHERE = [
    *(path for path in TEXTS if path.name != "results.md"),
    *(DOCS / "tutorial.ipynb", ROOT / "data" / "README.md", ROOT / "bgp4" / "cli/main.py"),
    *sorted((ROOT / "configs").glob("*.yaml")),
]
"""What may say how long something takes in words alone."""


@for_each("path", ELSEWHERE)
def test_how_long_it_takes_stands_in_the_results_alone(path: Path) -> None:
    """There beside its command; any other place would be of another machine or another version."""
    assert not DURATION.findall(path.read_text(encoding="utf-8"))


def test_the_bundled_models_ess_is_its_reports() -> None:
    texts = "".join(path.read_text(encoding="utf-8") for path in TEXTS)
    told = re.findall(r"bgp4 sample (\w+) .*ESS (\d+) %", texts)
    assert told
    for name, percent in told:
        metrics = json.loads((models_folder() / name / "metrics.json").read_text())
        assert int(percent) == round(100 * metrics["ess_raw"])


def test_decimals_of_trust_are_those_of_the_results() -> None:
    """Or of the tutorial, whose output is a program's too."""
    sources = "".join(
        (DOCS / name).read_text(encoding="utf-8") for name in ("results.md", "tutorial.ipynb")
    )
    trust = (DOCS / "trust.md").read_text(encoding="utf-8")
    told = set(re.findall(r"(?<![\w.])-?\d+\.\d+(?: ± \d+\.\d+)?(?![\w.])", trust))
    assert not {number for number in told if number not in sources}


def test_every_verdict_is_explained() -> None:
    table = (DOCS / "trust.md").read_text(encoding="utf-8")
    assert all(f"| {verdict} |" in table for verdict in Verdict)


def test_numbers_of_trust_are_those_of_the_results() -> None:
    """Rows of its table with two runs' numbers."""
    results = (DOCS / "results.md").read_text(encoding="utf-8")
    trust = (DOCS / "trust.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (.*?) \| (\d[^|]*) \| (\d[^|]*) \|$", trust, re.M)
    assert len(rows) == 4
    for name, straight, annealed in rows:
        found = re.findall(rf"^\| {re.escape(name)} \|.*$", results, re.M)
        assert any(annealed in line for line in found), name
        assert any(straight in line for line in found), name


def test_the_citation(hooks) -> None:
    cited = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert cited["version"] == bgp4.__version__
    assert cited["license"] == "MIT"
    assert cited["authors"] == [{"name": "bgp4 developers"}]
    (paper,) = cited["references"]
    assert paper["title"] in (ROOT / "README.md").read_text().replace("\n", " ")
    assert {"cff-version", "message", "title", "type"} <= set(cited)


def test_made_pages(hooks) -> None:
    made = dict(hooks.pages())
    assert set(hooks.COMMANDS) == COMMANDS
    assert "](docs/" not in made["index.md"]
    assert made["tutorial.md"].count("```python") > 5
    assert "data:image/png;base64," in made["tutorial.md"]
    assert "--resume" in made["reference/commands.md"]
    keys = made["reference/config.md"]
    for key, value in {
        "training.learning_rate": "number > 0 | `0.001`",
        "model.mixing": '`p4inv`, `lu`, `permutation`, `swap` | `"p4inv"`',
        "training.threads": "integer ≥ 1 or null | `1`",
        "training.optimizer.hidden": '`muon`, `adam` | `"muon"`',
        "energies.workers": "integer ≥ 1 or null | `null`",
        "data.path": 'text or list of text or null | `"ala2_300k.h5"`',
        "model.bins": "integer ≥ 2, ≤ 64 | `8`",
    }.items():
        assert f"| `{key}` | {value} |" in keys


def test_every_page_is_in_the_contents(hooks) -> None:
    text = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    listed = set(re.findall(r": (\S+\.md)$", text, re.M))
    written = {path.relative_to(DOCS).as_posix() for path in DOCS.rglob("*.md")}
    assert listed == written | {page for page, _ in hooks.pages()}


@pytest.mark.slow
def test_the_site_is_built_without_a_warning(tmp_path) -> None:
    build = pytest.importorskip("mkdocs.commands.build")
    from mkdocs.config import load_config

    config = load_config(str(ROOT / "mkdocs.yml"), site_dir=str(tmp_path / "site"), strict=True)
    build.build(config)
    assert (tmp_path / "site" / "reference" / "python.html").is_file()
