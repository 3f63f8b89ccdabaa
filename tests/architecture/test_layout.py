"""What every file of the package owes the others; the direction of imports is held by `.importlinter`."""

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[2] / "src" / "shipway"
MODULES = sorted(path.relative_to(SOURCE).as_posix() for path in SOURCE.rglob("*.py"))
VAGUE = {"utils", "util", "helpers", "helper", "manager", "base", "common", "misc"}
# Alembic loads its revisions by path; they are no package.
NO_PACKAGES = {"adapters/sql/migrations/versions", "adapters/sql/versions"}
# The demo's load generator is a process whose one output is its report.
PRINTS = {"entrypoints/demo/load.py"}


def imports(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module or "."


def parsed(module: str) -> ast.Module:
    return ast.parse((SOURCE / module).read_text(encoding="utf-8"))


def test_every_folder_with_modules_is_a_package():
    folders = {(SOURCE / module).parent for module in MODULES}
    hidden = {folder.relative_to(SOURCE).as_posix() for folder in folders if not (folder / "__init__.py").is_file()}

    assert hidden - NO_PACKAGES == set()


def test_core_imports_only_itself_the_standard_library_and_numpy():
    allowed = {"shipway", "numpy"} | set(sys.stdlib_module_names)
    found = {
        f"{module}: {name}"
        for module in MODULES
        if module.startswith("core/")
        for name in imports(parsed(module))
        if name.split(".")[0] not in allowed or (name.startswith("shipway.") and not name.startswith("shipway.core"))
    }

    assert found == set()


@pytest.mark.parametrize("module", MODULES)
def test_a_module_says_what_it_is_for(module):
    tree = parsed(module)

    assert ast.get_docstring(tree), f"{module} has no docstring"
    assert not VAGUE & set(Path(module).with_suffix("").parts)


@pytest.mark.parametrize("module", MODULES)
def test_nothing_prints(module):
    calls = [
        node.lineno
        for node in ast.walk(parsed(module))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in {"print", "breakpoint"}
    ]

    assert bool(calls) == (module in PRINTS)


@pytest.mark.parametrize("module", [module for module in MODULES if not module.startswith("config/")])
def test_only_config_reads_the_environment(module):
    # What a child process inherits is handed on by the adapter that starts it.
    reads = {"getenv"} if module.startswith(("adapters/", "entrypoints/")) else {"getenv", "environ"}

    found = [
        node.lineno
        for node in ast.walk(parsed(module))
        if isinstance(node, ast.Attribute)
        and isinstance(node.value, ast.Name)
        and node.value.id == "os"
        and node.attr in reads
    ]

    assert found == []
