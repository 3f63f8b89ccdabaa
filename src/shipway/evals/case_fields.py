"""The fields of a dataset row: their types, the checks on one row and the published JSON Schema.

`dataset` calls this for every row of every format; the schema is for editors.
"""

from collections.abc import Callable, Mapping
from typing import Any

from shipway.core.canonical import canonical_json
from shipway.core.errors import ShipwayError
from shipway.evals.assertions import parse_assertions
from shipway.evals.model import Case, Term
from shipway.evals.suggestions import did_you_mean

Problem = tuple[str, str]
"""A field and what is wrong with it."""

_TEXT_LIST = {"type": "array", "items": {"type": "string", "minLength": 1}}
_TERM = {"anyOf": [{"type": "string", "minLength": 1}, {**_TEXT_LIST, "minItems": 1}]}
_ROLES = ("system", "developer", "user", "assistant", "tool")
_MESSAGE = {
    "type": "object",
    "required": ["role", "content"],
    "properties": {"role": {"enum": list(_ROLES)}, "content": {"type": ["string", "array", "null"]}},
}
FIELDS: Mapping[str, dict[str, Any]] = {
    "id": {"type": "string", "minLength": 1, "description": "Unique in the dataset."},
    "question": {"type": "string", "minLength": 1},
    "tenant": {"type": "string", "description": "Who asks; default: no tenant."},
    "groups": {**_TEXT_LIST, "description": "Groups of the asker, as document access lists name them."},
    "expected_sources": {**_TEXT_LIST, "description": "Ids of the documents that hold the answer."},
    "must_contain": {"type": "array", "items": _TERM, "description": "All must occur; of an inner list, one."},
    "must_not_contain": {**_TEXT_LIST, "description": "None may occur."},
    "reference": {"type": ["string", "null"], "description": "A right answer, for judges and reports."},
    "unanswerable": {"type": "boolean", "description": "The only right answer is to decline."},
    "tags": {**_TEXT_LIST, "description": "For tables by tag and for gates on a part of the cases."},
    "cluster": {"type": "string", "description": "Cases that succeed or fail together; default: first source."},
    "split": {"enum": ["calibration", "test"], "description": "Gates judge test cases only; default: test."},
    "assert": {"type": "array", "items": {"type": "object", "required": ["type"]}, "description": "Assertions."},
    "context": {**_TEXT_LIST, "description": "Passages given with the case, for judges."},
    "messages": {"type": "array", "items": _MESSAGE, "description": "Turns before the question."},
    "variables": {"type": "object", "description": "For HTTP templates and prompts: `{name}`."},
    "metadata": {"type": "object", "description": "Carried along, never judged."},
}
REQUIRED = ("id", "question")
_LISTS = ("groups", "expected_sources", "must_not_contain", "tags", "context")


def dataset_schema() -> dict[str, Any]:
    """Return the JSON Schema of one row (a JSONL line, or an item of a YAML `cases` list)."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Shipway evaluation case",
        "type": "object",
        "properties": {name: dict(rule) for name, rule in FIELDS.items()},
        "required": list(REQUIRED),
        "additionalProperties": False,
        "if": {"properties": {"unanswerable": {"const": True}}, "required": ["unanswerable"]},
        "then": {"properties": {"expected_sources": {"maxItems": 0}, "must_contain": {"maxItems": 0}}},
    }


def read_case(
    row: Mapping[str, Any], documents: frozenset[str] | None, tenants: frozenset[str] | None = None
) -> tuple[Case | None, list[Problem]]:
    """Return the case of a row, or None and everything that is wrong with it."""
    problems: list[Problem] = [
        (name, f"unknown field; {did_you_mean(name, FIELDS)}") for name in row if name not in FIELDS
    ]
    problems += [(name, "missing; every case needs one") for name in REQUIRED if name not in row]
    for name in FIELDS:
        if name in row:
            problems += [(name + where, text) for where, text in _CHECKS[name](row[name])]
    if not problems:
        problems += [*_contradictions(row), *_unknown_names(row, documents, tenants)]
    return (None, problems) if problems else (_case(row), [])


def case_row(case: Case) -> dict[str, Any]:
    """Return the fields of a case that are set, as a file holds them."""
    body = case.to_dict()
    return {
        name: body[name]
        for name in FIELDS
        if name in REQUIRED or (name in body and body[name] and not (name == "split" and body[name] == "test"))
    }


def _case(row: Mapping[str, Any]) -> Case:
    values: dict[str, Any] = {name: value for name, value in row.items() if name not in {"assert", "must_contain"}}
    values |= {name: tuple(row.get(name, ())) for name in (*_LISTS, "messages")}
    terms: tuple[Term, ...] = tuple(
        tuple(term) if isinstance(term, list) else term for term in row.get("must_contain", ())
    )
    return Case(**values, must_contain=terms, assertions=tuple(row.get("assert", ())))


def _contradictions(row: Mapping[str, Any]) -> list[Problem]:
    problems: list[Problem] = []
    if row.get("unanswerable"):
        problems += [
            (name, "set on an unanswerable case, whose only right answer is to decline; remove it")
            for name in ("expected_sources", "must_contain")
            if row.get(name)
        ]
    return problems


def _unknown_names(
    row: Mapping[str, Any], documents: frozenset[str] | None, tenants: frozenset[str] | None
) -> list[Problem]:
    problems: list[Problem] = []
    tenant = row.get("tenant")
    # Somebody of no tenant at all may well ask; the only right answer is then to decline.
    if tenants is not None and tenant and tenant not in tenants and not row.get("unanswerable"):
        problems.append(("tenant", f"no rule of corpus.sources has tenant {tenant!r}; {did_you_mean(tenant, tenants)}"))
    if documents is not None:
        problems += [
            (f"expected_sources[{index}]", f"no document {source!r} in the corpus; {_nearest(source, documents)}")
            for index, source in enumerate(row.get("expected_sources", ()))
            if source not in documents
        ]
    return problems


def _nearest(source: str, documents: frozenset[str]) -> str:
    suggestion = did_you_mean(source, documents)
    return suggestion if suggestion.startswith("did") else f"the corpus has {len(documents)} documents"


def _text(value: Any) -> list[Problem]:
    problems = _any_text(value)
    if problems:
        return problems
    return [] if value.strip() else [("", "empty; write text or remove the field")]


def _any_text(value: Any) -> list[Problem]:
    if not isinstance(value, str):
        return [("", _expected("text", value))]
    half = next((character for character in value if "\ud800" <= character <= "\udfff"), None)
    if half is None:
        return []
    return [("", f"holds \\u{ord(half):04x}, half of a surrogate pair, which is no character; write the whole one")]


def _optional_text(value: Any) -> list[Problem]:
    return [] if value is None else _any_text(value)


def _flag(value: Any) -> list[Problem]:
    return [] if isinstance(value, bool) else [("", _expected("true or false", value))]


def _split(value: Any) -> list[Problem]:
    if value in ("calibration", "test"):
        return []
    return [("", f"must be 'calibration' or 'test', got {value!r}")]


def _texts(value: Any) -> list[Problem]:
    if not isinstance(value, list):
        return [("", _expected("a list of texts", value))]
    return [(f"[{index}]" + where, text) for index, item in enumerate(value) for where, text in _text(item)]


def _terms(value: Any) -> list[Problem]:
    if not isinstance(value, list):
        return [("", _expected("a list of texts, or of lists of alternatives", value))]
    problems: list[Problem] = []
    for index, item in enumerate(value):
        if item == []:
            problems.append((f"[{index}]", "an empty list of alternatives, which no answer can satisfy"))
        check = _texts if isinstance(item, list) else _text
        problems += [(f"[{index}]" + where, text) for where, text in check(item)]
    return problems


def _assertions(value: Any) -> list[Problem]:
    if not isinstance(value, list):
        return [("", _expected("a list of objects with a 'type'", value))]
    problems: list[Problem] = []
    for index, item in enumerate(value):
        try:
            parse_assertions([item])
        except ShipwayError as error:
            problems.append((f"[{index}]", error.message))
        else:
            problems += [(f"[{index}]", text) for _, text in _json_value(item)]
    return problems


def _messages(value: Any) -> list[Problem]:
    if not isinstance(value, list):
        return [("", _expected("a list of objects with 'role' and 'content'", value))]
    problems: list[Problem] = []
    for index, item in enumerate(value):
        if not isinstance(item, Mapping):
            problems.append((f"[{index}]", _expected("an object with 'role' and 'content'", item)))
            continue
        problems += [(f"[{index}]", text) for text in _message(item)] or [
            (f"[{index}]", text) for _, text in _json_value(item)
        ]
    return problems


def _message(item: Mapping[str, Any]) -> list[str]:
    if item.get("role") not in _ROLES:
        return [f"role must be one of {', '.join(_ROLES)}, got {str(item.get('role'))[:60]!r}"]
    if "content" not in item:
        return ["content: missing"]
    content = item["content"]
    # Parts (images, files) and the empty content of a message that calls tools are the API's own forms.
    if isinstance(content, list) or (content is None and item.get("tool_calls")):
        return []
    return [f"content: {text}" for _, text in _any_text(content)]


def _object(value: Any) -> list[Problem]:
    return _json_value(value) if isinstance(value, Mapping) else [("", _expected("an object", value))]


def _json_value(value: Any) -> list[Problem]:
    """Return why a value has no place in a digest: YAML knows dates and keys that are no texts."""
    try:
        canonical_json(value)
    except TypeError as error:
        return [("", str(error))]
    return []


def _expected(what: str, value: Any) -> str:
    kind = {
        bool: "true or false",
        int: "a number",
        float: "a number",
        str: "text",
        list: "a list",
        dict: "an object",
        type(None): "null",
    }.get(type(value), type(value).__name__)
    hint = "; put it in quotes" if what == "text" and not isinstance(value, (str, list, dict, type(None))) else ""
    return f"expected {what}, got {kind} ({str(value)[:60]}){hint}"


_CHECKS: Mapping[str, Callable[[Any], list[Problem]]] = {
    "id": _text,
    "question": _text,
    "tenant": _any_text,
    "cluster": _any_text,
    "reference": _optional_text,
    "unanswerable": _flag,
    "split": _split,
    "must_contain": _terms,
    "assert": _assertions,
    "messages": _messages,
    "variables": _object,
    "metadata": _object,
    **dict.fromkeys(_LISTS, _texts),
}
