"""LiteLLM's SDK as a client; prints what it found as JSON."""

import json
import os

import litellm

litellm.suppress_debug_info = True
COMMON = {"api_base": os.environ["BASE_URL"], "api_key": os.environ["KEY"], "num_retries": 0, "timeout": 20}
MESSAGES = [{"role": "user", "content": "red green blue"}]
TOOL = {
    "type": "function",
    "function": {"name": "weather", "parameters": {"type": "object", "properties": {"city": {"type": "string"}}}},
}


def raised(**call):
    try:
        litellm.completion(**{"model": "openai/chat", "messages": MESSAGES, **COMMON, **call})
    except Exception as error:  # noqa: BLE001 - its name is what is asked
        return type(error).__name__
    return "nothing"


def broken_stream():
    said = ""
    try:
        for chunk in litellm.completion(model="openai/chat-cut_mid", messages=MESSAGES, stream=True, **COMMON):
            said += chunk.choices[0].delta.content or ""
    except Exception as error:  # noqa: BLE001
        return [said, type(error).__name__]
    return [said, "nothing"]


whole = litellm.completion(model="openai/chat", messages=MESSAGES, **COMMON)
stream = list(
    litellm.completion(
        model="openai/chat", messages=MESSAGES, stream=True, stream_options={"include_usage": True}, **COMMON
    )
)
tools = litellm.completion(model="openai/chat", messages=MESSAGES, tools=[TOOL], **COMMON)
vectors = litellm.embedding(model="openai/chat", input=["a", "b"], **COMMON)
print(  # noqa: T201
    json.dumps(
        {
            "text": whole.choices[0].message.content,
            "usage": whole.usage.total_tokens,
            "streamed": "".join(chunk.choices[0].delta.content or "" for chunk in stream if chunk.choices),
            "stream_usage": any(getattr(chunk, "usage", None) for chunk in stream),
            "tool": json.loads(tools.choices[0].message.tool_calls[0].function.arguments),
            "vectors": len(vectors.data),
            "errors": {
                "unknown": raised(model="openai/nope"),
                "key": raised(api_key="swk_wrong"),
                "rate": raised(model="openai/chat-rate_429"),
                "server": raised(model="openai/chat-error_500"),
                "request": raised(temperature="hot"),
            },
            "cut": broken_stream(),
        }
    )
)
