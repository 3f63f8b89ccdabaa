"""JSONL, YAML and CSV as rows that remember their lines; `dataset` checks what the rows say.

Each reader returns the rows it could read and one problem for each that it could not, so that a user sees every mistake
of a file at once.
"""

import csv
import io
import json
import re
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import yaml

from shipway.config.yaml_words import in_words
from shipway.core.nesting import DEEPEST, TOO_DEEP, too_deep

LineProblem = tuple[int, str, str]
"""Line from 1, field (or empty) and what is wrong."""

_CSV_LISTS = frozenset(
    {"groups", "expected_sources", "must_contain", "must_not_contain", "tags", "assert", "context", "messages"}
)
_CSV_OBJECTS = frozenset({"variables", "metadata"})
_CSV_FLAGS: Mapping[str, bool] = {"true": True, "false": False}
_SEPARATORS = (",", ";", "\t")
_PROMPTFOO = frozenset({"prompts", "tests"})
_SEPARATOR_LINE = re.compile(r"sep=(.)\r?\n", re.IGNORECASE)
"""What Excel writes and reads as the first line."""


@dataclass(frozen=True, slots=True)
class FileForm:
    """How a file of cases is written; by default its suffix says it and a CSV file's first line what separates."""

    format: str = "auto"
    encoding: str = "utf-8"
    delimiter: str | None = None


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
    root, problems = yaml_root(text)
    return ([], problems) if root is None else _yaml_items(root)


def read_csv(text: str, *, delimiter: str | None = None, known: Collection[str] = ()) -> Rows:
    """Read a header and one case per record.

    In list columns a cell is a JSON array, or items separated by `|`; in object columns a JSON object. `unanswerable`
    is `true` or `false`. An empty cell is an absent field. Without a delimiter it is a comma, semicolon or tab:
    whichever makes most columns `known` ones.
    """
    records, unread = csv_records(text, delimiter=delimiter, known=known)
    rows: list[Row] = []
    problems: list[LineProblem] = []
    for line, cells in records:
        values: dict[str, Any] = {}
        for name, cell in cells.items():
            try:
                values[name] = _csv_value(name, cell)
            except _RowError as error:
                problems.append((line, name, error.reason))
                break
        else:
            rows.append(Row(line, values))
    return rows, problems + unread


def csv_records(
    text: str, *, delimiter: str | None = None, known: Collection[str] = ()
) -> tuple[list[tuple[int, dict[str, str]]], list[LineProblem]]:
    """Return the line and the cells that are not empty of every record, and what is wrong."""
    said = _SEPARATOR_LINE.match(text)
    line = 2 if said else 1
    body = text[said.end() :] if said else text
    separator = delimiter or (said[1] if said else "")
    if not separator:
        separator, doubt = _separator(body, known)
        if doubt:
            return [], [(line, "", doubt)]
    return _records(body, separator, line)


def json_items(text: str) -> tuple[list[tuple[int, Any]], list[LineProblem]]:
    """Return the line and the value of every item of a JSON array, or of every line of JSON values."""
    body = text.lstrip()
    if not body.startswith("["):
        rows, problems = read_jsonl(text)
        return [(row.line, row.values) for row in rows], problems
    decoder = json.JSONDecoder(object_pairs_hook=_unique, parse_constant=_refuse_constant)
    items: list[tuple[int, Any]] = []
    at = text.index("[") + 1
    while True:
        at = _after_space(text, at)
        line = text.count("\n", 0, at) + 1
        if text[at : at + 1] == "]":
            return items, []
        try:
            value, at = decoder.raw_decode(text, at)
        except json.JSONDecodeError as error:
            return items, [(error.lineno, "", f"not JSON ({error.msg})")]
        except RecursionError:
            return items, [(line, "", TOO_DEEP)]
        except _RowError as error:
            return items, [(line, error.field, error.reason)]
        if too_deep(value):
            return items, [(line, "", TOO_DEEP)]
        items.append((line, value))
        at = _after_space(text, at)
        at += text[at : at + 1] == ","


def yaml_root(text: str) -> tuple[yaml.Node | None, list[LineProblem]]:
    """Return the root of a YAML text, whose nodes know their lines."""
    try:
        return yaml.compose(text, Loader=yaml.SafeLoader), []
    except RecursionError:
        return None, [(_deep_line(text), "", TOO_DEEP)]
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        return None, [(mark.line + 1 if mark else 1, "", f"not YAML: {in_words(error)}")]
    except yaml.YAMLError as error:
        return None, [(1, "", f"not YAML: {error}")]


READERS: Mapping[str, Callable[[str], Rows]] = {".jsonl": read_jsonl, ".yaml": read_yaml, ".yml": read_yaml}
"""By suffix; CSV has more to say."""


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
        said = "expected a list of cases, or a mapping with a list `cases`"
        if isinstance(root, yaml.MappingNode) and {str(key.value) for key, _ in root.value} >= _PROMPTFOO:
            said += "; this looks like promptfoo's: --format promptfoo (in shipway.yaml: format)"
        return [], [(root.start_mark.line + 1, "", said)]
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


def _after_space(text: str, at: int) -> int:
    while text[at : at + 1].isspace():
        at += 1
    return at


def _separator(text: str, known: Collection[str]) -> tuple[str, str]:
    """Return what separates the columns, or why that cannot be told."""
    headings: dict[str, list[str]] = {}
    for separator in _SEPARATORS:
        try:
            headings[separator] = next(csv.reader(io.StringIO(text, newline=""), delimiter=separator), [])
        except csv.Error:
            headings[separator] = []
    counts = {
        separator: sum(name.strip() in known for name in names) if len(names) > 1 else 0
        for separator, names in headings.items()
    }
    most = max(counts.values())
    best = [separator for separator in _SEPARATORS if counts[separator] == most]
    if not most or len(best) == 1:
        return best[0], ""
    said = " or by ".join(repr(separator) for separator in best)
    columns = "known column" if most == 1 else "known columns"
    return "", (
        f"separated by {said}? each gives {most} {columns}; write one of them throughout, or name it: "
        "--delimiter (in shipway.yaml: delimiter)"
    )


def _records(text: str, separator: str, line: int) -> tuple[list[tuple[int, dict[str, str]]], list[LineProblem]]:
    before = line - 1
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True)
    records: list[tuple[int, dict[str, str]]] = []
    problems: list[LineProblem] = []
    header: list[str] | None = None
    while True:
        try:
            cells = next(reader, None)
        except csv.Error as error:
            return records, [*problems, (line, "", f"not CSV: {error}")]
        if cells is None:
            return records, problems
        if header is None:
            header = [cell.strip() for cell in cells]
            problems += [(line, name, "two columns of this name") for name in _repeated(header)]
        elif len(cells) != len(header) and any(cell.strip() for cell in cells):
            text_of = f"{len(cells)} cells under {len(header)} columns; quote cells that hold {_named(separator)}"
            problems.append((line, "", text_of))
        elif any(cell.strip() for cell in cells):
            records.append((line, {name: cell for name, cell in zip(header, cells, strict=True) if cell.strip()}))
        line = before + reader.line_num + 1


def _named(separator: str) -> str:
    return {",": "commas", ";": "semicolons", "\t": "tabs"}.get(separator, repr(separator))


def _csv_value(name: str, cell: str) -> Any:
    if name in _CSV_OBJECTS:
        return _csv_json(name, cell, "not a JSON object")
    if name in _CSV_LISTS:
        if not cell.lstrip().startswith("["):
            return [item.strip() for item in cell.split("|")]
        return _csv_json(name, cell, "begins with '[' but is not a JSON array")
    if name == "unanswerable":
        return _CSV_FLAGS.get(cell.strip().lower(), cell)
    return cell


def _csv_json(name: str, cell: str, wrong: str) -> Any:
    try:
        return _json(cell)
    except json.JSONDecodeError as error:
        raise _RowError(name, f"{wrong} ({error.msg})") from error
