"""YAML with the line of every value, so that an error can say where.

Called by `loading`. Only what settings need is read: mappings with text keys, lists, text, numbers, booleans and null;
aliases and merge keys too, but bounded, so that a small file cannot unfold into a huge one.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from shipway.config.yaml_words import in_words
from shipway.core.errors import ConfigError, NotFoundError

KeyPath = tuple[str | int, ...]

LARGEST_FILE_BYTES = 262_144
"""Reading takes about 6 µs a byte; a project file of this size takes 1.5 s and is not one a person wrote."""
MOST_VALUES = 20_000
DEEPEST = 32

_TAG = "tag:yaml.org,2002:"
_MERGE = f"{_TAG}merge"
# A date in a settings file is text that happens to look like one.
_TEXT = frozenset({f"{_TAG}str", f"{_TAG}timestamp", f"{_TAG}value"})
_PLAIN = frozenset({f"{_TAG}{name}" for name in ("null", "bool", "int", "float")})
_PLAIN_KEY = re.compile(r"[A-Za-z0-9_.$-]+")
_LONGEST_SHOWN_KEY = 60
_OF_SHELLS = frozenset({("/", "dev"), ("/", "proc")})
_QUOTES = "correct that line or the one above it; nothing else was looked at, because the file could not be read"


@dataclass(frozen=True, slots=True)
class Place:
    """Where a value was given: `shipway.yaml:12`, `environment variable X`, or `default`."""

    source: str
    line: int | None = None

    def __str__(self) -> str:
        return self.source if self.line is None else f"{self.source}:{self.line}"


@dataclass(frozen=True, slots=True)
class YamlFile:
    """A parsed file: plain data, and the place of every key path in it."""

    data: dict[str, Any]
    places: dict[KeyPath, Place] = field(default_factory=dict)


def read_yaml(path: Path, shown_as: str, *, hint: str = "check the path") -> YamlFile:
    """Read a YAML file whose top level is a mapping; `hint` is for one that is not there.

    Raises:
        NotFoundError: no such file.
        ConfigError: not readable, not UTF-8, not YAML, a duplicate key, or not a mapping.
    """
    try:
        if path.is_fifo() and path.parts[:2] not in _OF_SHELLS:
            # Nobody may ever write into it; those that a shell makes for `<(command)` have a writer.
            raise ConfigError([f"{shown_as}: is a pipe; give a file"])
        data = path.read_bytes()
    except FileNotFoundError:
        raise NotFoundError(f"{shown_as}: no such file", hint=hint) from None
    except OSError as error:
        raise ConfigError([f"{shown_as}: cannot be read: {error.strerror}"]) from error
    if len(data) > LARGEST_FILE_BYTES:
        raise ConfigError([f"{shown_as}: {len(data)} bytes; settings are at most {LARGEST_FILE_BYTES}"])
    try:
        return parse_yaml(data.decode(), shown_as)
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise ConfigError([f"{shown_as}:{line}: byte {error.start} is not UTF-8; save the file as UTF-8"]) from error


def parse_yaml(text: str, shown_as: str) -> YamlFile:
    """Parse YAML text whose top level is a mapping; `shown_as` is the file's name in messages.

    Raises:
        ConfigError: not YAML, a duplicate key, or not a mapping.
    """
    node = _composed(text, shown_as)
    if node is None or (isinstance(node, yaml.ScalarNode) and node.tag == f"{_TAG}null"):
        return YamlFile({})
    if not isinstance(node, yaml.MappingNode):
        raise ConfigError([f"{shown_as}:{node.start_mark.line + 1}: the top level is not a mapping of sections"])
    reader = _Reader(shown_as)
    data = reader.whole(node)
    return YamlFile(data, reader.places)


def parse_yaml_value(text: str, shown_as: str) -> Any:
    """Parse one YAML value of any kind, as an environment variable holds it.

    Raises:
        ConfigError: not YAML, or a duplicate key.
    """
    node = _composed(text, shown_as)
    return None if node is None else _Reader(shown_as).whole(node)


def dotted(path: KeyPath) -> str:
    """Return `a.b[0].c`; a key that is no plain word stands in brackets and quotes."""
    text = ""
    for part in path:
        if isinstance(part, str) and _PLAIN_KEY.fullmatch(part):
            text += f".{part}" if text else part
        else:
            text += f"[{part if isinstance(part, int) else repr(part[:_LONGEST_SHOWN_KEY])}]"
    return text or "(top level)"


def _composed(text: str, shown_as: str) -> yaml.Node | None:
    try:
        node: yaml.Node | None = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f"{shown_as}:{mark.line + 1}" if mark else shown_as
        raise ConfigError([f"{where}: not valid YAML: {in_words(error)}"], hint=_QUOTES) from error
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        found = f"the character {error.character!r} may not stand in YAML"
        raise ConfigError([f"{shown_as}:{line}: not valid YAML: {found}"]) from error
    except RecursionError:
        raise ConfigError([f"{shown_as}: nested too deeply; settings are at most {DEEPEST} levels deep"]) from None
    except (yaml.YAMLError, ValueError, OverflowError) as error:
        raise ConfigError([f"{shown_as}: not valid YAML: {error}"]) from error
    return node


class _Reader:
    def __init__(self, shown_as: str) -> None:
        self.shown_as = shown_as
        self.places: dict[KeyPath, Place] = {}
        self._problems: dict[str, None] = {}
        self._scalars = yaml.SafeLoader("")
        self._values = 0

    def whole(self, node: yaml.Node) -> Any:
        value = self._value(node, ())
        if self._problems:
            raise ConfigError(list(self._problems))
        return value

    def _value(self, node: yaml.Node, path: KeyPath) -> Any:
        self._count(node, len(path))
        self.places.setdefault(path, self._place(node))
        if isinstance(node, yaml.ScalarNode):
            return self._scalar(node, path)
        if isinstance(node, yaml.MappingNode) and node.tag == f"{_TAG}map":
            return {key: self._value(pair[1], (*path, key)) for key, pair in self._pairs(node, path).items()}
        if isinstance(node, yaml.SequenceNode) and node.tag == f"{_TAG}seq":
            return [self._value(item, (*path, index)) for index, item in enumerate(node.value)]
        self._problem(node, path, f"the tag {node.tag.replace(_TAG, '!!')!r} has no meaning here; remove it")
        return None

    def _pairs(self, node: yaml.MappingNode, path: KeyPath, depth: int = 0) -> dict[str, tuple[yaml.Node, yaml.Node]]:
        """Return a mapping's key and value nodes; its own keys win over those it merges with `<<`."""
        self._count(node, len(path) + depth)
        pairs: dict[str, tuple[yaml.Node, yaml.Node]] = {}
        merged: list[yaml.MappingNode] = []
        for key_node, value_node in node.value:
            if key_node.tag == _MERGE:
                merged.extend(self._merged(value_node, path))
                continue
            key = self._key(key_node, path)
            if key is None:
                continue
            if key in pairs:
                first = self._place(pairs[key][0]).line
                self._problem(key_node, (*path, key), f"given twice, first in line {first}")
            else:
                pairs[key] = (key_node, value_node)
        for source in merged:
            for key, pair in self._pairs(source, path, depth + 1).items():
                pairs.setdefault(key, pair)
        self.places.update({(*path, key): self._place(pair[0]) for key, pair in pairs.items()})
        return pairs

    def _merged(self, node: yaml.Node, path: KeyPath) -> Iterator[yaml.MappingNode]:
        for source in node.value if isinstance(node, yaml.SequenceNode) else [node]:
            if isinstance(source, yaml.MappingNode):
                yield source
            else:
                self._problem(node, path, "`<<` merges mappings, and this is not one")

    def _key(self, node: yaml.Node, path: KeyPath) -> str | None:
        if not isinstance(node, yaml.ScalarNode):
            self._problem(node, path, "a key must be one word, not a list or a mapping")
            return None
        return self._text(node, path)

    def _scalar(self, node: yaml.ScalarNode, path: KeyPath) -> Any:
        # 12:30 is 750 in YAML 1.1, which nobody who writes it means.
        if node.tag in _TEXT or (":" in node.value and node.tag in _PLAIN):
            return self._text(node, path)
        if node.tag not in _PLAIN:
            self._problem(node, path, f"the tag {node.tag.replace(_TAG, '!!')!r} has no meaning here; remove it")
            return None
        try:
            value = self._scalars.construct_object(node)
        except (yaml.YAMLError, ValueError, LookupError, AttributeError):
            self._problem(node, path, f"not a value of type {node.tag.removeprefix(_TAG)}")
            return None
        if isinstance(value, int) and abs(value) >= 2**63:
            self._problem(node, path, "a number of more than 64 bits")
            return None
        return value

    def _text(self, node: yaml.ScalarNode, path: KeyPath) -> str | None:
        text = str(node.value)
        if "\0" in text or any("\ud800" <= character <= "\udfff" for character in text):
            self._problem(node, path, "holds a character that is not text (NUL or half of a surrogate pair)")
            return None
        return text

    def _count(self, node: yaml.Node, depth: int) -> None:
        self._values += 1
        if self._values > MOST_VALUES:
            reason = f"unfolds into more than {MOST_VALUES} values; use fewer aliases"
            raise ConfigError([f"{self._place(node)}: {reason}"])
        if depth > DEEPEST:
            raise ConfigError([f"{self._place(node)}: nested too deeply; settings are at most {DEEPEST} levels deep"])

    def _place(self, node: yaml.Node) -> Place:
        return Place(self.shown_as, node.start_mark.line + 1)

    def _problem(self, node: yaml.Node, path: KeyPath, message: str) -> None:
        self._problems[f"{self._place(node)}: {dotted(path)}: {message}"] = None
