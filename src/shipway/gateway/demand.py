"""What a request may use at most, estimated before it is let in; `admission` reserves it.

Too much is given back when the truth is known; too little would let a budget be overrun by what runs at the same time.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from shipway.gateway.model import ModelPrice
from shipway.gateway.ports import ChatRoute, HttpRoute, RouteRuntime
from shipway.gateway.quota import nano_usd

_BYTES_PER_TOKEN = 3
"""English has some four, code three, Chinese three in UTF-8; names and roles around the text come on top of it."""
_SMALL_BYTES = 16_384
"""Up to here the body's size stands for its text; a larger one is looked at, because it may hold pictures."""
_TOKENS_PER_PICTURE = 1500
_UNSAID_OUTPUT = 4096
_ANSWERS = ("n", "best_of")
_OUTPUT_LIMITS = ("max_completion_tokens", "max_tokens")
_MILLION = 1_000_000


@dataclass(frozen=True, slots=True)
class RouteDemand:
    """What is the same for all requests of a route.

    `input_tokens` come on top of the body's; `output_tokens` is the route's own limit, None without one; prices are
    dollars per million tokens, the highest that may come to apply.
    """

    input_tokens: int
    output_tokens: int | None
    input_usd: float
    output_usd: float
    is_metered: bool = True

    def of(self, body: Mapping[str, Any] | None, size_bytes: int) -> tuple[int, int]:
        """Return tokens and nano-dollars that a request may use."""
        if not self.is_metered:
            return 0, 0
        asked = body if body is not None else {}
        tokens_in = self.input_tokens + text_tokens(asked, size_bytes)
        tokens_out = self._output(asked)
        usd = (tokens_in * self.input_usd + tokens_out * self.output_usd) / _MILLION
        return tokens_in + tokens_out, nano_usd(usd)

    def _output(self, asked: Mapping[str, Any]) -> int:
        least = self.output_tokens
        for name in _OUTPUT_LIMITS:
            limit = asked.get(name)
            if isinstance(limit, int) and limit > 0 and (least is None or limit < least):
                least = limit
        return _answers(asked) * (least or _UNSAID_OUTPUT)


def _answers(asked: Mapping[str, Any]) -> int:
    """Return how many answers an engine may write: for each prompt as many as are asked for, or tried."""
    times = 1
    for name in _ANSWERS:
        count = asked.get(name)
        if isinstance(count, int) and count > times:
            times = count
    prompts = asked.get("prompt")
    if isinstance(prompts, list) and prompts and not isinstance(prompts[0], int):
        times *= len(prompts)
    return times


def text_tokens(body: Mapping[str, Any], size_bytes: int) -> int:
    """Return an upper estimate of a body's tokens."""
    if size_bytes <= _SMALL_BYTES:
        return size_bytes // _BYTES_PER_TOKEN + 1
    pictures_bytes, pictures = _pictures(body)
    return max(0, size_bytes - pictures_bytes) // _BYTES_PER_TOKEN + 1 + pictures * _TOKENS_PER_PICTURE


def route_demand(
    runtimes: list[RouteRuntime], prices: Mapping[str, ModelPrice], *, max_prompt_tokens: int
) -> RouteDemand:
    """Return the demand of a route that any of `runtimes` may serve, or the models that its plan has besides."""
    if all(isinstance(runtime, HttpRoute) for runtime in runtimes):
        return RouteDemand(0, 0, 0.0, 0.0, is_metered=False)
    plans = [runtime.plan for runtime in runtimes if not isinstance(runtime, HttpRoute) and runtime.plan is not None]
    others: list[RouteRuntime] = [target for plan in plans for target in plan.targets.values()]
    # Who is unsure asks a second model, and both are paid.
    answers = 2 if any(plan.escalate for plan in plans) else 1
    applying: list[ModelPrice] = []
    tokens_in, limits = 0, []
    for runtime in (*runtimes, *others):
        if isinstance(runtime, HttpRoute):
            continue
        if isinstance(runtime, ChatRoute):
            price = prices.get(runtime.upstream_model)
            applying += [price] if price else []
            prefix_bytes = sum(len(str(message.get("content"))) + 32 for message in runtime.prefix_messages)
            tokens_in = max(tokens_in, prefix_bytes // _BYTES_PER_TOKEN)
        else:
            # Which model answers from documents is its own affair; the prompt is filled with passages.
            applying += prices.values()
            tokens_in = max(tokens_in, max_prompt_tokens)
        limits.append(runtime.limits.max_output_tokens)
    known = [limit for limit in limits if limit is not None]
    return RouteDemand(
        input_tokens=tokens_in,
        output_tokens=max(known) if len(known) == len(limits) else None,
        input_usd=answers
        * max((max(price.input_usd, price.cache_write_usd or 0.0) for price in applying), default=0.0),
        output_usd=answers * max((price.output_usd for price in applying), default=0.0),
    )


def _pictures(body: Mapping[str, Any]) -> tuple[int, int]:
    """Return the bytes and the number of the files that stand in a body as data URLs."""
    size = count = 0
    messages = body.get("messages")
    for message in messages if isinstance(messages, list) else ():
        content = message.get("content") if isinstance(message, Mapping) else None
        for part in content if isinstance(content, list) else ():
            for value in part.values() if isinstance(part, Mapping) else ():
                data = value.get("url", value.get("data")) if isinstance(value, Mapping) else None
                if isinstance(data, str) and len(data) > _BYTES_PER_TOKEN * _TOKENS_PER_PICTURE:
                    size += len(data)
                    count += 1
    return size, count
