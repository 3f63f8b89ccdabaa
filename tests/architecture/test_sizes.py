"""Sizes that keep code readable; what exceeds one stands here by name with the reason."""

import ast
import gc
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
MOST_LINES_OF_A_FILE = 500
MOST_LINES_OF_A_FUNCTION = 60
MOST_METHODS_OF_A_CLASS = 25
FILES = sorted(
    path.relative_to(ROOT).as_posix() for folder in ("src", "tests") for path in (ROOT / folder).rglob("*.py")
)

# "path" or "path::name" to the reason why it may be larger.
EXCEPTIONS: dict[str, str] = {}

Function = ast.FunctionDef | ast.AsyncFunctionDef


def parsed(text: str) -> ast.AST:
    # A collection in the middle of it may end in "AST constructor recursion depth mismatch" (CPython issue 106905).
    gc.disable()
    try:
        return ast.parse(text)
    finally:
        gc.enable()


def too_large(path: str, text: str) -> Iterator[str]:
    lines = text.count("\n")
    if lines > MOST_LINES_OF_A_FILE and path not in EXCEPTIONS:
        yield f"{path}: {lines} lines; at most {MOST_LINES_OF_A_FILE}"
    for node in ast.walk(parsed(text)):
        if isinstance(node, Function):
            size, limit, unit = 1 + (node.end_lineno or 0) - node.lineno, MOST_LINES_OF_A_FUNCTION, "lines"
        elif isinstance(node, ast.ClassDef) and path.startswith("src"):
            size, limit, unit = (
                sum(isinstance(item, Function) for item in node.body),
                MOST_METHODS_OF_A_CLASS,
                "methods",
            )
        else:
            continue
        if size > limit and f"{path}::{node.name}" not in EXCEPTIONS:
            yield f"{path}:{node.lineno}: {node.name} has {size} {unit}; at most {limit}"


@pytest.mark.parametrize("path", FILES)
def test_files_functions_and_classes_stay_within_their_size(path):
    assert list(too_large(path, (ROOT / path).read_text(encoding="utf-8"))) == []


def test_every_exception_is_still_needed():
    kept = []
    for name in EXCEPTIONS:
        text = (ROOT / name.split("::")[0]).read_text(encoding="utf-8")
        reason = EXCEPTIONS.pop(name)
        kept += [name] if list(too_large(name.split("::")[0], text)) else []
        EXCEPTIONS[name] = reason

    assert kept == list(EXCEPTIONS)


def test_what_is_too_large_is_found():
    body = "    pass\n" * MOST_LINES_OF_A_FUNCTION
    methods = "    def m(self): ...\n" * (MOST_METHODS_OF_A_CLASS + 1)
    text = f"def long():\n{body}class Wide:\n{methods}" + "\n" * MOST_LINES_OF_A_FILE

    assert [problem.split("; ")[0] for problem in too_large("src/a.py", text)] == [
        "src/a.py: 588 lines",
        "src/a.py:1: long has 61 lines",
        "src/a.py:62: Wide has 26 methods",
    ]
