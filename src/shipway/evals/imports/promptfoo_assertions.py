"""promptfoo's assertions as entries of our `assert` list; `promptfoo` calls this for every test.

Source: promptfoo 0.123, "Assertions & metrics". What has no counterpart is said, with what does the same here if
anything does: running somebody's JavaScript is left to promptfoo itself.
"""

import re
from collections.abc import Callable, Mapping
from typing import Any

from shipway.core.errors import ShipwayError
from shipway.evals.assertions import parse_assertions
from shipway.evals.imports.items import listed

_CSV = re.compile(
    r"(?P<type>(?:not-)?[a-z][a-z0-9-]*)(?:\((?P<number>\d+(?:\.\d+)?)\))?(?::\s*(?P<value>.*))?", re.DOTALL
)
_VARIABLE = re.compile(r"\{\{\s*(\w+)\s*\}\}")
_METRICS: Mapping[str, str] = {
    "answer-relevance": "answer_relevance",
    "context-faithfulness": "faithfulness",
    "context-recall": "context_recall",
    "context-relevance": "context_precision",
    "conversation-relevance": "answer_relevance",
}
_CODE = frozenset({"javascript", "python", "ruby", "webhook"})
_SIMILARITY = 0.75
_DISTANCE = 5


class UntranslatableError(Exception):
    """An assertion has no counterpart here."""


def translated(entry: Any, variables: Mapping[str, Any]) -> tuple[dict[str, Any], str]:
    """Return our entry and what of the foreign one got lost, empty when nothing did.

    Raises:
        UntranslatableError: why it has no counterpart.
    """
    if not isinstance(entry, Mapping) or not isinstance(entry.get("type"), str):
        raise UntranslatableError(f"no object with a type: {str(entry)[:60]!r}")
    if entry["type"] == "assert-set":
        return _set_of(entry, variables)
    negation = "not-" if entry["type"].startswith("not-") else ""
    kind = entry["type"].removeprefix("not-")
    if entry.get("weight") == 0:
        raise UntranslatableError("weight 0 counts for nothing")
    if entry.get("transform"):
        raise UntranslatableError("its `transform` is code; run it with promptfoo")
    body, note = _body(kind, {**entry, "value": _rendered(entry.get("value"), variables)})
    return _checked(body | {"type": negation + body["type"]}, entry, note)


def from_cell(text: str) -> dict[str, Any]:
    """Return the assertion of an `__expected` cell: `contains: x`, `similar(0.8): x`, or a text that is equal."""
    found = _CSV.fullmatch(text.strip())
    if found is None or found["type"].removeprefix("not-") not in {*_FORMS, *_METRICS, *_CODE, "fn", "eval", "grade"}:
        return {"type": "equals", "value": text.strip()}
    kind = {"fn": "javascript", "eval": "javascript", "grade": "llm-rubric"}.get(found["type"], found["type"])
    entry: dict[str, Any] = {"type": kind}
    if found["value"]:
        entry["value"] = found["value"]
    if found["number"]:
        entry["threshold"] = float(found["number"])
    return entry


def _checked(body: dict[str, Any], entry: Mapping[str, Any], note: str) -> tuple[dict[str, Any], str]:
    extras = {key: entry[key] for key in ("weight", "metric") if entry.get(key) is not None}
    try:
        parse_assertions([body])
    except ShipwayError as error:
        raise UntranslatableError(error.message) from error
    if extras:
        try:
            parse_assertions([body | extras])
        except ShipwayError:
            return body, f"{note}; {', '.join(extras)} left out".lstrip("; ")
    return body | extras, note


def _set_of(entry: Mapping[str, Any], variables: Mapping[str, Any]) -> tuple[dict[str, Any], str]:
    parts = [translated(item, variables) for item in listed(entry.get("assert"))]
    body: dict[str, Any] = {"type": "assert-set", "assert": [part for part, _ in parts]}
    if entry.get("threshold") is not None:
        body["threshold"] = entry["threshold"]
    return _checked(body, entry, "; ".join(note for _, note in parts if note))


def _body(kind: str, entry: Mapping[str, Any]) -> tuple[dict[str, Any], str]:
    if kind in _METRICS:
        raise UntranslatableError(f"is a metric here: write a gate on `{_METRICS[kind]}`")
    if kind in _CODE:
        raise UntranslatableError("is code; run it with promptfoo")
    if kind not in _FORMS:
        raise UntranslatableError("has no counterpart; run it with promptfoo")
    return _FORMS[kind](entry)


def _rendered(value: Any, variables: Mapping[str, Any]) -> Any:
    if isinstance(value, list):
        return [_rendered(item, variables) for item in value]
    if not isinstance(value, str):
        return value
    if value.startswith("file://"):
        raise UntranslatableError(f"its value is the file {value}; write the value itself")
    text = _VARIABLE.sub(lambda found: str(variables.get(found[1], found[0])), value)
    if "{{" in text or "{%" in text:
        raise UntranslatableError(f"its value is a template that cannot be filled: {text[:60]!r}")
    return text


Form = Callable[[Mapping[str, Any]], tuple[dict[str, Any], str]]


def _text(kind: str) -> Form:
    return lambda entry: ({"type": kind, "value": _scalar(entry["value"])}, "")


def _texts(kind: str, note: str = "") -> Form:
    def form(entry: Mapping[str, Any]) -> tuple[dict[str, Any], str]:
        value = entry["value"]
        items = [item.strip() for item in value.split(",")] if isinstance(value, str) else value
        return {"type": kind, "value": [_scalar(item) for item in items] if isinstance(items, list) else items}, note

    return form


def _scalar(value: Any) -> Any:
    return str(value) if isinstance(value, int | float) and not isinstance(value, bool) else value


def _most(kind: str) -> Form:
    return lambda entry: ({"type": kind, "max": entry.get("threshold")}, "")


def _json(entry: Mapping[str, Any]) -> tuple[dict[str, Any], str]:
    return ({"type": "json-schema", "value": entry["value"]} if entry["value"] else {"type": "is-json"}), ""


def _similar(entry: Mapping[str, Any]) -> tuple[dict[str, Any], str]:
    note = "another embedding model measures here, so look at the threshold again"
    return {"type": "similar", "value": entry["value"], "threshold": entry.get("threshold", _SIMILARITY)}, note


def _levenshtein(entry: Mapping[str, Any]) -> tuple[dict[str, Any], str]:
    return {"type": "levenshtein", "value": entry["value"], "max": entry.get("threshold", _DISTANCE)}, ""


def _rubric(before: str = "") -> Form:
    def form(entry: Mapping[str, Any]) -> tuple[dict[str, Any], str]:
        value = entry["value"]
        body = {"type": "llm-rubric", "value": before + ("\n".join(value) if isinstance(value, list) else str(value))}
        threshold = entry.get("threshold")
        return body | ({} if threshold is None else {"threshold": threshold}), "another judge decides here"

    return form


_FOLDS = "ignores case here"
_FORMS: Mapping[str, Form] = {
    "contains": _text("contains"),
    "icontains": _text("icontains"),
    "contains-all": _texts("contains-all", _FOLDS),
    "contains-any": _texts("contains-any", _FOLDS),
    "icontains-all": _texts("contains-all"),
    "icontains-any": _texts("contains-any"),
    "equals": _text("equals"),
    "starts-with": _text("starts-with"),
    "regex": _text("regex"),
    "is-json": _json,
    "is-refusal": lambda _entry: ({"type": "refusal"}, ""),
    "latency": _most("latency"),
    "cost": _most("cost"),
    "similar": _similar,
    "levenshtein": _levenshtein,
    "llm-rubric": _rubric(),
    "model-graded-closedqa": _rubric(),
    "g-eval": _rubric(),
    "factuality": _rubric("The answer agrees in all facts with this one: "),
    "model-graded-factuality": _rubric("The answer agrees in all facts with this one: "),
}
