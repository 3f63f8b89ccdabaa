"""Measuring how fast an OpenAI-compatible endpoint answers; `shipway eval perf` calls this.

Every question is another one, so that no cache can answer; a reply that says it came from a cache counts as an error.
"""

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import anyio
import orjson

from shipway import __version__
from shipway.core.clock import Clock
from shipway.core.errors import DeadlineError, UnavailableError, UsageError
from shipway.evals.contracts.check import shown, without
from shipway.evals.performance import Iteration, Measurement, PerformancePlan, Timing
from shipway.evals.ports import HttpCall, HttpReply, JsonCaller

_OK = 200
_LIMIT_BYTES = 10_000_000
_DATA = b"data:"
_DONE = b"[DONE]"
_LONGEST_ERROR = 120
_WORDS = (
    "amber",
    "basalt",
    "cedar",
    "delta",
    "ember",
    "fjord",
    "garnet",
    "harbor",
    "indigo",
    "juniper",
    "kelp",
    "lark",
)


@dataclass(frozen=True, slots=True)
class ChatEndpoint:
    """What is measured; `url` ends with `/chat/completions`, `model` may be a route of a gateway."""

    url: str
    model: str
    key: str = field(default="", repr=False)
    timeout_s: float = 60.0


@dataclass(frozen=True, slots=True)
class PerformanceParts:
    """What measuring needs; `machine` is what a baseline must have alike. `progress` gets batch size, done, all."""

    caller: JsonCaller
    clock: Clock
    rng: random.Random
    machine: Mapping[str, Any] = field(default_factory=dict)
    progress: Callable[[int, int, int], None] = lambda _batch, _done, _all: None


async def measure(endpoint: ChatEndpoint, plan: PerformancePlan, parts: PerformanceParts) -> Measurement:
    """Warm up and measure each batch size; requests that fail are counted and not repeated.

    Raises:
        UnavailableError: not one request of the first warm-up was answered.
    """
    (measured,) = await measure_all([endpoint], plan, parts)
    return measured


async def measure_all(
    endpoints: Sequence[ChatEndpoint], plan: PerformancePlan, parts: PerformanceParts
) -> list[Measurement]:
    """Measure several endpoints in turns, so that what else the machine does meets all of them alike.

    Raises:
        UnavailableError: of one of them not one request of the first warm-up was answered.
    """
    batches: list[dict[int, tuple[Iteration, ...]]] = [{} for _ in endpoints]
    for batch in plan.batch_sizes:
        for number in range(plan.warmups):
            for endpoint in endpoints:
                warm = await _iteration(endpoint, plan, parts, batch)
                if batch == plan.batch_sizes[0] and not number:
                    _expect_one(endpoint, warm)
        iterations: list[list[Iteration]] = [[] for _ in endpoints]
        for number in range(plan.iterations):
            for index in parts.rng.sample(range(len(endpoints)), len(endpoints)):
                iterations[index].append(await _iteration(endpoints[index], plan, parts, batch))
            parts.progress(batch, number + 1, plan.iterations)
        for index, found in enumerate(iterations):
            batches[index][batch] = tuple(found)
    return [
        Measurement(_named(endpoint), plan, dict(parts.machine), found)
        for endpoint, found in zip(endpoints, batches, strict=True)
    ]


def _named(endpoint: ChatEndpoint) -> str:
    return f"{endpoint.url.removesuffix('/chat/completions')}#{endpoint.model}"


def chat_url(address: str) -> str:
    """Return where an endpoint's chat is: its address may end at the host, at `/v1` or be whole.

    Raises:
        UsageError: it is no address.
    """
    if "@" in address:
        # The address itself is not repeated: this message ends in CI logs.
        raise UsageError("the address holds a password", hint="name the variable that holds the key: --key-env")
    if not address.startswith(("http://", "https://")) or "?" in address or "#" in address:
        raise UsageError(f"{address!r} is no address", hint="write one such as http://127.0.0.1:8000/v1")
    base = address.rstrip("/")
    if base.endswith("/chat/completions"):
        return base
    return f"{base}/chat/completions" if base.count("/") > 2 else f"{base}/v1/chat/completions"  # noqa: PLR2004 - scheme://host


def _expect_one(endpoint: ChatEndpoint, warm: Iteration) -> None:
    if all(timing.error for timing in warm.timings):
        hint = "look at the address, the model's name and the key (--key-env)"
        reason = warm.timings[0].error.removeprefix(f"{endpoint.url}: ")
        raise UnavailableError(f"{endpoint.url}: {reason}", hint=hint)


async def _iteration(endpoint: ChatEndpoint, plan: PerformancePlan, parts: PerformanceParts, batch: int) -> Iteration:
    bodies = [orjson.dumps(_body(endpoint, plan, parts.rng)) for _ in range(batch)]
    timings = [Timing()] * batch

    async def ask(index: int) -> None:
        timings[index] = await _timed(endpoint, plan, parts.caller, bodies[index])

    started_s = parts.clock.monotonic_s()
    async with anyio.create_task_group() as group:
        for index in range(batch):
            group.start_soon(ask, index)
    return Iteration(parts.clock.monotonic_s() - started_s, tuple(timings))


def _body(endpoint: ChatEndpoint, plan: PerformancePlan, rng: random.Random) -> dict[str, Any]:
    # In front, so that no engine can reuse what it computed for the beginning of another one.
    nonce = " ".join(rng.choices(_WORDS, k=4)) + f" {rng.getrandbits(48):012x}"
    body: dict[str, Any] = {
        "model": endpoint.model,
        "messages": [{"role": "user", "content": f"({nonce}) {plan.prompt}"}],
        "temperature": 0,
        "max_tokens": plan.max_tokens,
    }
    if plan.stream:
        body |= {"stream": True, "stream_options": {"include_usage": True}}
    return body


async def _timed(endpoint: ChatEndpoint, plan: PerformancePlan, caller: JsonCaller, body: bytes) -> Timing:
    headers = [("content-type", "application/json"), ("accept-encoding", "identity")]
    headers.append(("user-agent", f"shipway/{__version__}"))
    if endpoint.key:
        headers.append(("authorization", f"Bearer {endpoint.key}"))
    call = HttpCall("POST", endpoint.url, tuple(headers), body, endpoint.timeout_s, _LIMIT_BYTES)
    try:
        reply = await caller.call(call)
    except DeadlineError:
        return Timing(error=f"no whole reply within {endpoint.timeout_s:g} s")
    except UnavailableError as error:
        return Timing(error=without(error.message, [endpoint.key])[:_LONGEST_ERROR])
    problem = _problem(reply, endpoint, stream=plan.stream)
    if problem:
        return Timing(reply.total_ms, error=problem)
    tokens = _streamed_tokens(reply.body) if plan.stream else _tokens(reply.body)
    return Timing(reply.total_ms, reply.ttft_ms if plan.stream else None, tokens)


def _problem(reply: HttpReply, endpoint: ChatEndpoint, *, stream: bool) -> str:
    """Return why a reply is no measurement, nothing when it is one."""
    if reply.status != _OK:
        said = shown(reply.body[:2048].decode("utf-8", "replace"), [endpoint.key])
        return f"status {reply.status}: {said}"[:_LONGEST_ERROR]
    if reply.headers.get("x-shipway-cache") == "hit" or "age" in reply.headers:
        return "answered from a cache"
    if not stream:
        return ""
    if not reply.headers.get("content-type", "").startswith("text/event-stream"):
        return "no stream came; --no-stream measures without one"
    if _DONE not in reply.body[-64:]:
        return "the stream has no end"
    return ""


def _tokens(body: bytes) -> int | None:
    try:
        found = orjson.loads(body)["usage"]["completion_tokens"]
    except (orjson.JSONDecodeError, KeyError, TypeError):
        return None
    return found if isinstance(found, int) and not isinstance(found, bool) else None


def _streamed_tokens(body: bytes) -> int | None:
    """Return the tokens that the stream's last usage counts, None when it has none: pieces are no tokens."""
    for line in reversed(body.splitlines()):
        if line.startswith(_DATA) and b'"usage"' in line:
            tokens = _tokens(line[len(_DATA) :].strip())
            if tokens is not None:
                return tokens
    return None
