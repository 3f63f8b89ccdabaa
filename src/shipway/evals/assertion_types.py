"""The types of assertions and how their entries are read; `assertions` parses lists of them, `assertion_checks` judges.

Reading refuses what could never be judged, while there is still a file and a line to point at.
"""

import math
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import PurePosixPath
from types import MappingProxyType
from typing import Any

from shipway.core.errors import UsageError
from shipway.core.personal_data import PII_KINDS
from shipway.evals.suggestions import did_you_mean

HOLDS_FROM = 0.5
_SIMILAR_FROM = 0.75
_LANGUAGE_CODE = re.compile(r"[a-z]{2,3}")
# A repeat of nothing but a repeat, as in (a+)+ or (\w+\s?)*: some texts that nearly match take exponential time.
_ATOM = r"(?:\\.|\[\^?\]?(?:\\.|[^\]\\])*\]|[^\\()\[\]|*+?{}])"
_MANY = r"(?:[*+]|\{\d+,\})"
_MAYBE = rf"(?:{_ATOM}(?:[?*]|\{{0?,\d*\}}))*"
_OPEN = r"(?:\((?:\?:|\?P<\w+>)?)+"
_REPEATED_REPEAT = re.compile(rf"{_OPEN}{_MAYBE}{_ATOM}{_MANY}{_MAYBE}\)+{_MANY}")
# The same of a choice between two things that one character can be, as in (\w|\d)+.
_REPEATED_CHOICE = re.compile(rf"{_OPEN}({_ATOM}(?:\|{_ATOM})+)\)+{_MANY}")
_CHOICE = re.compile(_ATOM)
_SAMPLE = "".join(map(chr, range(32, 127))) + "\n\t\u00e9\u0436\u4e2d"


@dataclass(frozen=True, slots=True)
class Assertion:
    """One parsed entry.

    `value` is a text, a list of texts, a pair of bounds or one of the rules below, as its type wants. `weight` counts
    in `assertion_score` alone; `metric` is the name of the score that the entry belongs to beside.
    """

    type: str
    negated: bool
    value: Any
    weight: float = 1.0
    metric: str = ""


@dataclass(frozen=True, slots=True)
class SchemaFile:
    """A JSON Schema that is still to be read, as a path below the project."""

    path: str


@dataclass(frozen=True, slots=True)
class Likeness:
    """A text whose meaning, or whose rubric, must be met to this degree."""

    text: str
    threshold: float


@dataclass(frozen=True, slots=True)
class Distance:
    """A text and how far from it an answer may be; exactly one of the two is set."""

    text: str
    max: int | None
    min_ratio: float | None


@dataclass(frozen=True, slots=True)
class Languages:
    """ISO 639 codes of which one must be the answer's, with this probability."""

    codes: tuple[str, ...]
    min_confidence: float


@dataclass(frozen=True, slots=True)
class PersonalData:
    """Kinds that must not occur, all when there are none, and texts that may all the same."""

    kinds: tuple[str, ...]
    allowed: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ExpectedCall:
    """A call that must have been made.

    With the given `arguments` among its own, `times` times (None: at least once), and after calls of `order`.
    """

    name: str
    arguments: Mapping[str, Any]
    times: int | None
    order: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Group:
    """Assertions of which the share `threshold`, by weight, must hold."""

    members: tuple[Assertion, ...]
    threshold: float


@dataclass(frozen=True, slots=True)
class AssertionType:
    """How an entry is read, and the keys it may have beside `type`, `weight` and `metric`."""

    read: Callable[[Mapping[str, Any], str], Any]
    keys: tuple[str, ...] = ("value",)


def read_weight(entry: Mapping[str, Any]) -> float:
    """Return how much an entry counts.

    Raises:
        UsageError: not a number above 0.
    """
    weight = entry.get("weight", 1)
    if not _is_number(weight) or weight <= 0:
        raise UsageError(f"weight: expected a number above 0, got {weight!r}; remove the entry to switch it off")
    return float(weight)


def read_share(entry: Mapping[str, Any], key: str, name: str, default: float) -> float:
    """Return a number above 0 and up to 1.

    Raises:
        UsageError: anything else.
    """
    share = entry.get(key, default)
    if not _is_number(share) or not 0 < share <= 1:
        raise UsageError(f"{key}: {name!r} needs a number above 0 and up to 1, got {share!r}")
    return float(share)


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def _known_keys(name: str, entry: Mapping[str, Any], keys: Collection[str]) -> None:
    if sum(key in entry for key in keys) != 1:
        raise UsageError(f"{name!r} needs exactly one of {' and '.join(repr(key) for key in keys)}")


def _text(entry: Mapping[str, Any], name: str, key: str = "value") -> str:
    value = entry.get(key)
    if not isinstance(value, str) or not value:
        raise UsageError(f"{key}: {name!r} needs a text, got {value!r}")
    return value


def _regex(entry: Mapping[str, Any], name: str) -> re.Pattern[str]:
    pattern = _text(entry, name)
    try:
        compiled = re.compile(pattern)
    except (re.error, OverflowError, RecursionError) as error:
        raise UsageError(f"value: {pattern!r} is not a regular expression: {error}") from error
    found = _REPEATED_REPEAT.search(pattern) or _ambiguous_choice(pattern)
    if found:
        raise UsageError(
            f"value: {found.group()!r} repeats what can be had in several ways, which takes for ever on some answers; "
            "write one repeat, such as 'a+' for '(a+)+' and '\\w+' for '(\\w|\\d)+'"
        )
    return compiled


def _ambiguous_choice(pattern: str) -> re.Match[str] | None:
    for found in _REPEATED_CHOICE.finditer(pattern):
        choices = [re.compile(choice, re.DOTALL) for choice in _CHOICE.findall(found[1])]
        if any(sum(choice.fullmatch(character) is not None for choice in choices) > 1 for character in _SAMPLE):
            return found
    return None


def _texts(entry: Mapping[str, Any], name: str, key: str = "value") -> tuple[str, ...]:
    value = entry.get(key)
    if not isinstance(value, Sequence) or isinstance(value, str) or not value:
        raise UsageError(f"{key}: {name!r} needs a list of texts, got {value!r}")
    if not all(isinstance(item, str) and item for item in value):
        raise UsageError(f"{key}: {name!r} needs texts only, got {value!r}")
    return tuple(value)


def _nothing(_entry: Mapping[str, Any], _name: str) -> None:
    return None


def _range(entry: Mapping[str, Any], name: str) -> tuple[float | None, float | None]:
    low, high = entry.get("min"), entry.get("max")
    for key, value in (("min", low), ("max", high)):
        if value is not None and not _is_number(value):
            raise UsageError(f"{key}: {name!r} needs a number, got {value!r}")
    if low is None and high is None:
        raise UsageError(f"{name!r} needs 'min', 'max' or both")
    if high is not None and high < 0:
        raise UsageError(f"max: {name!r} is never below 0, so {high!r} never holds")
    if low is not None and high is not None and low > high:
        raise UsageError(f"min: {low} is above max {high}")
    return low, high


def _schema(entry: Mapping[str, Any], name: str) -> Any:
    _known_keys(name, entry, ("value", "file"))
    if "file" in entry:
        path = PurePosixPath(_text(entry, name, "file"))
        if path.is_absolute() or ".." in path.parts:
            raise UsageError(f"file: {str(path)!r} leaves the project; name a file below it")
        return SchemaFile(str(path))
    try:
        return import_module("shipway.evals.json_schemas").compile_schema(entry["value"])
    except UsageError as error:
        raise UsageError(f"value: {error.message}") from error


def _similar(entry: Mapping[str, Any], name: str) -> Likeness:
    return Likeness(_text(entry, name), read_share(entry, "threshold", name, _SIMILAR_FROM))


def _rubric(entry: Mapping[str, Any], name: str) -> Likeness:
    return Likeness(_text(entry, name), read_share(entry, "threshold", name, HOLDS_FROM))


def _levenshtein(entry: Mapping[str, Any], name: str) -> Distance:
    text = _text(entry, name)
    _known_keys(name, entry, ("max", "min_ratio"))
    if "min_ratio" in entry:
        return Distance(text, None, read_share(entry, "min_ratio", name, 1))
    return Distance(text, _count(entry, "max", name), None)


def _language(entry: Mapping[str, Any], name: str) -> Languages:
    codes = (entry["value"],) if isinstance(entry.get("value"), str) else _texts(entry, name)
    for code in codes:
        if not _LANGUAGE_CODE.fullmatch(code):
            raise UsageError(f"value: {name!r} needs ISO 639 codes such as 'de', got {code!r}")
    return Languages(tuple(codes), read_share(entry, "min_confidence", name, HOLDS_FROM))


def _personal_data(entry: Mapping[str, Any], name: str) -> PersonalData:
    kinds = _texts(entry, name, "kinds") if "kinds" in entry else ()
    for kind in kinds:
        if kind not in PII_KINDS:
            raise UsageError(f"kinds: {name!r} knows no {kind!r}; {did_you_mean(kind, PII_KINDS)}")
    return PersonalData(kinds, _texts(entry, name, "allow") if "allow" in entry else ())


def _call(entry: Mapping[str, Any], name: str) -> ExpectedCall:
    arguments = entry.get("arguments", {})
    if not isinstance(arguments, Mapping):
        raise UsageError(f"arguments: {name!r} needs an object, got {arguments!r}")
    times = _count(entry, "times", name) if "times" in entry else None
    order = _texts(entry, name, "order") if "order" in entry else ()
    if order and times == 0:
        raise UsageError(f"order: {name!r} with times 0 has no call that could come after others; remove it")
    return ExpectedCall(_text(entry, name, "name"), dict(arguments), times, order)


def _count(entry: Mapping[str, Any], key: str, name: str) -> int:
    count = entry.get(key)
    if isinstance(count, bool) or not isinstance(count, int) or count < 0:
        raise UsageError(f"{key}: {name!r} needs a whole number from 0, got {count!r}")
    return count


_RANGE = ("min", "max")
TYPES: Mapping[str, AssertionType] = MappingProxyType(
    {
        "contains": AssertionType(_text),
        "icontains": AssertionType(_text),
        "contains-any": AssertionType(_texts),
        "contains-all": AssertionType(_texts),
        "contains-none": AssertionType(_texts),
        "starts-with": AssertionType(_text),
        "equals": AssertionType(_text),
        "regex": AssertionType(_regex),
        "is-json": AssertionType(_nothing, ()),
        "json-schema": AssertionType(_schema, ("value", "file")),
        "similar": AssertionType(_similar, ("value", "threshold")),
        "levenshtein": AssertionType(_levenshtein, ("value", "max", "min_ratio")),
        "length": AssertionType(_range, _RANGE),
        "language": AssertionType(_language, ("value", "min_confidence")),
        "latency": AssertionType(_range, _RANGE),
        "cost": AssertionType(_range, _RANGE),
        "refusal": AssertionType(_nothing, ()),
        "no-pii": AssertionType(_personal_data, ("kinds", "allow")),
        "tool-called": AssertionType(_call, ("name", "arguments", "times", "order")),
        "python": AssertionType(_text),
        "llm-rubric": AssertionType(_rubric, ("value", "threshold")),
    }
)
"""All but `assert-set`, whose members `assertions` parses."""
