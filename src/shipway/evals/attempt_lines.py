"""One answer as one line of JSON; `run_directory` writes and reads them, the response cache keeps their outputs.

Fields that say nothing are left out, and the dictionary is built by hand: this runs once a call.
"""

from typing import Any

import orjson

from shipway.evals.model import Attempt, Output, ToolCall

_TUPLES = ("citations", "retrieved", "events", "passages")


def attempt_line(attempt: Attempt) -> bytes:
    """Return the line of an answer."""
    body: dict[str, Any] = {"case": attempt.case_id, "repeat": attempt.repeat, "output": output_body(attempt.output)}
    if attempt.retries:
        body["retries"] = attempt.retries
    return _dumped(body)


def read_attempt(line: bytes) -> Attempt | None:
    """Return the answer of a line; None when it is no such line."""
    try:
        body = orjson.loads(line)
        return Attempt(body["case"], int(body["repeat"]), read_output(body["output"]), int(body.get("retries", 0)))
    except (ValueError, KeyError, TypeError, AttributeError):
        return None


def output_body(output: Output) -> dict[str, Any]:
    """Return an output as JSON values, without what is not set."""
    body: dict[str, Any] = {"answer": output.answer}
    for name in ("model_text", "latency_ms", "cost_usd", "error", "ttft_ms"):
        value = getattr(output, name)
        if value is not None:
            body[name] = value
    for name in (*_TUPLES, "tokens_in", "tokens_out", "cached"):
        value = getattr(output, name)
        if value:
            body[name] = value
    if output.tool_calls:
        body["tool_calls"] = [{"name": call.name, "arguments": dict(call.arguments)} for call in output.tool_calls]
    return body


def read_output(body: dict[str, Any]) -> Output:
    """Return the output that `output_body` wrote.

    Raises:
        TypeError: another field.
        KeyError: a tool call without a name.
    """
    told = dict(body)
    for name in _TUPLES:
        if name in told:
            told[name] = tuple(told[name])
    if "tool_calls" in told:
        told["tool_calls"] = tuple(ToolCall(call["name"], call["arguments"]) for call in told["tool_calls"])
    return Output(**told)


def output_bytes(output: Output) -> bytes:
    """Return an output as one line."""
    return _dumped(output_body(output))


def _dumped(body: dict[str, Any]) -> bytes:
    try:
        return orjson.dumps(body, option=orjson.OPT_APPEND_NEWLINE)
    except TypeError:
        # Half a surrogate pair, an odd key or value of a user's function: kept as far as JSON can say it.
        return orjson.dumps(_plain(body), option=orjson.OPT_APPEND_NEWLINE)


def _plain(value: Any) -> Any:
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode()
    if isinstance(value, dict):
        return {str(_plain(str(key))): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if value is None or isinstance(value, bool | float):
        return value
    if isinstance(value, int) and -(2**63) <= value < 2**64:
        return value
    return str(value)
