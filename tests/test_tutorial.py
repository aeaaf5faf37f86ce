"""The tutorial: it runs, and what its last run left is small and says nothing of a machine."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

import pytest

DOCS = Path(__file__).parents[1] / "docs"
TUTORIAL = DOCS / "tutorial.ipynb"
MAX_BYTES = 300_000


@pytest.fixture(scope="module")
def cells() -> list[dict]:
    return json.loads(TUTORIAL.read_text(encoding="utf-8"))["cells"]


def test_it_was_run_from_top_to_bottom(cells) -> None:
    """By `jupyter execute --inplace docs/tutorial.ipynb`, or the like."""
    code = [cell for cell in cells if cell["cell_type"] == "code"]
    assert [cell["execution_count"] for cell in code] == list(range(1, len(code) + 1))
    outputs = [output for cell in code for output in cell["outputs"]]
    assert not any(output["output_type"] == "error" for output in outputs)
    assert sum("image/png" in output.get("data", {}) for output in outputs) == 1


def test_what_is_kept_is_small_and_of_no_machine(cells) -> None:
    assert TUTORIAL.stat().st_size < MAX_BYTES
    for cell in cells:
        text = [line for out in cell.get("outputs", []) for line in out.get("text", [])]
        assert not re.search(r"/(home|tmp|root|work|Users)/|\\Users", "".join(text))
        assert set(cell["metadata"]) <= {"tags"}


def test_its_links_lead_somewhere(cells) -> None:
    text = "".join(line for cell in cells for line in cell["source"])
    targets = re.findall(r"\]\(([^)#:]+)\)", text)
    assert targets
    assert all((DOCS / target).is_file() for target in targets)


@pytest.mark.slow
def test_it_runs(tmp_path, monkeypatch) -> None:
    """In an empty folder, by the bgp4 of these tests; a cell that fails ends it."""
    nbclient = pytest.importorskip("nbclient")
    pytest.importorskip("ipykernel")
    import nbformat

    package = str(Path(__file__).parents[1])
    inherited = os.environ.get("PYTHONPATH")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, [package, inherited])))
    notebook = nbformat.read(TUTORIAL, as_version=4)
    where = {"metadata": {"path": str(tmp_path)}}
    nbclient.NotebookClient(notebook, timeout=600, resources=where).execute()
    ran = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert all(cell.execution_count for cell in ran)
    assert not list(tmp_path.iterdir()), "it writes into a temporary folder of its own"
