"""What the reply of a service tells beside its answer: tokens, cost and when it began.

`http_template` and releases of kind http read here. A service that tells nothing leaves tokens and cost unknown, which
is not 0; what cannot be right is not believed.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import orjson

from shipway.evals.ports import HttpReply
from shipway.gateway.usage import usage_of
from shipway.services.targets.answers import NoAnswerError
from shipway.services.targets.completions import events_of
from shipway.services.targets.json_path import JsonPath
from shipway.services.targets.replies import excerpt, json_of, refusal, wrong_shape

_FIRST_OK, _FIRST_REDIRECT = 200, 300
_EVENTS, _LINES = "text/event-stream", ("application/x-ndjson", "application/jsonl", "application/json-lines")
_COST_PATHS = tuple(map(JsonPath, ("cost_usd", "usage.cost_usd", "usage.cost", "usage.total_cost")))
"""Where services write what an answer cost, in US dollars; OpenRouter has `usage.cost`."""
_COST_HEADERS = ("x-cost-usd", "x-shipway-cost-usd", "x-litellm-response-cost")


@dataclass(frozen=True, slots=True)
class CostPaths:
    """Where in a reply usage and cost stand; None is where services usually write them."""

    usage: JsonPath | None = None
    cost_usd: JsonPath | None = None

    @classmethod
    def of(cls, usage: str | None, cost_usd: str | None) -> "CostPaths":
        """Return the places that the project file names."""
        return cls(*(None if path is None else JsonPath(path) for path in (usage, cost_usd)))


@dataclass(frozen=True, slots=True)
class ServiceReply:
    """A whole reply: one value, or the events of a stream in order."""

    values: tuple[Any, ...]
    is_stream: bool
    reply: HttpReply

    @classmethod
    def of(cls, url: str, reply: HttpReply) -> "ServiceReply":
        """Read a reply.

        Raises:
            UpstreamError: an error, a redirect, or no JSON.
        """
        kind = reply.headers.get("content-type", "").partition(";")[0].strip().lower()
        if kind != _EVENTS and kind not in _LINES:
            return cls((json_of(url, reply),), is_stream=False, reply=reply)
        if not _FIRST_OK <= reply.status < _FIRST_REDIRECT:
            raise refusal(url, reply)
        events = tuple(events_of(url, reply.body) if kind == _EVENTS else _lines(url, reply.body))
        if not events:
            raise wrong_shape(url, "the stream holds no event")
        for event in events:
            if isinstance(event, dict) and event.get("error"):
                raise wrong_shape(url, f"the stream ends in an error: {excerpt(event['error'])}")
        return cls(events, is_stream=True, reply=reply)

    def answer(self, path: JsonPath) -> str:
        """Return the text at a path; of a stream what its events have there, joined.

        Raises:
            NoAnswerError: there is none.
        """
        if not self.is_stream:
            return path.answer(self.values[0])
        parts = [found for value in self.values if (found := _part(path, value)) is not None]
        return "".join(parts) if parts else path.answer(self.values[-1])

    def read(self, path: JsonPath) -> Any:
        """Return what stands at a path; of a stream in the last event that has it.

        Raises:
            NoAnswerError: it is nowhere.
        """
        for value in reversed(self.values[1:]):
            try:
                return path.read(value)
            except NoAnswerError:
                continue
        return path.read(self.values[0])

    def measured(self, paths: CostPaths) -> dict[str, Any]:
        """Return times, tokens and cost as far as they are known, as fields of an output.

        The time to the first token is that of the first byte of a stream; a reply that comes whole has none.
        """
        found: dict[str, Any] = {"latency_ms": self.reply.total_ms, "cost_usd": self._cost_usd(paths)}
        if self.is_stream:
            found["ttft_ms"] = self.reply.ttft_ms
        usage = self._usage(paths)
        if usage is not None:
            found["tokens_in"] = usage.uncached + usage.cache_read + usage.cache_write
            found["tokens_out"] = usage.output
        return found

    def _usage(self, paths: CostPaths) -> Any:
        if paths.usage is not None:
            told = self._found(paths.usage)
            return usage_of({"usage": told}) if isinstance(told, dict) else None
        told = (usage_of(value) for value in reversed(self.values) if isinstance(value, dict))
        return next(filter(None, told), None)

    def _cost_usd(self, paths: CostPaths) -> float | None:
        if paths.cost_usd is not None:
            return _dollars(self._found(paths.cost_usd))
        told = [self._found(path) for path in _COST_PATHS]
        told += [self.reply.headers.get(name) for name in _COST_HEADERS]
        return next((usd for item in told if (usd := _dollars(item)) is not None), None)

    def _found(self, path: JsonPath) -> Any:
        try:
            return self.read(path)
        except NoAnswerError:
            return None


def _part(path: JsonPath, value: Any) -> str | None:
    try:
        found = path.read(value)
    except NoAnswerError:
        return None
    return found if isinstance(found, str) else None


def _dollars(told: Any) -> float | None:
    """Return a number of dollars, also from a header's text; None for what is none."""
    if isinstance(told, bool) or not isinstance(told, int | float | str):
        return None
    try:
        found = float(told)
    except ValueError:
        return None
    return found if math.isfinite(found) and found >= 0 else None


def _lines(url: str, body: bytes) -> Iterator[Any]:
    for line in body.splitlines():
        if not line.strip():
            continue
        try:
            yield orjson.loads(line)
        except orjson.JSONDecodeError:
            raise wrong_shape(url, f"a line of the stream is not JSON: {excerpt(line)}") from None
