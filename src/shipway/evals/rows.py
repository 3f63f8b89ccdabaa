"""JSONL, YAML and CSV as rows that remember their lines; `dataset` checks what the rows say.

Each reader returns the rows it could read and one problem for each that it could not, so that a user sees every mistake
of a file at once.
"""

import csv
import io
import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import yaml

from shipway.config.yaml_words import in_words
from shipway.core.nesting import DEEPEST, TOO_DEEP, too_deep

LineProblem = tuple[int, str, str]
"""Line from 1, field (or empty) and what is wrong."""

_CSV_LISTS = frozenset({"groups", "expected_sources", "must_contain", "must_not_contain", "tags", "assert"})
_CSV_FLAGS: Mapping[str, bool] = {"true": True, "false": False}


@dataclass(frozen=True, slots=True)
class Row:
    """One case as written: the line it begins at, its values and the lines of fields that begin elsewhere."""

    line: int
    values: dict[str, Any]
    lines: Mapping[str, int] = field(default_factory=dict)


Rows = tuple[list[Row], list[LineProblem]]


def read_jsonl(text: str) -> Rows:
    """Read one JSON object per line; blank lines are skipped."""
    rows: list[Row] = []
    problems: list[LineProblem] = []
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        try:
            value = _json(line)
        except json.JSONDecodeError as error:
            problems.append((number, "", f"not JSON at column {error.colno} ({error.msg}); write one object per line"))
        except _RowError as error:
            problems.append((number, error.field, error.reason))
        else:
            if isinstance(value, dict):
                rows.append(Row(number, value))
            else:
                problems.append((number, "", f"not an object but {type(value).__name__}; write {{...}}"))
    return rows, problems


def read_yaml(text: str) -> Rows:
    """Read a list of cases, or a mapping whose `cases` is one."""
    try:
        return _read_yaml(text)
    except RecursionError:
        return [], [(_deep_line(text), "", TOO_DEEP)]


def _read_yaml(text: str) -> Rows:
    try:
        root = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        return [], [(mark.line + 1 if mark else 1, "", f"not YAML: {in_words(error)}")]
    except yaml.YAMLError as error:
        return [], [(1, "", f"not YAML: {error}")]
    if root is None:
        return [], []
    return _yaml_items(root)


def read_csv(text: str) -> Rows:
    """Read a header and one case per record.

    In list columns a cell is a JSON array, or items separated by `|`. `unanswerable` is `true` or `false`. An empty
    cell is an absent field.
    """
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    rows: list[Row] = []
    problems: list[LineProblem] = []
    header: list[str] | None = None
    line = 1
    while True:
        try:
            cells = next(reader, None)
        except csv.Error as error:
            return rows, [*problems, (line, "", f"not CSV: {error}")]
        if cells is None:
            return rows, problems
        if header is None:
            header = [cell.strip() for cell in cells]
            problems += [(line, name, "two columns of this name") for name in _repeated(header)]
        elif any(cell.strip() for cell in cells):
            _collect_record(header, cells, line, rows, problems)
        line = reader.line_num + 1


READERS: Mapping[str, Callable[[str], Rows]] = {
    ".jsonl": read_jsonl,
    ".yaml": read_yaml,
    ".yml": read_yaml,
    ".csv": read_csv,
}


class _RowError(Exception):
    def __init__(self, field_name: str, reason: str) -> None:
        super().__init__(reason)
        self.field = field_name
        self.reason = reason


def _json(text: str) -> Any:
    try:
        value = json.loads(text, object_pairs_hook=_unique, parse_constant=_refuse_constant)
    except RecursionError:
        raise _RowError("", TOO_DEEP) from None
    if too_deep(value):
        raise _RowError("", TOO_DEEP)
    return value


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    for name in _repeated([name for name, _ in pairs]):
        raise _RowError(name, "written twice in one object; keep one")
    return dict(pairs)


def _refuse_constant(name: str) -> Any:
    raise _RowError("", f"{name} is not JSON; write a number or null")


def _repeated(names: Iterable[str]) -> list[str]:
    seen: set[str] = set()
    return [name for name in names if name in seen or seen.add(name)]  # type: ignore[func-returns-value]


def _yaml_items(root: yaml.Node) -> Rows:
    items: yaml.Node | None = root
    if isinstance(root, yaml.MappingNode):
        items = next((value for key, value in root.value if key.value == "cases"), None)
    if not isinstance(items, yaml.SequenceNode):
        return [], [(root.start_mark.line + 1, "", "expected a list of cases, or a mapping with a list `cases`")]
    rows: list[Row] = []
    problems: list[LineProblem] = []
    for node in items.value:
        _collect_yaml_item(node, rows, problems)
    return rows, problems


def _deep_line(text: str) -> int:
    """Return the line where a YAML text gets too deep; its events are read without recursion."""
    depth = 0
    for event in yaml.parse(text, Loader=yaml.SafeLoader):
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
            if depth > DEEPEST:
                return event.start_mark.line + 1 if event.start_mark else 1
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1
    return 1


def _collect_yaml_item(node: yaml.Node, rows: list[Row], problems: list[LineProblem]) -> None:
    line = node.start_mark.line + 1
    if not isinstance(node, yaml.MappingNode):
        problems.append((line, "", "not an object; write `- id: ...` with its fields below"))
        return
    lines = {str(key.value): key.start_mark.line + 1 for key, _ in node.value}
    repeated = _repeated(str(key.value) for key, _ in node.value)
    if repeated:
        problems += [(lines[name], name, "written twice in one case; keep one") for name in repeated]
        return
    constructor = yaml.constructor.SafeConstructor()
    try:
        values = constructor.construct_document(node)
    except yaml.MarkedYAMLError as error:
        problems.append((line, "", f"not YAML: {in_words(error)}"))
        return
    if too_deep(values):
        problems.append((line, "", TOO_DEEP))
        return
    rows.append(Row(line, {str(key): value for key, value in values.items()}, lines))


def _collect_record(
    header: list[str], cells: list[str], line: int, rows: list[Row], problems: list[LineProblem]
) -> None:
    if len(cells) != len(header):
        problems.append((line, "", f"{len(cells)} cells under {len(header)} columns; quote cells that hold commas"))
        return
    values: dict[str, Any] = {}
    for name, cell in zip(header, cells, strict=True):
        if cell.strip():
            try:
                values[name] = _csv_value(name, cell)
            except _RowError as error:
                problems.append((line, name, error.reason))
                return
    rows.append(Row(line, values))


def _csv_value(name: str, cell: str) -> Any:
    if name in _CSV_LISTS:
        if not cell.lstrip().startswith("["):
            return [item.strip() for item in cell.split("|")]
        try:
            return _json(cell)
        except json.JSONDecodeError as error:
            raise _RowError(name, f"begins with '[' but is not a JSON array ({error.msg})") from error
    if name == "unanswerable":
        return _CSV_FLAGS.get(cell.strip().lower(), cell)
    return cell
