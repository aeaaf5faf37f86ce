"""The rules that keep the layout: who imports what, what is never used, what is documented."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from pydantic import BaseModel

import bgp4
from bgp4.config import Config, dump_config, load_config
from bgp4.paths import bundled_configs
from bgp4.system import load_molecule

PACKAGE = Path(bgp4.__file__).parent
MODULES = {
    p.relative_to(PACKAGE).as_posix(): ast.parse(p.read_text())
    for p in sorted(PACKAGE.rglob("*.py"))
    if "_bundled" not in p.parts
}
USES_OPENMM = {"system.py", "system_files.py", "simulate.py", "replicas.py"}
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


def offenders(rule: Callable[[str, ast.Module], object]) -> list[str]:
    """Modules that a rule finds fault with, and what it found."""
    found = ((name, rule(name, tree)) for name, tree in MODULES.items())
    return [f"{name}: {fault}" for name, fault in found if fault]


def test_openmm_is_imported_lazily_and_by_few() -> None:
    heavy = {"openmm", "openmmtools"}

    def rule(name: str, tree: ast.Module) -> set[str]:
        may = name in USES_OPENMM or name.startswith(("energies/", "bench/"))
        return tops(at_import_time(tree) if may else imported(tree)) & heavy

    assert not offenders(rule)


def test_p4_needs_torch_and_nflows_alone() -> None:
    """And the compiler of its C++ source, which needs the standard library alone."""
    compiler = ("compiled.py", "paths.py")

    def rule(name: str, tree: ast.Module) -> set[str]:
        p4 = name.startswith("p4/")
        if not p4 and name not in compiler:
            return set()
        own = ("bgp4.p4", "bgp4.compiled") if p4 else ("bgp4.paths",)
        others = {"torch", "nflows"} if p4 else set()
        names = imported(tree)
        ours = {n for n in names if n.startswith("bgp4") and n != "bgp4"}
        return (tops(names) - STANDARD - others - {"bgp4"}) | {
            n for n in ours if not n.startswith(own)
        }

    assert {"p4/linear.py", *compiler} <= MODULES.keys()
    assert not offenders(rule)


def test_reproduce_is_for_the_command_line() -> None:
    def rule(name: str, tree: ast.Module) -> set[str]:
        if name in ("cli.py", "commands.py") or name.startswith("reproduce/"):
            return set()
        return {n for n in imported(tree) if n.startswith("bgp4.reproduce")}

    assert not offenders(rule)


def test_other_libraries_adapters_are_imported_by_users_alone() -> None:
    """Benchmarks compare with bgflow itself."""

    def rule(name: str, tree: ast.Module) -> set[str]:
        if name.startswith("interop/"):
            return set()
        names = imported(tree)
        foreign = set() if name.startswith("bench/") else tops(names) & {"bgflow"}
        return foreign | {n for n in names if n.startswith("bgp4.interop")}

    assert not offenders(rule)


def test_lower_layers_do_not_import_higher_ones() -> None:
    order = ["p4", "coordinates", "flows", "energies", "training", "sampling", "analysis"]

    def rule(name: str, tree: ast.Module) -> set[str]:
        level = name.split("/")[0]
        if level not in order:
            return set()
        higher = {f"bgp4.{other}" for other in order[order.index(level) + 1 :]}
        higher |= {"bgp4.cli", "bgp4.commands", "bgp4.api", "bgp4.interop"}
        return {".".join(n.split(".")[:2]) for n in imported(tree)} & higher

    assert not offenders(rule)


def test_no_file_is_read_by_running_it() -> None:
    """Pickles and torch.load run code that comes with a file."""
    runs = {"torch.load", "torch.save", "eval", "exec", "yaml.load"}

    def rule(name: str, tree: ast.Module) -> set[str]:
        calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call)]
        keywords = {keyword.arg for call in calls for keyword in call.keywords}
        return (
            tops(imported(tree)) & {"pickle", "dill", "shelve", "joblib", "marshal"}
            | {ast.unparse(call.func) for call in calls} & runs
            | {k for k in keywords if k == "allow_pickle"}
        )

    assert not offenders(rule)


def test_modules_say_what_they_are() -> None:
    def rule(name: str, tree: ast.Module) -> list[str]:
        stars = [
            f"from {node.module} import *"
            for node in ast.walk(tree)
            if isinstance(node, ast.ImportFrom) and node.names[0].name == "*"
        ]
        return stars if ast.get_docstring(tree) else [*stars, "no docstring"]

    assert not offenders(rule)


def test_the_rules_see_what_they_forbid() -> None:
    tree = ast.parse("import openmm\nfrom pickle import *\ndef f():\n    import torch\n")
    assert tops(imported(tree)) == {"openmm", "pickle", "torch"}
    assert tops(at_import_time(tree)) == {"openmm", "pickle"}


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


@pytest.mark.parametrize("name", bundled_configs())
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
        "import sys; from typer.testing import CliRunner; from bgp4.cli import app; "
        "result = CliRunner().invoke(app, ['--help']); assert result.exit_code == 0; "
        "print(*sorted({name.split('.')[0] for name in sys.modules}))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    heavy = {"torch", "openmm", "openmmtools", "mdtraj", "numpy", "scipy", "matplotlib", "nflows"}
    assert not heavy & set(done.stdout.split())
