"""Filling the places of a template with what a case holds, for `http_template` and the releases of kind http."""

from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

import orjson

from shipway.config.sections.eval_targets import PLACEHOLDER
from shipway.evals.model import Case
from shipway.evals.suggestions import did_you_mean
from shipway.services.targets.answers import NoAnswerError

_NAMES = ("question", "id", "tenant", "repeat", "messages", "context", "variables")


def values_of(case: Case, repeat: int) -> Mapping[str, Any]:
    """Return what the places of a template may name; a case's variables do not hide its question."""
    known = {
        "question": case.question,
        "id": case.id,
        "tenant": case.tenant,
        "repeat": repeat,
        "messages": list(case.messages),
        "context": list(case.context),
        "variables": case.variables,
    }
    return {**case.variables, **known} if case.variables else known


def filled(value: Any, values: Mapping[str, Any]) -> Any:
    """Return a JSON value with its places filled.

    Values go in as values: the request is written as JSON afterwards, so that no quote in one can end its text.

    Raises:
        NoAnswerError: a place that the case has nothing for.
    """
    if isinstance(value, str):
        return _filled_text(value, values) if "{" in value else value
    if isinstance(value, dict):
        return {key: filled(item, values) for key, item in value.items()}
    if isinstance(value, list):
        return [filled(item, values) for item in value]
    return value


def filled_url(url: str, values: Mapping[str, Any]) -> str:
    """Return an address with its places filled and percent-encoded, so that no value reaches beyond its own part.

    Raises:
        NoAnswerError: a place that the case has nothing for, or a value that would be a step up in the path.
    """
    path, mark, query = url.partition("?")

    def encoded(name: str, *, in_path: bool) -> str:
        text = _as_text(_value(name, values))
        if in_path and text in {"", ".", ".."}:
            raise NoAnswerError(f"{{{name}}} is {text!r}, which cannot stand in a path")
        return quote(text, safe="")

    path = PLACEHOLDER.sub(lambda found: encoded(found[1], in_path=True), path)
    return path + mark + PLACEHOLDER.sub(lambda found: encoded(found[1], in_path=False), query)


def filled_header(text: str, values: Mapping[str, Any]) -> str:
    """Return the text of a header with its places filled; what a header cannot hold is percent-encoded.

    Raises:
        NoAnswerError: a place that the case has nothing for.
    """
    return PLACEHOLDER.sub(lambda found: header_text(_as_text(_value(found[1], values))), text)


def header_text(text: str) -> str:
    """Return a text that can stand in a header: line breaks and what is not ASCII are percent-encoded."""
    if text.isascii() and text.isprintable():
        return text
    return quote(text, safe=" !#$&'()*+,/:;=?@[]~-._\"<>^`{|}")


def _filled_text(text: str, values: Mapping[str, Any]) -> Any:
    alone = PLACEHOLDER.fullmatch(text)
    if alone is not None:
        return _value(alone[1], values)
    return PLACEHOLDER.sub(lambda found: _as_text(_value(found[1], values)), text)


def _value(name: str, values: Mapping[str, Any]) -> Any:
    try:
        return values[name]
    except KeyError:
        known = did_you_mean(name, [*values.keys()])
        raise NoAnswerError(f"the template names {{{name}}}, but the case has no such variable; {known}") from None


def _as_text(value: Any) -> str:
    return value if isinstance(value, str) else orjson.dumps(value).decode()
