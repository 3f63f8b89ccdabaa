"""What engines say about tokens, brought to one additive partition; `stream`, `responses` and `relay` ask here.

Every engine counts in its own words and some count differently: the table below names, for each number, the places
where it may stand, and the function after it repairs what does not add up. Nothing is taken that cannot be right: a
cached part larger than the prompt, a number below zero or beyond all models, a text.

Sources: the engines' API references (OpenAI chat and responses, Azure OpenAI, vLLM, SGLang, llama.cpp server, Ollama,
TensorRT-LLM, DeepSeek, Cohere and Jina rerank); xAI counts reasoning beside the completion, Gemini leaves it out of the
completion and has it in the total.
"""

from collections.abc import Mapping
from typing import Any

from shipway.gateway.model import Usage

_Path = tuple[str, ...]

_WHERE: tuple[_Path, ...] = (
    ("usage",),
    ("response", "usage"),  # an event of the Responses API
    ("x_groq", "usage"),
    ("meta", "tokens"),  # Cohere
)
"""Where the object with the numbers stands in a reply or an event."""

_PROMPT: tuple[_Path, ...] = (("prompt_tokens",), ("input_tokens",))
_OUTPUT: tuple[_Path, ...] = (("completion_tokens",), ("output_tokens",))
_CACHED: tuple[_Path, ...] = (
    ("prompt_tokens_details", "cached_tokens"),
    ("input_tokens_details", "cached_tokens"),
    ("prompt_cache_hit_tokens",),  # DeepSeek
    ("cached_tokens",),  # Moonshot
)
_WRITTEN: tuple[_Path, ...] = (
    ("prompt_tokens_details", "cache_write_tokens"),
    ("prompt_tokens_details", "cache_creation_tokens"),
    ("input_tokens_details", "cache_write_tokens"),
)
_TOTAL: tuple[_Path, ...] = (("total_tokens",),)
_REASONING: tuple[_Path, ...] = (
    ("completion_tokens_details", "reasoning_tokens"),
    ("output_tokens_details", "reasoning_tokens"),
    ("reasoning_tokens",),  # SGLang
)

_OPENAI = frozenset(
    {"prompt_tokens", "completion_tokens", "total_tokens", "prompt_tokens_details", "completion_tokens_details"}
)
_READ = frozenset({"cached_tokens", "audio_tokens"})

MOST_TOKENS = 100_000_000
"""More than any model reads or writes in one request: such a number is an engine's error and is not believed."""


def usage_of(reply: Mapping[str, Any]) -> Usage | None:
    """Return the usage in a reply or an event, None when there is none that can be believed."""
    told = reply.get("usage")
    if told.__class__ is dict and "timings" not in reply:
        plain = _plain(told)
        if plain is not None:
            return plain
    if not isinstance(told, dict):
        told = _elsewhere(reply)
        if told is None:
            return _of_llamacpp(reply)
    prompt = _first(told, _PROMPT)
    if prompt is None:
        # Rerankers of Jina and vLLM report the total alone: all of it was read.
        total = _first(told, _TOTAL)
        return None if total is None else Usage(uncached=total)
    cached = _first(told, _CACHED)
    if cached is None and "timings" in reply:
        cached = max(0, prompt - (_first(reply, (("timings", "prompt_n"),)) or prompt))
    return _partition(told, prompt, cached or 0)


def _plain(told: dict[str, Any]) -> Usage | None:
    """Return what is told in OpenAI's own words alone, with nothing to repair; nearly all engines write like that."""
    prompt, output = told.get("prompt_tokens"), told.get("completion_tokens")
    if prompt.__class__ is not int or output.__class__ is not int or not told.keys() <= _OPENAI:
        return None
    cached: Any = 0
    reasoning: Any = 0
    details = told.get("prompt_tokens_details")
    if details is not None:
        cached = details.get("cached_tokens") if details.__class__ is dict and details.keys() <= _READ else None
    details = told.get("completion_tokens_details")
    if details is not None:
        reasoning = details.get("reasoning_tokens") if details.__class__ is dict else None
    if cached.__class__ is not int or reasoning.__class__ is not int or told.get("total_tokens") != prompt + output:
        return None
    if not (0 <= cached <= prompt <= MOST_TOKENS and 0 <= reasoning <= output <= MOST_TOKENS):
        return None
    return Usage(prompt - cached, cached, output, False, 0, reasoning)  # noqa: FBT003 - by place, twice as fast


def _partition(told: Mapping[str, Any], prompt: int, cached: int) -> Usage:
    written = _first(told, _WRITTEN) or 0
    output = _first(told, _OUTPUT) or 0
    reasoning = _first(told, _REASONING) or 0
    beside = (_first(told, _TOTAL) or 0) - prompt - output
    if beside > 0:
        if cached + written and beside in {cached + written, cached + written + reasoning}:
            # Bedrock's way: the prompt is what no cache had.
            prompt += cached + written
            beside -= cached + written
        # xAI counts reasoning beside the completion, Gemini in the total alone; it is charged all the same.
        output += beside
        reasoning = max(reasoning, beside)
    elif reasoning > output:
        output += reasoning
    cached = min(cached, prompt)
    written = min(written, prompt - cached)
    return Usage(
        uncached=prompt - cached - written,
        cache_read=cached,
        output=output,
        cache_write=written,
        reasoning=min(reasoning, output),
    )


def _elsewhere(reply: Mapping[str, Any]) -> Mapping[str, Any] | None:
    for path in _WHERE[1:]:
        found = _at(reply, path)
        if isinstance(found, dict) and found:
            return found
    choices = reply.get("choices")
    if isinstance(choices, list) and choices and isinstance(choices[0], dict):
        found = choices[0].get("usage")  # Moonshot streams
        return found if isinstance(found, dict) else None
    return None


def _of_llamacpp(reply: Mapping[str, Any]) -> Usage | None:
    """Return what llama.cpp's server tells beside OpenAI's words: `timings`, or the counters of its own endpoint.

    Its `tokens_cached` is not taken: it counts what is in the cache after the answer, the answer included.
    """
    read, output = _first(reply, (("timings", "prompt_n"),)), _first(reply, (("timings", "predicted_n"),))
    whole = _first(reply, (("tokens_evaluated",),))
    if output is None:
        output = _first(reply, (("tokens_predicted",),))
    if read is None:
        read = whole
    if read is None or output is None:
        return None
    cached = _first(reply, (("timings", "cache_n"),))
    if cached is None:
        cached = max(0, (whole or 0) - read)
    return Usage(uncached=read, cache_read=cached, output=output)


def _first(told: Mapping[str, Any], paths: tuple[_Path, ...]) -> int | None:
    for path in paths:
        found = _whole(_at(told, path))
        if found is not None:
            return found
    return None


def _at(value: Any, path: _Path) -> Any:
    for name in path:
        if not isinstance(value, dict):
            return None
        value = value.get(name)
    return value


def _whole(value: Any) -> int | None:
    if isinstance(value, float) and value.is_integer():
        value = int(value)  # Cohere writes 12.0
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= MOST_TOKENS else None
