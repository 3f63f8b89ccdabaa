"""A YAML or JSON file as plain data that remembers its lines; contracts, OpenAPI documents and smoke files are read so.

Text stays text: a date, a time and a key such as `200` are what somebody wrote, not what YAML 1.1 makes of them.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import yaml

from shipway.core.errors import UsageError
from shipway.core.nesting import DEEPEST, TOO_DEEP
from shipway.evals.rows import yaml_root

Path = tuple[str | int, ...]

LARGEST_BYTES = 4_000_000
_MOST_VALUES = 400_000
# Lines cost about 6 µs a byte; of a larger JSON file the name of the file has to do.
_LARGEST_JSON_WITH_LINES = 400_000
_TAG = "tag:yaml.org,2002:"
_PLAIN = frozenset({f"{_TAG}{name}" for name in ("null", "bool", "int", "float")})


@dataclass(frozen=True, slots=True)
class Source:
    """What a file says, and the line of every key and item."""

    file: str
    value: Any
    lines: Mapping[Path, int] = field(default_factory=dict, hash=False)

    def place(self, path: Path = ()) -> str:
        """Return `file:line` of a path, or of the nearest one above it whose line is known."""
        for length in range(len(path), -1, -1):
            line = self.lines.get(path[:length])
            if line is not None:
                return f"{self.file}:{line}"
        return self.file


class Problems:
    """Everything that is wrong with a file, so that a user sees it at once."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self._found: dict[str, None] = {}

    def add(self, path: Path, text: str) -> None:
        """Note what is wrong at a path."""
        name = ".".join(str(part) for part in path if not isinstance(part, int))
        self._found[f"{self._source.place(path)}: {name + ': ' if name else ''}{text}"] = None

    def __len__(self) -> int:
        return len(self._found)

    def refuse(self) -> None:
        """End here when something is wrong.

        Raises:
            UsageError: every problem, one a line.
        """
        if self._found:
            raise UsageError("\n".join(self._found))


def read_source(data: bytes, file: str) -> Source:
    """Return what the bytes of a file say.

    Raises:
        UsageError: too large, not UTF-8, neither YAML nor JSON, a key twice, or nothing at all.
    """
    if len(data) > LARGEST_BYTES:
        raise UsageError(f"{file}: larger than {LARGEST_BYTES} bytes; divide it")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise UsageError(f"{file}:{line}: not UTF-8 (byte 0x{data[error.start]:02x}); save it as UTF-8") from error
    if text.lstrip()[:1] in {"{", "["} and file.lower().endswith(".json"):
        return _read_json(text, file)
    root, problems = yaml_root(text)
    if problems:
        line, _, reason = problems[0]
        raise UsageError(f"{file}:{line}: {reason}")
    if root is None:
        raise UsageError(f"{file}:1: the file is empty")
    reader = _Reader(file)
    return Source(file, reader.value(root, (), 0), reader.lines)


def _read_json(text: str, file: str) -> Source:
    try:
        value = json.loads(text, parse_constant=_refuse_constant)
    except json.JSONDecodeError as error:
        raise UsageError(f"{file}:{error.lineno}: not JSON ({error.msg})") from error
    except RecursionError:
        raise UsageError(f"{file}: {TOO_DEEP}") from None
    except ValueError as error:
        raise UsageError(f"{file}: {error}") from error
    lines: Mapping[Path, int] = {}
    if len(text) <= _LARGEST_JSON_WITH_LINES:
        # Outside of texts JSON's tabs are white space; inside they may not stand.
        root, problems = yaml_root(text.replace("\t", " "))
        if root is not None and not problems:
            reader = _Reader(file)
            reader.value(root, (), 0)
            lines = reader.lines
    return Source(file, value, lines)


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON; write a number or null")


class _Reader:
    def __init__(self, file: str) -> None:
        self.lines: dict[Path, int] = {}
        self._file = file
        self._scalars = yaml.constructor.SafeConstructor()
        self._values = 0

    def value(self, node: yaml.Node, path: Path, depth: int) -> Any:
        self.lines.setdefault(path, node.start_mark.line + 1)
        self._values += 1
        if self._values > _MOST_VALUES:
            raise self._error(node, f"unfolds into more than {_MOST_VALUES} values; use fewer aliases")
        if depth > DEEPEST:
            raise self._error(node, TOO_DEEP)
        if isinstance(node, yaml.MappingNode):
            return dict(self._pairs(node, path, depth))
        if isinstance(node, yaml.SequenceNode):
            return [self.value(item, (*path, index), depth + 1) for index, item in enumerate(node.value)]
        return self._scalar(node)

    def _pairs(self, node: yaml.MappingNode, path: Path, depth: int) -> Iterator[tuple[str, Any]]:
        seen: set[str] = set()
        for key, _ in node.value:
            name = str(key.value)
            if name in seen and name != "<<":
                raise self._error(key, f"{name!r} is written twice in one object; keep one")
            seen.add(name)
        try:
            self._scalars.flatten_mapping(node)
        except yaml.MarkedYAMLError as error:
            raise self._error(node, f"not YAML: {error.problem}") from error
        for key, value in node.value:
            if not isinstance(key, yaml.ScalarNode):
                raise self._error(key, "a key must be one word, not a list or a mapping")
            here = (*path, str(key.value))
            self.lines.setdefault(here, key.start_mark.line + 1)
            yield str(key.value), self.value(value, here, depth + 1)

    def _scalar(self, node: yaml.Node) -> Any:
        # 12:30 is 750 in YAML 1.1, which nobody who writes it means.
        if node.tag not in _PLAIN or ":" in node.value:
            return str(node.value)
        try:
            return self._scalars.construct_object(node)
        except (yaml.YAMLError, ValueError, LookupError) as error:
            raise self._error(node, f"not a value of type {node.tag.removeprefix(_TAG)}") from error

    def _error(self, node: yaml.Node, text: str) -> UsageError:
        return UsageError(f"{self._file}:{node.start_mark.line + 1}: {text}")
