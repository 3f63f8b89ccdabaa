"""Deterministic assertions of a case's `assert` list; `metrics` runs them, `case_fields` checks them when loading.

Any type may be negated with `not-` in front. Text is normalised as `text` says before it is compared.
"""

import json
import pkgutil
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from shipway.core.errors import NotYetError, UsageError
from shipway.core.record import ABSTAINED
from shipway.evals import text
from shipway.evals.model import Case, Dataset, Output
from shipway.evals.suggestions import did_you_mean

Function = Callable[[Case, Output], object]
"""A user's function: a truth value, or a number of which 0.5 and more holds."""

HOLDS_FROM = 0.5
LATER = ("json-schema", "similar", "language", "llm-rubric", "javascript", "no-pii")


@dataclass(frozen=True, slots=True)
class Assertion:
    """One parsed entry. `value` is a text, a list of texts or a pair of bounds, as its type wants."""

    type: str
    negated: bool
    value: Any


def parse_assertions(entries: Iterable[Any]) -> list[Assertion]:
    """Check and parse the entries of an `assert` list.

    Raises:
        UsageError: an entry that is not an object, of unknown type or with a wrong value.
        NotYetError: a type that a later version brings.
    """
    return [_parse(entry) for entry in entries]


def load_functions(dataset: Dataset) -> dict[str, Function]:
    """Import the functions that the dataset's `python` assertions name, before any answer is paid for.

    Raises:
        UsageError: a path that cannot be imported or is not callable.
    """
    paths = {
        assertion.value
        for case in dataset.cases
        for assertion in parse_assertions(case.assertions)
        if assertion.type == "python"
    }
    return {path: _function(path) for path in sorted(paths)}


def holds(assertion: Assertion, case: Case, output: Output, functions: Mapping[str, Function]) -> bool:
    """Tell whether an assertion holds for an output that is not an error.

    Raises:
        UsageError: what it judges was not measured, or its function was not loaded.
    """
    if assertion.type == "python":
        if assertion.value not in functions:
            raise UsageError(f"case {case.id!r}: function {assertion.value!r} was not loaded; call load_functions")
        result: object = functions[assertion.value](case, output)
        found = _truth(result, assertion.value)
    else:
        found = _TYPES[assertion.type].check(assertion.value, output)
    return found is not assertion.negated


def is_refusal(output: Output) -> bool:
    """Tell whether the target declined: it reported `abstained`, or the answer opens as a refusal."""
    return ABSTAINED in output.events or text.reads_as_refusal(output.answer)


def _truth(result: object, path: str) -> bool:
    if isinstance(result, (bool, int, float)):
        return result >= HOLDS_FROM
    raise UsageError(f"function {path!r} returned {type(result).__name__}; return True, False or a number from 0 to 1")


def _parse(entry: Any) -> Assertion:
    if not isinstance(entry, Mapping) or not isinstance(entry.get("type"), str):
        raise UsageError(f"expected an object with a 'type', got {str(entry)[:60]!r}")
    name = entry["type"]
    negated = name.startswith("not-")
    kind = name.removeprefix("not-")
    if kind in LATER:
        raise NotYetError(f"type: {name!r} comes with a later version; remove it or use one of {', '.join(_TYPES)}")
    if kind not in _TYPES:
        raise UsageError(f"type: unknown {name!r}; {did_you_mean(kind, _TYPES)}")
    spec = _TYPES[kind]
    for key in entry:
        if key not in {"type", *spec.keys}:
            raise UsageError(f"{key}: unknown for type {name!r}; {did_you_mean(key, ('type', *spec.keys))}")
    return Assertion(kind, negated, spec.read(entry, name))


def _function(path: str) -> Function:
    try:
        found = pkgutil.resolve_name(path)
    except (ImportError, AttributeError, ValueError) as error:
        raise UsageError(
            f"python assertion {path!r} cannot be imported: {error}", hint="Write it as package.module:function."
        ) from error
    if not callable(found):
        raise UsageError(f"python assertion {path!r} is {type(found).__name__}, not a function")
    function: Function = found
    return function


def _read_text(entry: Mapping[str, Any], name: str) -> str:
    value = entry.get("value")
    if not isinstance(value, str) or not value:
        raise UsageError(f"value: {name!r} needs a text, got {value!r}")
    return value


def _read_regex(entry: Mapping[str, Any], name: str) -> str:
    pattern = _read_text(entry, name)
    try:
        re.compile(pattern)
    except re.error as error:
        raise UsageError(f"value: {pattern!r} is not a regular expression: {error}") from error
    return pattern


def _read_texts(entry: Mapping[str, Any], name: str) -> tuple[str, ...]:
    value = entry.get("value")
    if not isinstance(value, Sequence) or isinstance(value, str) or not value:
        raise UsageError(f"value: {name!r} needs a list of texts, got {value!r}")
    if not all(isinstance(item, str) and item for item in value):
        raise UsageError(f"value: {name!r} needs texts only, got {value!r}")
    return tuple(value)


def _read_nothing(_entry: Mapping[str, Any], _name: str) -> None:
    return None


def _read_range(entry: Mapping[str, Any], name: str) -> tuple[float | None, float | None]:
    low, high = entry.get("min"), entry.get("max")
    for key, value in (("min", low), ("max", high)):
        if value is not None and (isinstance(value, bool) or not isinstance(value, (int, float))):
            raise UsageError(f"{key}: {name!r} needs a number, got {value!r}")
    if low is None and high is None:
        raise UsageError(f"{name!r} needs 'min', 'max' or both")
    if low is not None and high is not None and low > high:
        raise UsageError(f"min: {low} is above max {high}")
    return low, high


def _is_json(_value: None, output: Output) -> bool:
    try:
        json.loads(output.answer)
    except ValueError:
        return False
    return True


def _within(measure: Callable[[Output], float | None], what: str) -> Callable[[Any, Output], bool]:
    def check(bounds: tuple[float | None, float | None], output: Output) -> bool:
        value = measure(output)
        if value is None:
            raise UsageError(f"{what} was not measured by the target")
        low, high = bounds
        return (low is None or value >= low) and (high is None or value <= high)

    return check


@dataclass(frozen=True, slots=True)
class _Type:
    read: Callable[[Mapping[str, Any], str], Any]
    check: Callable[[Any, Output], bool]
    keys: tuple[str, ...] = ("value",)


_RANGE = ("min", "max")
_TYPES: Mapping[str, _Type] = {
    "contains": _Type(_read_text, lambda value, out: text.contains(out.answer, value, fold_case=False)),
    "icontains": _Type(_read_text, lambda value, out: text.contains(out.answer, value)),
    "contains-any": _Type(_read_texts, lambda value, out: any(text.contains(out.answer, item) for item in value)),
    "contains-all": _Type(_read_texts, lambda value, out: all(text.contains(out.answer, item) for item in value)),
    "equals": _Type(_read_text, lambda value, out: text.normalise(out.answer) == text.normalise(value)),
    "regex": _Type(_read_regex, lambda value, out: re.search(value, out.answer) is not None),
    "is-json": _Type(_read_nothing, _is_json, ()),
    "length": _Type(_read_range, _within(lambda out: float(len(out.answer)), "length"), _RANGE),
    "latency": _Type(_read_range, _within(lambda out: out.latency_ms, "latency_ms"), _RANGE),
    "cost": _Type(_read_range, _within(lambda out: out.cost_usd, "cost_usd"), _RANGE),
    "refusal": _Type(_read_nothing, lambda _value, out: is_refusal(out), ()),
    "python": _Type(_read_text, lambda _value, _out: False),
}
"""`python` is judged in `holds`, which has the functions."""
