"""A whole chat reply in other forms: asked with token probabilities, sent as a stream. `gateway.routed` uses it.

An answer whose uncertainty decides about it cannot be passed on while it is being made: it is held until it is whole
and then sent as the stream that was asked for.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from shipway.gateway.replies import sse_event
from shipway.gateway.validate import ModelCall

_TOP = 2


def with_logprobs(call: ModelCall) -> ModelCall:
    """Return a call as a whole reply with the probabilities of its tokens and of the runners-up."""
    body = {name: value for name, value in call.body.items() if name not in {"stream", "stream_options"}}
    body["logprobs"] = True
    body["top_logprobs"] = max(_TOP, call.body.get("top_logprobs") or 0)
    return replace(call, body=body, stream=False, wants_usage=False)


def without_logprobs(reply: Mapping[str, Any]) -> dict[str, Any]:
    """Return a reply without the probabilities that its caller did not ask for."""
    choices = [{**choice, "logprobs": None} for choice in reply.get("choices", ())]
    return {**reply, "choices": choices}


def streamed(reply: Mapping[str, Any], *, wants_usage: bool) -> bytes:
    """Return a reply's events up to `[DONE]`, which is not among them."""
    head = {name: reply[name] for name in ("id", "created", "model", "system_fingerprint") if name in reply}
    head["object"] = "chat.completion.chunk"
    events = []
    for choice in reply.get("choices", ()):
        index = choice.get("index", 0)
        message = {name: value for name, value in (choice.get("message") or {}).items() if value is not None}
        if "tool_calls" in message:
            message["tool_calls"] = [{"index": n, **tool} for n, tool in enumerate(message["tool_calls"])]
        delta = {"role": "assistant", **message}
        events.append({**head, "choices": [{"index": index, "delta": delta, "finish_reason": None}]})
        if choice.get("logprobs"):
            events[-1]["choices"][0]["logprobs"] = choice["logprobs"]
        end = {"index": index, "delta": {}, "finish_reason": choice.get("finish_reason")}
        events.append({**head, "choices": [end]})
    if wants_usage and reply.get("usage"):
        events.append({**head, "choices": [], "usage": reply["usage"]})
    return b"".join(sse_event(event) for event in events)
