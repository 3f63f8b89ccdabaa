"""From plain values to `Output`: what a function returns, what a log holds, what stands in the reply of an endpoint."""

import math
from collections.abc import Callable, Mapping
from typing import Any

import orjson

from shipway.evals.model import Output, ToolCall
from shipway.evals.suggestions import did_you_mean
from shipway.services.engine_caller import too_large
from shipway.services.targets.replies import excerpt

LIMIT_BYTES = 10_000_000
"""An answer that is longer is an error."""
_MOST_BYTES_A_SIGN = 4
_NOT_JSON = "(not JSON)"


class NoAnswerError(ValueError):
    """A value that is no answer; the message says what is wrong and where in it."""


def output_of(values: Mapping[str, Any]) -> Output:
    """Return the output with these fields; `answer` or `error` is needed.

    Raises:
        NoAnswerError: an unknown field, a value of the wrong type, an answer over the limit.
    """
    unknown = next((name for name in values if name not in _READERS), None)
    if unknown is not None:
        raise NoAnswerError(f"unknown field {unknown!r}; {did_you_mean(str(unknown), _READERS)}")
    if values.get("error") is None and values.get("answer") is None:
        raise NoAnswerError("it has neither answer nor error")
    read: dict[str, Any] = {}
    for name, value in values.items():
        if value is not None:
            read[name] = _READERS[name](name, value)
    return Output(**read)


def checked_answer(answer: str) -> str:
    """Return an answer within the limit.

    Raises:
        NoAnswerError: it is larger.
    """
    # The exact size is only asked of what may be too large.
    if len(answer) * _MOST_BYTES_A_SIGN > LIMIT_BYTES and len(answer.encode(errors="replace")) > LIMIT_BYTES:
        raise NoAnswerError(too_large(LIMIT_BYTES))
    return answer


def tool_calls_of(value: Any) -> tuple[ToolCall, ...]:
    """Return called tools, written as `{name, arguments}` or in OpenAI's words.

    Raises:
        NoAnswerError: it is no list of calls.
    """
    if value is None:
        return ()
    if not isinstance(value, list):
        raise NoAnswerError(f"tool_calls must be a list, not {excerpt(value)}")
    return tuple(_tool_call(index, item) for index, item in enumerate(value))


def texts_of(name: str, value: Any) -> tuple[str, ...]:
    """Return a list of texts; numbers among them are taken as text, one text alone as a list of it.

    Raises:
        NoAnswerError: it is none.
    """
    if isinstance(value, str):
        return (value,)
    if not isinstance(value, list | tuple):
        raise NoAnswerError(f"{name} must be a list of texts, not {excerpt(value)}")
    for item in value:
        if not isinstance(item, str) and (isinstance(item, bool) or not isinstance(item, int)):
            raise NoAnswerError(f"{name} must be a list of texts, not {excerpt(value)}")
    return tuple(map(str, value))


def _tool_call(index: int, item: Any) -> ToolCall:
    if isinstance(item, ToolCall):
        return item
    called = item.get("function", item) if isinstance(item, dict) else None
    name = called.get("name") if isinstance(called, dict) else None
    if not isinstance(called, dict) or not isinstance(name, str):
        raise NoAnswerError(f"tool_calls.{index} has no name: {excerpt(item)}")
    arguments = called.get("arguments") or {}
    if isinstance(arguments, str):
        # What a model writes wrongly is its answer, to be judged, not the failure of the endpoint.
        try:
            arguments = orjson.loads(arguments)
        except orjson.JSONDecodeError:
            arguments = {_NOT_JSON: arguments}
    if not isinstance(arguments, dict):
        arguments = {_NOT_JSON: arguments}
    return ToolCall(name, arguments)


def _text(name: str, value: Any) -> str:
    if not isinstance(value, str):
        raise NoAnswerError(f"{name} must be text, not {excerpt(value)}")
    return checked_answer(value)


def _count(name: str, value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise NoAnswerError(f"{name} must be a whole number from 0 on, not {excerpt(value)}")
    return value


def _amount(name: str, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value) or value < 0:
        raise NoAnswerError(f"{name} must be a number from 0 on, not {excerpt(value)}")
    return float(value)


def _flag(name: str, value: Any) -> bool:
    if not isinstance(value, bool):
        raise NoAnswerError(f"{name} must be true or false, not {excerpt(value)}")
    return value


def _calls(_name: str, value: Any) -> tuple[ToolCall, ...]:
    return tool_calls_of(list(value) if isinstance(value, tuple) else value)


_READERS: Mapping[str, Callable[[str, Any], Any]] = {
    "answer": _text,
    "model_text": _text,
    "error": _text,
    "citations": texts_of,
    "retrieved": texts_of,
    "passages": texts_of,
    "events": texts_of,
    "tool_calls": _calls,
    "tokens_in": _count,
    "tokens_out": _count,
    "latency_ms": _amount,
    "ttft_ms": _amount,
    "cost_usd": _amount,
    "cached": _flag,
}
