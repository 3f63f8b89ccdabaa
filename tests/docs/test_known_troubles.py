"""The page of known troubles names tests that exist, and no row is without one or a reason."""

import ast
import re
from pathlib import Path

TESTS = Path(__file__).parents[1]
PAGE = "docs/reference/known-troubles.md"


def rows(text: str) -> list[str]:
    return [line for line in text.splitlines() if line.startswith("| ") and not line.startswith(("| Trouble", "| ---"))]


def functions(path: Path) -> set[str]:
    tree = ast.parse(path.read_text(encoding="utf-8")) if path.is_file() else ast.Module([], [])
    return {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}


def missing(text: str) -> list[str]:
    return [
        f"{file}::{name}"
        for file, name in re.findall(r"`([\w/]+\.py)::(\w+)`", text)
        if name not in functions(TESTS / file)
    ]


def test_every_test_that_the_page_names_exists(page):
    assert missing(page(PAGE).text) == []


def test_every_trouble_has_a_test_or_a_reason(page):
    found = rows(page(PAGE).text)

    assert len(found) >= 25
    assert [row for row in found if "::test_" not in row and "*not covered*: " not in row] == []


def test_a_test_that_is_gone_would_be_found():
    text = "`docs/test_known_troubles.py::test_gone`, `none.py::test_x`, `docs/test_known_troubles.py::missing`"

    assert missing(text) == ["docs/test_known_troubles.py::test_gone", "none.py::test_x"]
