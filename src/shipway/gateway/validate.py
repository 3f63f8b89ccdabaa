"""What a model request must look like before anything is done for it.

Unknown fields pass: engines have their own. Fields that the gateway reads or that would break an engine late are
checked here, with the field named in `param`.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import orjson

from shipway.gateway.exchange import Headers
from shipway.gateway.replies import RefusedError
from shipway.gateway.strict_json import strict_object

_ROLES = frozenset({"system", "developer", "user", "assistant", "tool", "function"})
_SPEAKERS = frozenset({"system", "developer", "user"})


class Endpoint(StrEnum):
    """The OpenAI endpoints that name a route in `model`; the value is the path after `/v1/`."""

    CHAT = "chat/completions"
    COMPLETIONS = "completions"
    EMBEDDINGS = "embeddings"
    RERANK = "rerank"
    RESPONSES = "responses"

    # A text's own: an enum's is a call into Python, and an endpoint is looked up several times a request.
    __hash__ = str.__hash__


STREAMING = frozenset({Endpoint.CHAT, Endpoint.COMPLETIONS, Endpoint.RESPONSES})


@dataclass(slots=True)
class ModelCall:
    """A checked request for a model; `wants_usage` says that the caller asked for usage in the stream.

    Nobody changes it; to freeze it costs more than to make it.
    """

    endpoint: Endpoint
    route: str
    body: dict[str, Any]
    stream: bool
    wants_usage: bool
    input_chars: int


def json_object(headers: Headers, raw: bytes) -> dict[str, Any]:
    """Return the object in a request body.

    Raises:
        RefusedError: 415 for another content type or an encoded body, 400 for anything but a sound JSON object.
    """
    require_json(headers)
    return strict_object(raw)


def require_json(headers: Headers) -> None:
    """Refuse a body that is not said to be plain JSON in UTF-8.

    Raises:
        RefusedError: 415.
    """
    given = headers.get("content-type") or ""
    if given != "application/json":
        kind, _, parameters = given.partition(";")
        charset = parameters.strip().lower().removeprefix("charset=").strip('" ')
        if kind.strip().lower() != "application/json" or charset not in {"", "utf-8", "utf8"}:
            raise RefusedError(415, "send the body as application/json in UTF-8", param="content-type")
    if (headers.get("content-encoding") or "identity").lower() != "identity":
        raise RefusedError(415, "encoded bodies are not taken; send plain JSON", param="content-encoding")


def model_call(endpoint: Endpoint, body: dict[str, Any]) -> ModelCall:
    """Return the checked request.

    Raises:
        RefusedError: 400 naming the field.
    """
    route = text_field(body, "model")
    for name, value in body.items():
        check = _OPTIONAL.get(name)
        if check is not None and value is not None and not check[0](value):
            raise RefusedError(400, f"{name} must be {check[1]}", param=name)
    options = body.get("stream_options") or {}
    if not isinstance(options.get("include_usage"), bool | None):
        raise RefusedError(400, "stream_options.include_usage must be true or false", param="stream_options")
    stream = body.get("stream") is True and endpoint in STREAMING
    chars = _INPUTS[endpoint](body)
    return ModelCall(endpoint, route, body, stream, stream and options.get("include_usage") is True, chars)


def text_field(body: Mapping[str, Any], name: str) -> str:
    """Return a required text field.

    Raises:
        RefusedError: 400 when it is missing, empty or no text.
    """
    value = body.get(name)
    if not isinstance(value, str) or not value.strip():
        raise RefusedError(400, f"{name} must be a text that is not empty", param=name)
    return value


def text_of(content: Any) -> str:
    """Return the text of a message's content: a string, or the text parts of a list."""
    if isinstance(content, str):
        return content
    if not isinstance(content, list):
        return ""
    return "".join(part["text"] for part in content if isinstance(part, dict) and isinstance(part.get("text"), str))


def last_user_text(body: Mapping[str, Any]) -> str:
    """Return the newest thing the user said, in whatever form the endpoint takes it; empty when there is none."""
    messages = body.get("messages")
    if isinstance(messages, list):
        for item in reversed(messages):
            # Only the chat endpoint has looked at them.
            if isinstance(item, dict) and item.get("role") == "user":
                return text_of(item.get("content"))
        return ""
    given = next((body[name] for name in ("question", "prompt", "input", "query") if name in body), "")
    if isinstance(given, list):
        for item in reversed(given):
            if isinstance(item, dict) and item.get("role") == "user":
                return text_of(item.get("content"))
    return text_of(given)


def encoded(body: Mapping[str, Any]) -> bytes:
    """Return a request body as JSON.

    Raises:
        RefusedError: 400, it is nested deeper than the encoder goes (254 levels).
    """
    try:
        # A copy: orjson leaves up to twelve times the room behind what it wrote, and a stream keeps its request.
        return bytes(memoryview(orjson.dumps(body)))
    except orjson.JSONEncodeError:
        raise RefusedError(400, "the request is nested too deeply") from None


def _message_chars(body: Mapping[str, Any]) -> int:
    messages = body.get("messages")
    if not isinstance(messages, list) or not messages:
        raise RefusedError(400, "messages must be a list that is not empty", param="messages")
    chars = 0
    for index, item in enumerate(messages):
        if item.__class__ is dict:
            role, content = item.get("role"), item.get("content")
            if role.__class__ is str and role in _ROLES and content.__class__ is str:
                chars += len(content)
                continue
        chars += _message(item, f"messages[{index}]")
    return chars


def _message(item: Any, where: str) -> int:
    if not isinstance(item, dict):
        raise RefusedError(400, f"{where} must be an object with role and content", param=where)
    role, content = item.get("role"), item.get("content")
    if not isinstance(role, str) or role not in _ROLES:
        raise RefusedError(400, f"{where}.role must be one of {', '.join(sorted(_ROLES))}", param=f"{where}.role")
    if content is None and role not in _SPEAKERS:
        return 0
    parts = isinstance(content, list) and bool(content) and all(isinstance(part, dict) for part in content)
    if not isinstance(content, str) and not parts:
        wanted = f"{where}.content must be a text or a list of parts that is not empty"
        raise RefusedError(400, wanted, param=f"{where}.content")
    return len(text_of(content))


def _prompt_chars(body: Mapping[str, Any]) -> int:
    return _texts(body.get("prompt"), "prompt")


def _input_chars(body: Mapping[str, Any]) -> int:
    return _texts(body.get("input"), "input")


def _rerank_chars(body: Mapping[str, Any]) -> int:
    query, documents = body.get("query"), body.get("documents")
    if not isinstance(query, str | dict) or not query:
        raise RefusedError(400, "query must be a text that is not empty", param="query")
    if isinstance(documents, dict):  # vLLM: the parts of several documents in one object
        documents = documents.get("content")
    if not isinstance(documents, list) or not documents:
        raise RefusedError(400, "documents must be a list that is not empty", param="documents")
    chars = len(query) if isinstance(query, str) else len(text_of(query.get("content")))
    for index, document in enumerate(documents):
        text = document if isinstance(document, str) else document.get("text", "") if isinstance(document, dict) else 0
        if not isinstance(text, str):
            where = f"documents[{index}]"
            raise RefusedError(400, f"{where} must be a text or an object with a text", param=where)
        chars += len(text)
    return chars


def _response_chars(body: Mapping[str, Any]) -> int:
    if body.get("background"):
        message = "background responses are not kept here; leave background out, or stream"
        raise RefusedError(400, message, param="background")
    given = body.get("input")
    chars = len(body.get("instructions") or "") if isinstance(body.get("instructions"), str | None) else -1
    if chars < 0:
        raise RefusedError(400, "instructions must be a text", param="instructions")
    if given is None and isinstance(body.get("prompt"), dict):
        return chars
    if isinstance(given, str) and given:
        return chars + len(given)
    if not isinstance(given, list) or not given:
        raise RefusedError(400, "input must be a text or a list of items, and not empty", param="input")
    return chars + sum(_item_chars(item, f"input[{index}]") for index, item in enumerate(given))


def _item_chars(item: Any, where: str) -> int:
    if not isinstance(item, dict):
        raise RefusedError(400, f"{where} must be an object", param=where)
    return len(text_of(item.get("content"))) + len(text_of(item.get("output")))


def _texts(value: Any, name: str) -> int:
    """Return the size of a text, a list of texts, or tokens (one each)."""
    if isinstance(value, str) and value:
        return len(value)
    if isinstance(value, list) and value:
        if all(isinstance(item, str) for item in value):
            return sum(map(len, value))
        if all(_is_whole(item) for item in value):
            return len(value)
        if all(isinstance(item, list) and all(_is_whole(token) for token in item) for item in value):
            return sum(map(len, value))
    raise RefusedError(400, f"{name} must be a text, a list of texts, or tokens, and not empty", param=name)


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _is_count(value: Any) -> bool:
    return _is_whole(value) and value > 0


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_bool(value: Any) -> bool:
    return isinstance(value, bool)


def _is_object(value: Any) -> bool:
    return isinstance(value, dict)


def _is_objects(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(item, dict) for item in value)


def _is_stop(value: Any) -> bool:
    return isinstance(value, str) or (isinstance(value, list) and all(isinstance(item, str) for item in value))


def _is_choice(value: Any) -> bool:
    return isinstance(value, str | dict)


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


_OPTIONAL: Mapping[str, tuple[Callable[[Any], bool], str]] = {
    "stream": (_is_bool, "true or false"),
    "stream_options": (_is_object, "an object"),
    "metadata": (_is_object, "an object"),
    "previous_response_id": (_is_text, "a text"),
    "temperature": (_is_number, "a number"),
    "top_p": (_is_number, "a number"),
    "n": (_is_count, "a whole number above 0"),
    "max_tokens": (_is_count, "a whole number above 0"),
    "max_completion_tokens": (_is_count, "a whole number above 0"),
    "max_output_tokens": (_is_count, "a whole number above 0"),
    "top_n": (_is_count, "a whole number above 0"),
    "stop": (_is_stop, "a text or a list of texts"),
    "tools": (_is_objects, "a list of objects"),
    "tool_choice": (_is_choice, "a text or an object"),
    "response_format": (_is_object, "an object"),
    "user": (_is_text, "a text"),
    "seed": (lambda value: isinstance(value, int) and not isinstance(value, bool), "a whole number"),
}
_INPUTS: Mapping[Endpoint, Callable[[Mapping[str, Any]], int]] = {
    Endpoint.CHAT: _message_chars,
    Endpoint.COMPLETIONS: _prompt_chars,
    Endpoint.EMBEDDINGS: _input_chars,
    Endpoint.RERANK: _rerank_chars,
    Endpoint.RESPONSES: _response_chars,
}
