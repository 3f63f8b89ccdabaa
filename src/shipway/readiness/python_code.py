"""Tests and calls in the Python files of a repository, read from their syntax trees.

Checks call it. A test counts when it can fail: it asserts something that is not a constant, and nothing skips it.
"""

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass

from shipway.readiness.facts import Repository

_TEST_FILE = re.compile(r"(?:^|/)(?:test_[^/]*|[^/]*_test)\.py$")
_INTEGRATION = {"integration", "e2e", "end_to_end", "functional"}
_NOT_OURS = re.compile(r"(?:^|/)(?:\.venv|venv|node_modules|\.shipway|build|dist)/")
_WORD = re.compile(r"[A-Z]?[a-z0-9]+|[A-Z]+(?![a-z])")

Function = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True, slots=True)
class TestFunction:
    """A test that runs and can fail; `words` are those of its name, its file's name and what it calls."""

    path: str
    line: int
    name: str
    is_integration: bool
    words: frozenset[str]

    @property
    def where(self) -> str:
        """Return file and line."""
        return f"{self.path}:{self.line}"


@dataclass(frozen=True, slots=True)
class Call:
    """A call in code that is no test: its whole dotted name, and its arguments by keyword."""

    path: str
    line: int
    name: str
    keywords: dict[str, ast.expr]

    @property
    def where(self) -> str:
        """Return file and line."""
        return f"{self.path}:{self.line}"


def tests_in(repository: Repository) -> tuple[TestFunction, ...]:
    """Return the tests of a repository."""
    found: list[TestFunction] = []
    for path, tree in _trees(repository):
        if _TEST_FILE.search(path):
            found += _tests(path, tree)
    return tuple(found)


def own_modules(repository: Repository) -> dict[str, ast.Module]:
    """Return the modules that are neither tests nor in a folder of tests."""
    return {
        path: tree
        for path, tree in _trees(repository)
        if not _TEST_FILE.search(path) and not re.match(r"(?:.*/)?tests?/", path) and not path.endswith("conftest.py")
    }


def calls_in(modules: dict[str, ast.Module]) -> Iterator[Call]:
    """Yield every call with the name that its import gives it, such as `sqlalchemy.create_engine`."""
    for path, tree in modules.items():
        names = imported_names(tree)
        for node in ast.walk(tree):
            if isinstance(node, ast.Call):
                name = dotted_name(node.func)
                first, _, rest = name.partition(".")
                whole = names.get(first, first) + (f".{rest}" if rest else "")
                keywords = {keyword.arg: keyword.value for keyword in node.keywords if keyword.arg is not None}
                yield Call(path, node.lineno, whole, keywords)


def imported_names(tree: ast.Module) -> dict[str, str]:
    """Return what the names of imports stand for."""
    found: dict[str, str] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found.update({(alias.asname or alias.name).partition(".")[0]: _first(alias) for alias in node.names})
        elif isinstance(node, ast.ImportFrom):
            module = node.module or ""
            found.update({alias.asname or alias.name: f"{module}.{alias.name}" for alias in node.names})
    return found


def words_of(name: str) -> set[str]:
    """Return the words of an identifier, in lower case."""
    return {word.lower() for word in _WORD.findall(name)}


def dotted_name(node: ast.expr) -> str:
    """Return `a.b.c` of an expression, what cannot be named as empty."""
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute):
        return f"{dotted_name(node.value)}.{node.attr}".lstrip(".")
    return ""


def _first(alias: ast.alias) -> str:
    return alias.name if alias.asname else alias.name.partition(".")[0]


def _trees(repository: Repository) -> Iterator[tuple[str, ast.Module]]:
    for path, text in repository.ending(".py"):
        if _NOT_OURS.search(path):
            continue
        try:
            yield path, ast.parse(text)
        except (SyntaxError, ValueError, RecursionError):
            continue


def _tests(path: str, tree: ast.Module) -> Iterator[TestFunction]:
    if any(_marks(node) & {"skip", "skipif"} for node in tree.body):
        return
    of_file = any(_marks(node) & _INTEGRATION for node in tree.body) or bool(_INTEGRATION & set(path.split("/")[:-1]))
    for function, in_class in _functions(tree):
        marks = {mark for decorator in function.decorator_list for mark in _words_of_mark(decorator)}
        if marks & {"skip", "skipif", "xfail"} or not _can_fail(function):
            continue
        words = words_of(function.name) | words_of(path.rsplit("/", 1)[-1].removesuffix(".py"))
        words |= {
            word
            for node in ast.walk(function)
            if isinstance(node, ast.Call)
            for word in words_of(dotted_name(node.func))
        }
        is_integration = of_file or bool(marks & _INTEGRATION)
        name = f"{in_class}::{function.name}" if in_class else function.name
        yield TestFunction(path, function.lineno, name, is_integration, frozenset(words))


def _functions(tree: ast.Module) -> Iterator[tuple[Function, str]]:
    for node in tree.body:
        if isinstance(node, Function) and node.name.startswith("test"):
            yield node, ""
        elif isinstance(node, ast.ClassDef) and node.name.startswith("Test"):
            for inner in node.body:
                if isinstance(inner, Function) and inner.name.startswith("test"):
                    yield inner, node.name


def _marks(node: ast.stmt) -> set[str]:
    """Return the marks of `pytestmark = ...`."""
    if not isinstance(node, ast.Assign) or not any(dotted_name(target) == "pytestmark" for target in node.targets):
        return set()
    items = node.value.elts if isinstance(node.value, ast.List | ast.Tuple) else [node.value]
    return {word for item in items for word in _words_of_mark(item)}


def _words_of_mark(node: ast.expr) -> set[str]:
    name = dotted_name(node.func if isinstance(node, ast.Call) else node)
    return {name.rpartition(".")[2]} if "mark." in name or name.endswith(("skip", "skipIf")) else set()


def _can_fail(function: Function) -> bool:
    for node in ast.walk(function):
        if isinstance(node, ast.Assert) and not isinstance(node.test, ast.Constant):
            return True
        if isinstance(node, ast.Call):
            name = dotted_name(node.func)
            last = name.rpartition(".")[2]
            if (
                name in {"pytest.raises", "raises"}
                or last.startswith("assert")
                or last in {"shipway_gate", "raise_for_status"}
            ):
                return True
    return False
