"""The rest of OpenAI's API in the echo engine: tools, structured output, logprobs, n, embeddings, rerank, responses.

Pure functions from a request's body to reply objects and events; `app` speaks them with the network. Everything is made
from the request itself, so that the same request has the same answer.
"""

import base64
import hashlib
import json
import math
import re
import struct
from collections.abc import Iterator, Mapping
from typing import Any

from shipway.adapters.openai_http.wire import RefusedError

_WORD = re.compile(r"\S+\s*|\s+")
_DIMENSIONS = 8
_PLAIN: Mapping[Any, Any] = {"integer": 1, "number": 0.5, "boolean": True, "null": None}
_CHUNK = "chat.completion.chunk"


def needs_surface(body: Mapping[str, Any]) -> bool:
    """Return whether a chat request has what the plain engine does not know."""
    kind = body.get("response_format")
    messages = body.get("messages")
    return bool(
        body.get("tools")
        or body.get("logprobs")
        or (body.get("n") or 1) != 1
        or (isinstance(kind, dict) and kind.get("type") != "text")
        or (isinstance(messages, list) and any(_is_rich(message) for message in messages))
    )


def chat_reply(body: Mapping[str, Any]) -> dict[str, Any]:
    """Return a whole chat completion."""
    message, reason = _answer(body)
    choices = []
    for index in range(body.get("n") or 1):
        choice = {"index": index, "message": message, "finish_reason": reason, "logprobs": None}
        if body.get("logprobs") and message["content"]:
            choice["logprobs"] = {"content": _logprobs(message["content"], body.get("top_logprobs") or 0)}
        choices.append(choice)
    usage = _usage(body, message, len(choices))
    return {**_head(body, "chatcmpl"), "object": "chat.completion", "choices": choices, "usage": usage}


def chat_events(body: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield the chunks of a streamed chat completion."""
    message, reason = _answer(body)
    head = {**_head(body, "chatcmpl"), "object": _CHUNK}
    count = body.get("n") or 1

    def chunk(index: int, delta: dict[str, Any], **fields: Any) -> dict[str, Any]:
        return {**head, "choices": [{"index": index, "delta": delta, "finish_reason": None, **fields}]}

    for index in range(count):
        yield chunk(index, {"role": "assistant", "content": "" if message["content"] else None})
        for word in _WORD.findall(message["content"] or ""):
            told = {"logprobs": {"content": _logprobs(word, 0)}} if body.get("logprobs") else {}
            yield chunk(index, {"content": word}, **told)
        for place, call in enumerate(message.get("tool_calls", ())):
            function = call["function"]
            opening = {**call, "index": place, "function": {"name": function["name"], "arguments": ""}}
            yield chunk(index, {"tool_calls": [opening]})
            for piece in (function["arguments"][:5], function["arguments"][5:]):
                yield chunk(index, {"tool_calls": [{"index": place, "function": {"arguments": piece}}]})
        yield chunk(index, {}, finish_reason=reason)
    if (body.get("stream_options") or {}).get("include_usage"):
        yield {**head, "choices": [], "usage": _usage(body, message, count)}


def embeddings_reply(body: Mapping[str, Any]) -> dict[str, Any]:
    """Return one unit vector for each text, made of its hash."""
    given = body.get("input")
    texts = given if isinstance(given, list) and not all(isinstance(item, int) for item in given) else [given]
    size = body.get("dimensions") or _DIMENSIONS
    vectors = [_vector(json.dumps(text), size) for text in texts]
    packed = body.get("encoding_format") == "base64"
    data = [
        {
            "object": "embedding",
            "index": index,
            "embedding": base64.b64encode(struct.pack(f"<{size}f", *vector)).decode() if packed else vector,
        }
        for index, vector in enumerate(vectors)
    ]
    count = sum(_tokens(text if isinstance(text, str) else json.dumps(text)) for text in texts)
    usage = {"prompt_tokens": count, "total_tokens": count}
    return {"object": "list", "data": data, "model": body.get("model", "echo"), "usage": usage}


def rerank_reply(body: Mapping[str, Any]) -> dict[str, Any]:
    """Return documents ordered by the share of the query's words that they hold."""
    query, documents = body.get("query"), body.get("documents")
    if not isinstance(query, str) or not isinstance(documents, list):
        raise RefusedError(400, "query must be a text and documents a list", param="documents")
    wanted = set(query.lower().split())
    texts = [item if isinstance(item, str) else str(item.get("text", "")) for item in documents]
    scores = [len(wanted & set(text.lower().split())) / len(wanted) for text in texts]
    order = sorted(range(len(texts)), key=lambda index: -scores[index])
    scored = [{"index": index, "document": {"text": texts[index]}, "relevance_score": scores[index]} for index in order]
    total = _tokens(query) + sum(map(_tokens, texts))
    results = scored[: body.get("top_n") or len(scored)]
    return {**_head(body, "rerank"), "results": results, "usage": {"total_tokens": total}}


def response_reply(body: Mapping[str, Any]) -> dict[str, Any]:
    """Return a whole response of the Responses API."""
    text = _asked(body)
    content = [{"type": "output_text", "text": text, "annotations": []}]
    message = {"id": "msg_echo", "type": "message", "role": "assistant", "status": "completed", "content": content}
    read, made = _tokens(str(body.get("instructions") or "") + text), _tokens(text)
    return {
        "id": "resp_" + _digest(body),
        "object": "response",
        "created_at": 0,
        "status": "completed",
        "model": body.get("model", "echo"),
        "output": [message],
        "parallel_tool_calls": True,
        "tool_choice": "auto",
        "tools": [],
        "instructions": body.get("instructions"),
        "previous_response_id": body.get("previous_response_id"),
        "metadata": body.get("metadata") or {},
        "usage": {
            "input_tokens": read,
            "input_tokens_details": {"cached_tokens": 0},
            "output_tokens": made,
            "output_tokens_details": {"reasoning_tokens": 0},
            "total_tokens": read + made,
        },
    }


def response_events(body: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield the typed events of a streamed response."""
    whole = response_reply(body)
    item = whole["output"][0]
    part = item["content"][0]
    place = {"item_id": item["id"], "output_index": 0, "content_index": 0}
    opened = {**whole, "status": "in_progress", "output": [], "usage": None}
    started = {**item, "status": "in_progress", "content": []}
    events: list[dict[str, Any]] = [
        {"type": "response.created", "response": opened},
        {"type": "response.in_progress", "response": opened},
        {"type": "response.output_item.added", "output_index": 0, "item": started},
        {"type": "response.content_part.added", **place, "part": {**part, "text": ""}},
        *(
            {"type": "response.output_text.delta", **place, "delta": word, "logprobs": []}
            for word in _WORD.findall(part["text"])
        ),
        {"type": "response.output_text.done", **place, "text": part["text"], "logprobs": []},
        {"type": "response.content_part.done", **place, "part": part},
        {"type": "response.output_item.done", "output_index": 0, "item": item},
        {"type": "response.completed", "response": whole},
    ]
    for number, event in enumerate(events):
        yield {**event, "sequence_number": number}


def _answer(body: Mapping[str, Any]) -> tuple[dict[str, Any], str]:
    """Return the message and why it ended: a call of a tool, an instance of a schema, or the words of the user."""
    messages = body.get("messages")
    if not isinstance(messages, list) or not messages:
        raise RefusedError(400, "messages must be a list with at least one message", param="messages")
    asked, choice = _asked(body), body.get("tool_choice")
    tools = body.get("tools") or []
    if tools and choice != "none" and messages[-1].get("role") != "tool":
        named = choice["function"]["name"] if isinstance(choice, dict) else tools[0]["function"]["name"]
        schema = next((tool["function"].get("parameters") for tool in tools if tool["function"]["name"] == named), None)
        if schema is None:
            raise RefusedError(400, f"tool_choice names {named!r}, which is not among the tools", param="tool_choice")
        arguments = json.dumps(instance_of(schema, asked))
        function = {"name": named, "arguments": arguments}
        call = {"id": "call_" + _digest(body), "type": "function", "function": function}
        return {"role": "assistant", "content": None, "tool_calls": [call]}, "tool_calls"
    kind = body.get("response_format") or {}
    if kind.get("type") == "json_schema":
        asked = json.dumps(instance_of(kind["json_schema"].get("schema") or {}, asked))
    elif kind.get("type") == "json_object":
        asked = json.dumps({"answer": asked})
    return {"role": "assistant", "content": asked}, "stop"


def instance_of(schema: Mapping[str, Any], text: str) -> Any:
    """Return the plainest value that a JSON schema allows, with the text where one may stand."""
    if "const" in schema:
        return schema["const"]
    if schema.get("enum"):
        return schema["enum"][0]
    kind = schema.get("type")
    if isinstance(kind, list):
        kind = kind[0]
    if kind == "object":
        return {name: instance_of(inner, text) for name, inner in schema.get("properties", {}).items()}
    if kind == "array":
        return [instance_of(schema.get("items", {}), text)]
    return _PLAIN.get(kind, text)


def _asked(body: Mapping[str, Any]) -> str:
    given = body.get("messages", body.get("input"))
    if isinstance(given, str):
        return given
    for item in reversed(given if isinstance(given, list) else []):
        if item.get("role") in {"user", "tool"} or "output" in item:
            return _text(item.get("content", item.get("output")))
    return ""


def _text(content: Any) -> str:
    if isinstance(content, list):
        return "".join(part.get("text") or f"[{part.get('type')}]" for part in content)
    return content if isinstance(content, str) else ""


def _is_rich(message: Any) -> bool:
    if not isinstance(message, dict):
        return False
    content = message.get("content")
    parts = isinstance(content, list) and any(isinstance(part, dict) and part.get("type") != "text" for part in content)
    return parts or message.get("role") == "tool" or bool(message.get("tool_calls"))


def _logprobs(text: str, top: int) -> list[dict[str, Any]]:
    return [
        {
            "token": word,
            "logprob": -0.25,
            "bytes": list(word.encode()),
            "top_logprobs": [{"token": word, "logprob": -0.25, "bytes": list(word.encode())}][:top],
        }
        for word in _WORD.findall(text)
    ]


def _usage(body: Mapping[str, Any], message: Mapping[str, Any], count: int) -> dict[str, Any]:
    read = sum(_tokens(_text(item.get("content"))) for item in body["messages"])
    made = count * _tokens(message["content"] or json.dumps(message.get("tool_calls")))
    return {
        "prompt_tokens": read,
        "completion_tokens": made,
        "total_tokens": read + made,
        "prompt_tokens_details": {"cached_tokens": 0},
    }


def _tokens(text: str) -> int:
    return len(_WORD.findall(text))


def _vector(text: str, size: int) -> list[float]:
    raw = hashlib.shake_128(text.encode()).digest(size)
    length = math.sqrt(sum((byte + 1) ** 2 for byte in raw))
    return [(byte + 1) / length for byte in raw]


def _digest(body: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(body, sort_keys=True, default=str).encode()).hexdigest()[:24]


def _head(body: Mapping[str, Any], kind: str) -> dict[str, Any]:
    return {"id": f"{kind}-{_digest(body)}", "created": 0, "model": body.get("model", "echo")}
