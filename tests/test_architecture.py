"""The rules that keep the layout: who imports what, what is never used, what is documented."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from pydantic import BaseModel

import bgp4
from bgp4.config import Config, dump_config, load_config
from bgp4.molecule.molecule import load_molecule
from bgp4.storage.bundled import bundled_configs
from tests.for_each import for_each

PACKAGE = Path(bgp4.__file__).parent
MODULES = {
    p.relative_to(PACKAGE).as_posix(): ast.parse(p.read_text())
    for p in sorted(PACKAGE.rglob("*.py"))
    if "_bundled" not in p.parts
}
USES_OPENMM = ("molecule/", "dynamics/", "energies/", "studies/bench/")
STANDARD = set(sys.stdlib_module_names) | {"__future__"}


def imported(tree: ast.AST) -> set[str]:
    """Full names of all modules that a piece of code imports."""
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            names.add(node.module or "")
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def at_import_time(tree: ast.Module) -> set[str]:
    """Those imported when the module is, and not for type checkers alone."""

    def statements(body: list[ast.stmt]) -> Iterator[ast.stmt]:
        for node in body:
            if isinstance(node, ast.If) and "TYPE_CHECKING" not in ast.unparse(node.test):
                yield from statements(node.body + node.orelse)
            elif isinstance(node, ast.Try):
                yield from statements(node.body + node.orelse + node.finalbody)
            elif isinstance(node, ast.Import | ast.ImportFrom):
                yield node

    return set().union(*(imported(node) for node in statements(tree.body)))


def tops(names: set[str]) -> set[str]:
    return {name.split(".")[0] for name in names}


modules = for_each("name", MODULES)


@modules
def test_openmm_is_imported_lazily_and_by_few(name: str) -> None:
    heavy = {"openmm", "openmmtools"}
    assert not tops(at_import_time(MODULES[name])) & heavy
    if tops(imported(MODULES[name])) & heavy:
        assert name.startswith(USES_OPENMM)


@modules
def test_p4_needs_torch_and_nflows_alone(name: str) -> None:
    """And the compiler of its C++ source, which needs the standard library alone."""
    if name.startswith("p4/"):
        names = imported(MODULES[name])
        assert tops(names) - STANDARD <= {"torch", "nflows", "bgp4"}
        assert all(n.startswith(("bgp4.p4", "bgp4.kernels")) for n in names if "bgp4" in n)
    if name in ("kernels/compiled.py", "storage/bundled.py"):
        names = imported(MODULES[name])
        assert tops(names) - STANDARD <= {"bgp4"}
        assert all(n.startswith("bgp4.storage.bundled") for n in names if "bgp4" in n)


@modules
def test_studies_are_for_the_command_line(name: str) -> None:
    if not name.startswith(("cli/", "studies/")):
        assert not any(n.startswith("bgp4.studies") for n in imported(MODULES[name]))


@modules
def test_other_libraries_adapters_are_imported_by_users_alone(name: str) -> None:
    """Benchmarks compare with bgflow itself."""
    if not name.startswith("interop/"):
        assert name.startswith("studies/bench/") or "bgflow" not in tops(imported(MODULES[name]))
        assert not any(n.startswith("bgp4.interop") for n in imported(MODULES[name]))


ORDER = (
    *("errors", "units", "version", "storage", "config", "parallel", "kernels", "statistics"),
    *("molecule", "energies", "coordinates", "data", "dynamics", "p4", "flows"),
    *("training", "sampling", "answers", "ensemble", "report"),
    *("api", "pipeline", "studies", "cli", "interop"),
)
"""Each imports from those before it alone."""


def package(name: str) -> str:
    """The package or top module of a file."""
    return name.split("/")[0].removesuffix(".py")


@modules
def test_imports_go_one_way(name: str) -> None:
    own = package(name)
    if own in ("__init__", "__main__"):
        return
    others = {n.split(".")[1] for n in imported(MODULES[name]) if n.startswith("bgp4.")} - {own}
    assert others <= set(ORDER[: ORDER.index(own)])


def test_the_architecture_page_lists_every_package() -> None:
    page = (PACKAGE.parent / "docs" / "architecture.md").read_text(encoding="utf-8")
    listed = page.split("```")[1]
    for own in {package(name) for name in MODULES} - {"__init__", "__main__"}:
        assert re.search(rf"\b{own}(/|\.py)", listed), own
    folders = {own for own in ORDER if (PACKAGE / own).is_dir()}
    for line in listed.splitlines():
        folder = line.split()[0].rstrip("/") if line.strip() else ""
        if folder in folders:
            for file in re.findall(r"\b\w+\.py\b", line):
                assert (PACKAGE / folder / file).is_file(), file


@modules
def test_modules_and_functions_are_short(name: str) -> None:
    assert len((PACKAGE / name).read_text(encoding="utf-8").splitlines()) <= 400
    for node in ast.walk(MODULES[name]):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            assert node.end_lineno - node.lineno < 60, node.name


@modules
def test_no_file_is_read_by_running_it(name: str) -> None:
    """Pickles and torch.load run code that comes with a file."""
    assert not tops(imported(MODULES[name])) & {"pickle", "dill", "shelve", "joblib", "marshal"}
    for node in ast.walk(MODULES[name]):
        if isinstance(node, ast.Call):
            called = ast.unparse(node.func)
            assert called not in {"torch.load", "torch.save", "eval", "exec", "yaml.load"}
            assert "allow_pickle" not in {keyword.arg for keyword in node.keywords}


@modules
def test_modules_say_what_they_are(name: str) -> None:
    assert ast.get_docstring(MODULES[name])
    for node in ast.walk(MODULES[name]):
        assert not (isinstance(node, ast.ImportFrom) and node.names[0].name == "*")


def sections(model: type[BaseModel], prefix: str = "") -> Iterator[tuple[str, type[BaseModel]]]:
    yield prefix, model
    for name, field in model.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            yield from sections(field.annotation, f"{prefix}{name}.")


def test_every_key_but_two_has_a_default() -> None:
    required = [
        prefix + name
        for prefix, model in sections(Config)
        for name, field in model.model_fields.items()
        if field.is_required()
    ]
    assert required == ["system", "temperature_k"]
    assert all(model.__doc__ for _, model in sections(Config))
    for _, model in sections(Config):
        assert model.model_config["extra"] == "forbid"
        assert model.model_config["frozen"]


def test_the_dump_of_a_config_spells_out_every_key(tmp_path) -> None:
    config = load_config("ala2_smoke.yaml")
    path = tmp_path / "all.yaml"
    path.write_text(dump_config(config))
    for prefix, model in sections(Config):
        node = config
        for part in prefix.split(".")[:-1]:
            node = getattr(node, part)
        assert node.model_fields_set <= set(model.model_fields)
        assert all(f"{name}:" in path.read_text() for name in model.model_fields)
    assert load_config(str(path)) == config


@for_each("name", bundled_configs())
def test_bundled_configs_are_valid(name: str) -> None:
    config = load_config(name)
    assert load_molecule(config.system).n_atoms > 3
    ladder = config.simulate.temperatures_k
    assert not ladder or ladder[0] == config.temperature_k


def test_the_default_config_and_the_one_of_the_tests_are_bundled() -> None:
    assert {"ala2.yaml", "ala2_smoke.yaml"} <= set(bundled_configs())


def test_help_imports_nothing_heavy() -> None:
    """What makes `bgp4 --help` answer at once, whatever the machine."""
    code = (
        "import sys; from typer.testing import CliRunner; from bgp4.cli.main import app; "
        "result = CliRunner().invoke(app, ['--help']); assert result.exit_code == 0; "
        "print(*sorted({name.split('.')[0] for name in sys.modules}))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    heavy = {"torch", "openmm", "openmmtools", "mdtraj", "numpy", "scipy", "matplotlib", "nflows"}
    assert not heavy & set(done.stdout.split())
