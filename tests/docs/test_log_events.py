"""Every log event of the code is in the list of events, and the reference page says of each what it is."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from shipway.telemetry.events import EVENTS, LogEvent, leveled

ROOT = Path(__file__).parents[2]
SOURCES = ROOT / "src" / "shipway"
METHODS = {"debug": "debug", "info": "info", "warning": "warning", "error": "error", "exception": "error"}


def texts(node: ast.expr) -> list[str]:
    if isinstance(node, ast.IfExp):
        return texts(node.body) + texts(node.orelse)
    return [node.value] if isinstance(node, ast.Constant) and isinstance(node.value, str) else []


def written(tree: ast.AST) -> Iterator[tuple[str, set[str], str | None]]:
    """Yield name, fields and level of what a module logs; a note's level is the list's affair."""
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call) or not node.args:
            continue
        is_method = isinstance(node.func, ast.Attribute)
        owner = ast.unparse(node.func.value) if isinstance(node.func, ast.Attribute) else ""
        called = node.func.attr if isinstance(node.func, ast.Attribute) else ast.unparse(node.func)
        is_log = is_method and called in METHODS and "log" in owner
        if owner.endswith("account") or not (is_log or called.lstrip("_") == "note"):
            continue
        fields = {str(keyword.arg) for keyword in node.keywords if keyword.arg is not None}
        for name in texts(node.args[0]):
            yield name, fields, METHODS[called] if is_log else None


@pytest.fixture(scope="module")
def in_code() -> list[tuple[str, set[str], str | None]]:
    return [found for path in sorted(SOURCES.rglob("*.py")) for found in written(ast.parse(path.read_text()))]


def test_every_event_that_the_code_writes_is_listed_and_no_other(in_code):
    assert {name for name, _, _ in in_code} == {event.name for event in EVENTS}


@pytest.mark.parametrize("event", EVENTS, ids=lambda event: event.name)
def test_an_events_fields_and_level_are_those_of_the_code(in_code, event):
    told = [(fields, level) for name, fields, level in in_code if name == event.name]

    assert set().union(*(fields for fields, _ in told)) == set(event.fields)
    assert {level for _, level in told} <= {None, event.level}


@pytest.mark.parametrize("event", EVENTS, ids=lambda event: event.name)
def test_an_event_is_documented_with_its_level_and_fields(page, event):
    fields = ", ".join(f"`{name}`" for name in event.fields)

    assert f"| `{event.name}` | {event.level} | {fields} | {event.help} |" in page("docs/reference/telemetry.md").text


def test_the_page_has_no_event_that_does_not_exist(page):
    rows = re.findall(
        r"^\| `(\w+)` \| (?:debug|info|warning|error) \|", page("docs/reference/telemetry.md").text, re.MULTILINE
    )

    assert rows == [event.name for event in EVENTS]


class Lines:
    """A logger that keeps level and event."""

    def __init__(self) -> None:
        self.found: list[tuple[str, str, dict[str, Any]]] = []

    def __getattr__(self, level: str) -> Any:
        return lambda event, **fields: self.found.append((level, event, fields))


@pytest.mark.parametrize("name", ["budget_alert", "limits_lost", "records_refused", "dead_man_tripped"])
def test_what_somebody_has_to_look_at_is_a_warning(name):
    log = Lines()
    leveled(log)(name, error="x")

    assert log.found == [("warning", name, {"error": "x"})]


def test_an_event_that_nobody_listed_is_still_written():
    log = Lines()
    leveled(log)("new_thing")

    assert log.found == [("info", "new_thing", {})]


def test_what_is_looked_for_would_be_found():
    tree = ast.parse("self._note('a' if x else 'b', n=1)\nlogger('z').warning('c')\naccount.note('d')\nnote(e)")

    assert list(written(tree)) == [("a", {"n"}, None), ("b", {"n"}, None), ("c", set(), "warning")]


def test_no_event_is_listed_twice():
    names = [event.name for event in EVENTS]

    assert len(names) == len(set(names))
    assert all(isinstance(event, LogEvent) and event.help.endswith(".") for event in EVENTS)
